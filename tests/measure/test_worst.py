"""The worst attack by hand, and why it is told on people who had no part in the choice."""

import json

import numpy as np
import pytest

from facemae.errors import DataError
from facemae.measure import HalfRate, Outcome, Rate, Statistics, family_wise, first_half, max_statistic, worst_case
from facemae.measure.control import deviance_residual


def halves(first: float, second: float, chance: float = 0.0) -> tuple[HalfRate, ...]:
    return tuple(HalfRate(Rate(value, 0.0, 1.0, int(100 * value), 100, "by hand"), chance) for value in (first, second))


def test_chosen_on_the_first_half_and_told_on_the_second() -> None:
    found = worst_case({"a": halves(0.3, 0.9), "b": halves(0.5, 0.2), "none": (), "c": halves(0.5, 0.6)})
    assert found is not None
    assert (found.name, found.told.rate.value, found.chosen.rate.value, found.attacks) == ("b", 0.2, 0.5, 3)
    assert json.loads(json.dumps(found.to_dict()))["value"] == 0.2
    assert worst_case({"none": ()}) is None


def test_what_is_found_by_blind_guessing_does_not_count() -> None:
    found = worst_case({"easy": halves(0.6, 0.6, chance=0.5), "hard": halves(0.3, 0.3)})
    assert found is not None
    assert found.name == "hard"


def test_outcome_by_hand() -> None:
    labels, hit = np.array([5, 2, 5, 9, 9]), np.array([True, False, True, False, True])
    outcome = Outcome.of(labels, hit, np.array([0.1, 0.2, 0.3, 0.4, 0.5]))
    assert outcome.people.tolist() == [2, 5, 9]
    assert outcome.hits.tolist() == [0, 2, 1]
    assert outcome.trials.tolist() == [1, 2, 2]
    assert outcome.expected.tolist() == pytest.approx([0.2, 0.4, 0.9])
    first = np.zeros(10, bool)
    first[[2, 9]] = True
    left, right = outcome.halves(first, seed=0, replicates=50)
    assert (left.rate.hits, left.rate.trials, right.rate.hits, right.rate.trials) == (1, 3, 2, 2)
    assert (left.chance, right.chance) == pytest.approx((1.1 / 3, 0.2))
    assert outcome.halves(np.zeros(10, bool), seed=0) == ()


def test_the_largest_of_many_flatters_and_the_other_half_does_not() -> None:
    random, told, chosen = np.random.default_rng(0), [], []
    first, labels = first_half(60, 0), np.arange(60)
    for seed in range(40):
        hits = random.random((8, 60)) < 0.3
        attacks = {str(i): Outcome.of(labels, hit, np.zeros(60)) for i, hit in enumerate(hits)}
        split = {name: one.halves(first, seed=seed, replicates=100) for name, one in attacks.items()}
        found = worst_case(split)
        assert found is not None
        told.append(found.told.rate)
        chosen.append(found.chosen.rate.value)
    assert np.mean(chosen) > 0.4
    assert np.mean([rate.value for rate in told]) == pytest.approx(0.3, abs=0.03)
    assert np.mean([rate.low <= 0.3 <= rate.high for rate in told]) > 0.8


def test_every_family_is_a_maximum_of_its_own_and_costs_the_others_a_factor() -> None:
    random = np.random.default_rng(2)
    quiet = Statistics(np.array([2.0]), random.normal(size=(99, 1)))
    # 100 tests of rare events, whose maximum is beyond 2 under most permutations.
    rare = Statistics(np.zeros(100), (random.random((99, 100)) < 0.02).astype(float))
    alone = max_statistic(quiet.observed, quiet.permuted)
    assert family_wise({"quiet": quiet, "rare": rare})["quiet"] > 0.5
    found = family_wise({"quiet": quiet}, {}, {"rare": rare})
    assert found["quiet"].tolist() == (2 * alone).tolist()  # nobody asks in the second family
    assert found["rare"].max() == 1
    assert family_wise({}) == {}


def test_a_statistic_that_is_standardised_already_is_not_blown_up() -> None:
    # One hit in 99 permutations: ten deviations, or 3.4 as a signed root where 0.01 hits are expected.
    hits = np.append(np.zeros(98), 1.0)
    plain = Statistics(np.zeros(1), hits[:, None])
    root = Statistics(np.zeros(1), deviance_residual(hits, 0.01, 50)[:, None], np.ones(1))
    other = Statistics(np.array([4.0]), np.random.default_rng(3).normal(size=(99, 1)))
    assert family_wise({"plain": plain, "other": other})["other"].tolist() == [0.02]
    assert family_wise({"root": root, "other": other})["other"].tolist() == [0.01]


def test_family_is_one_maximum_over_all() -> None:
    random = np.random.default_rng(1)
    tests = {name: Statistics(random.normal(size=m), random.normal(size=(99, m))) for name, m in (("a", 2), ("b", 1))}
    tests["c"] = Statistics(np.array([9.0]), random.normal(size=(99, 1)))
    found = family_wise(tests)
    together = max_statistic(*(np.concatenate([pair[i] for pair in tests.values()], axis=-1) for i in range(2)))
    assert np.concatenate([found["a"], found["b"], found["c"]]).tolist() == together.tolist()
    assert found["c"][0] == 0.01
    # More attacks can only make a p-value larger, up to ties.
    assert all(found["a"] >= family_wise({"a": tests["a"]})["a"] - 1e-12)
    with pytest.raises(DataError, match="cannot be judged together"):
        family_wise(tests | {"d": Statistics(np.zeros(1), np.zeros((98, 1)))})
