"""Vectors of every image of a set, in fixed chunks so that the result depends on nothing but set and weights."""

import io
import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from facemae.faces.faceset import FaceSet
from facemae.nn.embedder import Embedder, embed_views, prepare
from facemae.spec.execution import Execution, Task
from facemae.train.loader import to_unit
from facemae.train.parts import Parts, meet
from facemae.train.precision import autocast
from facemae.train.world import World, of_all, wait_for_all

CHUNK = 64
"""Images per forward pass, by record number; the last chunk is padded. Matrix products round differently at other
shapes, so this number is part of the result, and ``Execution.batch`` has no say in it."""


def embed_faces(
    embedder: Embedder,
    faces: FaceSet,
    out: Path,
    *,
    precision: str,
    world: World,
    execution: Execution,
    mirrored: bool = True,
) -> np.ndarray:
    """Write ``out`` (.npy, float32, n x 2 x d: raw vectors of the image and of its mirror image) and map it.

    Without ``mirrored`` it is n x 1 x d, in half the time.

    An interrupted call goes on after the last whole chunk. Several ranks make parts that the main one joins: the same
    bytes, whatever their number; ``out`` has to lie where all of them see it.
    """
    if not of_all(out.exists(), world)[0]:
        work = _Vectors(prepare(embedder.frozen(), world.device), faces, out, precision, world, execution, 1 + mirrored)
        if world.size > 1:
            work.make_parts()
        if world.main:
            work.join_parts()
    meet(out, world)
    vectors = np.load(out, mmap_mode="r")
    # Nobody moves the file before everybody has opened it.
    wait_for_all(world)
    return vectors


@dataclass(frozen=True)
class _Vectors:
    """The vectors of one set on their way: parts by several ranks, or all of them by one, in one growing file."""

    embedder: Embedder
    faces: FaceSet
    out: Path
    precision: str
    world: World
    execution: Execution
    views: int

    @property
    def parts(self) -> Parts:
        return Parts(self.out.with_suffix(".parts"), len(self.faces), CHUNK)

    @property
    def partial(self) -> Path:
        """The vectors of the first records, in whole chunks and without a header."""
        return self.out.with_suffix(".partial")

    @property
    def chunk_bytes(self) -> int:
        return CHUNK * self.views * self.embedder.embedding * 4

    def make_parts(self) -> None:
        """This rank's share of what is missing; returns when every rank has made its own."""
        mine = self.parts.deal(self._done(self.partial), self.world)
        with self.execution.progress.task("embed", sum(len(span) for span in mine), "images") as task:
            for span in mine:
                with self.parts.making(span) as path:
                    self._compute(path, span, task)
        wait_for_all(self.world)

    def join_parts(self) -> None:
        """``out`` from the parts that there are, and from computing what is in none of them."""
        name, total, partial = "embed" if self.world.size == 1 else "join parts", len(self.faces), self.partial
        with self.execution.progress.task(name, total, "images", min(total, self._done(partial))) as task:
            for span in self.parts.made():
                if span.stop > self._done(partial):
                    self._compute(partial, range(span.start), task)
                    self._append(span, task)
            self._compute(partial, range(total), task)
        _finish(partial, self.out, (total, self.views, self.embedder.embedding))
        self.parts.drop()

    def _done(self, path: Path) -> int:
        """Records, or padding after the last of them, of which the file holds whole chunks."""
        return path.stat().st_size // self.chunk_bytes * CHUNK if path.exists() else 0

    @torch.no_grad()
    def _compute(self, path: Path, span: range, task: Task) -> None:
        """Go on with the vectors of the records ``span`` in their file."""
        done = self._done(path)
        if done >= len(span):
            return
        with path.open("ab") as stream, autocast(self.precision, self.world.device):
            os.truncate(path, done // CHUNK * self.chunk_bytes)
            for start in range(span.start + done, span.stop, CHUNK):
                count = min(CHUNK, span.stop - start)
                stream.write(self._views(range(start, start + count)).astype("<f4").tobytes())
                task.advance(count)
            stream.flush()
            os.fsync(stream.fileno())

    def _views(self, records: range) -> Float[np.ndarray, "chunk views d"]:
        """The vectors of one chunk's images; rows beyond the last record are padding."""
        images = self.faces.images(records)
        padded = np.concatenate([images, np.zeros((CHUNK - len(images), *images.shape[1:]), np.uint8)])
        pixels = to_unit(padded, self.world.device)
        vectors = embed_views(self.embedder, pixels) if self.views == 2 else self.embedder(pixels)[:, None]
        return vectors.float().cpu().numpy()

    def _append(self, span: range, task: Task) -> None:
        """The vectors of a part that are not in the growing file yet."""
        done = self._done(self.partial)
        with self.parts.path(span).open("rb") as part, self.partial.open("ab") as stream:
            os.truncate(self.partial, done // CHUNK * self.chunk_bytes)
            part.seek((done - span.start) // CHUNK * self.chunk_bytes)
            shutil.copyfileobj(part, stream, 1 << 20)
        task.advance(span.stop - done)


def _finish(partial: Path, out: Path, shape: tuple[int, int, int]) -> None:
    """The raw numbers of ``partial``, cut to ``shape``, as an .npy file that is whole or absent."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    whole = out.with_suffix(".whole")
    with whole.open("wb") as stream:
        stream.write(header.getvalue())
        # Not by np.save, whose error for a full disk does not tell that it is one, nor through memory as a whole.
        with partial.open("rb") as raw:
            shutil.copyfileobj(raw, stream, 1 << 20)
        stream.truncate(len(header.getvalue()) + math.prod(shape) * 4)
        stream.flush()
        os.fsync(stream.fileno())
    whole.rename(out)
    partial.unlink()
