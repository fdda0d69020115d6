"""The inverter undoes a keyed scramble of blocks and their pixels, for people it never saw."""

from pathlib import Path

import numpy as np
import pytest

from attacks.town import owned, people, release, scramble
from facemae.attacks import Inverter, Owned, Retrieval
from facemae.attacks.attacker import Fitted, Released
from facemae.faces.faceset import FaceSet
from facemae.faces.planted import Scramble
from facemae.faces.synthetic import render_photo
from helpers import images_of, write_set

SMALL = Inverter(cells=(8,), width=8, batch=8)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("inverter")


@pytest.fixture(scope="module")
def mine(place: Path) -> Owned:
    original = people(place / "public", 60, 5)
    return owned(place, release(place / "protected", original, scramble(original)), steps=4)


@pytest.fixture(scope="module")
def released(place: Path) -> Released:
    members = people(place / "members", 10, 4, seed=77)
    return release(place / "released", members, scramble(members))


def found(fitted: Fitted, released: Released) -> float:
    """Share of photos to which another photo of their person is the nearest."""
    probes, gallery = fitted.probes(released.original), fitted.gallery(released)
    scores = probes.vectors @ gallery.vectors.T
    scores[gallery.photo == probes.photo[:, None]] = -1
    return float((gallery.person[scores.argmax(axis=1)] == probes.person).mean())


def test_a_keyed_scramble_hides_from_retrieval_and_not_from_the_inverter(mine: Owned, released: Released) -> None:
    fitted = SMALL.fit(mine)
    assert found(Retrieval().fit(mine), released) < 0.5
    assert found(fitted, released) > 0.9
    assert "linear" in fitted.chosen
    for name in ("linear, whole picture", "linear, blocks of 8"):
        assert fitted.tried[name] > 0.9 > fitted.tried["as released"]
    assert {*fitted.tried} > {"as released", "linear, whole picture", "linear, blocks of 8"}


def test_the_same_seed_restores_the_same_bytes(mine: Owned, released: Released, place: Path) -> None:
    elsewhere = Owned(mine.judge, mine.execution, place / "elsewhere", mine.protected, steps=mine.steps)
    one, other = (SMALL.fit(each) for each in (mine, elsewhere))
    assert one.tried == other.tried
    assert np.array_equal(one.gallery(released).vectors, other.gallery(released).vectors)


def test_a_release_that_is_the_photos_is_left_alone(tmp_path: Path) -> None:
    original = people(tmp_path / "public", 12, 3)
    mine = owned(tmp_path, release(tmp_path / "protected", original, images_of(original.directory)), steps=1)
    fitted = SMALL.fit(mine)
    assert fitted.chosen == "as released"


def drawn(directory: Path, first: int, count: int, photos: int) -> FaceSet:
    """Procedural people, as they differ in pose, light and age."""
    shown = [render_photo(first + i, photo, seed=0, size=32).image for i in range(count) for photo in range(photos)]
    return FaceSet.open(write_set(directory, np.stack(shown), np.arange(count).repeat(photos)))


@pytest.mark.slow
def test_a_planted_scramble_is_undone_on_synthetic_faces(tmp_path: Path) -> None:
    public, members = drawn(tmp_path / "public", 0, 50, 4), drawn(tmp_path / "members", 100, 10, 3)
    change = Scramble(32, 8, b"a key that the attacker does not have")

    def planted(name: str, original: FaceSet) -> Released:
        images = np.stack([change(image) for image in images_of(original.directory)])
        return release(tmp_path / name, original, images)

    mine = owned(tmp_path, planted("protected", public), steps=4)
    plainly = release(tmp_path / "copy", members, images_of(members.directory))
    released = planted("released", members)
    retrieval, fitted = Retrieval().fit(mine), SMALL.fit(mine)
    nearest = (fitted.probes(members).vectors @ fitted.gallery(released).vectors.T).argmax(axis=1)
    assert (released.photo[nearest] == np.arange(30)).mean() > 0.9
    assert fitted.tried["linear, blocks of 8"] > 1.3 * fitted.tried["as released"]
    # Other photos of a person are found as well as if nothing had been scrambled.
    assert found(fitted, released) >= found(retrieval, plainly) - 0.05
