"""Vectors of every image of a set, in fixed chunks so that the result depends on nothing but set and weights."""

import io
import math
import os
from pathlib import Path

import numpy as np
import torch

from facemae.faces.faceset import FaceSet
from facemae.nn.embedder import Embedder, embed_views, prepare
from facemae.spec.execution import Execution
from facemae.train.loader import to_unit
from facemae.train.precision import autocast

CHUNK = 64
"""Images per forward pass, by record number; the last chunk is padded. Matrix products round differently at other
shapes, so this number is part of the result, and ``Execution.batch`` has no say in it."""


def embed_faces(
    embedder: Embedder, faces: FaceSet, out: Path, *, precision: str, device: torch.device, execution: Execution
) -> np.ndarray:
    """Write ``out`` (.npy, float32, n x 2 x d: raw vectors of the image and of its mirror image) and map it.

    An interrupted call goes on after the last whole chunk.
    """
    if not out.exists():
        _fill(embedder, faces, out, precision=precision, device=device, execution=execution)
    return np.load(out, mmap_mode="r")


@torch.no_grad()
def _fill(
    embedder: Embedder, faces: FaceSet, out: Path, *, precision: str, device: torch.device, execution: Execution
) -> None:
    embedder = prepare(embedder.frozen(), device)
    partial = out.with_suffix(".partial")
    width = embedder.embedding
    chunk_bytes = CHUNK * 2 * width * 4
    done = partial.stat().st_size // chunk_bytes if partial.exists() else 0
    starts = range(done * CHUNK, len(faces), CHUNK)
    with (
        partial.open("ab") as stream,
        execution.progress.task("embed", len(faces), "images", done * CHUNK) as task,
        autocast(precision, device),
    ):
        os.truncate(partial, done * chunk_bytes)
        for start in starts:
            count = min(CHUNK, len(faces) - start)
            images = faces.images(range(start, start + count))
            padded = np.concatenate([images, np.zeros((CHUNK - count, *images.shape[1:]), np.uint8)])
            views = embed_views(embedder, to_unit(padded, device))
            stream.write(views.float().cpu().numpy().astype("<f4").tobytes())
            task.advance(count)
    _finish(partial, out, (len(faces), 2, width))


def _finish(partial: Path, out: Path, shape: tuple[int, int, int]) -> None:
    """The raw numbers of ``partial``, cut to ``shape``, as an .npy file that is whole or absent."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    whole = out.with_suffix(".whole")
    with whole.open("wb") as stream:
        stream.write(header.getvalue())
        # Not by np.save, whose error for a full disk does not tell that it is one.
        stream.write(np.memmap(partial, np.uint8, "r")[: math.prod(shape) * 4].data)
        stream.flush()
        os.fsync(stream.fileno())
    whole.rename(out)
    partial.unlink()
