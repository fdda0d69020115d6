"""InsightFace's sets of records: what its own tools write is read, and what we write is what they would."""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from facemae.errors import Damaged, DataError, OutputExists, RecipeError
from facemae.faces.codec import decode, encode_png
from facemae.faces.exporters import export_recordio
from facemae.faces.exporters import recordio as exporter
from facemae.faces.faceset import FaceSet
from facemae.faces.importers import open_source
from facemae.faces.writer import FaceSetWriter
from facemae.spec.execution import Execution
from facemae.spec.recipe import ImportSpec
from facemae.stages.import_ import import_faces
from folders import jpeg, originals, png, publish, tree

MAGIC = 0xCED7230A
LABELS = [0, 0, 1, 2, 2, 2]
IMAGES = [png(i, 8) if i % 2 else jpeg(i, 8) for i in range(6)]


def payload(labels: Sequence[float] | float, image: bytes, number: int) -> bytes:
    """One record's content by the description of `mxnet.recordio.pack`, not by our writer."""
    if isinstance(labels, Sequence):
        head = struct.pack("<IfQQ", len(labels), 0, number, 0) + np.array(labels, "<f4").tobytes()
    else:
        head = struct.pack("<IfQQ", 0, labels, number, 0)
    return head + image


def foreign(folder: Path, records: list[tuple[int, bytes]], *, index: bool = True) -> Path:
    """``train.rec`` and ``train.idx`` by the description of dmlc's writer; no payload here holds its magic number."""
    folder.mkdir(exist_ok=True)
    content, lines = b"", ""
    for key, data in records:
        assert struct.pack("<I", MAGIC) not in data
        lines += f"{key}\t{len(content)}\n"
        content += struct.pack("<II", MAGIC, len(data)) + data + b"\0" * (-len(data) % 4)
    (folder / "train.rec").write_bytes(content)
    if index:
        (folder / "train.idx").write_text(lines)
    return folder


def face2rec2(folder: Path, **how: bool) -> Path:
    """As InsightFace's own tool leaves a set: images, then record 0, then the people."""
    records = [(i + 1, payload((LABELS[i], 1.0), IMAGES[i], i + 1)) for i in range(6)]
    records.append((0, payload((7.0, 10.0), b"", 0)))
    bounds = [(1, 3), (3, 4), (4, 7)]
    records += [(7 + i, payload([float(a), float(b)], b"", 7 + i)) for i, (a, b) in enumerate(bounds)]
    foreign(folder, records, **how)
    (folder / "property").write_text("3,8,8\n")
    return folder


def run(source: Path, out: Path, **spec: object) -> FaceSet:
    return FaceSet.open(import_faces([str(source)], out, ImportSpec(**spec), Execution()), kind="original")  # type: ignore[arg-type]


def images(faces: FaceSet) -> list[bytes]:
    return [faces.record(i).image for i in range(len(faces))]


@pytest.mark.parametrize("index", [True, False])
def test_a_set_of_insightface(tmp_path: Path, index: bool) -> None:
    faces = run(face2rec2(tmp_path / "ms1m", index=index), tmp_path / "out")
    assert images(faces) == IMAGES
    assert faces.identities.tolist() == LABELS
    assert faces.people is not None
    assert faces.people.identities == ("00000000", "00000001", "00000002")
    assert faces.people.files == tuple(f"{label:08d}/{i + 1:08d}" for i, label in enumerate(LABELS))
    assert faces.manifest.facts["skipped"] == []


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("wrap", [float, lambda label: [float(label)], lambda label: [float(label), 0.5, 7.0, 9.0]])
def test_sets_of_im2rec_with_all_kinds_of_labels(tmp_path: Path, wrap: object, index: bool) -> None:
    """Key 0 is an image; keys are in no order, labels have gaps and sort as numbers."""
    keys, labels = [5, 0, 3, 1, 2, 4], [11, 2, 11, 100, 2, 11]
    records = [(key, payload(wrap(label), IMAGES[key], key)) for key, label in zip(keys, labels, strict=True)]  # type: ignore[operator]
    folder = foreign(tmp_path / "set", records, index=index)
    faces = run(folder / "train.rec", tmp_path / "out")
    rows = sorted(zip(labels, keys if index else range(6), keys, strict=True))
    assert images(faces) == [IMAGES[key] for _, _, key in rows]
    assert faces.identities.tolist() == [0, 0, 1, 1, 1, 2]
    assert faces.people is not None
    assert faces.people.identities == ("00000002", "00000011", "00000100")


def test_what_we_write_is_what_insightface_writes(tmp_path: Path) -> None:
    faces = run(face2rec2(tmp_path / "ms1m"), tmp_path / "set")
    assert export_recordio(faces, tmp_path / "out") == 6
    assert tree(tmp_path / "out") == tree(tmp_path / "ms1m")
    export_recordio(faces, tmp_path / "again")
    assert tree(tmp_path / "again") == tree(tmp_path / "out")
    with pytest.raises(OutputExists):
        export_recordio(faces, tmp_path / "out")


def test_people_in_any_order_come_back_sorted(tmp_path: Path) -> None:
    """A released set is shuffled, and a part of a synthetic one has gaps in its numbers."""
    writer = FaceSetWriter(tmp_path / "set")
    for image, label in zip(IMAGES, [9, 4, 9, 4, 12, 9], strict=True):
        writer.add(image, label)
    writer.finish()
    faces = publish(tmp_path / "set", "reconstructed", {"records": 6, "identities": 3, "size": [8, 8]})
    export_recordio(faces, tmp_path / "out")
    again = run(tmp_path / "out", tmp_path / "back")
    assert images(again) == [IMAGES[i] for i in (1, 3, 0, 2, 5, 4)]
    assert again.identities.tolist() == [0, 0, 1, 1, 1, 2]
    assert (tmp_path / "out/property").read_text() == "3,8,8\n"


def test_masked_records_become_pictures(tmp_path: Path) -> None:
    writer = FaceSetWriter(tmp_path / "set")
    for i in range(2):
        strip = np.random.default_rng(i).integers(0, 256, (4, 8, 3), dtype=np.uint8)
        writer.add(encode_png(strip), i, extras={"positions": [0, 3]})
    writer.finish()
    facts = {"records": 2, "identities": 2, "size": [8, 8], "mask": {"grid": 2, "cell": 4, "kept": 2}}
    faces = publish(tmp_path / "set", "masked", facts)
    export_recordio(faces, tmp_path / "out")
    again = run(tmp_path / "out", tmp_path / "back")
    assert [np.array_equal(decode(image), faces.image(i)) for i, image in enumerate(images(again))] == [True, True]


def test_too_many_records_for_counts_in_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faces = run(face2rec2(tmp_path / "ms1m"), tmp_path / "set")
    monkeypatch.setattr(exporter, "EXACT", 9)
    export_recordio(faces, tmp_path / "out")
    expected = foreign(tmp_path / "im2rec", [(i, payload(float(LABELS[i]), IMAGES[i], i)) for i in range(6)])
    assert tree(tmp_path / "out") == tree(expected) | {"property": b"3,8,8\n"}
    again = run(tmp_path / "out", tmp_path / "back")
    assert (images(again), again.identities.tolist()) == (IMAGES, LABELS)


def test_the_index_is_part_of_the_source(tmp_path: Path) -> None:
    faces = run(face2rec2(tmp_path / "a") / "train.rec", tmp_path / "one")
    assert set(faces.manifest.parents) == {"source0", "source0.idx"}
    (tmp_path / "a/train.idx").unlink()
    assert set(run(tmp_path / "a/train.rec", tmp_path / "two").manifest.parents) == {"source0"}


def test_what_lies_beside_the_records_is_named(tmp_path: Path) -> None:
    folder = face2rec2(tmp_path / "ms1m")
    (folder / "lfw.bin").write_bytes(b"x")
    (folder / "notes.txt").write_bytes(b"x")
    assert run(folder, tmp_path / "out").manifest.facts["skipped"] == [
        {"path": "lfw.bin", "reason": "a verification file: import it by itself"},
        {"path": "notes.txt", "reason": "no part of the records"},
    ]


def test_photos_in_folders_stay_photos(tmp_path: Path) -> None:
    folder = face2rec2(tmp_path / "photos")
    (folder / "Ann").mkdir()
    (folder / "Ann/1.png").write_bytes(png(0, 8))
    faces = run(folder, tmp_path / "out")
    assert faces.people is not None
    assert faces.people.files == ("Ann/1.png",)


def labelled(folder: Path, labels: list[float]) -> Path:
    return foreign(folder, [(i, payload(label, IMAGES[i], i)) for i, label in enumerate(labels)])


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([0, 1.5], "train.rec, the record with key 1 names no person: got label 1.5"),
        ([0, -1], "got label -1; needed a whole number from 0 to 16777216"),
        ([0, float("nan")], "got label nan"),
        ([0, 2.0**25], "got label 3.35544e+07"),
        ([0, 0, 0], "all 3 photos of train.rec carry the same label: got 0"),
    ],
)
def test_labels_that_are_no_people(tmp_path: Path, labels: list[float], said: str) -> None:
    with pytest.raises(DataError) as raised:
        run(labelled(tmp_path / "set", labels), tmp_path / "out")
    assert said in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_records_that_do_not_fit(tmp_path: Path) -> None:
    folder = face2rec2(tmp_path / "a")
    lines = (folder / "train.idx").read_text().splitlines(keepends=True)
    (folder / "train.idx").write_text("".join(lines[:2] + lines[3:]))
    with pytest.raises(Damaged, match="record 0 does not fit the index: got 6 photos by the one, 5 by the other"):
        open_source(folder)
    (folder / "more.rec").write_bytes(b"")
    with pytest.raises(DataError, match=r"no set of records: got more\.rec, train\.rec; needed one \.rec"):
        open_source(folder)
    with pytest.raises(DataError, match="holds no photos"):
        open_source(foreign(tmp_path / "empty", [(0, payload((1.0, 1.0), b"", 0))]))
    (tmp_path / "b.rec").write_bytes(b"")
    with pytest.raises(Damaged, match=r"b\.rec is empty"):
        open_source(tmp_path / "b.rec")
    good = face2rec2(tmp_path / "c")
    for settings in ({"layout": "folder"}, {"label": "person"}):
        with pytest.raises((RecipeError, DataError)):
            open_source(good / "train.rec", **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("last", [float("nan"), float("inf"), 0.0, -3.0, 5.5])
def test_a_record_0_that_tells_no_count(tmp_path: Path, last: float) -> None:
    records = [(0, payload((last, 8.0), b"", 0))] + [(i, payload(float(i % 2), IMAGES[i], i)) for i in range(1, 5)]
    with pytest.raises(Damaged, match=r"train\.rec, record 0 names no record behind the last photo: got label"):
        run(foreign(tmp_path / "set", records), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_one_person_is_one_where_record_0_says_so(tmp_path: Path) -> None:
    pixels = [np.random.default_rng(i).integers(0, 256, (8, 8, 3), dtype=np.uint8) for i in range(3)]
    export_recordio(originals(tmp_path / "set", pixels, [0, 0, 0]), tmp_path / "out")
    again = run(tmp_path / "out", tmp_path / "back")
    assert (len(again), again.num_identities) == (3, 1)


def test_an_index_that_leaves_records_out_or_names_one_twice(tmp_path: Path) -> None:
    folder = labelled(tmp_path / "set", [0, 0, 1, 1])
    lines = (folder / "train.idx").read_text().splitlines(keepends=True)
    (folder / "train.idx").write_text("".join(lines[:3]))
    faces = run(folder, tmp_path / "out")
    rest = len((folder / "train.rec").read_bytes()) - int(lines[3].split()[1])
    assert len(faces) == 3
    assert faces.manifest.facts["skipped"] == [
        {"path": "train.idx", "reason": f"ends {rest} bytes before the records do"}
    ]
    (folder / "train.idx").write_text("".join(lines[:3]) + f"3\t{lines[1].split()[1]}\n")
    with pytest.raises(Damaged, match="names one place for two keys"):
        run(folder, tmp_path / "again")


def test_a_record_cut_off_ends_the_import_in_one_line(tmp_path: Path) -> None:
    folder = face2rec2(tmp_path / "a", index=False)
    content = (folder / "train.rec").read_bytes()
    (folder / "train.rec").write_bytes(content[:200])
    with pytest.raises(Damaged, match=r"^train\.rec, record \d from the start, byte \d+: got .*") as raised:
        run(folder, tmp_path / "out")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_an_image_of_no_bytes_counts_as_unreadable(tmp_path: Path) -> None:
    records = [(i, payload(float(i % 3), IMAGES[i] if i else b"", i)) for i in range(6)]
    faces = run(foreign(tmp_path / "set", records), tmp_path / "out", limit=0.5)
    assert len(faces) == 5
    assert [skip["path"] for skip in faces.manifest.facts["skipped"]] == ["00000000/00000000"]


def test_originals_and_back(tmp_path: Path) -> None:
    pixels = [np.random.default_rng(i).integers(0, 256, (8, 8, 3), dtype=np.uint8) for i in range(5)]
    faces = originals(tmp_path / "set", pixels, [0, 0, 1, 1, 2])
    export_recordio(faces, tmp_path / "out")
    again = run(tmp_path / "out", tmp_path / "back")
    assert images(again) == images(faces)
    assert again.identities.tolist() == faces.identities.tolist()
