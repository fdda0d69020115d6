"""`verify`: how well a recogniser tells people apart, by the ten-fold protocol of the public benchmarks."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from facemae.faces.faceset import FaceSet
from facemae.faces.pairs import Pairs, read_pairs
from facemae.measure import Verification, flip_sum, ten_fold, xnorm
from facemae.spec.execution import Execution
from facemae.spec.manifest import write_json
from facemae.spec.recipe import EmbedSpec, VerifySpec
from facemae.stages.embed import vectors_of
from facemae.stages.inputs import source_digest
from facemae.stages.shared import open_shared
from facemae.stages.stage import Stage
from facemae.train.checkpoint import write_bytes
from facemae.train.precision import resolve
from facemae.train.world import join

RESULT, REPLICATES = "verification.json", "replicates.npy"


def verify(
    embedder: Path, faces: Path, pairs: Path, out: Path, spec: VerifySpec, execution: Execution, *, cache: Path
) -> dict[str, Any]:
    """Write `verification.json` and the bootstrap replicates of the accuracy to ``out``; returns the former.

    ``pairs``: a list that `facemae.faces.pairs.read_pairs` understands. Vectors are kept in ``cache``; several ranks
    share the work on them (the folds are the main rank's) and have to see OUT and ``cache`` alike.

    Raises:
        MissingPairs: the list names photos that the set does not hold.
    """
    photos = FaceSet.open(faces)
    listed = read_pairs(Path(pairs), photos.people)
    parents = {
        "embedder": source_digest(Path(embedder)),
        "faces": photos.digest,
        "pairs": source_digest(Path(pairs)),
    }
    world = join(execution.device)
    settings = spec.model_dump() | {"precision": resolve(spec.precision, world.device)}
    settings |= _folds(listed.fold)
    with open_shared("verify", out, spec=settings, parents=parents, world=world) as stage:
        if not stage.finished:
            wanted = EmbedSpec(normalize=spec.normalize, precision=spec.precision)
            vectors = np.asarray(vectors_of(embedder, faces, wanted, execution, cache))
            if world.main:
                result = ten_folds(vectors, listed, photos.identities.astype(np.int64), spec)
                _finish(stage, result, vectors, people=photos.manifest.facts.get("people"))
    return read_result(out)


def read_result(directory: Path) -> dict[str, Any]:
    """What `verify` wrote."""
    return json.loads((Path(directory) / RESULT).read_bytes())


def _finish(stage: Stage, result: Verification, vectors: np.ndarray, *, people: str | None) -> None:
    """``people``: what the set says of them where they are not known by name; intervals rest on it."""
    content = result.to_dict() | {"xnorm": xnorm(vectors[:, 0], vectors[:, 1])}
    if people is not None:
        for rate in (rate for rate in (content["accuracy"], *content["tar"]) if rate.get("method")):
            rate["method"] += f"; people {people}: too narrow"
    write_json(stage.directory / RESULT, content)
    write_bytes(stage.directory / REPLICATES, _npy(result.replicates))
    stage.publish("verification", {"pairs": result.pairs, "accuracy": result.accuracy.value})


def ten_folds(vectors: np.ndarray, pairs: Pairs, people: np.ndarray, spec: VerifySpec) -> Verification:
    """The protocol on raw vectors (n x 2 x d) of the set that ``pairs`` points into, in the folds that it names."""
    unit = flip_sum(vectors[:, 0], vectors[:, 1])
    return ten_fold(
        unit[pairs.left],
        unit[pairs.right],
        pairs.same,
        fold=pairs.fold,
        people_a=people[pairs.left],
        people_b=people[pairs.right],
        fars=spec.far,
        replicates=spec.replicates,
        seed=spec.seed,
    )


def _folds(fold: np.ndarray) -> dict[str, str]:
    """What the digest says of folds that contiguous equal runs cannot be: earlier results cut them into such runs."""
    sizes = np.unique(fold, return_counts=True)[1]
    return {"folds": "as listed"} if np.ptp(sizes) > 1 or (np.diff(sizes) > 0).any() else {}


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()
