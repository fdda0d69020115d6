"""WHAT came out: the one schema of every `results/*.json` (rates are fractions in [0, 1])."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from facemae.spec.manifest import Frozen, write_json

UNPROTECTED = "Org. to Org."
RELEASED = "Org. to released"
IMITATED = "released-by-same-process to released"
OTHER_PROCESS = "released-by-another-process to released"
"""What an audit compares; the first is no attack on the release but the level that protection has to lower."""

ITS_OWN = "its own"
"""In the place of an embedder where an attacker trains one."""

NO_NETWORK = "no network"
"""The same where an attacker compares pictures without one."""

EVERYBODY = "all"
"""The subset of all probes; others are named by the source they were imported from."""

SHOWN_K = 2
"""The K of the paper's figure 3: what worst cases and figures are about, where it was measured."""


class RateResult(Frozen):
    """A rate with its interval; ``hits`` of ``trials`` are sums over seeds or draws where there are several."""

    value: float
    low: float
    high: float
    hits: int
    trials: int
    method: str


class SeedResult(Frozen):
    """One recogniser run."""

    seed: int
    accuracy: float


class CurveResult(Frozen):
    """Leakage over the number of identities: mean of nested draws with their band."""

    k: int
    identities: int
    value: float
    low: float
    high: float
    hits: int
    trials: int
    method: str
    chance: float


class RelativeResult(Frozen):
    """Leakage as a multiple of "Org. to Org." of the same probes, judge and K; interval from matched replicates."""

    value: float
    low: float
    high: float


class LeakageResult(Frozen):
    """One attack at one K under one embedder; ``control`` is the same attack on permuted identities.

    ``subset``: "all" probes, or those imported from one source. ``p_value`` is family-wise over the audit. ``relative``
    is missing for "Org. to Org." itself, and where that finds nobody.
    """

    attack: str
    embedder: str
    same_photo: str
    subset: str = EVERYBODY
    k: int
    identities: int
    value: float
    low: float
    high: float
    hits: int
    trials: int
    chance: float
    control: float
    control_low: float
    control_high: float
    p_value: float
    verdict: str
    method: str
    relative: RelativeResult | None = None
    curve: tuple[CurveResult, ...] = ()


class DifferenceResult(Frozen):
    """One rate minus another on the same people; the half-width is the smallest visible difference."""

    value: float
    low: float
    high: float
    smallest_resolvable: float
    method: str


class ReleasesResult(DifferenceResult):
    """What is found in release ``a`` minus what is found in release ``b``, by the same people at the same K.

    ``measure`` "worst case": each release under the attacker chosen for it, on the half of the people who had no part
    in the choice; "plain search": both under one network, by everybody. ``same_photo``: whether the attacker holds the
    protected photos.
    """

    a: str
    b: str
    measure: Literal["worst case", "plain search"]
    same_photo: str
    k: int
    attack_a: str
    embedder_a: str
    attack_b: str
    embedder_b: str


class WorstResult(Frozen):
    """The attack and judge that found most among one half of the people, with their rate on the other half.

    ``unprotected`` is "Org. to Org." under the same judge on that other half, and ``difference`` the attack minus that,
    paired; both are missing where nothing was protected. ``verdict`` is that of the attack on everybody.
    """

    attack: str
    embedder: str
    same_photo: str
    k: int
    identities: int
    value: float
    low: float
    high: float
    hits: int
    trials: int
    chance: float
    verdict: str
    method: str
    unprotected: RateResult | None = None
    difference: DifferenceResult | None = None


class OpenSetResult(Frozen):
    """TPIR at a target FPIR with people outside the release as non-members; None where it is not measurable here."""

    attack: str
    embedder: str
    fpir: float
    value: float | None
    low: float | None
    high: float | None
    hits: int | None
    trials: int | None
    method: str | None
    nonmember_trials: int
    nonmember_people: int
    smallest_measurable: float | None


class RowResult(Frozen):
    """One row of a table: accuracy by protocol, seeds by protocol, leakage, and the paper's own figures.

    ``worst`` is over attacks and judges without the probe's own photo, ``worst_same_photo`` with it. ``attack``: what
    claims about this row's leakage mean.
    """

    label: str
    weights: str = ""
    trained_on: str
    attack: str = RELEASED
    accuracy: dict[str, RateResult]
    seeds: dict[str, tuple[SeedResult, ...]]
    leakage: tuple[LeakageResult, ...] = ()
    worst: WorstResult | None = None
    worst_same_photo: WorstResult | None = None
    open_set: tuple[OpenSetResult, ...] = ()
    sharpness: float | None = None
    paper: dict[str, float] = {}


class PairedResult(Frozen):
    """Row ``a`` minus row ``b`` on one metric, matched; the half-width is the smallest visible difference."""

    a: str
    b: str
    metric: str
    value: float
    low: float
    high: float
    smallest_resolvable: float
    method: str


class ClaimResult(Frozen):
    """A claim of the paper and what the paired interval says of it.

    ``stand_in``: what one of the rows is in the place of; the verdict is then on that, not on the method.
    """

    claim: str
    metric: str
    a: str
    b: str
    verdict: str
    stand_in: str = ""


class JudgeResult(Frozen):
    """A network that judges leakage: its own accuracy says how far its verdicts reach."""

    name: str
    loss_network: bool
    accuracy: dict[str, RateResult]


class Results(Frozen):
    """A whole table as published."""

    schema_version: int = Field(default=1, alias="schema")
    title: str
    note: str = ""
    command: str
    digest: str
    hardware: dict[str, Any]
    rows: tuple[RowResult, ...]
    judges: tuple[JudgeResult, ...] = ()
    paired: tuple[PairedResult, ...] = ()
    claims: tuple[ClaimResult, ...] = ()
    training: tuple[dict[str, Any], ...] = ()
    lineage: tuple[dict[str, Any], ...] = ()


def write_results(path: Path, results: Results) -> None:
    """Write the JSON, whole or not at all."""
    write_json(path, results.model_dump(by_alias=True, mode="json"))


def read_results(path: Path) -> Results:
    """The results of an earlier run."""
    return Results.model_validate_json(path.read_bytes())
