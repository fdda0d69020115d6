"""Opening, reading and refusing face sets."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facemae.errors import Damaged, NotAFaceSet
from facemae.faces.codec import decode, encode_png
from facemae.faces.faceset import GREY, FaceSet, write_people
from facemae.faces.record import People, Record
from facemae.faces.writer import FaceSetWriter
from folders import jpeg, noise, originals, png, publish

ROWS: tuple[tuple[bytes, int, dict[str, Any] | None], ...] = (
    (jpeg(0, 16), 0, {"age": 30}),
    (png(1, 16), 0, None),
    (jpeg(2, 16), 2, None),
)


def make(directory: Path) -> FaceSet:
    writer = FaceSetWriter(directory, shard_bytes=2500)
    for image, identity, extras in ROWS:
        writer.add(image, identity, extras=extras)
    writer.finish()
    return publish(directory, "original", {"records": 3, "identities": 3, "size": [16, 16]})


def masked(directory: Path, records: list[tuple[np.ndarray, Any]]) -> FaceSet:
    """A set of masked records, grid 2, cells of 3 pixels, one visible."""
    writer = FaceSetWriter(directory)
    for strip, positions in records:
        writer.add(encode_png(strip), 0, extras={"positions": positions})
    writer.finish()
    facts = {"records": len(records), "identities": 1, "size": [6, 6], "mask": {"grid": 2, "cell": 3, "kept": 1}}
    return publish(directory, "masked", facts)


def test_records_come_back(tmp_path: Path) -> None:
    faces = make(tmp_path)
    assert len(faces) == 3
    for i, (image, identity, extras) in enumerate(ROWS):
        assert faces.record(i) == Record(f"0000000{i}", identity, image, ".png" if i == 1 else ".jpg", extras)
        assert np.array_equal(faces.image(i), decode(image))
    assert faces.identities.tolist() == [0, 0, 2]
    assert faces.identities.dtype == np.int32
    assert (faces.num_identities, faces.size, faces.kind, faces.digest) == (3, (16, 16), "original", "0" * 64)
    assert len(list((tmp_path / "shards").iterdir())) > 1


def test_images_in_the_order_asked_for(tmp_path: Path) -> None:
    faces = make(tmp_path)
    assert np.array_equal(faces.images([2, 0, 2]), np.stack([faces.image(2), faces.image(0), faces.image(2)]))


def test_people_are_optional(tmp_path: Path) -> None:
    faces = make(tmp_path)
    assert faces.people is None
    people = People(("Zoë", "Ann", "Bo"), ("Zoë/1.jpg", "Zoë/2.png", "Bo/1.jpg"))
    write_people(tmp_path, people)
    assert FaceSet.open(tmp_path).people == people


def test_pickles_small_and_reads_again(tmp_path: Path) -> None:
    faces = make(tmp_path)
    faces.image(0)
    assert faces.identities.any()
    sent = pickle.dumps(faces)
    assert len(sent) < 2000
    received = pickle.loads(sent)
    assert [received.record(i) for i in range(3)] == [faces.record(i) for i in range(3)]


def test_no_manifest_no_face_set(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(NotAFaceSet, match=r"not a finished facemae directory: got no manifest\.json"):
        FaceSet.open(tmp_path)
    with pytest.raises(NotAFaceSet):
        FaceSet.open(tmp_path / "nowhere")


def test_another_kind_is_refused_with_the_way_out(tmp_path: Path) -> None:
    make(tmp_path / "original")
    make(tmp_path / "model")
    text = (tmp_path / "model/manifest.json").read_text()
    (tmp_path / "model/manifest.json").write_text(text.replace('"original"', '"model"'))
    said = "got kind original; needed masked; run `facemae mask` on the originals first"
    with pytest.raises(NotAFaceSet, match=said):
        FaceSet.open(tmp_path / "original", kind="masked")
    with pytest.raises(NotAFaceSet, match=r"got kind original; needed masked or baseline$"):
        FaceSet.open(tmp_path / "original", kind=["masked", "baseline"])
    with pytest.raises(NotAFaceSet, match=r"got kind model; needed original or masked or reconstructed or baseline$"):
        FaceSet.open(tmp_path / "model")
    assert FaceSet.open(tmp_path / "original", kind=["masked", "original"]).kind == "original"


@pytest.mark.parametrize("column", ["offset", "extras_offset"])
@pytest.mark.parametrize("at", [0, -1])
def test_one_flipped_bit_is_found_and_the_record_named(tmp_path: Path, column: str, at: int) -> None:
    faces = make(tmp_path)
    i = 0
    row = faces.index[i]
    length = int(row["length" if column == "offset" else "extras_length"])
    shard = tmp_path / "shards" / f"{row['shard']:05d}.tar"
    data = bytearray(shard.read_bytes())
    data[int(row[column]) + at % length] ^= 1
    shard.write_bytes(data)
    with pytest.raises(Damaged, match=f"record 0000000{i} of .* is damaged: got bytes that do not match"):
        FaceSet.open(tmp_path).record(i)
    assert FaceSet.open(tmp_path).record(1).image == ROWS[1][0]


def test_a_cut_shard_is_damage(tmp_path: Path) -> None:
    faces = make(tmp_path)
    shard = sorted((tmp_path / "shards").iterdir())[-1]
    shard.write_bytes(shard.read_bytes()[: int(faces.index[2]["offset"]) + 5])
    with pytest.raises(Damaged, match="record 00000002"):
        FaceSet.open(tmp_path).record(2)


@pytest.mark.parametrize("cut", [0, 5, 150])
def test_a_cut_or_missing_index_is_damage(tmp_path: Path, cut: int) -> None:
    make(tmp_path)
    index = tmp_path / "index.npy"
    index.write_bytes(index.read_bytes()[:cut])
    with pytest.raises(Damaged, match=r"index\.npy cannot be read"):
        FaceSet.open(tmp_path)
    index.unlink()
    with pytest.raises(Damaged, match=r"index\.npy cannot be read"):
        FaceSet.open(tmp_path)


def test_a_masked_record_is_painted_on_grey(tmp_path: Path) -> None:
    cell = noise(3, 3)
    faces = masked(tmp_path, [(cell, [2]), (cell[::-1], [1])])
    expected = np.full((2, 6, 6, 3), GREY, np.uint8)
    expected[0, 3:, :3] = cell  # position 2 of a 2x2 grid: second row, first column
    expected[1, :3, 3:] = cell[::-1]
    assert np.array_equal(faces.images([0, 1]), expected)
    patches, positions = faces.visible([1, 0])
    assert patches.shape == (2, 1, 3, 3, 3)
    assert np.array_equal(patches[:, 0], np.stack([cell[::-1], cell]))
    assert positions.tolist() == [[1], [2]]
    assert faces.cells == (2, 3, 1)


@pytest.mark.parametrize(
    ("strip", "positions"),
    [
        (noise(0, 3), [4]),
        (noise(0, 3), [-1]),
        (noise(0, 3), [0, 1]),
        (noise(0, 3), []),
        (noise(0, 3), [1.5]),
        (noise(0, 3), "0"),
        (noise(0, 3), None),
        (noise(0, 4), [0]),
        (noise(0, 6)[:3], [0]),
    ],
)
def test_a_masked_record_that_does_not_fit_its_manifest(tmp_path: Path, strip: np.ndarray, positions: Any) -> None:
    faces = masked(tmp_path, [(strip, positions)])
    with pytest.raises(Damaged, match=r"record 00000000 of .*: got cells that do not fit the manifest; needed 1 cells"):
        faces.visible([0])


def test_sets_of_the_helpers_are_lossless(tmp_path: Path) -> None:
    images = [noise(i, 8) for i in range(3)]
    assert np.array_equal(originals(tmp_path, images, [0, 1, 1]).images([0, 1, 2]), np.stack(images))
