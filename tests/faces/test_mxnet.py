"""Files that MXNet 1.9.1 itself wrote (benchmarks/mxnet_golden.py): read as it reads, and written as it writes."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from facemae.faces.exporters import export_recordio
from facemae.faces.faceset import FaceSet
from facemae.faces.recordfile import RecordFile
from facemae.faces.recordio import RecordWriter, pack
from facemae.spec.execution import Execution
from facemae.spec.recipe import ImportSpec
from facemae.stages.import_ import import_faces

GOLDEN = Path(__file__).parent / "mxnet"
TOLD: dict[str, Any] = json.loads((GOLDEN / "told.json").read_text())
SETS = ("insightface", "im2rec")


def records(name: str) -> list[tuple[dict[str, Any], bytes]]:
    """Every record of a set as MXNet tells of it, with the bytes that we read."""
    file = RecordFile(GOLDEN / name / "train.rec", GOLDEN / name / "train.idx")
    return [(row, file.record(file.find(row["key"]))[1]) for row in TOLD[name]]


@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize("name", SETS)
def test_every_record_is_what_mxnet_reads(name: str, indexed: bool) -> None:
    index = GOLDEN / name / "train.idx" if indexed else None
    file, rows = RecordFile(GOLDEN / name / "train.rec", index), TOLD[name]
    assert len(file) == len(rows)
    # Without an index records are told apart by the numbers in their headers alone.
    found = {header.id: (header, image) for header, image in map(file.record, range(len(file)))}
    for row in rows:
        header, image = file.record(file.find(row["key"])) if indexed else found[row["id"]]
        wanted = row["label"] if isinstance(row["label"], list) else [row["label"]]
        assert (list(header.labels), len(image)) == (wanted, row["bytes"])
        assert hashlib.sha256(image).hexdigest() == row["sha256"]


@pytest.mark.parametrize("name", SETS)
def test_our_writer_makes_the_very_bytes_of_mxnet(name: str, tmp_path: Path) -> None:
    with RecordWriter(tmp_path / "train.rec", tmp_path / "train.idx") as writer:
        for row, image in records(name):
            writer.write(row["key"], pack(row["label"], image, key=row["id"]))
    for file in ("train.rec", "train.idx"):
        assert (tmp_path / file).read_bytes() == (GOLDEN / name / file).read_bytes()


@pytest.mark.parametrize("name", SETS)
def test_import_gives_its_images_and_people(name: str, tmp_path: Path) -> None:
    made = import_faces([str(GOLDEN / name / "train.rec")], tmp_path / "set", ImportSpec(), Execution())
    faces = FaceSet.open(made, kind="original")
    kept = [row for row in TOLD[name] if row["bytes"]]
    assert [hashlib.sha256(faces.record(i).image).hexdigest() for i in range(len(faces))] == [r["sha256"] for r in kept]
    assert faces.identities.tolist() == [0, 0, 1, 1, 2, 2]


def test_a_set_of_insightface_goes_in_and_comes_out_byte_for_byte(tmp_path: Path) -> None:
    made = import_faces([str(GOLDEN / "insightface")], tmp_path / "set", ImportSpec(), Execution())
    export_recordio(FaceSet.open(made), tmp_path / "out")
    for file in ("train.rec", "train.idx", "property"):
        assert (tmp_path / "out" / file).read_bytes() == (GOLDEN / "insightface" / file).read_bytes()
