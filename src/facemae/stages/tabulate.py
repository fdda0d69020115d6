"""Finished stages to one table: means over seeds, paired intervals, verdicts. Nothing is trained here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facemae.errors import RecipeError
from facemae.faces.distort import sharpness
from facemae.faces.faceset import FaceSet
from facemae.faces.pairs import read_pairs
from facemae.measure import Difference, mean_over_seeds, paired_difference, verdict
from facemae.spec.manifest import read_manifest
from facemae.spec.results import (
    IMITATED,
    RELEASED,
    UNPROTECTED,
    ClaimResult,
    JudgeResult,
    PairedResult,
    RateResult,
    RowResult,
    SeedResult,
)
from facemae.spec.table import Table
from facemae.spec.table_parts import FALL, HALF_ERROR, Claim, Judge, Row
from facemae.stages import verify as verifications
from facemae.stages.findings import Findings, difference, fall
from facemae.train.journal import read_journal

SAMPLE = 256
"""Photos from which a set's sharpness is taken, evenly spaced."""


@dataclass(frozen=True)
class Made:
    """Where the plan put things: a directory per (row, seed, protocol), per row, per judge and protocol."""

    verifications: Mapping[tuple[str, int, str], Path]
    audits: Mapping[str, Path]
    judged: Mapping[tuple[str, str], Path]
    sets: Mapping[str, Path]
    protocol_files: Mapping[str, tuple[Path, Path]]


def tabulate(
    table: Table, made: Made
) -> tuple[tuple[RowResult, ...], tuple[JudgeResult, ...], tuple[PairedResult, ...], tuple[ClaimResult, ...]]:
    """Rows, judges, paired differences and claim verdicts of ``table`` from what its stages left on disk.

    Raises:
        RecipeError: a claim is about an attack that no audit of the table ran.
    """
    people = {name: _people(*files) for name, files in made.protocol_files.items()}
    rows = tuple(_row(row, table, made, people) for row in table.rows)
    judges = tuple(_judge(judge, table, made) for judge in table.judges)
    stand_ins = {row.label: row.stand_in for row in table.rows}
    paired, claims = [], []
    for claim in table.each_claim():
        found = _difference(claim, table, made, people)
        said = verdict(claim.kind, found.low, found.high)
        paired.append(_paired(claim.a, claim.b, claim.metric, found))
        compared = {"a": claim.a, "b": claim.b, "stand_in": stand_ins[claim.a] or stand_ins[claim.b]}
        claims.append(ClaimResult(claim=claim.claim, metric=claim.metric, verdict=said, **compared))
    for pair in _every_pair(table):
        if all((p.a, p.b, p.metric) != (pair.a, pair.b, pair.metric) for p in paired):
            paired.append(_paired(pair.a, pair.b, pair.metric, _difference(pair, table, made, people)))
    return rows, judges, tuple(paired), tuple(claims)


def training_of(name: str, directory: Path) -> dict[str, Any]:
    """A generator's run for the record: its spec, image-steps and loss (downsampled)."""
    manifest = read_manifest(directory)
    rows = read_journal(directory / "journal.jsonl")
    shown = rows[:: max(1, len(rows) // 200)]
    last = rows[-max(1, len(rows) // 20) :]
    terms = [term for term in ("loss", "pixel", "instance", "relation") if term in rows[-1]]
    return {
        "name": name,
        "digest": manifest.digest,
        "size": manifest.spec["size"],
        "parameters": manifest.facts["parameters"],
        "image_steps": manifest.facts["image_steps"],
        "loss_weights": manifest.spec["loss"],
        "start": "weights of another model" if "init" in manifest.parents else "random",
        "final": {term: float(np.mean([row[term] for row in last])) for term in terms},
        "steps": [row["step"] * manifest.spec["batch"] for row in shown],
        "loss": [row["loss"] for row in shown],
    }


def _row(row: Row, table: Table, made: Made, people: Mapping[str, int]) -> RowResult:
    accuracy, seeds = {}, {}
    for protocol in table.protocols if table.seeds else ():
        found = [verifications.read_result(made.verifications[row.label, seed, protocol.name]) for seed in table.seeds]
        values, replicates = _accuracies(row.label, protocol.name, table.seeds, made)
        rate = mean_over_seeds(
            values,
            replicates,
            hits=sum(result["accuracy"]["hits"] for result in found),
            trials=sum(result["accuracy"]["trials"] for result in found),
            people=people[protocol.name],
        )
        accuracy[protocol.name] = RateResult(**rate.to_dict())
        seeds[protocol.name] = tuple(
            SeedResult(seed=seed, accuracy=value) for seed, value in zip(table.seeds, values.tolist(), strict=True)
        )
    audited = Findings(made.audits[row.label]) if row.label in made.audits else None
    return RowResult(
        label=row.label,
        weights=row.weights,
        trained_on=row.train,
        attack=_attack(table, row),
        accuracy=accuracy,
        seeds=seeds,
        leakage=audited.leakages() if audited else (),
        worst=audited.worst("exclude") if audited else None,
        worst_same_photo=audited.worst("include") if audited else None,
        open_set=audited.open_sets() if audited else (),
        sharpness=_sharpness(made.sets[row.train]),
        paper=row.paper,
    )


def _judge(judge: Judge, table: Table, made: Made) -> JudgeResult:
    accuracy = {
        protocol.name: RateResult(**verifications.read_result(made.judged[judge.name, protocol.name])["accuracy"])
        for protocol in table.protocols
    }
    return JudgeResult(name=judge.name, loss_network=judge.loss_network, accuracy=accuracy)


def _every_pair(table: Table) -> list[Claim]:
    """Each row against each earlier one on every protocol, beside what the claims ask for."""
    return [
        Claim(claim="", a=later.label, b=earlier.label, metric=protocol.name)
        for protocol in (table.protocols if table.seeds else ())
        for i, later in enumerate(table.rows)
        for earlier in table.rows[:i]
    ]


def _difference(claim: Claim, table: Table, made: Made, people: Mapping[str, int]) -> Difference:
    if claim.metric.startswith(("leakage:", FALL)):
        return _leakage_difference(claim, table, made)
    protocol = claim.metric.removeprefix(HALF_ERROR)
    values_a, replicates_a = _accuracies(claim.a, protocol, table.seeds, made)
    values_b, replicates_b = _accuracies(claim.b, protocol, table.seeds, made)
    if protocol != claim.metric:
        # Half of b's error is left when its accuracy is 1 - (1 - accuracy) / 2.
        values_b, replicates_b = (1 + values_b) / 2, (1 + replicates_b) / 2
    return paired_difference(values_a, values_b, replicates_a, replicates_b, people=people[protocol])


def _accuracies(row: str, protocol: str, seeds: Sequence[int], made: Made) -> tuple[np.ndarray, np.ndarray]:
    paths = [made.verifications[row, seed, protocol] for seed in seeds]
    values = np.array([verifications.read_result(path)["accuracy"]["value"] for path in paths])
    return values, np.stack([np.load(path / verifications.REPLICATES) for path in paths])


def _leakage_difference(claim: Claim, table: Table, made: Made) -> Difference:
    """Of the attacks that the rows are about, or of their falls, without the probe's own photo."""
    kind, judge, k = claim.metric.split(":")
    rows = {row.label: row for row in table.rows}
    sides = [(Findings(made.audits[label]), _attack(table, rows[label])) for label in (claim.a, claim.b)]
    found = (fall if kind + ":" == FALL else difference)(sides, judge, int(k))
    if found is None:
        raise RecipeError(
            f"claim {claim.claim!r} cannot be judged",
            got="audits that leave the probe's own photo in (audit.same_photo = include)",
            needed="exclude or both",
        )
    return found


def _attack(table: Table, row: Row) -> str:
    """Which attack a claim about a row's leakage means: a row that brings its own imitation is about that one."""
    if row.imitation is not None:
        return IMITATED
    return RELEASED if table.linkage_of(row.train) else UNPROTECTED


def _paired(a: str, b: str, metric: str, found: Difference) -> PairedResult:
    return PairedResult(
        a=a,
        b=b,
        metric=metric,
        value=found.value,
        low=found.low,
        high=found.high,
        smallest_resolvable=found.smallest_resolvable,
        method=found.method,
    )


def _people(faces: Path, pairs: Path) -> int:
    photos = FaceSet.open(faces)
    listed = read_pairs(pairs, photos.people)
    return len(np.unique(photos.identities[np.concatenate([listed.left, listed.right])]))


def _sharpness(directory: Path) -> float:
    faces = FaceSet.open(directory)
    return sharpness(faces.images(np.linspace(0, len(faces) - 1, min(SAMPLE, len(faces))).astype(int).tolist()))
