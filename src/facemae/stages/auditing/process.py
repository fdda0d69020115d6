"""The owner's process again, on other photos or with other masks, as whoever has the released model can run it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facemae.attacks import Released
from facemae.errors import DataError
from facemae.faces.faceset import FaceSet
from facemae.spec.execution import Execution
from facemae.spec.manifest import digest_of, read_manifest
from facemae.spec.recipe import MaskSpec, ReconstructSpec
from facemae.stages.distortion import STRENGTHS
from facemae.stages.inputs import source_digest
from facemae.stages.linkage import read_linkage
from facemae.stages.mask import mask, private_of
from facemae.stages.pretrain import load_model
from facemae.stages.reconstruct import reconstruct
from facemae.train.parts import meet
from facemae.train.world import World


@dataclass(frozen=True)
class OwnersProcess:
    """`mask` and, where there is a ``model``, `reconstruct`, into the cache; a seed in place of the owner's secret."""

    masking: dict[str, Any]
    model: Path | None
    restoring: ReconstructSpec
    cache: Path
    execution: Execution
    world: World

    def __call__(self, photos: FaceSet, seed: int) -> Released:
        """All photos of a set through the process, masks by ``seed``; what is there already is taken as it is."""
        spec = MaskSpec.model_validate(self.masking | {"seed": seed})
        parents = {"faces": photos.digest} | ({"model": source_digest(self.model)} if self.model else {})
        settings = {"mask": spec.model_dump(), "reconstruct": self.restoring.model_dump()}
        place = self.cache / f"process-{digest_of('process', settings, parents)[:16]}"
        hidden = place / "masked"
        if self.world.main:
            mask(photos.directory, hidden, spec, self.execution)
        meet(hidden, self.world)
        shown = hidden
        if self.model is not None:
            shown = reconstruct(self.model, hidden, place / "released", self.restoring, self.execution)
        faces, masked = FaceSet.open(shown), FaceSet.open(hidden)
        known = masked if masked.kind == "masked" and self.model is not None else None
        return Released(faces, photos, read_linkage(private_of(hidden), photos, faces), known)


def owners_process(
    released: FaceSet, masked: FaceSet | None, model: Path | None, *, cache: Path, execution: Execution, world: World
) -> OwnersProcess | None:
    """The process behind a release, as far as its manifest and ``masked`` tell; None where nobody could run it.

    A masked or distorted set tells all of it. A reconstruction needs its ``model``; how it was masked follows from
    ``masked``, and without that from the model: its grid, and the share that it was trained with.

    Raises:
        DataError: another model than that of the release. StageError: no model of `pretrain`.
    """
    manifest = released.manifest
    if manifest.stage == "mask":
        strength = {key: manifest.facts[key] for key in STRENGTHS.values() if key in manifest.facts}
        return OwnersProcess(manifest.spec | strength, None, ReconstructSpec(), cache, execution, world)
    if model is None:
        return None
    made_by = manifest.parents.get("model")
    if made_by is not None and made_by != source_digest(model):
        raise DataError(
            f"--process {model} is not the model of {released.directory}",
            got=f"digest {source_digest(model)[:12]}",
            needed=made_by[:12],
        )
    own = manifest.spec if manifest.stage == "reconstruct" else {}
    restoring = ReconstructSpec.model_validate(own)
    return OwnersProcess(_masking(masked, model, released), model, restoring, cache, execution, world)


def ratio_of(model: Path) -> float:
    """The share of cells that were hidden when ``model`` was trained."""
    return float(read_manifest(model).spec.get("ratio", MaskSpec().ratio))


def _masking(masked: FaceSet | None, model: Path, released: FaceSet) -> dict[str, Any]:
    if masked is not None and masked.manifest.stage == "mask":
        return dict(masked.manifest.spec)
    return {"ratio": ratio_of(model), "cell": max(1, released.size[0] // load_model(model).grid)}
