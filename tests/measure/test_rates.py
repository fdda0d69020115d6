"""A rate is a rate, and what is measurable follows the 10/x rule."""

import pytest

from facemae.errors import DataError
from facemae.measure import Rate, measurable, smallest_measurable


def test_to_dict_has_the_published_keys() -> None:
    rate = Rate(0.5, 0.4, 0.6, 5, 10, "hand")
    assert rate.to_dict() == {"value": 0.5, "low": 0.4, "high": 0.6, "hits": 5, "trials": 10, "method": "hand"}


def test_rounding_is_snapped() -> None:
    rate = Rate(1 + 1e-12, 1 + 2e-12, 1.0, 3, 3, "hand")
    assert (rate.low, rate.value, rate.high) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("value", "low", "high", "hits", "trials", "method"),
    [
        (1.1, 0.5, 1.1, 1, 1, "m"),
        (-0.1, -0.1, 0.5, 0, 1, "m"),
        (float("nan"), 0.0, 1.0, 0, 1, "m"),
        (0.5, 0.6, 0.7, 1, 2, "m"),
        (0.5, 0.2, 0.4, 1, 2, "m"),
        (0.5, 0.4, 0.6, 3, 2, "m"),
        (0.0, 0.0, 0.0, 0, 0, "m"),
        (0.5, 0.4, 0.6, 1, 2, ""),
    ],
)
def test_what_is_not_a_rate_is_refused(
    value: float, low: float, high: float, hits: int, trials: int, method: str
) -> None:
    with pytest.raises(ValueError, match="rate"):
        Rate(value, low, high, hits, trials, method)


def test_smallest_measurable() -> None:
    assert smallest_measurable(3000, 500) == pytest.approx(1 / 300)
    assert smallest_measurable(3000, 49) is None
    assert smallest_measurable(9, 50) is None
    assert smallest_measurable(1000, None) == pytest.approx(0.01)


def test_measurable_includes_its_edge() -> None:
    assert measurable(0.01, smallest_measurable(1000, 50))
    assert not measurable(0.01, smallest_measurable(999, 50))
    assert not measurable(0.1, smallest_measurable(10_000, 49))
    with pytest.raises(DataError, match="between 0 and 1"):
        measurable(1.0, 0.1)
