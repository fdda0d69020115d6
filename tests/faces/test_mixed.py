"""Generated pictures of two people: names, tables, and what of either is no mix."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from facemae.errors import DataError
from facemae.faces.faceset import FaceSet
from facemae.faces.importers.mixed import parts
from facemae.faces.mixes import read_mixes
from facemae.spec.execution import Execution
from facemae.spec.recipe import ImportSpec
from facemae.stages.import_ import import_faces
from folders import demand_one_line, facemae, jpeg, plant


def run(source: Path, out: Path) -> FaceSet:
    return FaceSet.open(import_faces([str(source)], out, ImportSpec(layout="mixed"), Execution()))


def found(faces: FaceSet) -> dict[str, tuple[int, list[list[float]]]]:
    """File -> (hard label, mix)."""
    assert faces.people is not None
    records = [faces.record(i) for i in range(len(faces))]
    return {
        file: (record.identity, (record.extras or {})["mix"])
        for file, record in zip(faces.people.files, records, strict=True)
    }


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("00012/001_00012x0.350_(00087)x0.650.jpg", ("00012", "0.350", "00087", "0.650")),
        ("050_00003x1.000_(00001)x0.000.jpg", ("00003", "1.000", "00001", "0.000")),
        ("Ann_0.35_Bob_0.65.jpg", ("Ann", "0.35", "Bob", "0.65")),
        ("a/Ann_Lee_0.5_Bo_0.5_0012.png", ("Ann_Lee", "0.5", "Bo", "0.5")),
        ("Ann_0001.jpg", None),
        ("1_2_3_4.jpg", None),
        ("Ann_0.35_Bob.jpg", None),
    ],
)
def test_names(name: str, columns: tuple[str, ...] | None) -> None:
    assert parts(name) == columns


def test_a_folder_of_synface(tmp_path: Path) -> None:
    names = ["00001/001_00001x0.350_(00003)x0.650.jpg", "00001/002_00001x1.000_(00002)x0.000.jpg",
             "00002/001_00002x0.500_(00001)x0.500.jpg", "00002/notes.jpg"]  # fmt: skip
    faces = run(plant(tmp_path / "syn", {name: jpeg(i, 16) for i, name in enumerate(names)}), tmp_path / "out")
    assert faces.people is not None
    assert faces.people.identities == ("00001", "00002", "00003")
    # The heavier person is the label, whatever the folder is called; of two alike the one named first.
    assert found(faces) == {
        names[1]: (0, [[0, 1.0], [1, 0.0]]),
        names[2]: (1, [[1, 0.5], [0, 0.5]]),
        names[0]: (2, [[2, 0.65], [0, 0.35]]),
    }
    assert faces.num_identities == 3
    people, weights = read_mixes(faces)
    assert people.tolist() == [[0, 1], [1, 0], [2, 0]]
    assert weights.tolist() == pytest.approx(np.array([[1, 0], [0.5, 0.5], [0.65, 0.35]]))
    assert faces.manifest.facts["skipped"] == [
        {"path": "00002/notes.jpg", "reason": "not named as this layout names photos"}
    ]


def test_a_table(tmp_path: Path) -> None:
    table = "path,id_a,w_a,id_b,w_b\nx/1.jpg,Zoe,0.2,Ann,0.8\nx/2.jpg,Zoe,0.333,Ann,0.666\n"
    files = {"x/1.jpg": jpeg(1, 16), "x/2.jpg": jpeg(2, 16), "x/3.jpg": jpeg(3, 16), "mixed.csv": table.encode()}
    faces = run(plant(tmp_path / "syn", files), tmp_path / "out")
    second = found(faces)["x/2.jpg"]
    assert found(faces)["x/1.jpg"] == (0, [[0, 0.8], [1, 0.2]])
    assert second[1][0] == [0, pytest.approx(2 / 3, abs=1e-6)]
    assert sum(weight for _, weight in second[1]) == pytest.approx(1, abs=1e-9)
    assert [item["path"] for item in faces.manifest.facts["skipped"]] == ["x/3.jpg"]


def test_a_tar_reads_as_its_folder_does(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "syn.tar", "w") as tar:
        for i, name in enumerate(("syn/Ann_0.25_Bob_0.75.jpg", "syn/Ann_0.75_Cy_0.25.jpg")):
            info = tarfile.TarInfo(name)
            info.size = len(jpeg(i, 16))
            tar.addfile(info, io.BytesIO(jpeg(i, 16)))
    assert found(run(tmp_path / "syn.tar", tmp_path / "out")) == {
        "Ann_0.75_Cy_0.25.jpg": (0, [[0, 0.75], [2, 0.25]]),
        "Ann_0.25_Bob_0.75.jpg": (1, [[1, 0.75], [0, 0.25]]),
    }


BAD = {
    "weights of a name": ({"Ann_0.3_Bob_0.3.jpg": jpeg(0, 16)}, "Ann_0.3_Bob_0.3.jpg does not tell two people and"),
    "no mixes at all": ({"Ann/1.jpg": jpeg(0, 16)}, "there is nothing to import"),
    "weights of a table": ({"1.jpg": jpeg(0, 16), "mixed.csv": b"path,id_a,w_a,id_b,w_b\n1.jpg,A,nan,B,1\n"},
                           "mixed.csv line 2 does not tell two people and their weights: got A, nan, B, 1; needed id"),
    "a missing column": ({"1.jpg": jpeg(0, 16), "mixed.csv": b"path,id_a,w_a,id_b\n1.jpg,A,0.5,B\n"},
                         "mixed.csv line 2 does not tell two people"),
    "a missing photo": ({"1.jpg": jpeg(0, 16), "mixed.csv": b"path,id_a,w_a,id_b,w_b\n2.jpg,A,0.5,B,0.5\n"},
                        "mixed.csv names photos that are not there, or twice: got 1, first 2.jpg"),
    "no path": ({"1.jpg": jpeg(0, 16), "mixed.csv": b"path,id_a,w_a,id_b,w_b\n,A,0.5,B,0.5\n"},
                "mixed.csv line 2 is incomplete: needed columns path, id_a, w_a, id_b, w_b"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_mixes_end_in_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str) -> None:
    files, said = BAD[name]
    ended = facemae(capsys, "import", plant(tmp_path / "syn", files), tmp_path / "out", "--set", "layout=mixed")
    assert said in demand_one_line(ended)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_synthetic_people_are_mixed_on_request(tmp_path: Path) -> None:
    def made(name: str, **synthetic: int) -> FaceSet:
        spec = ImportSpec(size=32, synthetic={"identities": 3, "photos": 4, "first": 5, **synthetic})  # type: ignore[arg-type]
        return FaceSet.open(import_faces(["synthetic"], tmp_path / name, spec, Execution()))

    plain, mixed = made("plain"), made("mixed", mixed=3)
    assert mixed.identities.tolist() == plain.identities.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    for i in range(12):
        before, after = plain.record(i), mixed.record(i)
        extras = dict(after.extras or {})
        mix = extras.pop("mix", None)
        if i % 4 == 0:  # the last three of each person's four are mixed
            assert (after.image, mix, extras) == (before.image, None, before.extras)
            continue
        (own, weight), (other, rest) = mix
        assert own == i // 4 != other < 3
        assert weight in [round(0.5 + 0.05 * k, 2) for k in range(11)]
        assert weight + rest == pytest.approx(1, abs=1e-12)
        assert (after.image == before.image) == (weight == 1)
    assert json.loads((tmp_path / "mixed/manifest.json").read_text())["facts"]["protocols"] == []
    assert not (tmp_path / "mixed/pairs").exists()
    with pytest.raises(DataError, match="nobody to mix with: got 1 synthetic person; needed at least two, or mixed=0"):
        made("alone", identities=1, mixed=1)
