"""Audits of several releases of the same people: what is found in one minus what is found in another, paired.

All such audits draw the same people in replicate r of the bootstrap, whatever the attack, so what is luck in both
cancels out. Two intervals that overlap say less.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np

from facemae.errors import DataError
from facemae.measure import Difference, paired_difference
from facemae.spec.manifest import read_manifest
from facemae.spec.results import RELEASED, UNPROTECTED, DifferenceResult, ReleasesResult
from facemae.stages.audit import read_audit
from facemae.stages.findings import Findings, shown_column

_HELD = ("exclude", "include")
"""Without and with the protected photo in the attacker's hand."""


@dataclass(frozen=True)
class _Side:
    """One rate of one release: attack ``number`` at ``column``, by everybody or by the second half of the people."""

    audit: "_Audit"
    number: int
    column: int
    second: bool

    @property
    def attack(self) -> dict[str, Any]:
        return self.audit.findings.attacks[self.number]

    @property
    def at(self) -> dict[str, Any]:
        return self.audit.findings.at(self.number, self.column)

    @property
    def value(self) -> float:
        return float((self.at["halves"][1] if self.second else self.at)["value"])

    @property
    def draws(self) -> np.ndarray:
        return self.audit.findings.draws(self.number, self.column, second=self.second)


@dataclass(frozen=True)
class _Audit:
    """One audit and the rates of it that are compared."""

    label: str
    directory: Path

    @cached_property
    def findings(self) -> Findings:
        return Findings(self.directory)

    @cached_property
    def design(self) -> dict[str, Any]:
        """What has to be alike for replicate r to be the same people, and one name to mean one network."""
        manifest = read_manifest(self.directory)
        made_of = {name: digest[:12] for name, digest in manifest.parents.items()}
        networks = {name: digest for name, digest in made_of.items() if name.startswith("embedder ")}
        asked = {name: manifest.spec[name] for name in ("seed", "replicates")}
        return {"originals": made_of["original"]} | asked | networks

    @cached_property
    def heads(self) -> tuple[dict[str, Any], ...]:
        told = read_audit(self.directory)
        return tuple(head for name in ("headline", "headline_same_photo") if (head := told[name]))

    def worst(self, same_photo: str) -> _Side | None:
        """The audit's own headline; the attack was chosen on the first half of the people."""
        for head in self.heads:
            if head["same_photo"] == same_photo:
                number = self.findings.find(head["attack"], head["embedder"], same_photo=same_photo)
                if number is not None:
                    return _Side(self, number, self.findings.column(number, head["k"]), second=True)
        return None

    def plain(self) -> Iterator[tuple[str, _Side]]:
        """By network, the search by one other photo; the originals themselves are searched as they are."""
        rows = [row for row in self.findings.attacks if row["same_photo"] == "exclude"]
        name = RELEASED if any(row["attack"] == RELEASED for row in rows) else UNPROTECTED
        for network in dict.fromkeys(row["embedder"] for row in rows if row["attack"] == name):
            number = self.findings.find(name, network)
            if number is not None:
                column = shown_column(self.findings.attacks[number]["at"])
                yield network, _Side(self, number, column, second=False)


def release_differences(audits: Mapping[str, Path]) -> tuple[ReleasesResult, ...]:
    """For every two of the ``audits`` (directories by label): worst cases without and with the photo, plain searches.

    The first named minus the second. A measure that one of the two lacks is left out for that pair.

    Raises:
        DataError: audits of other people, with another seed, number of replicates, network of one name, or K.
    """
    read = [_Audit(label, Path(directory)) for label, directory in audits.items()]
    pairs = list(combinations(read, 2))
    for a, b in pairs:
        _refuse_unmatched(a, b)
    found = [
        _result("worst case", mine, yours)
        for same_photo in _HELD
        for a, b in pairs
        if (mine := a.worst(same_photo)) and (yours := b.worst(same_photo))
    ]
    for a, b in pairs:
        others = dict(b.plain())
        found += [_result("plain search", mine, others[name]) for name, mine in a.plain() if name in others]
    return tuple(found)


def _refuse_unmatched(a: _Audit, b: _Audit) -> None:
    for name, mine in a.design.items():
        if name in b.design and mine != b.design[name]:
            raise DataError(
                f"audits of {a.label} and {b.label} are not of the same draws of people",
                got=f"{name} {mine} and {b.design[name]}",
                needed="the same originals, networks, seed and number of replicates",
            )


def _result(measure: Literal["worst case", "plain search"], a: _Side, b: _Side) -> ReleasesResult:
    for name in ("k", "identities"):
        if a.at[name] != b.at[name]:
            raise DataError(
                f"audits of {a.audit.label} and {b.audit.label} do not ask the same",
                got=f"{name} {a.at[name]} and {b.at[name]}",
                needed="as many guesses among as many people",
            )
    found = _minus(a, b)
    return ReleasesResult(
        **{name: getattr(found, name) for name in DifferenceResult.model_fields},
        a=a.audit.label,
        b=b.audit.label,
        measure=measure,
        same_photo=a.attack["same_photo"],
        k=a.at["k"],
        attack_a=a.attack["attack"],
        embedder_a=a.attack["embedder"],
        attack_b=b.attack["attack"],
        embedder_b=b.attack["embedder"],
    )


def _minus(a: _Side, b: _Side) -> Difference:
    people = max(1, a.at["identities"] // 2 if a.second else a.at["identities"])
    values = np.array([a.value]), np.array([b.value])
    found = paired_difference(*values, a.draws[None], b.draws[None], people=people)
    if (a.audit.directory, a.number, a.column) != (b.audit.directory, b.number, b.column):
        return found
    # One number under two names: no sample could tell it from itself, so the least half-width of
    # `paired_difference`, meant for two rates that happen to be alike, has no place.
    return Difference(0.0, 0.0, 0.0, 0.0, 0.0, None, 1, "the same audit twice")
