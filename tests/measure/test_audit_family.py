"""Studies of false accusation in small: what a whole audit takes together, and what it makes of a leak."""

from types import ModuleType
from typing import Any

import pytest

from helpers import benchmark_module


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The studies with few permutations."""
    module = benchmark_module(monkeypatch, "audit_family")
    simulated: Any = module.simulated
    simulated.PERMUTATIONS, module.VIEWS = 99, 2
    return module


@pytest.mark.slow
def test_an_audit_of_a_leak_is_told_and_one_of_none_is_not(study: ModuleType) -> None:
    [none, leak] = (study.study_audit(strength, 3)["anything at all"] for strength in (0.0, 1.0))
    assert leak.accused
    assert leak.value == 3 / 100  # the smallest p-value that 99 permutations and three questions give
    assert not none.accused


@pytest.mark.slow
def test_the_level_of_the_originals_is_in_the_family_and_accuses_nobody(study: ModuleType) -> None:
    audit = study.found(0.0, 3).adjusted()
    levels = [each for each in audit.attacks if each.attack == study.UNPROTECTED]
    assert len(levels) == 2
    assert all(at.p_value == 3 / 100 for each in levels for at in each.leakage.at)
    assert study.smallest_p(audit) > study.LEVEL
    # Two views: the level, searches and groups with the own photo out and in, pairs once; two scores of membership.
    assert [len(getattr(audit, name)) for name in ("attacks", "templates", "linking", "membership")] == [10, 4, 2, 2]


def test_the_standardised_statistic_of_no_leak_is_about_one_wide(study: ModuleType) -> None:
    study.COUNTS = (2, 4)
    told = [study.study_own_photo(0.0, 10**7 + seed) for seed in range(12)]
    for name in ("2 photos", "4 photos"):
        # The mean square of 12 standard normal values is above 0.2 and below 2.7 but once in a thousand.
        assert 0.2 < sum(one[name].value ** 2 for one in told) / 12 < 2.7
    assert study.study_own_photo(1.0, 0)["4 photos"].accused
