"""Planted releases from end to end: people drawn, a release written, every instrument asked, the release taken away.

Whoever needs a network trained, or the process run again, is in `audit_attackers.py`.
"""

import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np

from facemae.attacks import Judge, Released, judge_of, unit_rows
from facemae.faces.faceset import FaceSet
from facemae.faces.metadata import audit_metadata
from facemae.faces.planted import PLANTS, Plant
from facemae.faces.traces import Instrument, linked_records, open_collection
from facemae.measure import Statistics, family_wise, leakage, linking, nonmember_control, pair_scores, template_leakage
from facemae.nn.embedder import load_embedder
from facemae.spec.execution import Execution
from facemae.spec.recipe import ExportSpec, ImportSpec
from facemae.stages.export import export_faces
from facemae.stages.import_ import import_faces
from facemae.stages.linkage import read_linkage
from facemae.stages.mask import private_of
from facemae.stages.planted import LINKAGE, plant_folder, plant_set

PHI = Path(__file__).resolve().parents[1] / "src" / "facemae" / "weights" / "phi-synthetic"
LEVEL, FPIR, KS = 0.05, 0.1, (1, 2)

BESIDE = frozenset(get_args(Instrument))
JUDGED = frozenset({"retrieval", "templates", "open_set", "verification"})
"""Instruments beside the pixels, always asked; and those of one look by the judge, asked together."""


@dataclass(frozen=True)
class Sizes:
    """How large the end-to-end part is; people of one set have unequal numbers of photos.

    ``repetitions``: of everything. ``often``: of what has to be found by an instrument that learns nothing.
    """

    people: int = 100
    photos: int = 7
    strangers: int = 60
    public: int = 60
    size: int = 64
    steps: int = 30
    replicates: int = 400
    repetitions: int = 3
    often: int = 10


class Town:
    """The people of one repetition, drawn once, and the network that judges them."""

    def __init__(self, directory: Path, repetition: int, sizes: Sizes) -> None:
        self.directory, self.sizes, self.seed = directory / f"town-{repetition}", sizes, repetition
        self.execution, self.cache = Execution(device="cpu"), self.directory / "cache"

    @cached_property
    def judge(self) -> Judge:
        """The package's own network."""
        return judge_of("phi", load_embedder(PHI), cache=self.cache, execution=self.execution)

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


def donors_of(town: Town, plant: Plant) -> Path | None:
    """The strangers that a plant shows, drawn where it shows some."""
    return town.donors if plant.own < 1 else None


def written(town: Town, plant: Plant, place: Path) -> Path:
    """One release on disk, its way back beside it."""
    write = plant_folder if plant.needs_files else plant_set
    how = {"seed": own_seed(town, plant), "execution": town.execution}
    return write(town.originals, donors_of(town, plant), place / "out", plant, **how)


def opened(town: Town, plant: Plant, out: Path, place: Path) -> Released:
    """The release as attackers meet it."""
    faces, linkage = out, private_of(out)
    if plant.needs_files:
        faces = import_faces([str(out)], place / "imported", ImportSpec(), town.execution)
        linkage = private_of(out) / LINKAGE
    original, released = FaceSet.open(town.originals), FaceSet.open(faces)
    return Released(released, original, read_linkage(linkage, original, released))


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


def judged(town: Town, released: Released) -> dict[str, Any]:
    """Retrieval, templates, verification and the open set by the judge's vectors."""
    probes, gallery = town.vectors(released.original), town.vectors(released.faces)
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
    tests = {name: Statistics(each.observed, each.permuted) for name, each in both.items()}
    p = min(float(values.min()) for values in family_wise(tests).values())
    told = {name: [at.rate.to_dict() | {"chance": at.chance} for at in each.at] for name, each in both.items()}
    return {"found": p <= LEVEL, "p_value": p, "value": told["exclude"][0]["value"]} | told


def own_level(town: Town, probes: np.ndarray, labels: np.ndarray) -> Any:
    """Org. to Org."""
    own = np.arange(len(labels))[:, None]
    return leakage(probes, labels, probes, labels, ks=KS, exclude=own, seed=town.seed, replicates=1, permutations=1)
