"""Finished audits to results: every leakage, the worst of them by split halves, and differences between two."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from facemae.errors import DataError
from facemae.measure import Curve, Difference, fall_difference, paired_difference, paired_ratio
from facemae.spec.manifest import read_manifest
from facemae.spec.results import (
    EVERYBODY,
    SHOWN_K,
    UNPROTECTED,
    CurveResult,
    DifferenceResult,
    LeakageResult,
    OpenSetResult,
    RateResult,
    RelativeResult,
    WorstResult,
)
from facemae.stages.audit import REPLICATES, read_audit, replicates_of

_RATE = ("value", "low", "high", "hits", "trials", "method")


@dataclass(frozen=True)
class Findings:
    """What one audit found."""

    directory: Path

    @cached_property
    def attacks(self) -> list[dict[str, Any]]:
        """The attacks in their order; one by some of the probes follows the same by all of them."""
        attacks: list[dict[str, Any]] = read_audit(self.directory)["attacks"]
        return attacks

    def leakages(self) -> tuple[LeakageResult, ...]:
        """Every attack at every K."""
        return tuple(self._leakage(n, i) for n, attack in enumerate(self.attacks) for i in range(len(attack["at"])))

    def open_sets(self) -> tuple[OpenSetResult, ...]:
        """Every target rate of false alarms of every attack that was asked for one."""
        return tuple(point for attack in self.attacks for point in _open_set(attack))

    def worst(self, same_photo: str) -> WorstResult | None:
        """The attack and judge that find most beyond chance in the first half of the people, told on the second half.

        As the headline of the audit: rate less chance, for blind guessing finds more in some attacks than in others.
        Among attacks on the release with this ``same_photo``, or "Org. to Org." where nothing was released; at K = 2
        as in the paper's figure 3, else the smallest K. None where there is no such attack, or no half to tell it on.
        """
        protected = any(attack["attack"] != UNPROTECTED for attack in self.attacks)
        candidates = []
        for number, attack in enumerate(self.attacks):
            column = shown_column(attack["at"])
            wanted = (attack["attack"] != UNPROTECTED) == protected and attack["subset"] == EVERYBODY
            if wanted and attack["same_photo"] == same_photo and attack["at"][column]["halves"]:
                candidates.append((number, column))
        if not candidates:
            return None
        number, column = max(candidates, key=lambda place: _excess(self.at(*place)["halves"][0]))
        return self._worst(number, column)

    def find(self, attack: str, judge: str, *, same_photo: str = "exclude", subset: str = EVERYBODY) -> int | None:
        """Number of an attack, None where the audit did not run it."""
        wanted = attack, judge, same_photo, subset
        for number, row in enumerate(self.attacks):
            if (row["attack"], row["embedder"], row["same_photo"], row["subset"]) == wanted:
                return number
        return None

    def column(self, number: int, k: int) -> int:
        """Where K stands among those of attack ``number``."""
        return [at["k"] for at in self.attacks[number]["at"]].index(k)

    def at(self, number: int, column: int) -> dict[str, Any]:
        """One attack at one K."""
        at: dict[str, Any] = self.attacks[number]["at"][column]
        return at

    def draws(self, number: int, column: int, *, second: bool = False) -> np.ndarray:
        """Bootstrap replicates of that rate, over everybody or over the second half of the people."""
        draws: np.ndarray = self._stored[replicates_of(number)[second]][:, column]
        return draws

    def curve(self, number: int, k: int) -> Curve:
        """The fewest people of attack ``number``'s curve and all of them, at K.

        Raises:
            DataError: the audit drew no curve.
        """
        column = self.column(number, k)
        at, drawn = self.at(number, column), [p for p in self.attacks[number]["curve"] if p["k"] == k]
        if not drawn:
            raise DataError(f"{self.directory} tells of no fall", got="no curve", needed="audit.identities")
        few = min(drawn, key=lambda point: point["identities"])
        draws = int(read_manifest(self.directory).spec["draws"])
        band = few["value"], few["low"], few["high"]
        return Curve(few["identities"], at["identities"], draws, *band, at["value"], self.draws(number, column))

    @cached_property
    def _stored(self) -> dict[str, np.ndarray]:
        with np.load(self.directory / REPLICATES) as stored:
            return dict(stored)

    def _baseline(self, number: int) -> int | None:
        """ "Org. to Org." by the same probes under the same judge; None for that attack itself."""
        attack = self.attacks[number]
        if attack["attack"] == UNPROTECTED:
            return None
        return self.find(UNPROTECTED, attack["embedder"], subset=attack["subset"])

    def _leakage(self, number: int, column: int) -> LeakageResult:
        attack, at = self.attacks[number], self.at(number, column)
        kept = (*_RATE, "k", "identities", "chance", "control", "control_low", "control_high", "p_value", "verdict")
        curve = ("k", "identities", *_RATE, "chance")
        return LeakageResult(
            **{name: attack[name] for name in ("attack", "embedder", "same_photo", "subset")},
            **{name: at[name] for name in kept},
            relative=self._relative(number, column),
            curve=tuple(
                CurveResult(**{name: point[name] for name in curve})
                for point in attack["curve"]
                if point["k"] == at["k"]
            ),
        )

    def _relative(self, number: int, column: int) -> RelativeResult | None:
        baseline = self._baseline(number)
        if baseline is None:
            return None
        at, unprotected = self.at(number, column), self.at(baseline, column)
        draws = self.draws(number, column), self.draws(baseline, column)
        found = paired_ratio(at["value"], unprotected["value"], *draws, bounds=(at["low"], at["high"]))
        return RelativeResult(value=found.value, low=found.low, high=found.high) if found else None

    def _worst(self, number: int, column: int) -> WorstResult:
        attack, at = self.attacks[number], self.at(number, column)
        half, baseline = at["halves"][1], self._baseline(number)
        unprotected = difference = None
        if baseline is not None and self.at(baseline, column)["halves"]:
            level = self.at(baseline, column)["halves"][1]
            draws = self.draws(number, column, second=True), self.draws(baseline, column, second=True)
            people = max(1, at["identities"] // 2)
            found = _minus(half["value"], level["value"], *draws, people=people)
            unprotected = RateResult(**{name: level[name] for name in _RATE})
            difference = DifferenceResult(**{name: getattr(found, name) for name in DifferenceResult.model_fields})
        return WorstResult(
            **{name: attack[name] for name in ("attack", "embedder", "same_photo")},
            **{name: half[name] for name in (*_RATE, "chance")},
            **{name: at[name] for name in ("k", "identities", "verdict")},
            unprotected=unprotected,
            difference=difference,
        )


def difference(sides: Sequence[tuple[Findings, str]], judge: str, k: int) -> Difference | None:
    """Leakage of one audit's attack minus that of another's; None where one of them was not run.

    ``sides``: audit and attack, twice; without the probe's own photo. Paired where both ask with the same originals.
    """
    values, draws, people = [], [], []
    for findings, attack in sides:
        number = findings.find(attack, judge)
        if number is None:
            return None
        column = findings.column(number, k)
        values.append(findings.at(number, column)["value"])
        draws.append(findings.draws(number, column))
        people.append(findings.at(number, column)["identities"])
    return _minus(*values, *draws, people=min(people))


def fall(sides: Sequence[tuple[Findings, str]], judge: str, k: int) -> Difference | None:
    """How much more the first of two leakages falls from the fewest people of its curve to all; ``sides`` as above."""
    numbers = [findings.find(attack, judge) for findings, attack in sides]
    curves = [
        findings.curve(number, k) for (findings, _), number in zip(sides, numbers, strict=True) if number is not None
    ]
    return fall_difference(*curves) if len(curves) == 2 else None


def _minus(a: float, b: float, draws_a: np.ndarray, draws_b: np.ndarray, *, people: int) -> Difference:
    return paired_difference(np.array([a]), np.array([b]), draws_a[None], draws_b[None], people=people)


def _excess(half: dict[str, Any]) -> float:
    return float(half["value"] - half["chance"])


def shown_column(at: Sequence[dict[str, Any]]) -> int:
    """Where the K that worst cases are about stands: the paper's 2, else the smallest."""
    ks = [point["k"] for point in at]
    return ks.index(SHOWN_K if SHOWN_K in ks else min(ks))


def _open_set(attack: dict[str, Any]) -> list[OpenSetResult]:
    found = attack["open_set"]
    if found is None:
        return []
    return [
        OpenSetResult(
            attack=attack["attack"],
            embedder=attack["embedder"],
            fpir=point["target"],
            **{key: point.get(key) for key in ("value", "low", "high", "hits", "trials", "method")},
            nonmember_trials=found["nonmember_trials"],
            nonmember_people=found["nonmember_people"],
            smallest_measurable=found["smallest_measurable"],
        )
        for point in found["points"]
    ]
