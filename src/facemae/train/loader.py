"""Batches for training: which records, in which order, seen how. All of it follows from seed, record and epoch.

Epoch e shuffles the records by a keyed hash of (seed, e); step s takes the next ``batch`` of the endless sequence of
epochs, and rank r of W its r-th share. So one process or eight, resumed or not, train on the same images in the same
order with the same flips and masks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int64, UInt8
from torch.utils.data import DataLoader, Dataset

from facemae.faces.faceset import FaceSet
from facemae.faces.masks import coin_flips, permutation, record_seeds, seed_bytes, visible_cells
from facemae.faces.record import key_of
from facemae.train.world import World

CACHE_BYTES = 6 << 30
"""Decoded images are kept in memory when the whole set takes less than this and no worker processes are used."""


@dataclass(frozen=True)
class Batch:
    """What one step sees of one rank's share."""

    indices: Int64[np.ndarray, " b"]
    labels: Int64[np.ndarray, " b"]
    images: UInt8[np.ndarray, "b h w 3"]
    flipped: Bool[np.ndarray, " b"]
    visible: Int64[np.ndarray, "b k"] | None


@dataclass(frozen=True)
class Sight:
    """How records are seen: ``flip`` mirrors a fair half; ``size`` resizes; ``cells``/``keep`` draw a fresh mask."""

    seed: int
    flip: bool = True
    size: int | None = None
    cells: int = 0
    keep: int = 0


class _Steps(Dataset[Batch]):
    """Item s is the share of one rank in step s."""

    def __init__(self, faces: FaceSet, sight: Sight, batch: int, world: World, cache: bool) -> None:
        self._faces, self._sight, self._batch = faces, sight, batch
        self._rank, self._ranks = world.rank, world.size
        self._secret = seed_bytes(sight.seed)
        self._orders: dict[int, np.ndarray] = {}
        self._pixels: np.ndarray | None = None
        self._known: np.ndarray | None = None
        height, width = (sight.size, sight.size) if sight.size else faces.size
        if cache and len(faces) * height * width * 3 <= CACHE_BYTES:
            self._pixels = np.empty((len(faces), height, width, 3), np.uint8)
            self._known = np.zeros(len(faces), bool)

    def __getitem__(self, step: int) -> Batch:
        indices, epochs = self._share(step)
        images = self._images(indices)
        flipped = np.zeros(len(indices), bool)
        visible = None
        for epoch in np.unique(epochs):
            rows = np.flatnonzero(epochs == epoch)
            keys = [key_of(int(i)) for i in indices[rows]]
            if self._sight.flip:
                flipped[rows] = coin_flips(record_seeds(self._secret, "flip", keys, int(epoch)))
            if self._sight.cells:
                seeds = record_seeds(self._secret, "mask", keys, int(epoch))
                drawn = visible_cells(seeds, self._sight.cells, self._sight.keep)
                visible = np.empty((len(indices), self._sight.keep), np.int64) if visible is None else visible
                visible[rows] = drawn
        images[flipped] = images[flipped, :, ::-1]
        return Batch(indices, self._faces.identities[indices].astype(np.int64), images, flipped, visible)

    def _share(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        count, positions = len(self._faces), np.arange(step * self._batch, (step + 1) * self._batch)
        positions = np.array_split(positions, self._ranks)[self._rank]
        epochs = positions // count
        for epoch in set(epochs.tolist()) - set(self._orders):
            self._orders[epoch] = permutation(self._secret, f"order:{epoch}", count)
        for old in [e for e in self._orders if e < epochs.min()]:
            del self._orders[old]
        indices = np.array([self._orders[e][p % count] for e, p in zip(epochs.tolist(), positions, strict=True)])
        return indices.astype(np.int64), epochs

    def _images(self, indices: np.ndarray) -> np.ndarray:
        if self._pixels is None or self._known is None:
            return self._load(indices)
        missing = indices[~self._known[indices]]
        if len(missing):
            self._pixels[missing] = self._load(missing)
            self._known[missing] = True
        return self._pixels[indices]

    def _load(self, indices: np.ndarray) -> np.ndarray:
        images = self._faces.images(indices.tolist())
        return resize(images, self._sight.size) if self._sight.size else images


def batches(
    faces: FaceSet, sight: Sight, *, batch: int, steps: Sequence[int], world: World, workers: int = 0
) -> Iterator[Batch]:
    """The shares of this rank for ``steps``, which ascend, in order; ``batch`` counts all ranks."""
    source = _Steps(faces, sight, batch, world, cache=workers == 0)
    # Items are whole batches already, so the loader only moves them between processes.
    yield from DataLoader(source, sampler=list(steps), batch_size=None, num_workers=workers)


def resize(images: UInt8[np.ndarray, "b h w 3"], size: int) -> UInt8[np.ndarray, "b s s 3"]:
    """Antialiased bilinear resize of 8-bit images (ten times faster than in floating point)."""
    if images.shape[1:3] == (size, size):
        return images
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2)
    small = torch.nn.functional.interpolate(tensor, (size, size), mode="bilinear", antialias=True)
    return small.permute(0, 2, 3, 1).contiguous().numpy()


def to_unit(images: UInt8[np.ndarray, "b h w 3"], device: torch.device) -> torch.Tensor:
    """[0, 255] to [0, 1]: 8-bit images as a float tensor b 3 h w on ``device``."""
    tensor = torch.from_numpy(images).to(device, non_blocking=True).permute(0, 3, 1, 2)
    return tensor.to(torch.float32).div_(255.0)
