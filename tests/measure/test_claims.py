"""Verdicts on claims."""

from typing import Literal

import pytest

from facemae.errors import DataError
from facemae.measure import verdict


@pytest.mark.parametrize(
    ("kind", "low", "high", "expected"),
    [
        ("greater", 0.001, 0.02, "reproduced"),
        ("greater", -0.02, -0.001, "contradicted"),
        ("greater", 0.0, 0.02, "not resolvable here"),
        ("greater", -0.01, 0.02, "not resolvable here"),
        ("no_effect", -0.005, 0.005, "reproduced"),
        ("no_effect", 0.001, 0.004, "reproduced"),
        ("no_effect", -0.006, 0.001, "not resolvable here"),
        ("no_effect", 0.004, 0.02, "not resolvable here"),
        ("no_effect", 0.006, 0.02, "contradicted"),
        ("no_effect", -0.02, -0.006, "contradicted"),
        ("no_gain", -0.3, -0.1, "reproduced"),
        ("no_gain", 0.001, 0.005, "reproduced"),
        ("no_gain", -0.3, 0.006, "not resolvable here"),
        ("no_gain", 0.001, 0.006, "contradicted"),
    ],
)
def test_verdicts(kind: Literal["greater", "no_effect", "no_gain"], low: float, high: float, expected: str) -> None:
    assert verdict(kind, low, high) == expected


def test_not_an_interval() -> None:
    with pytest.raises(DataError, match="interval"):
        verdict("greater", 0.2, 0.1)
    with pytest.raises(DataError, match="interval"):
        verdict("greater", float("nan"), 0.1)
