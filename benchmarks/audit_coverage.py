"""Whether the audit's numbers mean what they say, on simulated embeddings whose leak is known.

    python benchmarks/audit_coverage.py OUT.json [--repetitions 400] [--seed 0] [--only MEASURE ...]

A person is a Gaussian vector z, a photo z + noise, a released image leak · z + noise; 100 people with 4 photos each. A
release of leak 0 gives nobody away. Of every measure: how often the interval holds the truth (asked for: 92 to 98 %),
how often a release without leak is called distinguishable from chance (asked for: 5 % at most), how often small leaks
are. Truths are exact where there is a formula, else means of many simulations or of a million pairs.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm

from facemae.measure import (
    Leakage,
    OpenSet,
    Rate,
    d_sys,
    first_half,
    leakage,
    linking,
    membership,
    nonmember_control,
    pair_scores,
    template_leakage,
    unlinkability,
    wilson,
    worst_case,
)
from facemae.spec.manifest import write_json

PEOPLE, PHOTOS, DIMENSION = 100, 4, 32
LABELS = np.repeat(np.arange(PEOPLE), PHOTOS)
OWN = np.arange(PEOPLE * PHOTOS)
REPLICATES, PERMUTATIONS = 400, 199
SIMULATIONS, PAIRS = 2000, 1_000_000
COVERAGE, ACCUSED = (0.92, 0.98), 0.05


@dataclass(frozen=True)
class Told:
    """What a measure told about one quantity of one simulated release."""

    value: float
    low: float
    high: float
    accused: bool
    truth: float | None = None


Study = Callable[[float, int], dict[str, Told]]
Truth = Callable[[float], dict[str, float]]


def faces(centre: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Unit rows about the given centres."""
    rows = centre + random.normal(size=centre.shape)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def release(leak: float, seed: int, *, releases: int = 1) -> tuple[np.ndarray, ...]:
    """Photos of the people, then one or more releases of them."""
    random = np.random.default_rng([seed, 1])
    centre = random.normal(size=(PEOPLE, DIMENSION))[LABELS]
    return faces(centre, random), *(faces(leak * centre, random) for _ in range(releases))


def told(rate: Rate, accused: bool) -> Told:
    """A rate with the verdict beside it."""
    return Told(rate.value, rate.low, rate.high, accused)


def retrieve(leak: float, seed: int, *, replicates: int = REPLICATES, permutations: int = PERMUTATIONS) -> Leakage:
    """Top-K retrieval without the same photo."""
    photos, released = release(leak, seed)
    own = {"exclude": OWN, "first": first_half(PEOPLE, seed)[LABELS]}
    how = {"seed": seed, "replicates": replicates, "permutations": permutations}
    return leakage(photos, LABELS, released, LABELS, ks=(1, 4), **own, **how)


def study_retrieval(leak: float, seed: int) -> dict[str, Told]:
    found = retrieve(leak, seed)
    accused = any(at.distinguishable for at in found.at)
    return {f"K = {at.k}": told(at.rate, accused) for at in found.at}


def truth_retrieval(leak: float) -> dict[str, float]:
    found = [retrieve(leak, 10**6 + i, replicates=1, permutations=0).at for i in range(SIMULATIONS)]
    return {f"K = {at.k}": float(np.mean([one[i].rate.value for one in found])) for i, at in enumerate(found[0])}


def open_set(leak: float, seed: int, *, strangers: int = PEOPLE, replicates: int = REPLICATES) -> OpenSet:
    """Members against strangers, photo by photo."""
    photos, released = release(leak, seed)
    random = np.random.default_rng([seed, 2])
    labels = PEOPLE + np.repeat(np.arange(strangers), PHOTOS)
    others = faces(random.normal(size=(strangers, DIMENSION)).repeat(PHOTOS, axis=0), random)
    sets = photos, LABELS, others, labels, released, LABELS
    return nonmember_control(*sets, fpirs=(0.1,), exclude=OWN, seed=seed, replicates=replicates)


def study_open_set(leak: float, seed: int) -> dict[str, Told]:
    [point] = open_set(leak, seed).points
    assert point.rate is not None
    return {"TPIR at FPIR 10 %": told(point.rate, False)}


def truth_open_set(leak: float) -> dict[str, float]:
    points = [open_set(leak, 10**6 + i, strangers=10 * PEOPLE, replicates=1).points[0] for i in range(SIMULATIONS // 4)]
    return {"TPIR at FPIR 10 %": float(np.mean([point.rate.value for point in points if point.rate]))}


def study_pairs(leak: float, seed: int) -> dict[str, Told]:
    photos, released = release(leak, seed)
    scores = pair_scores(photos, LABELS, released, LABELS, exclude=OWN, seed=seed, permutations=PERMUTATIONS)
    linked = linking(scores, fars=(0.1, 0.01), seed=seed, replicates=REPLICATES)
    share = unlinkability(scores, seed=seed, replicates=REPLICATES)
    found = {f"TAR at FAR {at.target:.0%}": told(at.rate, linked.distinguishable) for at in linked.tar if at.rate}
    dsys = Told(share.value, share.low, share.high, share.distinguishable)
    return found | {"EER": told(linked.eer, linked.distinguishable), "D_sys": dsys}


def truth_pairs(leak: float) -> dict[str, float]:
    random = np.random.default_rng(5)
    centre, other = random.normal(size=(2, PAIRS, DIMENSION)).astype(np.float32)
    photos = faces(centre, random)
    mated, nonmated = ((photos * faces(leak * whose, random)).sum(axis=1) for whose in (centre, other))
    mated, nonmated = np.sort(mated), np.sort(nonmated)
    tar = {f"TAR at FAR {far:.0%}": float((mated > np.quantile(nonmated, 1 - far)).mean()) for far in (0.1, 0.01)}
    refused = np.arange(PAIRS) / PAIRS
    accepted = 1 - np.searchsorted(nonmated, mated) / PAIRS
    eer = float(refused[np.argmax(refused >= accepted)])
    return tar | {"EER": eer if leak else 0.5, "D_sys": d_sys(mated, nonmated, bins=100) if leak else 0.0}


def study_membership(leak: float, seed: int) -> dict[str, Told]:
    random = np.random.default_rng([seed, 3])
    # Photos of one person share half of their score's variance.
    person, photo = random.normal(size=2 * PEOPLE), random.normal(size=2 * len(LABELS))
    labels = np.repeat(np.arange(2 * PEOPLE), PHOTOS)
    score = np.sqrt(0.5) * (person[labels] + photo) + leak * (labels < PEOPLE)
    members, others = slice(0, len(LABELS)), slice(len(LABELS), None)
    sides = score[members], labels[members], score[others], labels[others]
    found = membership(*sides, fprs=(0.1, 0.05), seed=seed, replicates=REPLICATES, permutations=PERMUTATIONS)
    points = {f"TPR at FPR {at.target:.0%}": told(at.rate, found.distinguishable) for at in found.points if at.rate}
    return {"AUC": told(found.auc, found.distinguishable)} | points


def truth_membership(leak: float) -> dict[str, float]:
    tpr = {f"TPR at FPR {fpr:.0%}": float(norm.cdf(leak + norm.ppf(fpr))) for fpr in (0.1, 0.05)}
    return {"AUC": float(norm.cdf(leak / np.sqrt(2)))} | tpr


WITHIN = (0.2, 0.6, 0.8)
"""Shares of a score's variance that photos of one person have in common: loud strangers alarm with many photos.

Best scores of 259 real strangers have 0.13 to 0.19 in common for the judges of the small scale, 0.47 to 0.63 for phi.
"""


def study_loud(leak: float, seed: int) -> dict[str, Told]:
    """100 to 400 strangers with 10 photos each; nothing is told where there are too few of them, or of alarms."""
    random = np.random.default_rng([seed, 6])
    strangers = np.repeat(np.arange(random.integers(100, 401)), 10)
    person = [random.normal(size=labels.max() + 1)[labels] for labels in (LABELS, strangers)]
    photo = [random.normal(size=len(labels)) for labels in (LABELS, strangers)]
    rates = {}
    for share in WITHIN:
        members, others = (np.sqrt(share) * p + np.sqrt(1 - share) * q for p, q in zip(person, photo, strict=True))
        sides = members + leak, LABELS, others, PEOPLE + strangers
        [point] = membership(*sides, fprs=(0.01,), seed=seed, replicates=REPLICATES, permutations=1).points
        if point.rate:
            rates[_loud(share)] = told(point.rate, False)
    return rates


def truth_loud(leak: float) -> dict[str, float]:
    return {_loud(share): float(norm.cdf(leak + norm.ppf(0.01))) for share in WITHIN}


def _loud(share: float) -> str:
    return f"FPR 1%, {share:.0%} within"


def study_templates(
    leak: float, seed: int, *, replicates: int = REPLICATES, permutations: int = PERMUTATIONS
) -> dict[str, Told]:
    photos, released = release(leak, seed)
    how = {"seed": seed, "replicates": replicates, "permutations": permutations, "draws": 5}
    sizes = ((1, 1), (None, None))
    found = template_leakage(
        photos, LABELS, released, LABELS, query_photo=OWN, gallery_photo=OWN, sizes=sizes, ks=(1,), **how
    )
    accused = any(at.distinguishable for at in found.at)
    return {f"{at.probe_images or 'all'} images, K = 1": told(at.rate, accused) for at in found.at}


def truth_templates(leak: float) -> dict[str, float]:
    found = [study_templates(leak, 10**6 + i, replicates=1, permutations=0) for i in range(SIMULATIONS)]
    return {name: float(np.mean([one[name].value for one in found])) for name in found[0]}


ATTACKS = (0.9, 0.95, 1.0)


def study_worst(leak: float, seed: int, *, truths: dict[float, float]) -> dict[str, Told]:
    """Three attacks of similar strength by the same photos; whichever is chosen has a true rate of its own."""
    photos, *_ = release(leak, seed)
    halves = {}
    for number, share in enumerate(ATTACKS):
        random = np.random.default_rng([seed, 1])
        centre = random.normal(size=(PEOPLE, DIMENSION))[LABELS]
        released = faces(leak * share * centre, np.random.default_rng([seed, 4, number]))
        first = first_half(PEOPLE, seed)[LABELS]
        how = {"seed": seed, "replicates": REPLICATES, "permutations": 0}
        found = leakage(photos, LABELS, released, LABELS, ks=(1,), exclude=OWN, first=first, **how)
        halves[str(share)] = found.at[0].halves
    worst = worst_case(halves)
    assert worst is not None
    rate = worst.told.rate
    return {"told": Told(rate.value, rate.low, rate.high, False, truths[float(worst.name)])}


def worst_with_truths(leak: float) -> Study:
    """The study, with what each of its attacks truly finds."""
    return partial(study_worst, truths={share: truth_retrieval(leak * share)["K = 1"] for share in ATTACKS})


STUDIES: dict[str, tuple[Study, Truth, tuple[float, ...]]] = {
    "retrieval": (study_retrieval, truth_retrieval, (0.0, 0.1, 0.5, 1.0)),
    "open set": (study_open_set, truth_open_set, (0.5, 1.0)),
    "pairs": (study_pairs, truth_pairs, (0.0, 0.1, 0.5, 1.0)),
    "membership": (study_membership, truth_membership, (0.0, 0.3, 1.0)),
    "loud strangers": (study_loud, truth_loud, (1.0, 2.0)),
    "templates": (study_templates, truth_templates, (0.0, 0.1, 0.5)),
}


def rows_of(measure: str, leak: float, study: Study, truths: dict[str, float], seeds: range) -> list[dict[str, Any]]:
    """One row a quantity: how often its interval held the truth, how often it was told from chance."""
    return summed(measure, leak, [study(leak, seed) for seed in seeds], truths)


def summed(measure: str, leak: float, found: list[dict[str, Told]], truths: dict[str, float]) -> list[dict[str, Any]]:
    """`rows_of` what was told of every simulated release; a release that was told nothing of counts nowhere."""
    rows = []
    for name in dict.fromkeys(name for one in found for name in one):
        column = [one[name] for one in found if name in one]
        truth = [told.truth if told.truth is not None else truths[name] for told in column]
        held = sum(told.low <= true <= told.high for told, true in zip(column, truth, strict=True))
        rows.append(
            {
                "measure": measure,
                "quantity": name,
                "leak": leak,
                "truth": float(np.mean(truth)),
                "mean": float(np.mean([told.value for told in column])),
                "spread": float(np.std([told.value for told in column])),
                "width": float(np.mean([told.high - told.low for told in column])),
                "coverage": wilson(held, len(column)).to_dict(),
                "accused": wilson(sum(told.accused for told in column), len(column)).to_dict(),
            }
        )
    return rows


def audit_coverage(*, repetitions: int = 400, seed: int = 0, only: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Rows of every study, at every leak."""
    seeds = range(seed, seed + repetitions)
    rows = []
    for measure, (study, truth, leaks) in STUDIES.items():
        for leak in leaks if not only or measure in only else ():
            rows += rows_of(measure, leak, study, truth(leak), seeds)
    if not only or "worst" in only:
        rows += rows_of("worst", 1.0, worst_with_truths(1.0), {}, seeds)
    return rows


def line(row: dict[str, Any]) -> str:
    """One row for the terminal."""
    held, accused = row["coverage"], row["accused"]
    marks = "" if held["high"] >= COVERAGE[0] else "  COVERAGE"
    marks += "  ACCUSES" if not row["leak"] and accused["low"] > ACCUSED else ""
    head = f"{row['measure']:14} {row['quantity']:20} leak {row['leak']:.2f}  true {row['truth']:.4f}"
    tail = f"covered {held['value']:.1%}  told from chance {accused['value']:.1%}{marks}"
    return f"{head}  mean {row['mean']:.4f}  {tail}"


def main() -> None:
    """Print one line a quantity and write the result."""
    parser = argparse.ArgumentParser(description="Coverage, false accusations and power of the audit's measures.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--repetitions", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=[], choices=[*STUDIES, "worst"])
    asked = parser.parse_args()
    rows = audit_coverage(repetitions=asked.repetitions, seed=asked.seed, only=tuple(asked.only))
    for row in rows:
        print(line(row), flush=True)
    settings = {"people": PEOPLE, "photos": PHOTOS, "dimension": DIMENSION, "replicates": REPLICATES}
    settings |= {"permutations": PERMUTATIONS, "repetitions": asked.repetitions, "seed": asked.seed}
    command = f"python benchmarks/audit_coverage.py OUT.json --repetitions {asked.repetitions} --seed {asked.seed}"
    write_json(asked.out, {"schema": 1, "command": command, "settings": settings, "rows": rows})


if __name__ == "__main__":
    main()
