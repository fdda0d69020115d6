"""Plants on disk: written as a release, read back by the audit, found by what has to find them and by nothing else."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from facemae.errors import DataError, OutputExists
from facemae.faces.faceset import FaceSet, write_people
from facemae.faces.masks import seed_bytes
from facemae.faces.metadata import MetadataAudit, audit_metadata
from facemae.faces.planted import PLANTS, Scramble, shown
from facemae.faces.record import People
from facemae.faces.traces import linked_records, open_collection
from facemae.spec.execution import Execution
from facemae.spec.manifest import read_manifest
from facemae.spec.recipe import MaskSpec
from facemae.stages.linkage import read_linkage
from facemae.stages.mask import mask, private_of
from facemae.stages.planted import LINKAGE, plant_folder, plant_set
from folders import tree
from helpers import images_of, smooth_photos, write_set

PEOPLE, SIZE = 12, 56
SIZES = np.array([4, 5, 6, 4, 5, 6, 4, 5, 6, 4, 5, 9])
LABELS = np.repeat(np.arange(PEOPLE), SIZES)
METADATA = ("duplicates", "names", "carried", "order", "times", "label_order", "archive", "group_sizes")


def pictures(people: int, photos: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    smooth = smooth_photos(people, photos, size=SIZE, seed=seed)
    fine = smooth_photos(people * photos, 1, size=SIZE // 4, seed=seed + 1).repeat(4, axis=1).repeat(4, axis=2)
    return np.clip(smooth + (fine.astype(float) - 128) / 4 + random.normal(0, 3, smooth.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("sets")
    names = [f"N{chr(97 + p) * 5}_Kay" for p in range(PEOPLE)]
    files = tuple(f"{names[p]}/{names[p]}_{i:04d}.png" for i, p in enumerate(LABELS))
    faces = write_set(root / "faces", pictures(PEOPLE, 9, 0)[: len(LABELS)], LABELS)
    write_people(faces, People(tuple(names), files))
    strangers = np.repeat(np.arange(14), 6)
    donors = write_set(root / "donors", pictures(14, 6, 9), strangers)
    write_people(donors, People(tuple(f"Z{p}" for p in range(14)), tuple(f"Z/{i}.png" for i in range(84))))
    return faces, donors


def audited(faces: Path, released: Path) -> MetadataAudit:
    with open_collection(faces) as original, open_collection(released) as given:
        table = private_of(released) / LINKAGE
        if table.exists():
            linked = linked_records(table, original, given)
        else:
            linked = read_linkage(private_of(released), FaceSet.open(faces), FaceSet.open(released))
        return audit_metadata(original, given, linked=linked, permutations=299)


@pytest.mark.parametrize("name", PLANTS)
def test_every_plant_is_found_by_what_has_to_find_it(sets: tuple[Path, Path], tmp_path: Path, name: str) -> None:
    plant = PLANTS[name]
    forms = [plant_folder] if plant.needs_files else [plant_set]
    forms += [plant_folder] if name in ("replaced", "planted-5", "only-order", "only-label-order") else []
    for number, write in enumerate(forms):
        found = audited(sets[0], write(*sets, tmp_path / str(number), plant, seed=3))
        told = {instrument: found.found(instrument) for instrument in METADATA if instrument in plant.expects}
        assert told == {name: plant.expects[name] == "found" for name in told}, found.findings


def test_our_own_masked_set_raises_nothing(sets: tuple[Path, Path], tmp_path: Path) -> None:
    out = mask(sets[0], tmp_path / "masked", MaskSpec(seed=2), Execution())
    found = audited(sets[0], out)
    assert found.alarms == ()
    assert {one.instrument for one in found.findings} == {"group_sizes"}  # labels keep how many photos each has


def test_a_set_is_re_keyed_shuffled_and_linked_back(sets: tuple[Path, Path], tmp_path: Path) -> None:
    out = plant_set(*sets, tmp_path / "out", PLANTS["copied"], seed=1)
    faces, released = FaceSet.open(sets[0]), FaceSet.open(out, kind="baseline")
    linked = read_linkage(private_of(out), faces, released)
    assert not np.array_equal(linked, np.arange(len(faces)))
    assert np.array_equal(images_of(out), images_of(sets[0])[linked])
    pairs = set(zip(faces.identities[linked].tolist(), released.identities.tolist(), strict=True))
    assert len(pairs) == PEOPLE
    assert any(a != b for a, b in pairs)
    manifest = (out / "manifest.json").read_text()
    assert faces.digest not in manifest
    assert read_manifest(out).parents == {}


def test_the_same_request_is_taken_as_it_is_and_another_refused(sets: tuple[Path, Path], tmp_path: Path) -> None:
    out = plant_set(*sets, tmp_path / "out", PLANTS["replaced"], seed=1)
    before = tree(out)
    plant_set(*sets, out, PLANTS["replaced"], seed=1)
    assert tree(out) == before
    with pytest.raises(OutputExists):
        plant_set(*sets, out, PLANTS["replaced"], seed=2)
    again = plant_set(*sets, tmp_path / "again", PLANTS["replaced"], seed=1)
    assert tree(again) == before


def test_replaced_photos_are_the_strangers(sets: tuple[Path, Path], tmp_path: Path) -> None:
    out = plant_folder(*sets, tmp_path / "out", PLANTS["planted-5"], seed=4)
    source = shown(PLANTS["planted-5"], LABELS, np.repeat(np.arange(14), 6), seed_bytes(4))
    originals, donors = images_of(sets[0]), images_of(sets[1])
    with open_collection(sets[0]) as known, open_collection(out) as given:
        linked = linked_records(private_of(out) / LINKAGE, known, given)
        for place, i in enumerate(linked):
            wanted = originals[i] if source[i] < 0 else donors[source[i]]
            assert np.array_equal(given.pixels(place), wanted)
    assert (source < 0).sum() == round(0.05 * len(LABELS))


def units(images: np.ndarray) -> np.ndarray:
    flat = images.reshape(len(images), -1).astype(np.float64) - 127.5
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)


def test_a_linear_inverse_fitted_on_pairs_finds_the_scrambled_and_plain_retrieval_does_not(
    sets: tuple[Path, Path], tmp_path: Path
) -> None:
    faces, donors = sets
    out = plant_set(faces, None, tmp_path / "out", PLANTS["scrambled"], seed=5, key=8)
    public = plant_set(donors, None, tmp_path / "public", PLANTS["scrambled"], seed=6, key=8)
    linked = read_linkage(private_of(out), FaceSet.open(faces), FaceSet.open(out))
    pairs = read_linkage(private_of(public), FaceSet.open(donors), FaceSet.open(public))
    photos, hidden = images_of(faces), images_of(out)
    assert np.array_equal(Scramble(SIZE, 8, seed_bytes(8)).undo(hidden[0]), photos[linked[0]])
    plain = (units(photos)[linked] @ units(hidden).T).argmax(axis=1)
    assert (plain == np.arange(len(linked))).mean() < 0.15
    # Ridge regression in its dual form: more values than pairs.
    x = images_of(public).reshape(len(pairs), -1) - 127.5
    y = images_of(donors)[pairs].reshape(len(pairs), -1) - 127.5
    restored = ((hidden.reshape(len(hidden), -1) - 127.5) @ x.T) @ np.linalg.solve(x @ x.T + 1e4 * np.eye(len(x)), y)
    own = units(photos[linked])
    found = (units(restored.reshape(hidden.shape) + 127.5) @ own.T).argmax(axis=1)
    assert (LABELS[linked][found] == LABELS[linked]).mean() > 0.8


def test_what_cannot_be_planted_is_refused(sets: tuple[Path, Path], tmp_path: Path) -> None:
    faces, donors = sets
    out = tmp_path / "out"
    with pytest.raises(DataError, match="what only files have"):
        plant_set(faces, donors, out, PLANTS["only-exif"], seed=0)
    with pytest.raises(DataError, match="shares people"):
        plant_set(faces, faces, out, PLANTS["replaced"], seed=0)
    with pytest.raises(DataError, match="not enough donors"):
        plant_set(faces, None, out, PLANTS["replaced"], seed=0)
    with pytest.raises(DataError, match="nothing to tell"):
        plant_set(donors, faces, out, PLANTS["only-label-sizes"], seed=0)
    small = write_set(tmp_path / "small", smooth_photos(2, 2), [0, 0, 1, 1])
    with pytest.raises(DataError, match="do not fit"):
        plant_set(faces, small, out, PLANTS["replaced"], seed=0)
    assert not out.exists()
    assert not private_of(out).exists()
    out.mkdir()
    with pytest.raises(OutputExists):
        plant_folder(faces, donors, out, PLANTS["replaced"], seed=0)


def test_the_private_folder_keeps_the_map(sets: tuple[Path, Path], tmp_path: Path) -> None:
    out = plant_folder(*sets, tmp_path / "out", PLANTS["only-names"], seed=0)
    with (private_of(out) / LINKAGE).open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["original_path"] for row in rows} == {row["released_path"] for row in rows}
    made = plant_set(*sets, tmp_path / "set", PLANTS["copied"], seed=0)
    assert json.loads((private_of(made) / "request.json").read_text())["released"] == read_manifest(made).digest
