"""The simulated part of the test bench: `audit_coverage.py` and `audit_family.py` piece by piece, with verdicts."""

from dataclasses import asdict
from functools import partial
from typing import Any

import audit_coverage as simulated
import audit_family
import numpy as np
from audit_pieces import Pieces
from audit_plants import LEVEL

from facemae.measure import leakage

CHUNK = 50
"""Simulated releases in a piece: half a minute of the slowest study."""

POWER = {"retrieval": 0.5, "pairs": 0.5, "membership": 1.0, "templates": 0.5, "planted": 0.2}
"""The leak of the simulated releases (100 people, 4 photos each) that each measure must find in 95 % of them."""

FEWER = {"pairs": (0.0, 0.5, 1.0)}
"""Leaks where fewer than `audit_coverage.py` simulates: pairs take twenty times as long as the others."""

NO_TRUTH = ("planted", "whole audit", "own photo left out")
"""Studies of accusations alone: there is no interval whose coverage could be asked for."""

LEAKS: dict[str, tuple[float, ...]] = {name: FEWER.get(name, leaks) for name, (*_, leaks) in simulated.STUDIES.items()}
LEAKS |= {"worst": (1.0,), "planted": (0.0, 0.05, 0.2), "whole audit": (0.0,), "own photo left out": (0.0,)}
"""Every study, and the leaks that it simulates."""


def study_planted(leak: float, seed: int) -> dict[str, simulated.Told]:
    """That share of the records shows its person as another photo would, the others show strangers: retrieval."""
    photos, released = simulated.release(1.0, seed)
    random = np.random.default_rng([seed, 5])
    count = len(simulated.LABELS)
    strangers = simulated.faces(random.normal(size=(count, simulated.DIMENSION)), random)
    own = random.permutation(count) < round(leak * count)
    mixed = np.where(own[:, None], released, strangers)
    how = {"seed": seed, "replicates": simulated.REPLICATES, "permutations": simulated.PERMUTATIONS}
    sides = photos, simulated.LABELS, mixed, simulated.LABELS
    found = leakage(*sides, ks=(1, 4), exclude=simulated.OWN, **how)
    accused = any(at.distinguishable for at in found.at)
    return {f"K = {at.k}": simulated.told(at.rate, accused) for at in found.at}


def simulate(pieces: Pieces, repetitions: int, only: list[str]) -> list[dict[str, Any]]:
    """Rows of every study, each with its verdicts; ``only``: some of them."""
    studies: dict[str, tuple[Any, Any]] = {
        name: (study, truth) for name, (study, truth, _) in simulated.STUDIES.items()
    }
    studies["worst"] = (simulated.study_worst, _truth_worst)
    alone = (study_planted, audit_family.study_audit, audit_family.study_own_photo)
    studies |= {name: (study, lambda leak: {}) for name, study in zip(NO_TRUTH, alone, strict=True)}
    rows = []
    for name, (study, truth) in studies.items():
        for leak in LEAKS[name] if not only or name in only else ():
            rows += _simulated(pieces, name, leak, study, truth, repetitions)
    return rows


def _truth_worst(leak: float) -> dict[str, float]:
    return {str(share): simulated.truth_retrieval(leak * share)["K = 1"] for share in simulated.ATTACKS}


def _simulated(
    pieces: Pieces, name: str, leak: float, study: Any, truth: Any, repetitions: int
) -> list[dict[str, Any]]:
    truths = pieces.get(f"truth-{name}-{leak}", partial(truth, leak))
    found: list[dict[str, simulated.Told]] = []
    if truths is None:
        return []
    if name == "worst":
        study = partial(study, truths={float(share): value for share, value in truths.items()})
    for start in range(0, repetitions, CHUNK):
        seeds = range(start, min(start + CHUNK, repetitions))
        piece = pieces.get(
            f"simulated-{name}-{leak}-{seeds.start}-{seeds.stop}",
            lambda seeds=seeds: [{k: asdict(v) for k, v in study(leak, seed).items()} for seed in seeds],
        )
        found += [{k: simulated.Told(**v) for k, v in one.items()} for one in piece or []]
    if not found:
        return []
    unknown = name in NO_TRUTH
    truths = dict.fromkeys(found[0], float("nan")) if unknown else truths
    rows = simulated.summed(name, leak, found, truths)
    return [judged_row(row | ({"truth": None, "coverage": None} if unknown else {})) for row in rows]


def judged_row(row: dict[str, Any]) -> dict[str, Any]:
    """Verdicts on one row: coverage of 92 to 98 %, at most 5 % accused, at least 95 % found at the stated leak."""
    verdicts, held, accused = {}, row["coverage"], row["accused"]
    if held is not None:
        low, high = simulated.COVERAGE
        outside = "too wide" if held["low"] > high else "too narrow" if held["high"] < low else ""
        near = "" if low <= held["value"] <= high else " (by its interval)"
        verdicts["coverage"] = outside or f"92 to 98 %{near}"
    tells = row["measure"] not in ("open set", "loud strangers", "worst")  # these have no verdict of their own
    if tells and row["leak"] == 0:
        verdicts["accused"] = "more than stated" if accused["low"] > LEVEL else "no more than stated"
    if tells and row["leak"] == POWER.get(row["measure"]):
        verdicts["power"] = "at least 95 %" if accused["value"] >= 0.95 else "below 95 %"
    return row | {"verdicts": verdicts}
