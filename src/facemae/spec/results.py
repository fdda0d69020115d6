"""WHAT came out: the one schema of every `results/*.json` (rates are fractions in [0, 1])."""

from pathlib import Path
from typing import Any

from pydantic import Field

from facemae.spec.manifest import Frozen, write_json


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
    chance: float


class LeakageResult(Frozen):
    """One attack at one K under one embedder; ``control`` is the same attack on permuted identities."""

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
    control: float
    verdict: str
    method: str
    curve: tuple[CurveResult, ...] = ()


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
    """One row of a table: accuracy by protocol, seeds by protocol, leakage, and the paper's own figures."""

    label: str
    weights: str = ""
    trained_on: str
    accuracy: dict[str, RateResult]
    seeds: dict[str, tuple[SeedResult, ...]]
    leakage: tuple[LeakageResult, ...] = ()
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
    """A claim of the paper and what the paired interval says of it."""

    claim: str
    metric: str
    a: str
    b: str
    verdict: str


class JudgeResult(Frozen):
    """A network that judges leakage: its own accuracy says how far its verdicts reach."""

    name: str
    loss_network: bool
    accuracy: dict[str, float]


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
