"""`protect`: import, mask, reconstruct, audit, and a release folder; nothing leaves where the gate says no."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from facemae.attacks.attacker import unit_rows
from facemae.errors import DataError, FaceMAEError, OutputExists, RecipeError, StageError
from facemae.faces.faceset import FaceSet
from facemae.spec.execution import Execution
from facemae.spec.manifest import FILE, digest_of, read_manifest
from facemae.spec.normalisation import Normalisation, Statistics
from facemae.spec.recipe import AuditSpec, ImportSpec, MaskSpec, ProtectSpec, ReconstructSpec
from facemae.spec.results import EVERYBODY, RELEASED
from facemae.stages.audit import Inputs, audit
from facemae.stages.auditing.gate import demand_measured, read_limits
from facemae.stages.drop import drop
from facemae.stages.embed import vectors_of
from facemae.stages.exposure import Seen, bought, choosing_photos, exposure, most_exposed
from facemae.stages.import_ import SYNTHETIC, import_faces
from facemae.stages.inputs import source_digest
from facemae.stages.linkage import read_linkage
from facemae.stages.mask import mask, private_of
from facemae.stages.reconstruct import reconstruct
from facemae.stages.release import KEPT, Release, finished, write_release
from facemae.stages.stage import alone

PHI = Path(__file__).parents[1] / "weights" / "phi-synthetic"
"""The package's own embedder; trained on drawn people, it judges drawn people."""


@dataclass(frozen=True)
class Protection:
    """What is to be protected and by whom it is attacked; paths are what other verbs wrote, or another tool's files.

    ``faces``: photos (folder, tar …), the word "synthetic", or a finished set of originals. ``trained``, ``outsiders``:
    photos that trained ``model``, and others from where those came, for the question who was among them. ``limits``:
    texts such as "tpir@fpir=0.01:0.05" for the gate.
    """

    faces: str
    model: Path
    embedders: Mapping[str, Path] = field(default_factory=dict)
    normalize: Mapping[str, Normalisation] = field(default_factory=dict)
    public: Path | None = None
    nonmembers: Path | None = None
    trained: Path | None = None
    outsiders: Path | None = None
    landmarks: Path | None = None
    limits: tuple[str, ...] = ()


@dataclass(frozen=True)
class Specs:
    """Settings of every stage on the way."""

    imports: ImportSpec
    mask: MaskSpec
    reconstruct: ReconstructSpec
    audit: AuditSpec
    protect: ProtectSpec


def protect(
    asked: Protection, out: Path, specs: Specs, execution: Execution, *, work: Path | None = None
) -> dict[str, Any]:
    """Make the release ``out`` of ``asked.faces``, and return what is to be said of it.

    OUT holds the data, a card with the measured worst case, Croissant metadata and the audit; `OUT.private` the way
    back to the people. Stages lie in ``work`` (`OUT.work`), each under a name that follows from its settings: the same
    request goes on where it stopped, and a new one begins with what it shares. ``work`` holds the photos: it is as
    private as they are.

    Raises:
        RecipeError: no embedder for photos of people, a mask seed, or places within one another.
        OutputExists: OUT or OUT.private is something else. NotReleased: nothing is released; exit code 1.
        Whatever the stages on the way raise.
    """
    out = Path(os.path.abspath(out))
    work = Path(os.path.abspath(work or out.with_name(out.name + ".work")))
    _demand_apart(out, work, asked, specs)
    work.mkdir(parents=True, exist_ok=True, mode=0o700)
    with alone(out):  # two at once would write into one half-made release
        return _Run(asked, out, work, specs, execution).release()


@dataclass(frozen=True)
class _Made:
    """One release on its way: what was masked, what was made of it, and what its audit found."""

    masked: Path
    released: Path
    audit: Path
    found: dict[str, Any]


@dataclass(frozen=True)
class _Run:
    asked: Protection
    out: Path
    work: Path
    specs: Specs
    execution: Execution

    def release(self) -> dict[str, Any]:
        request = self._request()
        if (told := finished(self.out, request, self.asked.limits)) is not None:
            return told | {"work": str(self.work)}
        if read_manifest(self.asked.model).parents.get("faces") == source_digest(self.faces):
            raise RecipeError("--model", got="one trained on these very photos", needed="one trained on other people")
        made, dropped = self._made(self._mask(), "audit"), None
        if self.specs.protect.drop_worst > 0:
            made, dropped = self._without_the_worst(made)
        release = Release(self.faces, made.masked, made.released, made.audit, made.found, dropped, self.asked.limits)
        return write_release(release, self.out, self.specs.protect, request, self.execution) | {"work": str(self.work)}

    @cached_property
    def faces(self) -> Path:
        """The set of originals: given, or imported."""
        given = Path(self.asked.faces)
        if self.asked.faces != SYNTHETIC and (given / FILE).is_file():
            return FaceSet.open(given, kind="original").directory
        spec = self.specs.imports
        given_as = {"import": spec.model_dump(), "of": os.path.abspath(given)}
        if self.asked.landmarks is not None:
            given_as["landmarks"] = source_digest(self.asked.landmarks)
        place = self._place("faces", given_as)
        return import_faces([self.asked.faces], place, spec, self.execution, landmarks=self.asked.landmarks)

    @cached_property
    def embedders(self) -> dict[str, Path]:
        """The judges; the package's own where none is named and the people are drawn."""
        if self.asked.embedders:
            return dict(self.asked.embedders)
        if "synthetic" not in read_manifest(self.faces).spec:
            raise _no_embedder()
        return {"phi": PHI}

    def _request(self) -> str:
        """All that decides what the release is, but the gate, which only decides whether it is."""
        parents = {"faces": source_digest(self.faces), "model": source_digest(self.asked.model)}
        parents |= {f"embedder {name}": source_digest(path) for name, path in self.embedders.items()}
        sets = {name: getattr(self.asked, name) for name in ("public", "nonmembers", "trained", "outsiders")}
        parents |= {name: source_digest(path) for name, path in sets.items() if path is not None}
        specs = {name: spec.model_dump() for name, spec in vars(self.specs).items() if name != "imports"}
        normalize = {
            name: how.model_dump() if isinstance(how, Statistics) else how for name, how in self.asked.normalize.items()
        }
        return digest_of("protect", specs | {"normalize": normalize}, parents)

    def _place(self, verb: str, settings: Mapping[str, Any]) -> Path:
        return self.work / f"{verb}-{digest_of(verb, settings, {})[:12]}"

    def _mask(self) -> Path:
        spec = self.specs.mask
        place = self._place("masked", {"mask": spec.model_dump(), "faces": source_digest(self.faces)})
        return mask(self.faces, place, spec, self.execution)

    def _made(self, masked: Path, name: str) -> _Made:
        released = self._reconstructed(masked)
        inputs = Inputs(
            original=self.faces,
            released=released,
            linkage=private_of(masked),
            embedders=self.embedders,
            nonmembers=self.asked.nonmembers,
            normalize=self.asked.normalize,
            loss_networks=self._loss_networks(),
            process=self.asked.model,
            public=self.asked.public,
            masked=masked,
            trained=self.asked.trained,
            outsiders=self.asked.outsiders,
        )
        given = {"released": source_digest(released), "request": self._request(), "name": name}
        place = self._place(name, given)
        found = audit(inputs, place, self.specs.audit, self.execution, cache=self.work / "vectors")
        return _Made(masked, released, place, found)

    def _loss_networks(self) -> frozenset[str]:
        """Judges that the model was trained against, by what it says of itself."""
        phi = read_manifest(self.asked.model).parents.get("phi")
        return frozenset(name for name, path in self.embedders.items() if source_digest(path) == phi)

    def _reconstructed(self, masked: Path) -> Path:
        spec, model = self.specs.reconstruct, self.asked.model
        given = {"spec": spec.model_dump(), "model": source_digest(model), "masked": source_digest(masked)}
        return reconstruct(model, masked, self._place("released", given), spec, self.execution)

    # ---- the records that leak most ---------------------------------------------------------------------------

    def _without_the_worst(self, made: _Made) -> tuple[_Made, dict[str, Any]]:
        """The release without what its audit found most exposed, audited again, and what that bought."""
        spec, own = self.specs.protect, self.specs.protect.drop_by == "own photo"
        before, chooser = self._seen(made), _strongest(made.found, own_photo=own)
        labels = before[chooser].labels
        # A photo that is asked for itself cannot stand aside: then only other judges have no part in the choice.
        chose = np.ones(len(labels), np.bool_) if own else choosing_photos(labels, self.specs.audit.seed)
        rows = most_exposed(exposure(before[chooser], chose, own_photo=own), spec.drop_worst).tolist()
        if len(rows) >= len(before[chooser].photo):
            raise RecipeError("protect.drop_worst", got=spec.drop_worst, needed="a share that leaves some records")
        given = {"how": spec.drop, "rows": rows, "masked": source_digest(made.masked)}
        place = self._place("masked", given)
        again = self._made(drop(self.faces, made.masked, place, rows, self.execution, how=spec.drop), "audit-again")
        gained = bought(
            before,
            self._seen(again),
            chooser=chooser,
            chose=chose,
            own_photo=own,
            seed=self.specs.audit.seed,
            replicates=self.specs.audit.replicates,
        )
        told = {"how": spec.drop, "by": spec.drop_by, "records": len(rows), "of": len(before[chooser].photo)}
        return again, told | {"chosen_by": chooser, "bought": gained}

    def _seen(self, made: _Made) -> dict[str, Seen]:
        original, released = FaceSet.open(self.faces), FaceSet.open(made.released)
        photo = read_linkage(private_of(made.masked), original, released)
        labels = original.identities.astype(np.int64)
        return {
            judge: Seen(self._vectors(judge, self.faces), self._vectors(judge, made.released), photo, labels)
            for judge in self.embedders
        }

    def _vectors(self, judge: str, faces: Path) -> np.ndarray:
        wanted = self.specs.audit.looking(self.asked.normalize.get(judge))
        vectors = vectors_of(self.embedders[judge], faces, wanted, self.execution, self.work / "vectors")
        return unit_rows(vectors[:, 0])


def _strongest(found: dict[str, Any], *, own_photo: bool) -> str:
    """The judge who finds most in the release beyond chance, at the smallest K."""
    rows = [row for row in found["attacks"] if row["attack"] == RELEASED and row["subset"] == EVERYBODY]
    wanted = [row for row in rows if row["same_photo"] == ("include" if own_photo else "exclude")] or rows
    if not wanted:
        raise DataError("nobody can be found in the release", remedy="leave out drop_worst")
    return str(max(wanted, key=lambda row: row["at"][0]["value"] - row["at"][0]["chance"])["embedder"])


def _demand_apart(out: Path, work: Path, asked: Protection, specs: Specs) -> None:
    """What is known to be wrong before anything is read."""
    demand_measured(read_limits(asked.limits), specs.audit)
    if specs.mask.seed is not None:
        raise RecipeError("mask.seed", got=specs.mask.seed, needed="none: whoever knows it undoes every mask")
    if specs.mask.method != "cells":
        raise RecipeError("mask.method", got=specs.mask.method, needed="cells: the others are no protection")
    # By where they lie in truth: a link to the photos is no other place.
    release, stages, photos = (Path(os.path.realpath(path)) for path in (out, work, asked.faces))
    places = [(stages, release), (release, stages)]
    if asked.faces != SYNTHETIC:
        # Neither below the photos: the next import would take the release, or the stages, for people.
        places += [(photos, release), (release, photos), (stages, photos)]
    for inner, outer in places:
        if inner.is_relative_to(outer):
            raise RecipeError(f"{inner} lies in {outer}", needed="the release, the photos and the work apart")
    if private_of(out).exists() and not (private_of(out) / KEPT).is_file():
        raise OutputExists(f"{private_of(out)} is something else", remedy="name another OUT")
    if out.exists() and not private_of(out).exists():
        raise OutputExists(f"{out} exists", remedy="name another OUT or remove it")
    if not asked.embedders and asked.faces != SYNTHETIC and not _drawn(Path(asked.faces)):
        raise _no_embedder()


def _drawn(faces: Path) -> bool:
    try:
        return "synthetic" in read_manifest(faces).spec
    except (StageError, OSError):
        return False


def _no_embedder() -> FaceMAEError:
    return RecipeError(
        "--embedder",
        got="none",
        needed="a face recognition network to judge photos of people",
        remedy="the package's own knows drawn faces only; name one such as backbone.pth or graph.onnx@imagenet",
    )
