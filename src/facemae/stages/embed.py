"""`embed`: raw vectors of a set under one embedder, kept so that they are computed once."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from facemae.faces.faceset import FaceSet
from facemae.nn.embedder import CONFIG, STATE_DICT, Embedder, load_embedder
from facemae.nn.openvino import compiled
from facemae.spec.execution import Execution
from facemae.spec.manifest import FILE, digest_of
from facemae.spec.normalisation import Normalisation, Statistics
from facemae.spec.recipe import EmbedSpec
from facemae.stages.inputs import source_digest
from facemae.stages.shared import open_shared
from facemae.train.embed import embed_faces
from facemae.train.precision import resolve
from facemae.train.world import join, of_all

VECTORS = "embeddings.npy"


def embed(embedder: Path, faces: Path, out: Path, spec: EmbedSpec, execution: Execution) -> Path:
    """Write `embeddings.npy` (float32, n x 2 x d: each image and its mirror image, not normalised) to ``out``.

    Without ``spec.mirrored`` it is n x 1 x d, in half the time and with the same bytes for the images.
    Several ranks share the images and give the same bytes as one; on several machines OUT has to lie on storage that
    all of them see. Every rank has to call this.
    """
    photos = FaceSet.open(faces)
    parents = {"embedder": source_digest(Path(embedder), execution), "faces": photos.digest}
    world = join(execution.device)
    settings = _settings(embedder, spec, world.device)
    # Before there is a directory, so that a network that cannot be opened leaves none; a finished OUT needs no network.
    net = None if Path(out).exists() else _ready(embedder, spec, settings["precision"], world.device)
    with open_shared("embed", out, spec=settings, parents=parents, resumable=True, world=world) as stage:
        if not stage.finished:
            net = net or _ready(embedder, spec, settings["precision"], world.device)
            how = {"precision": spec.precision, "world": world, "execution": execution}
            vectors = embed_faces(net, photos, stage.directory / VECTORS, mirrored=spec.mirrored, **how)  # type: ignore[arg-type]
            if world.main:
                stage.publish("embeddings", {"records": len(vectors), "dimension": int(vectors.shape[2])})
    return Path(out)


def vectors_of(embedder: Path, faces: Path, spec: EmbedSpec, execution: Execution, cache: Path) -> np.ndarray:
    """The vectors of a set, from ``cache`` where an earlier stage left them there: n x 2 x d, or n x 1 x d."""
    parents = {"embedder": source_digest(Path(embedder), execution), "faces": FaceSet.open(faces).digest}
    world = join(execution.device)

    def place(wanted: EmbedSpec) -> Path:
        return cache / digest_of("embed-cache", _settings(embedder, wanted, world.device), parents)[:16]

    both = spec.model_copy(update={"mirrored": True})
    # Whoever made both views has made the one; every rank has to see the same, whenever it looks.
    if not spec.mirrored and of_all((place(both) / FILE).is_file(), world)[0]:
        return load_vectors(place(both))[:, :1]
    return load_vectors(embed(embedder, faces, place(spec), spec, execution))


def load_vectors(directory: Path) -> np.ndarray:
    """What `embed` wrote, memory-mapped."""
    return np.load(Path(directory) / VECTORS, mmap_mode="r")


def open_embedder(path: Path, normalize: Normalisation | None) -> Embedder:
    """The network at ``path``; our own recognisers carry their normalisation with them, others take ``normalize``.

    Raises:
        WeightsError: no network, or an ONNX graph that does not tell its normalisation and none is given.
    """
    if _own(path) or normalize is None:
        return load_embedder(path)
    named = (normalize.mean, normalize.deviation) if isinstance(normalize, Statistics) else normalize
    return load_embedder(path, normalize=named)


def _ready(path: Path, spec: EmbedSpec, precision: str, device: torch.device) -> Embedder:
    net = open_embedder(path, spec.normalize)
    if spec.engine == "openvino":
        compiled(net.frozen().body, precision=precision, device=device)
    return net


def _own(path: Path) -> bool:
    return (Path(path) / CONFIG).exists()


def _settings(embedder: Path, spec: EmbedSpec, device: torch.device) -> dict[str, Any]:
    """What is asked for; None where the file tells, for its bytes are part of the digest anyhow."""
    implied = None if _own(embedder) or Path(embedder).suffix.lower() == ".onnx" else STATE_DICT
    given = None if _own(embedder) else spec.model_dump()["normalize"]
    asked = {"normalize": given or implied, "precision": resolve(spec.precision, device)}
    return asked | spec.model_dump(include={"engine", "mirrored"})
