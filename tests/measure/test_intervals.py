"""Intervals against scipy, and against the truth on simulated people."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from scipy.stats import t as student

from facemae.measure import (
    PeopleTally,
    bootstrap_weights,
    mean_over_seeds,
    paired_difference,
    paired_ratio,
    wilson,
)
from facemae.measure.intervals import rate_from_replicates, wilson_bounds


@given(st.data(), st.integers(1, 5000), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_is_scipys(data: st.DataObject, trials: int, level: float) -> None:
    hits = data.draw(st.integers(0, trials))
    theirs = binomtest(hits, trials).proportion_ci(confidence_level=level, method="wilson")
    ours = wilson(hits, trials, level=level)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_weights_sum_to_the_size_of_each_stratum() -> None:
    strata = np.array([0, 0, 0, 5, 5, 9])
    weights = np.concatenate(list(bootstrap_weights(strata, replicates=40, seed=1)))
    assert weights.shape == (40, 6)
    assert np.array_equal(weights[:, :3].sum(axis=1), np.full(40, 3))
    assert np.array_equal(weights[:, 3:5].sum(axis=1), np.full(40, 2))
    assert np.array_equal(weights[:, 5], np.ones(40))


@pytest.mark.parametrize("width", [0, 300_000, 700_001, 3_000_000])
def test_weights_depend_on_seed_and_people_only(width: int) -> None:
    strata = np.repeat([0, 1], [31, 17])
    reference = np.concatenate(list(bootstrap_weights(strata, replicates=25, seed=7)))
    blocks = list(bootstrap_weights(strata, replicates=19, seed=7, width=width))
    assert np.array_equal(np.concatenate(blocks), reference[:19])
    assert (len(blocks) > 1) == (width > 0)
    other = np.concatenate(list(bootstrap_weights(strata, replicates=19, seed=8)))
    assert not np.array_equal(other, reference[:19])


def test_weights_are_multinomial() -> None:
    weights = np.concatenate(list(bootstrap_weights(np.zeros(20, np.int64), replicates=20_000, seed=0)))
    covariance = np.cov(weights.T)
    assert weights.mean() == 1
    assert np.diag(covariance) == pytest.approx(np.full(20, 0.95), abs=0.05)
    assert covariance[~np.eye(20, dtype=bool)].mean() == pytest.approx(-0.05, abs=0.005)


def test_tally_by_hand() -> None:
    tally = PeopleTally.of(np.array([7, 3, 7, 7]), np.array([[1, 1], [0, 1], [0, 1], [1, 1]], dtype=bool))
    assert np.array_equal(tally.trials, [1, 3])
    assert np.array_equal(tally.hits, [[0, 1], [2, 3]])
    first, second = tally.rates(tally.replicates(replicates=200, seed=0))
    assert (first.value, first.hits, first.trials) == (0.5, 2, 4)
    assert second.value == second.high == 1


def test_replicates_are_the_reweighted_ratio() -> None:
    tally = PeopleTally(np.array([[1.0], [0.0], [4.0]]), np.array([2.0, 3.0, 4.0]))
    [weights] = bootstrap_weights(np.zeros(3, np.int64), replicates=50, seed=3)
    expected = [sum(w * np.array([1, 0, 4])) / sum(w * np.array([2, 3, 4])) for w in weights]
    assert tally.replicates(replicates=50, seed=3)[:, 0] == pytest.approx(expected, abs=1e-15)


def test_no_hit_has_an_upper_bound() -> None:
    tally = PeopleTally.of(np.repeat(np.arange(40), 25), np.zeros((1000, 1), bool))
    [rate] = tally.rates(tally.replicates(replicates=100, seed=0))
    assert (rate.value, rate.low) == (0, 0)
    assert rate.high == pytest.approx(wilson_bounds(0.0, 40)[1])
    assert "Wilson" in rate.method


def test_interval_is_widened_to_hold_the_value() -> None:
    rate = rate_from_replicates(
        np.linspace(0.4, 0.5, 100), value=0.6, hits=60, trials=100, clusters=50, rare=40, method="m"
    )
    assert rate.high == 0.6
    assert rate.low == pytest.approx(0.4025)


def test_people_bootstrap_covers_and_photos_would_not() -> None:
    random, truth, covered, naive, rounds = np.random.default_rng(5), 0.4, 0, 0, 150
    people = np.repeat(np.arange(80), 12)
    for seed in range(rounds):
        own = random.beta(0.8, 1.2, size=80)
        hit = random.random(len(people)) < own[people]
        tally = PeopleTally.of(people, hit[:, None])
        [rate] = tally.rates(tally.replicates(replicates=200, seed=seed))
        covered += rate.low <= truth <= rate.high
        naive += (alone := wilson(int(hit.sum()), len(hit))).low <= truth <= alone.high
    assert covered / rounds >= 0.88
    assert naive / rounds < 0.75


def test_paired_difference_by_hand() -> None:
    random = np.random.default_rng(0)
    a, b = np.array([0.90, 0.92, 0.91]), np.array([0.88, 0.89, 0.90])
    replicates_a, replicates_b = a[:, None] + 0.01 * random.normal(size=(2, 3, 500))
    found = paired_difference(a, b, replicates_a, replicates_b, people=300)
    people = np.var((replicates_a - replicates_b).mean(axis=0), ddof=1)
    seeds = np.var([0.02, 0.03, 0.01], ddof=1) / 3
    freedom = (people + seeds) ** 2 / (seeds**2 / 2)
    half = student.ppf(0.975, freedom) * np.sqrt(people + seeds)
    assert found.value == pytest.approx(0.02)
    assert found.smallest_resolvable == pytest.approx(half, rel=1e-9)
    assert (found.low, found.high) == pytest.approx((0.02 - half, 0.02 + half))
    assert found.seed_sd == pytest.approx(0.01)
    assert found.to_dict()["seeds"] == 3


def test_shared_people_cancel_in_pairs() -> None:
    noise = 0.05 * np.random.default_rng(1).normal(size=(2, 400))
    a, b = np.array([0.8, 0.8]), np.array([0.7, 0.7])
    found = paired_difference(a, b, 0.8 + noise, 0.7 + noise, people=100)
    assert found.low == pytest.approx(0.1 - wilson_bounds(0.0, 100)[1])
    alone = mean_over_seeds(a, 0.8 + noise, hits=160, trials=200, people=100)
    assert alone.high - alone.low > 0.1
    assert (alone.value, alone.hits) == (pytest.approx(0.8), 160)


def test_one_seed_says_so() -> None:
    replicates = 0.5 + 0.01 * np.random.default_rng(2).normal(size=(1, 4000))
    found = paired_difference(np.array([0.5]), np.array([0.4]), replicates, np.full((1, 4000), 0.4), people=50)
    assert found.seed_sd is None
    assert "one seed" in found.method
    assert found.smallest_resolvable == pytest.approx(0.0196, rel=0.05)


def test_ratio_by_hand() -> None:
    a, b = np.array([0.1, 0.2, 0.3, 0.2]), np.array([0.4, 0.4, 0.5, 0.0])
    found = paired_ratio(0.2, 0.4, a, b, bounds=(0.0, 1.0))
    # Ratios 0.25, 0.5 and 0.6, the one without a denominator left out.
    assert found is not None
    assert found.value == pytest.approx(0.5)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile([0.25, 0.5, 0.6], [0.025, 0.975])))
    assert paired_ratio(0.2, 0.0, a, b, bounds=(0.0, 1.0)) is None


def test_ratio_of_nothing_found_has_an_upper_end() -> None:
    own = wilson(0, 50)
    found = paired_ratio(0.0, 0.4, np.zeros(3), np.array([0.3, 0.4, 0.5]), bounds=(own.low, own.high))
    assert found is not None
    assert (found.value, found.low) == (0.0, 0.0)
    assert found.high == pytest.approx(own.high / 0.4)


def test_ratio_covers_the_truth() -> None:
    """Two attacks by the same 80 people with 5 photos each, hitting alike; truth 0.5."""
    random, covered = np.random.default_rng(5), 0
    for seed in range(200):
        strength = random.beta(2, 2, size=(80, 1))
        hits = [random.random((80, 5)) < share * strength for share in (0.4, 0.8)]
        labels = np.repeat(np.arange(80), 5)
        tally = PeopleTally.of(labels, np.stack([hit.ravel() for hit in hits], axis=1))
        draws = tally.replicates(replicates=200, seed=seed)
        a, b = (float(hit.mean()) for hit in hits)
        found = paired_ratio(a, b, draws[:, 0], draws[:, 1], bounds=(a, a))
        assert found is not None
        covered += found.low <= 0.5 <= found.high
    assert 0.88 <= covered / 200 <= 0.99
