"""Linkage files: ours by keys, other tools' by paths, and every way in which they can be wrong."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from facemae.errors import DataError
from facemae.faces.codec import encode_png
from facemae.faces.faceset import FaceSet, write_people
from facemae.faces.record import People
from facemae.faces.writer import FaceSetWriter
from facemae.spec.execution import Execution
from facemae.spec.recipe import MaskSpec
from facemae.stages.linkage import read_linkage
from facemae.stages.mask import mask, private_of
from folders import noise, originals, publish

LABELS = [0, 0, 1, 1, 2]
FOREIGN = "original_path,released_path"


@pytest.fixture
def original(tmp_path: Path) -> FaceSet:
    return originals(tmp_path / "original", [noise(i, 16) for i in range(5)], LABELS)


def released(tmp_path: Path, files: tuple[str, ...] | None = ("a.png", "b/é.png", "c.png")) -> FaceSet:
    writer = FaceSetWriter(tmp_path / "released")
    for i in range(3):
        writer.add(encode_png(noise(i, 16)), 0)
    writer.finish()
    if files:
        write_people(tmp_path / "released", People(("x",), files))
    return publish(tmp_path / "released", "original", {"records": 3, "identities": 1, "size": [16, 16]})


def csv(tmp_path: Path, *lines: str, encoding: str = "utf-8") -> Path:
    path = tmp_path / "linkage.csv"
    path.write_text("\n".join(lines) + "\n", encoding)
    return path


def test_ours_leads_back_to_the_originals(tmp_path: Path, original: FaceSet) -> None:
    out = mask(original.directory, tmp_path / "masked", MaskSpec(method="blur", sigma=0.01, seed=3), Execution())
    faces = FaceSet.open(out)
    linked = read_linkage(private_of(out), original, faces)
    assert linked.dtype == np.int64
    assert sorted(linked.tolist()) == list(range(5))
    # A blur of a hundredth of a pixel changes nothing, so the pictures themselves say who is who.
    assert np.array_equal(faces.images(range(5)), original.images(linked.tolist()))
    assert np.array_equal(read_linkage(private_of(out) / "map.csv", original, faces), linked)


def test_ours_is_read_whatever_the_photos_are_called(tmp_path: Path) -> None:
    original = originals(tmp_path / "original", [noise(i, 16) for i in range(2)], [0, 1])
    write_people(original.directory, People(("a", "b"), ("a/\udcff.png", "b/1.png")))  # a name that is not UTF-8
    out = mask(original.directory, tmp_path / "masked", MaskSpec(method="blur", sigma=0.01, seed=3), Execution())
    linked = read_linkage(private_of(out), FaceSet.open(original.directory), FaceSet.open(out))
    assert sorted(linked.tolist()) == [0, 1]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_foreign_csv(tmp_path: Path, original: FaceSet, encoding: str) -> None:
    path = csv(
        tmp_path,
        "original_path,note,released_path",
        "Person_0/0.png,x,c.png",
        "Person_2/4.png,y,b/é.png",
        'Person_0/0.png,z,"a.png"',
        encoding=encoding,
    )
    assert read_linkage(path, original, released(tmp_path)).tolist() == [0, 4, 0]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("original,released", "a,b"), "is not a linkage file: got columns original, released; needed original_path"),
        (("",), "is not a linkage file: got columns (none)"),
        ((FOREIGN, "Person_0/0.png,zzz.png"), "names photos that the sets do not hold: got 1, first 'zzz.png'"),
        ((FOREIGN, "zzz.png,a.png", "yyy.png,b.png"), "got 3, first 'zzz.png'"),
        ((FOREIGN, "Person_0/0.png"), "got 1, first None"),
        ((FOREIGN, "Person_0/0.png,a.png"), "leaves out released photos: got 2 of 3; needed all of them"),
        ((FOREIGN,), "leaves out released photos: got 3 of 3"),
        ((FOREIGN, "Person_0/0.png,a.png", "Person_1/2.png,a.png"), "released photos twice: got 1, first 'a.png'"),
        (("released_key,original_key", "00000000,00000000"), "does not say which set it belongs to: needed the whole"),
    ],
)  # fmt: skip
def test_wrong_lists(tmp_path: Path, original: FaceSet, lines: tuple[str, ...], said: str) -> None:
    path = csv(tmp_path, *lines)
    with pytest.raises(DataError) as caught:
        read_linkage(path, original, released(tmp_path))
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def masked(place: Path, original: FaceSet, seed: int) -> FaceSet:
    spec = MaskSpec(method="blur", sigma=0.01, seed=seed)
    return FaceSet.open(mask(original.directory, place / f"masked{seed}", spec, Execution()))


def test_the_map_of_another_masked_set_is_refused(tmp_path: Path, original: FaceSet) -> None:
    """Both hold five records: by its names alone the wrong map would do."""
    ours, other = masked(tmp_path, original, 3), masked(tmp_path, original, 4)
    for path in (private_of(other.directory), private_of(other.directory) / "map.csv"):
        with pytest.raises(DataError) as caught:
            read_linkage(path, original, ours)
        assert str(caught.value) == (
            f"{private_of(other.directory)} is not the linkage of {ours.directory}: "
            f"got the map of masked set {other.digest[:12]}; needed that of {ours.digest[:12]}"
        )


def test_a_reconstruction_belongs_to_the_folder_of_its_masked_set(tmp_path: Path, original: FaceSet) -> None:
    ours, other = masked(tmp_path, original, 3), masked(tmp_path, original, 4)
    shutil.copytree(ours.directory, tmp_path / "made")
    content = json.loads((tmp_path / "made" / "manifest.json").read_text())
    content |= {"kind": "reconstructed", "digest": "1" * 64, "parents": {"masked": ours.digest, "model": "2" * 64}}
    (tmp_path / "made" / "manifest.json").write_text(json.dumps(content))
    made = FaceSet.open(tmp_path / "made")
    linked = read_linkage(private_of(ours.directory), original, made)
    assert np.array_equal(linked, read_linkage(private_of(ours.directory), original, ours))
    with pytest.raises(DataError, match="is not the linkage of"):
        read_linkage(private_of(other.directory), original, made)


@pytest.mark.parametrize("content", ["{", "[]", '{"request": "x"}', "3"])
def test_a_damaged_request_is_one_line(tmp_path: Path, original: FaceSet, content: str) -> None:
    ours = masked(tmp_path, original, 3)
    (private_of(ours.directory) / "request.json").write_text(content)
    with pytest.raises(DataError, match=r"request\.json is damaged: restore the \.private folder") as caught:
        read_linkage(private_of(ours.directory), original, ours)
    assert "\n" not in str(caught.value)


def test_a_folder_without_its_request_is_not_ours(tmp_path: Path, original: FaceSet) -> None:
    ours = masked(tmp_path, original, 3)
    (private_of(ours.directory) / "request.json").unlink()
    with pytest.raises(DataError, match=r"is no \.private folder of `facemae mask`: got no request\.json"):
        read_linkage(private_of(ours.directory), original, ours)
    with pytest.raises(DataError, match="does not say which set it belongs to"):
        read_linkage(private_of(ours.directory) / "map.csv", original, ours)


def test_not_a_text(tmp_path: Path, original: FaceSet) -> None:
    path = csv(tmp_path, FOREIGN, "é,a.png", encoding="latin-1")
    with pytest.raises(DataError, match=r"cannot be read: got 'utf-8' codec.*needed CSV in UTF-8"):
        read_linkage(path, original, released(tmp_path))


def test_no_linkage_at_all(tmp_path: Path, original: FaceSet) -> None:
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(
            DataError, match=r"no linkage at .*needed the \.private folder beside the masked set, or a CSV"
        ):
            read_linkage(path, original, released(tmp_path))


def test_paths_need_names_on_both_sides(tmp_path: Path, original: FaceSet) -> None:
    path = csv(tmp_path, FOREIGN, "Person_0/0.png,a.png")
    with pytest.raises(DataError, match=r"released has no file names: needed a set made by `facemae import`"):
        read_linkage(path, original, released(tmp_path, files=None))
