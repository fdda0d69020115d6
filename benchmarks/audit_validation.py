"""The test bench of the audit: does every instrument find what was planted, and nothing where nothing is?

    python benchmarks/audit_validation.py results --runs RUNS

Two parts. *End to end*: releases with a known answer (`facemae.faces.planted`) of synthetic people, three repetitions
with other people each, written to disk and measured as any release is; what each says beforehand (``expects``) is
compared with what was found. *Simulated*: `audit_coverage.py`, embeddings with a known leak, 400 repetitions: coverage
of the intervals, false accusations, power. Everything is kept in RUNS piece by piece: the same command goes on where it
stopped, ``--minutes`` ends it in time, and what is not there yet the results say.
"""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import audit_coverage as simulated
import numpy as np
from audit_page import page
from scipy.stats import binom

from facemae.attacks import Inverter, Owned, Released, judge_of, unit_rows
from facemae.faces.faceset import FaceSet
from facemae.faces.metadata import audit_metadata
from facemae.faces.planted import PLANTS, Plant
from facemae.faces.traces import linked_records, open_collection
from facemae.measure import family_wise, leakage, linking, nonmember_control, pair_scores, template_leakage, wilson
from facemae.nn.embedder import load_embedder
from facemae.spec.execution import Execution
from facemae.spec.manifest import digest_of, write_json
from facemae.spec.recipe import ExportSpec, ImportSpec
from facemae.stages.export import export_faces
from facemae.stages.import_ import import_faces
from facemae.stages.linkage import read_linkage
from facemae.stages.mask import private_of
from facemae.stages.planted import LINKAGE, plant_folder, plant_set
from facemae.train.hardware import hardware

PHI = Path(simulated.__file__).resolve().parents[1] / "src" / "facemae" / "weights" / "phi-synthetic"
LEVEL, FPIR, KS = 0.05, 0.1, (1, 2)
CHUNK = 50
"""Simulated releases in a piece: half a minute of the slowest study."""

POWER = {"retrieval": 0.5, "pairs": 0.5, "membership": 1.0, "templates": 0.5, "planted": 0.2}
"""The leak of the simulated releases (100 people, 4 photos each) that each measure must find in 95 % of them."""

LEAKS = {"pairs": (0.0, 0.5, 1.0)}
"""Where fewer than `audit_coverage.py` simulates: pairs take twenty times as long as the others."""


@dataclass(frozen=True)
class Sizes:
    """How large the end-to-end part is; people of one set have unequal numbers of photos."""

    people: int = 100
    photos: int = 7
    strangers: int = 60
    public: int = 60
    size: int = 64
    steps: int = 30
    replicates: int = 400
    repetitions: int = 3


class Pieces:
    """Finished work by name, each a JSON file; what is not there is done unless the time is over."""

    def __init__(self, directory: Path, minutes: float | None) -> None:
        self._directory, self._end = directory, time.monotonic() + 60 * minutes if minutes is not None else None
        self.missing = 0
        directory.mkdir(parents=True, exist_ok=True)

    def get(self, name: str, work: Callable[[], Any]) -> Any:
        """What ``work`` gave, now or earlier; None where there is no time left for it."""
        path = self._directory / f"{name}.json"
        if not path.exists():
            if self._end is not None and time.monotonic() > self._end:
                self.missing += 1
                return None
            started = time.monotonic()
            write_json(path, work())
            print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
        return json.loads(path.read_bytes())


# ---- end to end ----------------------------------------------------------------------------------------------------


class Town:
    """The people of one repetition, drawn once, and the network that judges them."""

    def __init__(self, directory: Path, repetition: int, sizes: Sizes) -> None:
        self.directory, self.sizes, self.seed = directory / f"town-{repetition}", sizes, repetition
        self.execution, self.cache = Execution(device="cpu"), self.directory / "cache"
        self.judge = judge_of("phi", load_embedder(PHI), cache=self.cache, execution=self.execution)

    def drawn(self, name: str, offset: int, people: int, photos: int) -> Path:
        """A set of people who are in no other set, nor in that which trained the judge."""
        first = 10_000 * (self.seed + 1) + offset
        synthetic = {"identities": people, "photos": photos, "first": first}
        spec = ImportSpec.model_validate({"size": self.sizes.size, "synthetic": synthetic})
        return import_faces(["synthetic"], self.directory / name, spec, self.execution)

    @cached_property
    def originals(self) -> Path:
        """People with unequal numbers of photos; one of them alone has all."""
        out = self.directory / "originals"
        if not out.exists():
            every, folder = self.drawn("drawn", 0, self.sizes.people, self.sizes.photos), self.directory / "folder"
            shutil.rmtree(folder, ignore_errors=True)
            export_faces(every, folder, ExportSpec(keep_names=True))
            for number, person in enumerate(sorted(folder.iterdir())[1:]):
                for photo in sorted(person.iterdir())[-1 - number % 3 :]:
                    photo.unlink()
            import_faces([str(folder)], out, ImportSpec(), self.execution)
        return out

    @property
    def donors(self) -> Path:
        """Strangers whose photos stand in for those of the release."""
        return self.drawn("donors", 2000, self.sizes.people + 10, self.sizes.photos)

    @property
    def strangers(self) -> Path:
        """People whom an attacker looks for in vain."""
        return self.drawn("strangers", 4000, self.sizes.strangers, 4)

    @property
    def public(self) -> Path:
        """People on whom attackers learn."""
        return self.drawn("public", 6000, self.sizes.public, 6)

    def vectors(self, faces: FaceSet) -> np.ndarray:
        """Unit rows."""
        return unit_rows(self.judge.vectors(faces))


def own_seed(town: Town, plant: Plant) -> int:
    """Every plant draws its own strangers: the silence of several about the same ones would count once only."""
    return 100 * town.seed + list(PLANTS).index(plant.name)


def planted(town: Town, plant: Plant) -> dict[str, Any]:
    """One release, written, measured and taken away again: what every instrument found."""
    place = town.directory / f"release-{plant.name}"
    shutil.rmtree(place, ignore_errors=True)
    write = plant_folder if plant.needs_files else plant_set
    out = write(town.originals, town.donors, place / "out", plant, seed=own_seed(town, plant), execution=town.execution)
    found = {"beside": beside(town, out)}
    faces, linkage = out, private_of(out)
    if plant.needs_files:
        faces = import_faces([str(out)], place / "imported", ImportSpec(), town.execution)
        linkage = private_of(out) / LINKAGE
    original = FaceSet.open(town.originals)
    released = Released(FaceSet.open(faces), original, read_linkage(linkage, original, FaceSet.open(faces)))
    probes, gallery = town.vectors(original), town.vectors(released.faces)
    found |= pixels(town, released, probes, gallery)
    if "inverter" in plant.expects:
        found["inverter"] = inverter(town, plant, released)
    shutil.rmtree(place, ignore_errors=True)
    return found


def beside(town: Town, out: Path) -> dict[str, Any]:
    """Every instrument beside the pixels, and the records that the duplicate check names."""
    with open_collection(town.originals) as ours, open_collection(out) as theirs:
        table = private_of(out) / LINKAGE
        linked = (
            linked_records(table, ours, theirs)
            if table.exists()
            else read_linkage(private_of(out), FaceSet.open(town.originals), FaceSet.open(out))
        )
        audit = audit_metadata(ours, theirs, linked=linked, seed=town.seed, execution=town.execution)
    # What a check itself puts down to its false alarms accuses nobody.
    names = {one.instrument for one in audit.findings if one.p_value is None or one.p_value <= LEVEL}
    copies = max((one.count for one in audit.findings if one.instrument == "duplicates"), default=0)
    return {"found": sorted(names), "copies": copies}


def pixels(town: Town, released: Released, probes: np.ndarray, gallery: np.ndarray) -> dict[str, Any]:
    """Retrieval, templates, verification and the open set by the judge's vectors."""
    labels, photo = released.original.identities.astype(np.int64), released.photo
    sides = probes, labels, gallery, labels[photo]
    own = np.argsort(photo)[:, None]  # every original has one record
    how = {"seed": town.seed, "replicates": town.sizes.replicates}
    templates = template_leakage(
        *sides, query_photo=np.arange(len(labels)), gallery_photo=photo, sizes=((None, None),), ks=(1,), **how
    )
    scores = pair_scores(*sides, exclude=own, seed=town.seed)
    link = linking(scores, fars=(FPIR, 0.01), **how)
    strangers = FaceSet.open(town.strangers)
    others = strangers.identities.astype(np.int64) + len(np.unique(labels))
    point = nonmember_control(
        *sides[:2], town.vectors(strangers), others, *sides[2:], fpirs=(FPIR,), exclude=own, **how
    ).points[0]
    assert point.rate is not None
    return {
        "retrieval": retrieval(town, sides, own),
        "templates": {"found": any(at.distinguishable for at in templates.at), "value": templates.at[0].rate.value},
        "verification": {"found": link.distinguishable, "value": link.eer.value},
        # Blind guessing names the right person among those alarms once in a hundred times: the alarms are the bound.
        "open_set": {"found": point.rate.low > FPIR, "value": point.rate.value, "low": point.rate.low},
        "unprotected": [at.rate.value for at in own_level(town, probes, labels).at],
    }


def retrieval(town: Town, sides: tuple[np.ndarray, ...], own: np.ndarray) -> dict[str, Any]:
    """Eq. 3 with the own photo left out and let in, one test for both."""
    how = {"ks": KS, "seed": town.seed, "replicates": town.sizes.replicates}
    both = {"exclude": leakage(*sides, exclude=own, **how), "include": leakage(*sides, **how)}
    tests = {name: (np.array([at.excess for at in each.at]), each.permuted) for name, each in both.items()}
    p = min(float(values.min()) for values in family_wise(tests).values())
    told = {name: [at.rate.to_dict() | {"chance": at.chance} for at in each.at] for name, each in both.items()}
    return {"found": p <= LEVEL, "p_value": p, "value": told["exclude"][0]["value"]} | told


def own_level(town: Town, probes: np.ndarray, labels: np.ndarray) -> Any:
    """Org. to Org."""
    own = np.arange(len(labels))[:, None]
    return leakage(probes, labels, probes, labels, ks=KS, exclude=own, seed=town.seed, replicates=1, permutations=1)


def inverter(town: Town, plant: Plant, released: Released) -> dict[str, Any]:
    """Retrieval after the way back that was fitted on public people, whose photos went through the same process."""
    # The process alone: nothing comes along with public people, and nothing is expected of their set.
    public, process = FaceSet.open(town.public), replace(plant, keeps=frozenset(), expects={})
    seed = 1000 + town.seed
    out = town.directory / f"public-{plant.name}"
    shutil.rmtree(out, ignore_errors=True)
    shutil.rmtree(private_of(out), ignore_errors=True)
    plant_set(town.public, town.donors, out, process, seed=seed, key=own_seed(town, plant), execution=town.execution)
    faces = FaceSet.open(out)
    protected = Released(faces, public, read_linkage(private_of(out), public, faces))
    owned = Owned(town.judge, town.execution, town.cache, protected, seed=town.seed, steps=town.sizes.steps)
    fitted = Inverter(width=8).fit(owned)
    probes, gallery = fitted.probes(released.original), fitted.gallery(released)
    sides = probes.vectors, probes.person, gallery.vectors, gallery.person
    found = retrieval(town, sides, np.argsort(released.photo)[:, None])
    return found | {"chosen": fitted.chosen, "tried": dict(fitted.tried)}


def told(found: dict[str, Any], watcher: str) -> bool:
    """Whether an instrument reports anything."""
    return bool(found[watcher]["found"]) if watcher in found else watcher in found["beside"]["found"]


def end_to_end(pieces: Pieces, directory: Path, sizes: Sizes, only: list[str]) -> list[dict[str, Any]]:
    """One row a plant: of every instrument, what was expected, in how many repetitions it held, and numbers."""
    rows = []
    for name, plant in PLANTS.items():
        if only and name not in only:
            continue
        found = []
        for repetition in range(sizes.repetitions):
            town = partial(Town, directory, repetition, sizes)
            found.append(pieces.get(f"end-{name}-{repetition}", lambda town=town, plant=plant: planted(town(), plant)))
        rows.append(_row(plant, [one for one in found if one is not None]))
    return rows


def _row(plant: Plant, found: list[dict[str, Any]]) -> dict[str, Any]:
    expects = {
        watcher: {"expects": what, "held": sum(told(one, watcher) == (what == "found") for one in found)}
        for watcher, what in plant.expects.items()
    }
    for one in expects.values():
        one["of"], one["verdict"] = len(found), _verdict(one["expects"], one["held"], len(found))
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

    copied, replaced = found.get("copied", []), found.get("replaced", [])
    yield "copied: leak = Org. to Org., exactly", [values(one, "exclude") == one["unprotected"] for one in copied]
    rates = [at for one in replaced for at in one["retrieval"]["exclude"]]
    yield "replaced: chance lies within the interval", [at["low"] <= at["chance"] <= at["high"] for at in rates]
    for percent in (1, 5, 20):
        plant = found.get(f"planted-{percent}", [])
        yield (
            f"planted {percent} %: who holds the photos finds at least that share at K = 1",
            [one["retrieval"]["include"][0]["hits"] >= round(percent / 100 * _trials(one)) for one in plant],
        )
        yield (
            f"planted {percent} %: the duplicate check names every planted record and no other",
            [one["beside"]["copies"] == round(percent / 100 * _trials(one)) for one in plant],
        )
    blurred = [found.get(f"blurred-{sigma}", []) for sigma in (1, 2, 4, 8)]
    steps = zip(*blurred, strict=False)
    yield (
        "blur: no step finds more than the one before",
        [_falls([values(one, "exclude")[0] for one in s]) for s in steps],
    )


def _trials(one: dict[str, Any]) -> int:
    return int(one["retrieval"]["include"][0]["trials"])


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


# ---- simulated -----------------------------------------------------------------------------------------------------


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
    """Rows of `audit_coverage.py` and of planted shares, each with its verdicts."""
    studies = {
        name: (study, truth, LEAKS.get(name, leaks)) for name, (study, truth, leaks) in simulated.STUDIES.items()
    }
    studies["worst"] = (simulated.study_worst, _truth_worst, (1.0,))
    studies["planted"] = (study_planted, lambda leak: {}, (0.0, 0.05, 0.2))
    rows = []
    for name, (study, truth, leaks) in studies.items():
        for leak in leaks if not only or name in only else ():
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
    unknown = name == "planted"
    truths = dict.fromkeys(found[0], float("nan")) if unknown else truths
    rows = simulated.summed(name, leak, found, truths)
    return [_judged(row | ({"truth": None, "coverage": None} if unknown else {})) for row in rows]


def _judged(row: dict[str, Any]) -> dict[str, Any]:
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
    if tells and row["leak"] == POWER[row["measure"]]:
        verdicts["power"] = "at least 95 %" if accused["value"] >= 0.95 else "below 95 %"
    return row | {"verdicts": verdicts}


# ---- all of it -----------------------------------------------------------------------------------------------------


def validate(
    runs: Path, sizes: Sizes, *, repetitions: int = 400, minutes: float | None = None, only: list[str] | None = None
) -> dict[str, Any]:
    """The whole bench as data; ``only``: some plants and studies."""
    only = only or []
    pieces = Pieces(runs / "pieces", minutes)
    known = [*simulated.STUDIES, "worst", "planted"]
    plants, studies = [name for name in only if name in PLANTS], [name for name in only if name in known]
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
