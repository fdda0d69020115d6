"""Maps between vectors: rotations and linear maps are recovered, and the best is chosen on people held out."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from attacks.town import owned, people, pixel_judge, release
from facemae.attacks import CrossMatcher, Judge, Owned, Retrieval, unit_rows
from facemae.attacks.cross_matcher import procrustes, ridge
from facemae.faces.faceset import FaceSet
from helpers import images_of, plain


def rotation(dimension: int, seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(dimension, dimension)))[0]


def test_procrustes_recovers_a_rotation() -> None:
    original = np.random.default_rng(0).normal(size=(40, 6))
    turn = rotation(6, 1)
    found = procrustes(original @ turn, original)
    np.testing.assert_allclose(found.weight, turn.T, atol=1e-10)
    np.testing.assert_allclose(found(original @ turn), original, atol=1e-10)


def test_ridge_recovers_a_linear_map_and_agrees_with_scikit_learn() -> None:
    random = np.random.default_rng(0)
    protected, weight = random.normal(size=(60, 5)), random.normal(size=(5, 5))
    original = protected @ weight + 3
    found = ridge(protected, original, 1e-9)
    np.testing.assert_allclose(found.weight, weight, atol=1e-6)
    np.testing.assert_allclose(found(protected), original, atol=1e-6)
    noisy = original + random.normal(size=original.shape)
    centred = protected - protected.mean(0)
    penalty = 0.5 * np.trace(centred.T @ centred) / 5
    oracle = Ridge(alpha=penalty).fit(protected, noisy)
    np.testing.assert_allclose(ridge(protected, noisy, 0.5)(protected), oracle.predict(protected), atol=1e-8)


class Turned:
    """A network in whose eyes protected faces, and only those, are turned by a rotation that nobody was told."""

    def __init__(self, cache: Path) -> None:
        self.plain, self.turn = pixel_judge(cache), rotation(192, 2)

    def __call__(self, faces: FaceSet) -> np.ndarray:
        rows = np.asarray(self.plain.vectors(faces))
        return (rows @ self.turn).astype(np.float32) if faces.kind == "reconstructed" else rows


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cross")


def town(place: Path) -> Owned:
    """Public people whose release is their photos; only the network's eyes turn them."""
    if not (place / "public").exists():
        original = people(place / "public", 60, 6)
        release(place / "protected", original, images_of(original.directory))
    original = FaceSet.open(place / "public")
    public = release(place / "protected", original, images_of(original.directory))
    turned = Turned(place / "cache")
    judge = Judge("turned", turned.plain.network, "turned", turned, turned.plain.views)
    return Owned(judge, plain(), place / "cache", public, steps=20)


def test_a_turned_space_is_turned_back_for_people_never_seen(place: Path) -> None:
    mine = town(place)
    members = people(place / "members", 8, 4, seed=77)
    released = release(place / "released", members, images_of(members.directory))

    def found(fitted: object) -> float:
        probes, gallery = fitted.probes(members), fitted.gallery(released)  # type: ignore[attr-defined]
        scores = probes.vectors @ gallery.vectors.T
        scores[gallery.photo == probes.photo[:, None]] = -1
        return float((gallery.person[scores.argmax(axis=1)] == probes.person).mean())

    fitted = CrossMatcher(hidden=16).fit(mine)
    assert found(Retrieval().fit(mine)) < 0.5
    assert found(fitted) > 0.9
    assert fitted.chosen != "as released"
    assert fitted.tried[fitted.chosen] == max(fitted.tried.values()) > fitted.tried["as released"]


def test_the_same_seed_gives_the_same_bytes_from_nothing_and_from_what_was_kept(place: Path) -> None:
    mine = town(place)
    again = Owned(mine.judge, mine.execution, place / "elsewhere", mine.protected, steps=20)
    members = people(place / "others", 3, 2, seed=5)
    released = release(place / "released-others", members, images_of(members.directory))
    views = [CrossMatcher(hidden=16).fit(each).gallery(released).vectors for each in (mine, mine, again)]
    assert np.array_equal(views[0], views[1])
    assert np.array_equal(views[0], views[2])


def test_where_nothing_helps_the_attacker_is_plain_retrieval(tmp_path: Path) -> None:
    original = people(tmp_path / "public", 20, 3)
    mine = owned(tmp_path, release(tmp_path / "protected", original, images_of(original.directory)), steps=1)
    fitted = CrossMatcher(hidden=4).fit(mine)
    assert fitted.chosen == "as released"
    assert np.array_equal(
        fitted.gallery(mine.protected).vectors,  # type: ignore[arg-type]
        unit_rows(mine.judge.vectors(mine.protected.faces)),  # type: ignore[union-attr]
    )
