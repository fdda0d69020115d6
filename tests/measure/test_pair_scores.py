"""Counts of all pairs against plain loops over whole numbers."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facemae.errors import DataError
from facemae.measure import pair_scores, pairs
from facemae.measure.control import shuffles

Sets = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def two_sets(seed: int = 0) -> Sets:
    """Person 3 has probes only, person 40 gallery images only; numbers of photos differ."""
    random = np.random.default_rng(seed)
    centre = random.normal(size=(50, 12))
    people = [1, 3, 7, 8, 9, 11, 40]
    asked = random.permutation(np.repeat(people[:-1], [2, 3, 1, 4, 2, 2]))
    shown = random.permutation(np.repeat([1, *people[2:]], [3, 2, 2, 2, 1, 2]))
    probes, gallery = (unit(centre[labels] + random.normal(size=(len(labels), 12))) for labels in (asked, shown))
    return probes, asked, gallery, shown


def cells(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Cells of all cosines, from products of integers."""
    scale = int(4095 - math.sqrt(x.shape[1]) / 2)
    whole = [np.rint(unit64(rows) * scale).astype(np.int64) for rows in (x, y)]
    products = (whole[0] @ whole[1].T).astype(np.float32)
    return np.rint(products * np.float32(2048 / scale**2)).astype(np.int64) + 2048


def unit64(rows: np.ndarray) -> np.ndarray:
    wide = rows.astype(np.float64)
    return wide / np.linalg.norm(wide, axis=1, keepdims=True)


def first_own(asked: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """The first image of each probe's person, −1 where there is none."""
    return np.array([next((j for j in range(len(shown)) if shown[j] == who), -1) for who in asked.tolist()])


def test_counts_match_plain_loops() -> None:
    x, asked, y, shown = two_sets()
    own = first_own(asked, shown)
    found = pair_scores(x, asked, y, shown, exclude=own, seed=4, permutations=6)
    mated, beside = np.zeros((7, pairs.CELLS), int), np.zeros((7, pairs.CELLS), int)
    people = [1, 3, 7, 8, 9, 11, 40]
    cell = cells(x, y)
    for i in range(len(x)):
        for j in range(len(y)):
            left, right = people.index(asked[i]), people.index(shown[j])
            if left == right:
                mated[left, cell[i, j]] += own[i] != j
            else:
                beside[left, cell[i, j]] += 1
                beside[right, cell[i, j]] += 1
    assert found.people.tolist() == people
    assert np.array_equal(found.mated, mated)
    assert np.array_equal(found.beside, beside)
    assert found.nonmated.sum() == len(x) * len(y) - (asked[:, None] == shown).sum()
    # Of the five people on both sides, person 11 has one image, which is left out.
    assert (found.mated_people, found.impostors, found.everybody) == (4, 6, 7)


def test_moved_pairs_are_those_of_somebody_else() -> None:
    x, asked, y, shown = two_sets()
    found = pair_scores(x, asked, y, shown, seed=4, permutations=9)
    there, images = np.unique(shown, return_counts=True)
    cell = cells(x, y)
    for r, goal in enumerate(shuffles(images, permutations=9, seed=4)):
        sent = dict(zip(there.tolist(), there[goal].tolist(), strict=True))
        expected = np.zeros(pairs.CELLS, int)
        for i, who in enumerate(asked.tolist()):
            if sent.get(who, who) != who:
                expected += np.bincount(cell[i, shown == sent[who]], minlength=pairs.CELLS)
        assert np.array_equal(found.moved[r], expected)
        assert found.people[found.stayed[r]].tolist() == [who for who in there.tolist() if sent[who] == who]
    every = [mated + nonmated for mated, nonmated in found.permuted()]
    assert np.array_equal(np.concatenate(every), np.tile(np.bincount(cell.ravel(), minlength=pairs.CELLS), (9, 1)))


def test_the_moved_leave_out_as_many_pairs_as_the_true_ones() -> None:
    random = np.random.default_rng(2)
    labels = np.repeat(np.arange(20), 4)
    x, y = (unit(random.normal(size=(80, 8))) for _ in range(2))
    found = pair_scores(x, labels, y, labels, exclude=np.arange(80), seed=0, permutations=5)
    assert found.mated.sum() == 20 * 12
    assert np.array_equal(found.moved.sum(axis=1), 12 * (20 - found.stayed.sum(axis=1)))


@given(st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_order_of_rows_and_blocks_change_nothing(seed: int) -> None:
    x, asked, y, shown = two_sets()
    reference = pair_scores(x, asked, y, shown, seed=0, permutations=3)
    random = np.random.default_rng(seed)
    left, right = random.permutation(len(x)), random.permutation(len(y))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "_ELEMENTS", 1 + seed % 40)
        found = pair_scores(x[left], asked[left], y[right], shown[right], seed=0, permutations=3)
    for name in ("people", "mated", "beside", "moved", "stayed"):
        assert np.array_equal(getattr(found, name), getattr(reference, name))


def test_weighted_counts_are_those_of_drawn_people_to_first_order() -> None:
    x, asked, y, shown = two_sets()
    found = pair_scores(x, asked, y, shown, seed=0, permutations=1)
    weights = np.random.default_rng(3).multinomial(7, np.full(7, 1 / 7), size=4).astype(np.float64)
    mated, nonmated = found.weighted(weights)
    cell, left, right = cells(x, y), *(np.searchsorted(found.people, part) for part in (asked, shown))
    for row, weight in enumerate(weights):
        first = np.zeros(pairs.CELLS)
        own = np.zeros(pairs.CELLS)
        for i, a in enumerate(left):
            for j, b in enumerate(right):
                both = weight[a] * weight[b] - (weight[a] - 1) * (weight[b] - 1)
                first[cell[i, j]] += both if a != b else 0
                own[cell[i, j]] += weight[a] if a == b else 0
        assert nonmated[row] == pytest.approx(first, abs=1e-9)
        assert mated[row] == pytest.approx(own, abs=1e-9)


@pytest.mark.parametrize("dimension", [1, 32, 512, 2048])
def test_whole_rows_keep_within_what_float32_adds_exactly(dimension: int) -> None:
    rows = unit(np.random.default_rng(1).normal(size=(20, dimension)))
    side = pairs._Side.of(rows, np.arange(20), np.arange(20))
    assert (side.rows.astype(np.float64) ** 2).sum(axis=1).max() <= 2**24
    cosines = rows.astype(np.float64) @ rows.T.astype(np.float64)
    measured = (pairs._cells(side.rows @ side.rows.T, dimension) - 2048) / 2048
    assert np.abs(measured - cosines).max() < 1.5e-3


def test_too_many_pairs_draw_people_and_say_so() -> None:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(40), 3)
    x, y = (unit(random.normal(size=(120, 8))) for _ in range(2))
    found = pair_scores(x, labels, y, labels, seed=1, permutations=2, most=120 * 120 // 4)
    assert (len(found.people), found.everybody) == (20, 40)
    assert found.counts()["pairs"] == "all pairs of 20 people drawn at random from 40"
    part = np.isin(labels, found.people)
    alone = pair_scores(x[part], labels[part], y[part], labels[part], seed=1, permutations=2)
    assert np.array_equal(found.beside, alone.beside)


def test_nothing_to_compare_is_refused() -> None:
    x, asked, y, shown = two_sets()
    with pytest.raises(DataError, match="no pair to compare: got 0 pairs"):
        pair_scores(x, asked, y, shown + 100, seed=0, permutations=1)
    with pytest.raises(DataError, match="another person's label"):
        pair_scores(x, asked, y, shown, exclude=(first_own(asked, shown) + 1) % len(y), seed=0, permutations=1)
