"""The worst of many attacks: chosen on one half of the people, told on the other; p-values for all attacks together."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from facemae.errors import DataError
from facemae.measure.control import Statistics, max_statistic
from facemae.measure.intervals import PeopleTally
from facemae.measure.leakage import HalfRate

Halves = tuple[HalfRate, ...]
"""What an attack finds in the first and in the second half of the people, as in ``LeakageAtK.halves``."""


@dataclass(frozen=True)
class Outcome:
    """Of each person (ascending by label): hits, trials, and the hits to be expected by blind guessing."""

    people: Int[np.ndarray, " people"]
    hits: Float[np.ndarray, " people"]
    trials: Float[np.ndarray, " people"]
    expected: Float[np.ndarray, " people"]

    @classmethod
    def of(
        cls, labels: Int[np.ndarray, " trials"], hit: Bool[np.ndarray, " trials"], chance: Float[np.ndarray, " trials"]
    ) -> "Outcome":
        """From single trials: whose each was, whether it hit, and its chance."""
        people, person = np.unique(labels, return_inverse=True)
        hits, expected = (np.bincount(person, weights=part, minlength=len(people)) for part in (hit, chance))
        return cls(people, hits, np.bincount(person, minlength=len(people)).astype(np.float64), expected)

    def halves(
        self, first: Bool[np.ndarray, " everybody"], *, seed: int, replicates: int = 1000, level: float = 0.95
    ) -> Halves:
        """Rate and chance in either half; ``first[label]`` says who is in the first (``first_half``).

        Interval: bootstrap over the people of that half. Empty where a half has no trial.
        """
        sides = [first[self.people], ~first[self.people]]
        if not all(self.trials[side].any() for side in sides):
            return ()
        return tuple(self._rate(side, seed=seed, replicates=replicates, level=level) for side in sides)

    def _rate(self, side: np.ndarray, *, seed: int, replicates: int, level: float) -> HalfRate:
        tally = PeopleTally(self.hits[side][:, None], self.trials[side])
        [rate] = tally.rates(tally.replicates(replicates=replicates, seed=seed), level=level)
        return HalfRate(rate, float(self.expected[side].sum() / self.trials[side].sum()))


@dataclass(frozen=True)
class Worst:
    """The attack that found most beyond chance in the first half; ``told`` is what it finds in the second.

    ``chosen`` is its rate in the first half, too large by luck: to be looked at, not to be reported.
    """

    name: str
    chosen: HalfRate
    told: HalfRate
    attacks: int

    def to_dict(self) -> dict[str, Any]:
        """Keys ``attack attacks chosen``, and those of the rate that is told, with its ``chance``."""
        head = {"attack": self.name, "attacks": self.attacks, "chosen": self.chosen.to_dict()}
        return head | self.told.to_dict()


def worst_case(attacks: Mapping[str, Halves]) -> Worst | None:
    """argmax over attacks of rate − chance in the first half, told by its rate in the second; ties to the first named.

    The largest of many noisy rates is too large; that of people who had no part in the choice is not. Attacks without
    halves take no part; None where none is left. All attacks have to be halved alike, and to mean the same by a hit.
    Source: sample splitting, Cox 1975.
    """
    halved = {name: halves for name, halves in attacks.items() if halves}
    if not halved:
        return None
    name = max(halved, key=lambda attack: halved[attack][0].rate.value - halved[attack][0].chance)
    chosen, told = halved[name]
    return Worst(name, chosen, told, len(halved))


def family_wise(*families: Mapping[str, Statistics]) -> dict[str, Float[np.ndarray, " _"]]:
    """min(1, F p) of every test, p by the maximum over its family (``max_statistic``), F families that hold tests.

    So at most the stated share of audits without leak is accused by any test of any family (Bonferroni), and what is
    asked in one family, however often, costs the others a factor alone.

    Row r should be the same permutation of people in all attacks of a family, as with one seed. Attacks that permute
    otherwise (who is a member, against whose each photo is) have rows of their own: where attacks tend to succeed
    together, as with one release, taking them for independent makes the p-values too large, never too small.

    Raises ``DataError`` where the attacks of a family have different numbers of permutations.
    """
    asked = [tests for tests in families if tests]
    return {name: np.minimum(1, len(asked) * p) for tests in asked for name, p in _one_family(tests).items()}


def _one_family(tests: Mapping[str, Statistics]) -> dict[str, Float[np.ndarray, " _"]]:
    numbers = {len(test.permuted) for test in tests.values()}
    if len(numbers) != 1:
        got = f"{sorted(numbers)} permutations"
        raise DataError("attacks cannot be judged together", got=got, needed="as many for each")
    observed = np.concatenate([test.observed for test in tests.values()])
    permuted = np.concatenate([test.permuted for test in tests.values()], axis=1)
    least = np.concatenate([np.broadcast_to(test.least, test.observed.shape) for test in tests.values()])
    ends = np.cumsum([len(test.observed) for test in tests.values()])[:-1]
    return dict(zip(tests, np.split(max_statistic(observed, permuted, least), ends), strict=True))
