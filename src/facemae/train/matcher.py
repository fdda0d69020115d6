"""The loop of a cross-matcher: vectors of protected faces to those of their originals, person by person."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Int64

from facemae.faces.masks import permutation, seed_bytes
from facemae.nn.matcher import Matcher, matching_loss
from facemae.spec.execution import Execution
from facemae.train.descend import Losses, Task, demand_even, descend
from facemae.train.world import World, parallel


@dataclass(frozen=True)
class MatcherSpec:
    """AdamW with warm-up and half a cosine; ``temperature`` of the contrast within a batch (over all ranks)."""

    steps: int
    batch: int = 256
    lr: float = 1e-3
    warmup: float = 0.05
    weight_decay: float = 0.05
    temperature: float = 0.1
    clip: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class VectorPairs:
    """Row i of ``protected`` and of ``original`` shows person ``person[i]``; unit rows."""

    protected: Float32[np.ndarray, "n d"]
    original: Float32[np.ndarray, "n d"]
    person: Int64[np.ndarray, " n"]


def train_matcher(
    matcher: Matcher, pairs: VectorPairs, spec: MatcherSpec, *, directory: Path, world: World, execution: Execution
) -> None:
    """Train ``matcher`` in place by `nn.matcher.matching_loss`; state lives in ``directory`` and is gone on with.

    A run that is finished there is taken as it is. In fp32: the whole network is two matrix products.

    Raises:
        NonFiniteLoss: with the step; the last checkpoint stays.
        RecipeError: the batch does not divide over the ranks.
    """
    demand_even(spec.batch, world, "a cross-matcher")
    matcher.to(world.device).train()
    network = parallel(matcher, world)
    draws = _Draws(len(pairs.person), spec, world)
    protected, original, person = (
        torch.from_numpy(part).to(world.device) for part in (pairs.protected, pairs.original, pairs.person)
    )

    def losses(begin: int) -> Losses:
        for step in range(begin, spec.steps):
            rows = draws(step).to(world.device)
            same = (person[rows][:, None] == person[rows]).float()
            yield matching_loss(network(protected[rows]), original[rows], same, temperature=spec.temperature), {}

    task = Task("cross-matcher", "steps", 1, "start again with a lower lr")
    descend(matcher, losses, spec, task, directory=directory, world=world, execution=execution)


class _Draws:
    """This rank's rows of a step: all rows in a new keyed order every epoch, a batch after the other."""

    def __init__(self, count: int, spec: MatcherSpec, world: World) -> None:
        self._count, self._batch, self._world = count, spec.batch, world
        self._secret = seed_bytes(spec.seed)
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def __call__(self, step: int) -> torch.Tensor:
        positions = np.arange(step * self._batch, (step + 1) * self._batch)
        positions = np.array_split(positions, self._world.size)[self._world.rank]
        return torch.tensor([self._row(int(position)) for position in positions])

    def _row(self, position: int) -> int:
        epoch, place = divmod(position, self._count)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, permutation(self._secret, f"pairs:{epoch}", self._count)
        return int(self._order[place])
