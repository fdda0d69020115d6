"""`import`: names and files are kept, what was left out is named, and bad photos end in one line and no OUT."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from facemae.errors import DataError, OutputExists
from facemae.faces.faceset import FaceSet
from facemae.faces.splits import in_split
from facemae.spec.execution import Execution
from facemae.spec.manifest import hash_path, read_manifest
from facemae.spec.recipe import ImportSpec, SyntheticSpec
from facemae.stages import import_ as module
from facemae.stages.import_ import import_faces
from folders import demand_one_line, facemae, jpeg, plant, png, tree
from helpers import Interrupted, pulling_plug

GOOD = {
    "Ann_Lee/Ann_Lee_0001.jpg": jpeg(0, 16),
    "Ann_Lee/Ann_Lee_0002.png": png(1, 16),
    "Bo/1.jpeg": jpeg(2, 16),
}


def run(source: Path, out: Path, **spec: object) -> FaceSet:
    return FaceSet.open(import_faces([str(source)], out, ImportSpec(**spec), Execution()), kind="original")  # type: ignore[arg-type]


def test_names_files_and_bytes(tmp_path: Path) -> None:
    faces = run(plant(tmp_path / "photos", GOOD), tmp_path / "out")
    assert json.loads((tmp_path / "out/people.json").read_text("utf-8")) == {
        "identities": ["Ann_Lee", "Bo"],
        "files": list(GOOD),
    }
    assert [faces.record(i).image for i in range(3)] == list(GOOD.values())
    assert faces.identities.tolist() == [0, 0, 1]
    assert (faces.num_identities, faces.size) == (2, (16, 16))
    assert faces.manifest.facts == {"records": 3, "identities": 2, "size": [16, 16], "unreadable": 0, "skipped": []}


def test_the_same_photos_are_not_imported_twice(tmp_path: Path) -> None:
    photos = plant(tmp_path / "photos", GOOD)
    run(photos, tmp_path / "out")
    made = (tmp_path / "out/manifest.json").stat().st_mtime_ns
    run(photos, tmp_path / "out")
    assert (tmp_path / "out/manifest.json").stat().st_mtime_ns == made
    run(photos, tmp_path / "again")
    assert tree(tmp_path / "again") == tree(tmp_path / "out")
    plant(photos, {"Cy/1.jpg": jpeg(3, 16)})
    with pytest.raises(OutputExists, match="holds another result"):
        run(photos, tmp_path / "out")


def test_what_is_left_out_is_named(tmp_path: Path) -> None:
    cut = jpeg(5, 16)[:-40]
    photos = plant(tmp_path / "photos", GOOD | {"Bo/2.jpg": cut, "Bo/notes.txt": b"x", "Bo/.DS_Store": b"x"})
    faces = run(photos, tmp_path / "out", limit=0.3)
    assert len(faces) == 3
    assert faces.manifest.facts["unreadable"] == 1
    skipped = {item["path"]: item["reason"] for item in faces.manifest.facts["skipped"]}
    assert sorted(skipped) == ["Bo/.DS_Store", "Bo/2.jpg", "Bo/notes.txt"]
    assert "damaged" in skipped["Bo/2.jpg"]


def test_size_brings_photos_to_one_size(tmp_path: Path) -> None:
    photos = plant(tmp_path / "photos", GOOD | {"Bo/2.png": png(7, 20)})
    faces = run(photos, tmp_path / "out", size=12)
    assert faces.images(range(4)).shape == (4, 12, 12, 3)


def test_a_split_takes_people_by_their_name(tmp_path: Path) -> None:
    names = [f"p{i}" for i in range(20)]
    photos = plant(tmp_path / "photos", {f"{name}/1.png": png(i, 4) for i, name in enumerate(names)})
    taken = {split: run(photos, tmp_path / split, split=split).people for split in ("D-in", "D-out")}
    for split, people in taken.items():
        assert people is not None
        assert list(people.identities) == sorted(name for name in names if in_split(name, split))  # type: ignore[arg-type]
        assert people.identities


@pytest.mark.parametrize("content", [b"{}", b'{"version": 3}', b"no JSON at all"])
def test_a_foreign_manifest_among_the_photos_is_one_more_file(tmp_path: Path, content: bytes) -> None:
    photos = plant(tmp_path / "photos", GOOD | {"manifest.json": content})
    faces = run(photos, tmp_path / "out")
    assert len(faces) == 3
    assert faces.manifest.parents == {"source0": hash_path(photos)}
    assert faces.manifest.facts["skipped"] == [{"path": "manifest.json", "reason": "not an image by its suffix"}]


def test_a_finished_set_is_no_source(tmp_path: Path) -> None:
    run(plant(tmp_path / "photos", GOOD), tmp_path / "set")
    with pytest.raises(DataError, match="set is a face set already: got kind original; needed photos; give it to"):
        run(tmp_path / "set", tmp_path / "out")
    manifest = json.loads((tmp_path / "set/manifest.json").read_text("utf-8"))
    (tmp_path / "set/manifest.json").write_text(json.dumps(manifest | {"kind": "model"}), "utf-8")
    with pytest.raises(DataError, match=r"is a finished facemae directory already: got kind model; needed photos$"):
        run(tmp_path / "set", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_source_that_may_not_be_read_ends_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path, execution: Execution) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    photos = plant(tmp_path / "photos", GOOD)
    monkeypatch.setattr(module, "hash_with_progress", denied)
    with pytest.raises(DataError, match="photos cannot be read: got Permission denied"):
        run(photos, tmp_path / "out")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read everything")
def test_a_photo_without_permission_counts_as_unreadable(tmp_path: Path) -> None:
    photos = plant(tmp_path / "photos", GOOD | {"Cy/1.jpg": jpeg(3, 16)})
    (photos / "Cy/1.jpg").chmod(0)
    faces = run(photos, tmp_path / "out", limit=0.25)
    assert (len(faces), faces.manifest.facts["unreadable"]) == (3, 1)
    assert "Permission denied; Cy has no readable photo" in faces.manifest.facts["skipped"][0]["reason"]


def test_photos_are_counted_while_they_come_in(tmp_path: Path) -> None:
    photos = plant(tmp_path / "photos", GOOD)
    import_faces([str(photos)], tmp_path / "out", ImportSpec(), pulling_plug(7))  # three photos hashed, three read
    with pytest.raises(Interrupted):
        import_faces([str(photos)], tmp_path / "cut", ImportSpec(), pulling_plug(6))


# ---- bad inputs, as a person meets them ----------------------------------------------------------------------------


BAD: dict[str, tuple[dict[str, bytes], str]] = {
    "a truncated JPEG": (GOOD | {"Bo/2.jpg": jpeg(5, 16)[:-40]}, "cannot be decoded: got 1 of 4, first Bo/2.jpg"),
    "a truncated PNG": (GOOD | {"Bo/2.png": png(5, 16)[:-40]}, "too many photos cannot be decoded: got 1 of 4"),
    "text under an image's name": (GOOD | {"Bo/2.jpg": b"hello"}, "too many photos cannot be decoded: got 1 of 4"),
    "a person without photos": (GOOD | {"Cy/notes.txt": b"x"}, "a person has no readable photo: Cy"),
    "two sizes": (GOOD | {"Bo/2.jpg": jpeg(5, 20)}, "differ in size: got 16×16 (Ann_Lee/Ann_Lee_0001.jpg) and 20×20"),
    "no photos at all": ({"readme.txt": b"x"}, "holds no photos"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_photos_end_in_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str) -> None:
    files, said = BAD[name]
    photos = plant(tmp_path / "photos", files)
    good = plant(tmp_path / "good", GOOD)
    assert facemae(capsys, "import", good, tmp_path / "earlier").code == 0
    before = tree(tmp_path)
    assert said in demand_one_line(facemae(capsys, "import", photos, tmp_path / "out"))
    assert "holds another result" in demand_one_line(facemae(capsys, "import", photos, tmp_path / "earlier"))
    assert tree(tmp_path) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["earlier", "good", "photos"]


def test_a_few_bad_photos_are_within_the_limit(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    photos = plant(tmp_path / "photos", GOOD | {"Bo/2.jpg": jpeg(5, 16)[:-40]})
    ended = facemae(capsys, "import", photos, tmp_path / "out", "--set", "limit=0.25")
    assert (ended.code, ended.err) == (0, "")
    assert "3 images of 2 people, 1 files left out" in ended.out
    shown = facemae(capsys, "show", tmp_path / "out")
    assert "skipped Bo/2.jpg: the JPEG is damaged" in shown.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (lambda here: ["import", here / "nowhere", here / "out"], "nothing at"),
        (lambda here: ["import", here / "photos"], "needed one or more sources and then OUT"),
        (lambda here: ["import", here / "photos/Bo/1.jpeg", here / "out"], "cannot be read as a tar"),
        (lambda here: ["import", here / "photos", here / "out", "--set", "size=-1"], "size: input should be greater"),
        (lambda here: ["import", here / "photos", here / "out", "--landmarks", here / "none.csv"], "nothing at"),
        (lambda here: ["import", here / "photos", here / "photos/Bo/1.jpeg"], "exists and is not a finished"),
    ],
)  # fmt: skip
def test_wrong_words(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, words: Callable[[Path], list[object]], said: str
) -> None:
    plant(tmp_path / "photos", GOOD)
    before = tree(tmp_path)
    assert said in demand_one_line(facemae(capsys, *words(tmp_path)))
    assert tree(tmp_path) == before


# ---- synthetic people ----------------------------------------------------------------------------------------------


def test_synthetic_people(tmp_path: Path) -> None:
    spec = ImportSpec(size=48, synthetic=SyntheticSpec(identities=2, photos=2, first=7))
    for name in ("one", "two"):
        import_faces(["synthetic"], tmp_path / name, spec, Execution())
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    faces = FaceSet.open(tmp_path / "one")
    assert faces.images(range(4)).shape == (4, 48, 48, 3)
    assert faces.identities.tolist() == [0, 0, 1, 1]
    assert faces.people is not None
    first, second = faces.people.identities
    assert list(faces.people.files) == [f"{name}/{name}_000{i}.jpg" for name in (first, second) for i in (1, 2)]
    assert first != second
    assert read_manifest(tmp_path / "one").parents == {}
    assert not np.array_equal(faces.image(0), faces.image(1))


def test_a_synthetic_person_is_the_same_in_every_set(tmp_path: Path) -> None:
    photos = {}
    for first, seed in ((7, 0), (8, 0), (8, 1)):
        spec = ImportSpec(size=24, synthetic=SyntheticSpec(identities=2, photos=1, first=first, seed=seed))
        faces = FaceSet.open(import_faces(["synthetic"], tmp_path / f"{first}-{seed}", spec, Execution()))
        assert faces.people is not None
        photos[first, seed] = {name: faces.record(i).image for i, name in enumerate(faces.people.identities)}
    shared = set(photos[7, 0]) & set(photos[8, 0])
    assert len(shared) == 1
    name = shared.pop()
    assert photos[7, 0][name] == photos[8, 0][name] != photos[8, 1][name]
