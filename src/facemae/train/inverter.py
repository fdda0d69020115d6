"""The loop of an inverter: protected pictures to their originals, by pixels and by what a recogniser sees."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor, nn

from facemae.faces.faceset import FaceSet
from facemae.nn.embedder import Embedder, prepare
from facemae.nn.unet import UNet
from facemae.spec.execution import Execution
from facemae.train.descend import Losses, Task, demand_even, descend
from facemae.train.loader import Batch, Sight, batches, to_unit
from facemae.train.precision import autocast
from facemae.train.world import World, parallel


@dataclass(frozen=True)
class InverterSpec:
    """AdamW with warm-up and half a cosine; ``feature``: weight of the feature term; ``size``: pixels a side."""

    steps: int
    size: int
    batch: int = 32
    lr: float = 1e-3
    warmup: float = 0.05
    weight_decay: float = 0.01
    feature: float = 0.5
    clip: float = 1.0
    flip: bool = True
    precision: str = "auto"
    seed: int = 0


@dataclass(frozen=True)
class PicturePairs:
    """Record i of ``protected`` was made from record i of ``original``, whose raw vectors (and those of its mirror
    image) under ``phi`` are ``features[i]``. ``before``: what is done to a protected picture first, frozen."""

    protected: FaceSet
    original: FaceSet
    phi: Embedder
    features: Float32[np.ndarray, "n 2 d"]
    before: nn.Module | None = None


def train_inverter(
    net: UNet, pairs: PicturePairs, spec: InverterSpec, *, directory: Path, world: World, execution: Execution
) -> None:
    """Train ``net`` in place; state lives in ``directory`` and is gone on with, a finished run is taken as it is.

        L = mean |Î − I| + feature · mean (1 − cos(φ(Î), φ(I)))         Î = net(before(I'))

    Raises:
        NonFiniteLoss: with the step; the last checkpoint stays.
        RecipeError: the batch does not divide over the ranks.
    """
    demand_even(spec.batch, world, "an inverter")
    prepare(net, world.device).train()
    loss_of = _Loss(parallel(net, world), pairs, spec, world)

    def losses(begin: int) -> Losses:
        for seen, wanted in _paired(pairs, spec, begin, world, execution):
            yield loss_of(seen, wanted)

    task = Task("inverter", "images", spec.batch, "start again with a lower lr or precision=fp32")
    descend(net, losses, spec, task, directory=directory, world=world, execution=execution)


def _paired(
    pairs: PicturePairs, spec: InverterSpec, begin: int, world: World, execution: Execution
) -> Iterator[tuple[Batch, Batch]]:
    """Both sides of every step from ``begin`` on."""
    sight = Sight(seed=spec.seed, flip=spec.flip, size=spec.size)
    # Order and flips follow from seed and record number, so two equally long sets come in step.
    sides = (
        batches(side, sight, batch=spec.batch, steps=range(begin, spec.steps), world=world, workers=execution.workers)
        for side in (pairs.protected, pairs.original)
    )
    return zip(*sides, strict=True)


class _Loss:
    """One forward pass: both sides of a batch to the weighted loss and its terms."""

    def __init__(self, network: nn.Module, pairs: PicturePairs, spec: InverterSpec, world: World) -> None:
        self._network, self._spec, self._device = network, spec, world.device
        self._phi = prepare(pairs.phi.frozen(), world.device)
        self._features = pairs.features
        self._before = None if pairs.before is None else pairs.before.to(world.device).eval()

    def __call__(self, seen: Batch, wanted: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        device = self._device
        flipped = torch.from_numpy(seen.flipped).to(device)
        pictures = self._first(to_unit(seen.images, device), flipped)
        with autocast(self._spec.precision, device):
            restored = self._network(pictures)
            vectors = self._phi(restored)
        real = torch.from_numpy(self._features[wanted.indices, wanted.flipped.astype(np.int64)]).to(device)
        pixel = (restored.float() - to_unit(wanted.images, device)).abs().mean()
        feature = (1 - F.cosine_similarity(vectors.float(), real)).mean()
        return pixel + self._spec.feature * feature, {"pixel": pixel.detach(), "feature": feature.detach()}

    @torch.no_grad()
    def _first(self, pictures: Float[Tensor, "b 3 h w"], flipped: Tensor) -> Float[Tensor, "b 3 h w"]:
        """``before`` knows pictures as they were released; what it makes of them is mirrored afterwards."""
        if self._before is None:
            return pictures
        mirrored = flipped[:, None, None, None]
        return _flip(self._before(_flip(pictures, mirrored)), mirrored)


def _flip(pictures: Tensor, where: Tensor) -> Tensor:
    return torch.where(where, pictures.flip(3), pictures)
