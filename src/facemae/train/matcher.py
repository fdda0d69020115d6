"""The loop of a cross-matcher: vectors of protected faces to those of their originals, person by person."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import nn

from facemae.errors import RecipeError
from facemae.faces.masks import permutation, seed_bytes
from facemae.nn.matcher import Matcher, matching_loss
from facemae.spec.execution import Execution
from facemae.train.checkpoint import load_checkpoint
from facemae.train.optim import clip_norm, decay_groups, set_rate, warmup_cosine
from facemae.train.watch import REPORT, Watch
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
    if spec.batch % world.size:
        raise RecipeError(
            "batch of a cross-matcher", got=spec.batch, needed=f"a multiple of the {world.size} processes"
        )
    matcher.to(world.device).train()
    network = parallel(matcher, world)
    optimizer = torch.optim.AdamW(decay_groups(matcher, spec.weight_decay), lr=0.0)
    begin = resume_step(directory, matcher, optimizer)
    watch = Watch(
        directory,
        world=world,
        execution=execution,
        begin=begin,
        end=spec.steps,
        every=REPORT,
        step="step",
        remedy=lambda: "start again with a lower lr",
    )
    draws = _Draws(len(pairs.person), spec, world)
    protected, original, person = (
        torch.from_numpy(part).to(world.device) for part in (pairs.protected, pairs.original, pairs.person)
    )
    with execution.progress.task("cross-matcher", spec.steps, "steps", begin) as task:
        for step in range(begin, spec.steps):
            rows = draws(step).to(world.device)
            set_rate(optimizer, spec.lr * warmup_cosine(step, spec.steps, spec.warmup))
            same = (person[rows][:, None] == person[rows]).float()
            loss = matching_loss(network(protected[rows]), original[rows], same, temperature=spec.temperature)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            clip_norm(matcher.parameters(), spec.clip)
            optimizer.step()
            task.advance(1, watch.report(step, loss=loss.detach()))
            watch.keep(step, matcher, lambda: {"model": matcher.state_dict(), "optimizer": optimizer.state_dict()})
    watch.close()


def resume_step(directory: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Take up what an interrupted or finished run of ``model`` left in ``directory``; the step to go on with."""
    state = load_checkpoint(directory)
    if state is None:
        return 0
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


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
