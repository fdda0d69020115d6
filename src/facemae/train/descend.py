"""The optimiser loop that attackers who learn share: AdamW, warm-up, half a cosine, checkpoints, journal."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from facemae.errors import RecipeError
from facemae.spec.execution import Execution
from facemae.train.checkpoint import load_checkpoint
from facemae.train.optim import clip_norm, decay_groups, set_rate, warmup_cosine
from facemae.train.watch import REPORT, Watch
from facemae.train.world import World

Losses = Iterator[tuple[Tensor, dict[str, Tensor]]]
"""The loss of one step after another, and its terms for the journal."""


@runtime_checkable
class Descent(Protocol):
    """What a loop is told: how many steps, and the optimiser's settings."""

    @property
    def steps(self) -> int: ...
    @property
    def lr(self) -> float: ...
    @property
    def warmup(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def clip(self) -> float: ...


class Task(NamedTuple):
    """How a loop is shown: its name, what it counts, how many of these a step is, and what to do after a NaN."""

    name: str
    unit: str
    amount: int
    remedy: str


def demand_even(batch: int, world: World, what: str) -> None:
    """Raises: RecipeError where the batch does not divide over the ranks."""
    if batch % world.size:
        raise RecipeError(f"batch of {what}", got=batch, needed=f"a multiple of the {world.size} processes")


def descend(
    net: nn.Module,
    losses: Callable[[int], Losses],
    spec: Descent,
    task: Task,
    *,
    directory: Path,
    world: World,
    execution: Execution,
) -> None:
    """Train ``net`` in place on ``losses(begin)``; state lives in ``directory`` and is gone on with.

    A run that is finished there is taken as it is. Raises: NonFiniteLoss with the step; the last checkpoint stays.
    """
    optimizer = torch.optim.AdamW(decay_groups(net, spec.weight_decay), lr=0.0)
    begin = _resume(directory, net, optimizer)
    watch = Watch(
        directory,
        world=world,
        execution=execution,
        begin=begin,
        end=spec.steps,
        every=REPORT,
        step="step",
        remedy=lambda: task.remedy,
    )
    amount = task.amount
    with execution.progress.task(task.name, spec.steps * amount, task.unit, begin * amount) as shown:
        for step, (loss, terms) in enumerate(losses(begin), start=begin):
            set_rate(optimizer, spec.lr * warmup_cosine(step, spec.steps, spec.warmup))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            clip_norm(net.parameters(), spec.clip)
            optimizer.step()
            shown.advance(amount, watch.report(step, loss=loss.detach(), **terms))
            watch.keep(step, net, lambda: {"model": net.state_dict(), "optimizer": optimizer.state_dict()})
    watch.close()


def _resume(directory: Path, net: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Take up what an interrupted or finished run of ``net`` left in ``directory``; the step to go on with."""
    state = load_checkpoint(directory)
    if state is None:
        return 0
    net.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])
