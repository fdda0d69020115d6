"""Finished stages to one table: means over seeds, paired intervals, verdicts. Nothing is trained here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facemae.faces.distort import sharpness
from facemae.faces.faceset import FaceSet
from facemae.faces.pairs import read_pairs
from facemae.measure import Difference, mean_over_seeds, paired_difference, verdict
from facemae.spec.manifest import read_manifest
from facemae.spec.results import (
    ClaimResult,
    CurveResult,
    JudgeResult,
    LeakageResult,
    OpenSetResult,
    PairedResult,
    RateResult,
    RowResult,
    SeedResult,
)
from facemae.spec.table import Claim, Judge, Row, Table
from facemae.stages import audit as audits
from facemae.stages import verify as verifications
from facemae.train.journal import read_journal

SAMPLE = 256
"""Photos from which a set's sharpness is taken, evenly spaced."""


@dataclass(frozen=True)
class Made:
    """Where the plan put things: a directory per (row set, seed, protocol), per row, per judge and protocol."""

    verifications: Mapping[tuple[str, int, str], Path]
    audits: Mapping[str, Path]
    judged: Mapping[tuple[str, str], Path]
    sets: Mapping[str, Path]
    models: Mapping[str, Path]
    protocol_files: Mapping[str, tuple[Path, Path]]


def tabulate(
    table: Table, made: Made
) -> tuple[tuple[RowResult, ...], tuple[JudgeResult, ...], tuple[PairedResult, ...], tuple[ClaimResult, ...]]:
    """Rows, judges, paired differences and claim verdicts of ``table`` from what its stages left on disk."""
    people = {name: _people(*files) for name, files in made.protocol_files.items()}
    rows = tuple(_row(row, table, made, people) for row in table.rows)
    judges = tuple(_judge(judge, table, made) for judge in table.judges)
    paired, claims = [], []
    for claim in table.claims:
        difference = _difference(claim, table, made, people)
        found = verdict(claim.kind, difference.low, difference.high)
        paired.append(_paired(claim.a, claim.b, claim.metric, difference))
        claims.append(ClaimResult(claim=claim.claim, metric=claim.metric, a=claim.a, b=claim.b, verdict=found))
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
    for protocol in table.protocols:
        found = [verifications.read_result(made.verifications[row.train, seed, protocol.name]) for seed in table.seeds]
        values, replicates = _accuracies(row.train, protocol.name, table.seeds, made)
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
    attacks = audits.read_audit(made.audits[row.label])["attacks"] if row.label in made.audits else []
    return RowResult(
        label=row.label,
        weights=row.weights,
        trained_on=row.train,
        accuracy=accuracy,
        seeds=seeds,
        leakage=tuple(_leakage(attack, at) for attack in attacks for at in attack["at"]),
        open_set=tuple(point for attack in attacks for point in _open_set(attack)),
        sharpness=_sharpness(made.sets[row.train]),
        paper=row.paper,
    )


def _leakage(attack: dict[str, Any], at: dict[str, Any]) -> LeakageResult:
    curve = [point for point in attack["curve"] if point["k"] == at["k"]]
    kept = ("k", "identities", "value", "low", "high", "hits", "trials", "chance", "control", "verdict", "method")
    return LeakageResult(
        attack=attack["attack"],
        embedder=attack["embedder"],
        same_photo=attack["same_photo"],
        curve=tuple(
            CurveResult(**{key: point[key] for key in ("k", "identities", "value", "low", "high", "chance")})
            for point in curve
        ),
        **{key: at[key] for key in kept},
    )


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


def _judge(judge: Judge, table: Table, made: Made) -> JudgeResult:
    accuracy = {
        protocol.name: verifications.read_result(made.judged[judge.name, protocol.name])["accuracy"]["value"]
        for protocol in table.protocols
    }
    return JudgeResult(name=judge.name, loss_network=judge.loss_network, accuracy=accuracy)


def _every_pair(table: Table) -> list[Claim]:
    """Each row against each earlier one on every protocol, beside what the claims ask for."""
    return [
        Claim(claim="", a=later.label, b=earlier.label, metric=protocol.name)
        for protocol in table.protocols
        for i, later in enumerate(table.rows)
        for earlier in table.rows[:i]
    ]


def _difference(claim: Claim, table: Table, made: Made, people: Mapping[str, int]) -> Difference:
    rows = {row.label: row for row in table.rows}
    if claim.metric.startswith("leakage:"):
        _, judge, k = claim.metric.split(":")
        (a, draws_a, members), (b, draws_b, _) = (_leakages(rows[x], judge, int(k), made) for x in (claim.a, claim.b))
        return paired_difference(np.array([a]), np.array([b]), draws_a[None], draws_b[None], people=members)
    values_a, replicates_a = _accuracies(rows[claim.a].train, claim.metric, table.seeds, made)
    values_b, replicates_b = _accuracies(rows[claim.b].train, claim.metric, table.seeds, made)
    return paired_difference(values_a, values_b, replicates_a, replicates_b, people=people[claim.metric])


def _accuracies(train: str, protocol: str, seeds: Sequence[int], made: Made) -> tuple[np.ndarray, np.ndarray]:
    paths = [made.verifications[train, seed, protocol] for seed in seeds]
    values = np.array([verifications.read_result(path)["accuracy"]["value"] for path in paths])
    return values, np.stack([np.load(path / verifications.REPLICATES) for path in paths])


def _leakages(row: Row, judge: str, k: int, made: Made) -> tuple[float, np.ndarray, int]:
    """A row's leakage ("Org. to Org." where nothing was protected), its bootstrap replicates, and its people."""
    path = made.audits[row.label]
    wanted = audits.RELEASED if row.linkage else audits.UNPROTECTED
    for number, attack in enumerate(audits.read_audit(path)["attacks"]):
        if (attack["attack"], attack["embedder"], attack["same_photo"]) == (wanted, judge, "exclude"):
            column = [at["k"] for at in attack["at"]].index(k)
            at = attack["at"][column]
            with np.load(path / audits.REPLICATES) as stored:
                return float(at["value"]), stored[f"arr_{number}"][:, column], int(at["identities"])
    raise AssertionError(f"row {row.label} was not audited with {judge}")


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
