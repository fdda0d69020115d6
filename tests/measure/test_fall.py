"""How much more one leakage falls than another: worked by hand, and against simulated people."""

import math

import numpy as np
import pytest
from scipy.stats import t

from facemae.errors import DataError
from facemae.measure import Curve, fall_difference

BAND = 2 * 1.959964


def curve(value: float, whole: float, *, spread: float = 0.0, replicates: np.ndarray | None = None) -> Curve:
    flat = np.full(4, whole) if replicates is None else replicates
    return Curve(100, 900, 20, value, value - spread * BAND / 2, value + spread * BAND / 2, whole, flat)


def test_a_difference_worked_by_hand() -> None:
    """From 0.5 to 0.2 falls 0.3, from 0.9 to 0.85 falls 0.05; 20 draws of 100 among 900 people are worth nine."""
    replicates = np.array([0.1, -0.1, 0.1, -0.1])
    found = fall_difference(
        curve(0.5, 0.2, spread=0.06, replicates=0.2 + replicates),
        curve(0.9, 0.85, spread=0.03, replicates=np.full(4, 0.85)),
    )
    assert found.value == pytest.approx(0.25)
    deviation = math.sqrt((0.06**2 + 0.03**2) / 9 + 0.04 / 3)
    half = t.ppf(0.975, 8) * deviation
    assert (found.low, found.high) == pytest.approx((0.25 - half, 0.25 + half), rel=1e-6)
    assert found.smallest_resolvable == pytest.approx(half, rel=1e-6)


def test_a_row_falls_as_far_as_itself() -> None:
    one = curve(0.5, 0.2, spread=0.05, replicates=np.array([0.1, 0.3, 0.2, 0.2]))
    found = fall_difference(one, one)
    assert found.value == 0
    assert found.low < 0 < found.high


def test_draws_of_nearly_everybody_say_nothing() -> None:
    one = curve(0.9, 0.2)._replace(few=600)
    found = fall_difference(one, curve(0.5, 0.4)._replace(few=600))
    assert (found.low, found.high) == (-2, 2)
    assert found.value == pytest.approx(0.6)


def test_rows_of_other_people_are_refused() -> None:
    one = curve(0.5, 0.2)
    with pytest.raises(DataError, match="the same numbers in both"):
        fall_difference(one, one._replace(many=800))


def test_the_interval_covers_the_true_difference_of_simulated_people() -> None:
    """Person i is found among n people with probability p_i(n); the truth is that of a population without end."""
    random, covered, rounds = np.random.default_rng(0), 0, 200
    few, many, draws = 50, 400, 20
    for _ in range(rounds):
        ease = random.normal(size=many)
        found = {n: 1 / (1 + np.exp(-(ease - shift))) for n, shift in ((few, 0.0), (many, 1.0))}
        other = {n: 1 / (1 + np.exp(-(ease + 1 - shift))) for n, shift in ((few, 0.0), (many, 0.2))}
        groups = [random.permutation(many)[:few] for _ in range(draws)]
        weights = random.multinomial(many, np.full(many, 1 / many), size=300) / many
        rows = []
        for row in (found, other):
            drawn = np.array([row[few][group].mean() for group in groups])
            low, high = np.quantile(drawn, [0.025, 0.975])
            rows.append(Curve(few, many, draws, drawn.mean(), low, high, row[many].mean(), weights @ row[many]))
        told = fall_difference(*rows)
        covered += told.low <= TRUTH <= told.high
    assert covered / rounds > 0.95


def _mean(shift: float) -> float:
    """E of the logistic function of a standard normal number plus ``shift``."""
    x, w = np.polynomial.hermite_e.hermegauss(60)
    return float((w / (1 + np.exp(-(x + shift)))).sum() / w.sum())


TRUTH = (_mean(0.0) - _mean(-1.0)) - (_mean(1.0) - _mean(0.8))
