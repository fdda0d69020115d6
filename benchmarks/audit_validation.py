"""The test bench of the audit: does every instrument find what was planted, and nothing where nothing is?

    python benchmarks/audit_validation.py results --runs RUNS

Two parts. *End to end*: releases with a known answer (`facemae.faces.planted`) of synthetic people, written to disk and
measured as any release is (`audit_plants.py`, `audit_attackers.py`), with other people in every repetition; what each
says beforehand (``expects``) is compared with what was found. *Simulated*: `audit_simulated.py`, embeddings with a
known leak, 400 repetitions: coverage of the intervals, false accusations, also of whole audits, and power.
Everything is kept in RUNS piece by piece: the same command goes on where it stopped, ``--minutes`` ends it in time, and
what is not there yet the results say.
"""

import argparse
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import audit_coverage as simulated
from audit_attackers import ATTACKERS, LEARNERS, attacked
from audit_page import page
from audit_pieces import Pieces
from audit_plants import BESIDE, FPIR, JUDGED, KS, LEVEL, Sizes, Town, beside, judged, opened, written
from audit_simulated import LEAKS, POWER, simulate
from scipy.stats import binom

from facemae.faces.faceset import FaceSet
from facemae.faces.planted import PLANTS, Plant, Watcher
from facemae.measure import wilson
from facemae.spec.manifest import digest_of, write_json
from facemae.train.hardware import hardware

# ---- end to end ----------------------------------------------------------------------------------------------------


def watchers(plant: Plant, sizes: Sizes, repetition: int) -> list[Watcher]:
    """Who is asked in a repetition: everybody at first, then who must find something and learns nothing."""
    if repetition < sizes.repetitions:
        return [*plant.expects, *({*JUDGED} - {*plant.expects})]
    quick = [name for name, what in plant.expects.items() if what == "found" and name not in LEARNERS]
    return quick if repetition < sizes.often else []


def planted(town: Town, plant: Plant, asked: list[Watcher]) -> dict[str, Any]:
    """One release, written, measured and taken away again: what every instrument found that is ``asked``.

    Instruments beside the pixels take a second and are always asked, those of one look by the judge all together.
    """
    place = town.directory / f"release-{plant.name}"
    shutil.rmtree(place, ignore_errors=True)
    out = written(town, plant, place)
    found: dict[str, Any] = {"beside": beside(town, out), "records": len(FaceSet.open(town.originals))}
    if not BESIDE.issuperset(asked):
        released = opened(town, plant, out, place)
        found |= judged(town, released) if not JUDGED.isdisjoint(asked) else {}
        found |= {name: attacked(town, plant, released, name) for name in ATTACKERS if name in asked}
    shutil.rmtree(place, ignore_errors=True)
    return found


def told(found: dict[str, Any], watcher: str) -> bool | None:
    """Whether an instrument reports anything; None where it was not asked."""
    if watcher in BESIDE:
        return watcher in found["beside"]["found"]
    return bool(found[watcher]["found"]) if watcher in found else None


def end_to_end(pieces: Pieces, directory: Path, sizes: Sizes, only: list[str]) -> list[dict[str, Any]]:
    """One row a plant: of every instrument, what was expected, in how many repetitions it held, and numbers."""
    rows = []
    for name, plant in PLANTS.items():
        if only and name not in only:
            continue
        found = []
        for repetition in range(max(sizes.repetitions, sizes.often)):
            if asked := watchers(plant, sizes, repetition):
                town = partial(Town, directory, repetition, sizes)
                work = lambda town=town, plant=plant, asked=asked: planted(town(), plant, asked)  # noqa: E731
                found.append(pieces.get(f"end-{name}-{repetition}", work))
        rows.append(_row(plant, [one for one in found if one is not None]))
    return rows


def _row(plant: Plant, found: list[dict[str, Any]]) -> dict[str, Any]:
    expects = {}
    for watcher, what in plant.expects.items():
        asked = [each for one in found if (each := told(one, watcher)) is not None]
        held = sum(each == (what == "found") for each in asked)
        expects[watcher] = {
            "expects": what,
            "held": held,
            "of": len(asked),
            "verdict": _verdict(what, held, len(asked)),
        }
    return {"plant": plant.name, "answer": plant.answer, "expects": expects, "found": found}


def _verdict(expects: str, held: int, of: int) -> str:
    if not of:
        return "not run"
    if held == of:
        return "held"
    return f"{'missed' if expects == 'found' else 'accused'} in {of - held} of {of}"


# ---- answers that are numbers --------------------------------------------------------------------------------------


def answers(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the known answers say of the numbers themselves, each with a computed verdict."""
    found = {row["plant"]: row["found"] for row in rows}
    checks = list(_checks(found))
    return [{"claim": claim, "held": sum(held), "of": len(held)} for claim, held in checks if held]


def _checks(found: dict[str, list[dict[str, Any]]]) -> Iterator[tuple[str, list[bool]]]:
    def values(one: dict[str, Any], photo: str) -> list[float]:
        return [at["value"] for at in one["retrieval"][photo]]

    # In the later repetitions only those instruments were asked that have to find something.
    searched = {name: [one for one in every if "retrieval" in one] for name, every in found.items()}
    copied, replaced = searched.get("copied", []), searched.get("replaced", [])
    yield "copied: leak = Org. to Org., exactly", [values(one, "exclude") == one["unprotected"] for one in copied]
    rates = [at for one in replaced for at in one["retrieval"]["exclude"]]
    yield "replaced: chance lies within the interval", [at["low"] <= at["chance"] <= at["high"] for at in rates]
    for percent in (1, 5, 20):
        yield (
            f"planted {percent} %: who holds the photos finds at least that share at K = 1",
            [
                one["retrieval"]["include"][0]["hits"] >= round(percent / 100 * one["records"])
                for one in searched.get(f"planted-{percent}", [])
            ],
        )
        yield (
            f"planted {percent} %: the duplicate check names every planted record and no other",
            [
                one["beside"]["copies"] == round(percent / 100 * one["records"])
                for one in found.get(f"planted-{percent}", [])
            ],
        )
    for name, attacker in (("scrambled", "imitator"), ("scrambled", "imitating_parrot"), ("turned", "imitator")):
        asked = [one[attacker] for one in found.get(name, []) if attacker in one]
        yield f"{name}: whoever repeats the process ({attacker}) finds every own photo", [_every(one) for one in asked]
    asked = [one["pixels"] for one in found.get("tinted", []) if "pixels" in one]
    yield "tinted: pixels find 99 % of the own photos", [one["include"][0]["value"] >= 0.99 for one in asked]
    folded = [one for one in found.get("folded", []) if "inverter" in one]
    chosen = [one["inverter"]["chosen"].startswith("U-Net after as released") for one in folded]
    yield "folded: the way back that was chosen is the U-Net, after no linear one", chosen
    for name, attacker in (("folded", "inverter"), ("tinted", "parrot"), ("turned", "cross_matcher")):
        both = [one for one in found.get(name, []) if attacker in one and "retrieval" in one]
        claim = f"{name}: the {attacker.replace('_', '-')} with the photo in hand finds twice what plain search does"
        yield claim, [_own(one, attacker) >= 2 * _own(one, "retrieval") for one in both]
    blurred = [searched.get(f"blurred-{sigma}", []) for sigma in (1, 2, 4, 8)]
    steps = zip(*blurred, strict=False)
    yield (
        "blur: no step finds more than the one before",
        [_falls([values(one, "exclude")[0] for one in s]) for s in steps],
    )


def _every(found: dict[str, Any]) -> bool:
    own = found["include"][0]
    return bool(own["hits"] == own["trials"])


def _own(one: dict[str, Any], attacker: str) -> float:
    return float(one[attacker]["include"][0]["value"])


def _falls(values: list[float]) -> bool:
    return all(a >= b for a, b in pairwise(values))


def silence(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """All expectations of silence together: are there more accusations than the level allows?"""
    silent = [one for row in rows for one in row["expects"].values() if one["expects"] == "silent"]
    tests = sum(one["of"] for one in silent)
    accused = sum(one["of"] - one["held"] for one in silent)
    p = float(binom.sf(accused - 1, tests, LEVEL)) if tests else 1.0
    verdict = "no more accusations than stated" if p > LEVEL else "more accusations than stated"
    rate = wilson(accused, tests).to_dict() if tests else None
    return {"accused": rate, "level": LEVEL, "p_value": p, "verdict": verdict if tests else "not run"}


# ---- all of it -----------------------------------------------------------------------------------------------------


def validate(
    runs: Path, sizes: Sizes, *, repetitions: int = 400, minutes: float | None = None, only: list[str] | None = None
) -> dict[str, Any]:
    """The whole bench as data; ``only``: some plants and studies."""
    only = only or []
    pieces = Pieces(runs / "pieces", minutes)
    plants, studies = ([name for name in only if name in known] for known in (PLANTS, LEAKS))
    rows = end_to_end(pieces, runs, sizes, plants) if plants or not only else []
    simulations = simulate(pieces, repetitions, studies) if studies or not only else []
    settings = {"sizes": asdict(sizes), "repetitions": repetitions, "level": LEVEL, "fpir": FPIR, "k": list(KS)}
    settings |= {"power_at": POWER, "people": simulated.PEOPLE, "photos": simulated.PHOTOS}
    settings |= {"replicates": simulated.REPLICATES, "permutations": simulated.PERMUTATIONS}
    return {
        "schema": 1,
        "settings": settings,
        "unfinished": pieces.missing,
        "plants": rows,
        "answers": answers(rows),
        "silence": silence(rows),
        "simulated": simulations,
    }


def main() -> None:
    """Run what is missing and write `audit-validation.json` and `.md`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs") / "audit-validation")
    parser.add_argument("--repetitions", type=int, default=400, help="of the simulated releases")
    parser.add_argument("--minutes", type=float, help="begin nothing more after so many")
    parser.add_argument("--only", nargs="*", default=[], help="some plants and studies")
    asked = parser.parse_args()
    found = validate(asked.runs, Sizes(), repetitions=asked.repetitions, minutes=asked.minutes, only=asked.only)
    command = "python benchmarks/audit_validation.py results"
    asked.out.mkdir(parents=True, exist_ok=True)
    seeds = "repetitions from 0; a plant's own is 100 times its repetition and its place in the list"
    content = {"command": command, "hardware": hardware(), "seeds": seeds} | found
    content["digest"] = digest_of("audit-validation", {"settings": found["settings"]}, {})
    write_json(asked.out / "audit-validation.json", content)
    (asked.out / "audit-validation.md").write_text(page(found), encoding="utf-8")
    print(f"{asked.out / 'audit-validation.md'}: {found['unfinished']} pieces unfinished", file=sys.stderr)


if __name__ == "__main__":
    main()
