"""D_sys by hand, against the integral for two Gaussians, and where nothing can be linked."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from facemae.errors import DataError
from facemae.measure import PairScores, d_sys, pair_scores, unlinkability
from facemae.measure.unlinkability import bins_for


def gaussians(apart: float) -> float:
    """∫ p max(0, (p − q) / (p + q)) for p = N(apart, 1), q = N(0, 1): they are equal at apart / 2."""

    def integrand(s: float) -> float:
        p, q = norm.pdf(s - apart), norm.pdf(s)
        return float(p * (p - q) / (p + q))

    return quad(integrand, apart / 2, apart / 2 + 12)[0]


def people(count: int, leak: float, seed: int = 0) -> PairScores:
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(count), 3)
    centre = random.normal(size=(count, 16))[labels]
    rows = [share * centre + random.normal(size=centre.shape) for share in (1.0, leak)]
    x, y = ((row / np.linalg.norm(row, axis=1, keepdims=True)).astype(np.float32) for row in rows)
    return pair_scores(x, labels, y, labels, seed=seed, permutations=99)


def test_three_scores_by_hand() -> None:
    # Shares at 0, 1, 2: mated 1/4 0 3/4, non-mated 1/2 1/4 1/4. Only 2 has LR > 1: LR = 3, D = 2 · 3/4 − 1 = 1/2.
    value = d_sys(np.array([0, 2, 2, 2]), np.array([0, 0, 1, 2]), bins=100)
    assert value == pytest.approx(3 / 4 * 1 / 2)
    assert d_sys(np.array([5.0, 6.0]), np.array([1.0, 2.0]), bins=10) == 1
    assert d_sys(np.array([1.0, 2.0]), np.array([2.0, 1.0]), bins=10) == 0


@pytest.mark.parametrize("apart", [0.3, 1.0, 2.0, 4.0])
def test_two_gaussians(apart: float) -> None:
    random = np.random.default_rng(3)
    mated, nonmated = random.normal(apart, 1, 200_000), random.normal(size=200_000)
    assert d_sys(mated, nonmated, bins=20) == pytest.approx(gaussians(apart), abs=0.006)


def test_lower_scores_of_one_person_link_as_well() -> None:
    random = np.random.default_rng(4)
    mated, nonmated = random.normal(2, 1, 50_000), random.normal(size=50_000)
    assert d_sys(-mated, -nonmated, bins=20) == pytest.approx(gaussians(2), abs=0.01)


@given(st.integers(0, 50), st.sampled_from([np.exp, np.cbrt, lambda s: 3 * s - 7]))
def test_monotone_transforms_and_order_change_nothing(seed: int, transform: np.ufunc) -> None:
    random = np.random.default_rng(seed)
    mated, nonmated = random.integers(-6, 9, 60) / 4, random.integers(-8, 7, 90) / 4
    value = d_sys(mated, nonmated, bins=7)
    assert d_sys(transform(mated), transform(random.permutation(nonmated)), bins=7) == pytest.approx(value, abs=1e-12)
    assert 0 <= value <= 1


def test_value_is_d_sys_of_all_pairs() -> None:
    scores = people(60, 0.5)
    mated, nonmated = (np.repeat(np.arange(4097), counts) for counts in (scores.mated.sum(axis=0), scores.nonmated))
    found = unlinkability(scores, bins=12, seed=0, replicates=20)
    assert found.value == pytest.approx(d_sys(mated, nonmated, bins=12), abs=1e-12)
    assert sum(one.mated * one.linkability for one in found.bins) == pytest.approx(found.value)
    assert sum(one.mated for one in found.bins) == pytest.approx(1)
    assert found.low <= found.value <= found.high
    assert found.distinguishable
    assert found.low > found.bound > found.control.value > 0


def test_noise_is_told_where_nothing_can_be_linked() -> None:
    found = unlinkability(people(60, 0.0), seed=0, replicates=100)
    assert not found.distinguishable
    assert found.low == 0 < found.value
    assert found.high >= found.value
    assert found.control.low <= found.value <= found.control.high
    assert found.verdict.startswith("not distinguishable from chance; D_sys at most")


def test_bins_grow_with_people() -> None:
    assert [bins_for(people) for people in (2, 50, 100, 1000, 8000)] == [10, 14, 18, 40, 80]


def test_dictionary_is_plain_json() -> None:
    found = unlinkability(people(60, 0.5), seed=0, replicates=5)
    plain = json.loads(json.dumps(found.to_dict()))
    assert (plain["people"], plain["mated"]) == (60, 540)
    assert {"value", "low", "high", "control", "bound", "p_value", "verdict", "method"} <= plain.keys()


@pytest.mark.parametrize("scores", [[], [float("nan")]])
def test_scores_must_be_numbers(scores: list[float]) -> None:
    with pytest.raises(DataError, match="linkability cannot be estimated"):
        d_sys(np.array(scores, float), np.array([1.0]), bins=10)
