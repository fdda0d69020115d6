"""Vectors of sets under networks, kept by the bytes of both, and the directories in which attackers learn."""

import hashlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from torch import nn

from facemae.attacks.attacker import Judge, Owned, Released
from facemae.faces.faceset import FaceSet
from facemae.nn.embedder import Embedder, prepare
from facemae.spec.execution import Execution
from facemae.spec.manifest import digest_of
from facemae.train.embed import embed_faces
from facemae.train.precision import resolve
from facemae.train.world import join

VERSION = 2
"""Part of what names a fitted network: raised whenever the same request is learned in another way."""

RAW = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
"""Normalisation of an embedder whose body takes pixels in [0, 1]."""


def judge_of(name: str, network: Embedder, *, cache: Path, execution: Execution) -> Judge:
    """A judge that keeps its vectors in ``cache``; whoever keeps them elsewhere makes a `Judge` directly."""
    network = prepare(network.frozen(), join(execution.device).device)
    how = {"cache": cache, "execution": execution}
    one, both = partial(vectors_through, network, **how), partial(views_through, network, **how)  # type: ignore[arg-type]
    return Judge(name, network, fingerprint(network), one, both)


def vectors_through(
    network: Embedder, faces: FaceSet, *, cache: Path, execution: Execution, precision: str = "fp32"
) -> Float32[np.ndarray, "n d"]:
    """Raw vectors of every record of ``faces``, from ``cache`` where they are there."""
    how = {"cache": cache, "execution": execution, "precision": precision, "mirrored": False}
    return views_through(network, faces, **how)[:, 0]  # type: ignore[arg-type]


def views_through(
    network: Embedder,
    faces: FaceSet,
    *,
    cache: Path,
    execution: Execution,
    precision: str = "fp32",
    mirrored: bool = True,
) -> Float32[np.ndarray, "n views d"]:
    """The same with, where ``mirrored``, those of the mirror images beside them."""
    world = join(execution.device)
    exact = resolve(precision, world.device) == "fp32"
    settings = ({} if mirrored else {"mirrored": False}) | ({} if exact else {"precision": "bf16"})
    key = digest_of("attack-vectors", settings, {"network": fingerprint(network.frozen()), "faces": faces.digest})
    cache.mkdir(parents=True, exist_ok=True)
    out = cache / f"vectors-{key[:16]}.npy"
    return embed_faces(network, faces, out, precision=precision, world=world, execution=execution, mirrored=mirrored)


def own_vectors(owned: Owned, network: Embedder, faces: FaceSet) -> Float32[np.ndarray, "n d"]:
    """Raw vectors of every record under a network of the attacker's own making."""
    how = {"cache": owned.cache, "execution": owned.execution, "precision": owned.precision}
    return vectors_through(network, faces, **how)  # type: ignore[arg-type]


def fingerprint(network: nn.Module) -> str:
    """sha256 over names, types and bytes of a network's state, and over how its embedders see pictures."""
    digest = hashlib.sha256()
    for module in network.modules():
        if isinstance(module, Embedder):
            digest.update(repr((module.input_size, module.embedding, module.normalize)).encode())
    for name, tensor in network.state_dict().items():
        array = tensor.detach().cpu().contiguous().numpy()
        digest.update(f"{name}:{array.dtype}:{array.shape}:".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def workshop(owned: Owned, attacker: str, settings: dict[str, Any], public: Released) -> Path:
    """Where this attacker learns: a directory named by all that decides what is learned."""
    parents = {
        "judge": owned.judge.fingerprint,
        "protected": public.faces.digest,
        "original": public.original.digest,
        "photos": hashlib.sha256(public.photo.tobytes()).hexdigest(),
    }
    key = digest_of(
        f"attack-{attacker}", settings | {"version": VERSION, "seed": owned.seed, "steps": owned.steps}, parents
    )
    directory = owned.cache / f"{attacker}-{key[:16]}"
    directory.mkdir(parents=True, exist_ok=True)
    return directory
