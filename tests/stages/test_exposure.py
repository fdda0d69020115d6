"""Which records leak most: hand-worked, and what choosing them on the photos that tell would pretend."""

import numpy as np
import pytest

from facemae.stages.exposure import (
    APART,
    CHOSE,
    Seen,
    bought,
    choosing_photos,
    exposure,
    found_first,
    most_exposed,
)


def unit(rows: list[list[float]]) -> np.ndarray:
    array = np.array(rows, np.float32)
    return array / np.linalg.norm(array, axis=1, keepdims=True)


@pytest.fixture
def seen() -> Seen:
    """Two people with two photos each; record 0 is of photo 1, record 1 of photo 0, record 2 of photo 2, 3 of 3."""
    photos = unit([[1, 0, 0], [0.8, 0.6, 0], [0, 0, 1], [0, 0.6, 0.8]])
    released = unit([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0.6, 0.8]])
    return Seen(photos, released, np.array([1, 0, 2, 3]), np.array([0, 0, 1, 1]))


def test_exposure_is_the_lead_over_everybody_else(seen: Seen) -> None:
    every = np.ones(4, np.bool_)
    # Photo 0 scores 1 at record 0 and 0 at both of the other person; photo 1 scores 0.6 at record 1, 0.36 at record 3.
    assert exposure(seen, every, own_photo=False) == pytest.approx([1.0, 0.24, 0.8 - 0.6, 0.8], abs=1e-6)
    assert exposure(seen, every, own_photo=True) == pytest.approx([0.8 - 0.36, 0.0, 1.0, 1 - 0.6], abs=1e-6)
    assert exposure(seen, np.array([True, False, False, False]), own_photo=False)[1] == -np.inf


def test_the_worst_are_counted_up_and_never_made_up() -> None:
    exposed = np.array([0.1, -np.inf, 0.5, 0.5, -0.2])
    assert most_exposed(exposed, 0.2).tolist() == [2]
    assert most_exposed(exposed, 0.5).tolist() == [0, 2, 3]
    assert most_exposed(exposed, 0.99).tolist() == [0, 2, 3, 4]


def test_half_of_the_photos_of_everybody_choose() -> None:
    labels = np.array([3, 0, 0, 3, 3, 5, 0, 3])
    chose = choosing_photos(labels, 1)
    assert np.bincount(labels[chose], minlength=6).tolist() == [1, 0, 0, 2, 0, 0]
    assert np.array_equal(chose, choosing_photos(labels, 1))


def test_found_first_leaves_the_own_photo_out(seen: Seen) -> None:
    hit, mated = found_first(seen, own_photo=False)
    # Photo 1 meets 0.6 at record 1 without its own record 0, photo 2 meets 0.8 at record 3.
    assert hit.tolist() == [True] * 4
    assert mated.all()
    lone = Seen(seen.photos, seen.released, np.array([1, 2, 0, 3]), np.array([0, 1, 1, 0]))
    hit, mated = found_first(lone, own_photo=False)
    assert hit.tolist() == [False, True, False, True]
    assert mated.all()


def test_choosing_on_the_photos_that_tell_flatters() -> None:
    random = np.random.default_rng(0)
    people, each = 40, 6
    labels = np.repeat(np.arange(people), each)
    centre = random.normal(size=(people, 16))[labels]
    photos = unit((centre + 1.5 * random.normal(size=centre.shape)).tolist())
    released = unit((centre + 1.5 * random.normal(size=centre.shape)).tolist())
    before = Seen(photos, released, np.arange(len(labels)), labels)
    chose = choosing_photos(labels, 0)
    rows = most_exposed(exposure(before, chose, own_photo=False), 0.3)
    kept = np.setdiff1d(np.arange(len(labels)), rows)
    after = Seen(photos, released[kept], kept, labels)
    told = bought({"net": before}, {"net": after}, chooser="net", chose=chose, own_photo=False, seed=0, replicates=200)
    gain = {row["photos_had"]: row["difference"]["value"] for row in told}
    assert gain[CHOSE] < gain[APART] - 0.05  # what the choosing photos see is more than what others see
    assert {row["embedder_had"] for row in told} == {CHOSE}
    assert all(row["before"]["trials"] == row["after"]["trials"] for row in told)
