"""Exports hold the same bytes under the promised names, and open with nothing but the standard library."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from facemae.errors import DataError, OutputExists
from facemae.faces.codec import decode, encode_jpeg, encode_png
from facemae.faces.exporters import export_folder, export_webdataset
from facemae.faces.faceset import GREY, FaceSet, write_people
from facemae.faces.importers import import_photos, open_source
from facemae.faces.record import People
from facemae.faces.writer import FaceSetWriter
from facemae.spec.manifest import Manifest, write_manifest

FILES = ("Ann/a.jpeg", "Ann/b.bmp", "Ann/b.webp", "Bo/c.jpg")


def image(i: int) -> bytes:
    pixels = np.random.default_rng(i).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    return encode_png(pixels) if FILES[i].endswith(("bmp", "webp")) else encode_jpeg(pixels)


def make(directory: Path, files: tuple[str, ...] | None = FILES) -> FaceSet:
    writer = FaceSetWriter(directory)
    for i in range(4):
        writer.add(image(i), int(i == 3), extras={"age": 30} if i == 0 else None)
    writer.finish()
    if files is not None:
        write_people(directory, People(("Ann", "Bo"), files))
    facts = {"records": 4, "identities": 2, "size": [16, 16]}
    write_manifest(
        directory,
        Manifest(stage="import", kind="original", digest="0" * 64, spec={}, parents={}, facts=facts, facemae="0"),
    )
    return FaceSet.open(directory)


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_folder_names_nobody(tmp_path: Path) -> None:
    assert export_folder(make(tmp_path / "set"), tmp_path / "out") == 4
    assert tree(tmp_path / "out") == {
        "000000/00000000.jpg": image(0),
        "000000/00000001.png": image(1),
        "000000/00000002.png": image(2),
        "000001/00000003.jpg": image(3),
    }


def test_folder_with_names_follows_the_source(tmp_path: Path) -> None:
    export_folder(make(tmp_path / "set"), tmp_path / "out", keep_names=True)
    assert tree(tmp_path / "out") == {
        "Ann/a.jpeg": image(0),
        "Ann/b.png": image(1),
        "Ann/b-00000002.png": image(2),
        "Bo/c.jpg": image(3),
    }


def test_folder_comes_back_through_import(tmp_path: Path) -> None:
    export_folder(make(tmp_path / "set"), tmp_path / "out")
    writer = FaceSetWriter(tmp_path / "again")
    import_photos([open_source(tmp_path / "out")], writer)
    writer.finish()
    assert tree(tmp_path / "again" / "shards").keys() == {"00000.tar"}
    with tarfile.open(tmp_path / "again" / "shards" / "00000.tar") as archive:
        images = [archive.extractfile(member).read() for member in archive if member.name.endswith(("jpg", "png"))]
    assert images == [image(i) for i in range(4)]


@pytest.mark.parametrize("file", ["../c.jpg", "/etc/c.jpg", "Bo\\..\\c.jpg", ""])
def test_names_never_leave_the_directory(tmp_path: Path, file: str) -> None:
    faces = make(tmp_path / "set", (*FILES[:3], file))
    with pytest.raises(DataError, match="outside the set"):
        export_folder(faces, tmp_path / "out", keep_names=True)


def test_a_set_without_names_has_none_to_keep(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no names to keep"):
        export_folder(make(tmp_path / "set", None), tmp_path / "out", keep_names=True)


def test_webdataset_shards(tmp_path: Path) -> None:
    faces = make(tmp_path / "set")
    shards = export_webdataset(faces, tmp_path / "out", shard_bytes=len(image(0)) + len(image(1)))
    assert [shard.name for shard in shards] == ["000000.tar", "000001.tar"]
    content = []
    for shard in shards:
        with tarfile.open(shard, "r:") as archive:
            content.append({member.name: archive.extractfile(member).read() for member in archive})
    assert list(content[0]) == ["00000000.jpg", "00000000.cls", "00000000.json", "00000001.png", "00000001.cls"]
    assert content[0]["00000000.jpg"] == image(0)
    assert json.loads(content[0]["00000000.json"]) == {"age": 30}
    assert content[1] == {
        "00000002.png": image(2),
        "00000002.cls": b"0",
        "00000003.jpg": image(3),
        "00000003.cls": b"1",
    }
    export_webdataset(faces, tmp_path / "again", shard_bytes=len(image(0)) + len(image(1)))
    assert tree(tmp_path / "again") == tree(tmp_path / "out")


def make_masked(directory: Path) -> FaceSet:
    """Two records of 2 x 2 cells of 4 pixels, two of them visible."""
    writer = FaceSetWriter(directory)
    for i, positions in enumerate(([0, 3], [1, 2])):
        strip = np.random.default_rng(i).integers(0, 256, (4, 8, 3), dtype=np.uint8)
        writer.add(encode_png(strip), i, extras={"positions": positions})
    writer.finish()
    facts = {"records": 2, "identities": 2, "size": [8, 8], "mask": {"grid": 2, "cell": 4, "kept": 2}}
    write_manifest(
        directory,
        Manifest(stage="mask", kind="masked", digest="0" * 64, spec={}, parents={}, facts=facts, facemae="0"),
    )
    return FaceSet.open(directory)


def test_a_masked_set_becomes_pictures_in_a_folder(tmp_path: Path) -> None:
    faces = make_masked(tmp_path / "set")
    export_folder(faces, tmp_path / "out")
    strip = decode(faces.record(1).image)
    picture = np.full((8, 8, 3), GREY, np.uint8)
    picture[:4, 4:], picture[4:, :4] = strip[:, :4], strip[:, 4:]
    assert sorted(tree(tmp_path / "out")) == ["000000/00000000.png", "000001/00000001.png"]
    np.testing.assert_array_equal(decode(tree(tmp_path / "out")["000001/00000001.png"]), picture)


def test_a_masked_set_stays_strips_and_positions_in_shards(tmp_path: Path) -> None:
    faces = make_masked(tmp_path / "set")
    (shard,) = export_webdataset(faces, tmp_path / "out")
    with tarfile.open(shard, "r:") as archive:
        content = {member.name: archive.extractfile(member).read() for member in archive}
    assert content["00000001.png"] == faces.record(1).image
    assert json.loads(content["00000001.json"]) == {"positions": [1, 2]}


@pytest.mark.parametrize("export", [export_folder, export_webdataset])
def test_nothing_is_overwritten(tmp_path: Path, export: object) -> None:
    faces = make(tmp_path / "set")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(OutputExists):
        export(faces, tmp_path / "out")
    assert tree(tmp_path / "out") == {"mine.txt": b"mine"}
