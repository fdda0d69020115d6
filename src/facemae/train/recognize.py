"""Train a recogniser on a set of faces: backbone, margin softmax over its people, SGD by iterations (appendix A.1)."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from facemae.errors import DataError, RecipeError
from facemae.faces.faceset import FaceSet
from facemae.nn.embedder import Embedder, prepare
from facemae.nn.margin import MarginHead
from facemae.spec.execution import Execution
from facemae.spec.recipe import RecognizeSpec
from facemae.train.checkpoint import load_checkpoint, load_rows
from facemae.train.loader import Sight, batches, to_unit
from facemae.train.optim import clip_norm, set_rate, warmup_steps
from facemae.train.partial_fc import PartialFC, demand_memory
from facemae.train.precision import autocast
from facemae.train.watch import REPORT, Watch
from facemae.train.world import World, parallel


class _Replicated(nn.Module):
    """Embedder and head as one module on every rank, so that gradients are averaged in one place."""

    def __init__(self, embedder: Embedder, head: MarginHead, precision: str) -> None:
        super().__init__()
        self.embedder, self.head, self._precision = embedder, head, precision

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return self.head(_vectors(self.embedder, images, self._precision), labels)


class _Backbone(nn.Module):
    """The part of a sharded classifier that every rank has alike."""

    def __init__(self, embedder: Embedder, precision: str) -> None:
        super().__init__()
        self.embedder, self._precision = embedder, precision

    def forward(self, images: Tensor) -> Tensor:
        return _vectors(self.embedder, images, self._precision)


def _vectors(embedder: Embedder, images: Tensor, precision: str) -> Tensor:
    with autocast(precision, images.device):
        vectors: Tensor = embedder(images)
    return vectors.float()


class _Learner:
    """What learns: loss of a batch, one SGD step, and the state of both; centres replicated or sharded."""

    def __init__(self, embedder: Embedder, people: int, spec: RecognizeSpec, world: World) -> None:
        self._embedder, self._spec, self._people, self._world = embedder, spec, people, world
        how = spec.margin.model_dump()
        self.shard: PartialFC | None = None
        alike: nn.Module
        if spec.classifier.sharded:
            rate = spec.classifier.rate
            demand_memory(people, spec.embedding, world=world, rate=rate, batch=spec.batch)
            self.shard = PartialFC(people, spec.embedding, world=world, rate=rate, seed=spec.seed, **how)
            alike = _Backbone(embedder, spec.precision)
        else:
            torch.manual_seed(spec.seed)
            alike = _Replicated(embedder, MarginHead(people, spec.embedding, **how), spec.precision)
        self._alike = prepare(alike, world.device).train()
        self._network = parallel(self._alike, world)
        self._optimizer = torch.optim.SGD(
            self._alike.parameters(), lr=0.0, momentum=spec.momentum, weight_decay=spec.weight_decay
        )
        self.whole = self._alike if self.shard is None else nn.ModuleList([self._alike, self.shard])

    def loss(self, images: Tensor, labels: Tensor, step: int) -> Tensor:
        """Mean margin cross-entropy: of this rank's images, or sharded of those of all ranks."""
        if self.shard is None:
            return self._network(images, labels)
        return self.shard(self._network(images), labels, step)

    def step(self, loss: Tensor, rate: float) -> None:
        """One step of SGD at ``rate`` down the gradient of ``loss``."""
        set_rate(self._optimizer, rate)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        clip_norm(self._embedder.parameters(), self._spec.clip)
        self._optimizer.step()
        if self.shard is not None:
            self.shard.update(lr=rate, momentum=self._spec.momentum, weight_decay=self._spec.weight_decay)

    def state(self) -> dict[str, Any]:
        """What every rank has alike."""
        return {"classifier": self._alike.state_dict(), "optimizer": self._optimizer.state_dict()}

    def rows(self) -> dict[str, Tensor] | None:
        """What is split over the ranks."""
        return None if self.shard is None else {"weight": self.shard.weight, "momentum": self.shard.momentum}

    def resume(self, directory: Path) -> int:
        """Take up the state in ``directory``, left by any number of ranks; the step to go on with."""
        state = load_checkpoint(directory)
        if state is None:
            return 0
        self._alike.load_state_dict(state["classifier"])
        self._optimizer.load_state_dict(state["optimizer"])
        if self.shard is not None:
            for name, tensor in (self.rows() or {}).items():
                rows = load_rows(directory, state, name, count=self._people, wanted=self.shard.share)
                tensor.data.copy_(torch.from_numpy(rows))
        return int(state["step"])


def recognize(
    embedder: Embedder,
    faces: FaceSet,
    spec: RecognizeSpec,
    *,
    directory: Path,
    world: World,
    execution: Execution,
) -> dict[str, Any]:
    """Train ``embedder`` in place and return what to say of it; state lives in ``directory`` and is gone on with.

    Raises:
        NonFiniteLoss: with the iteration; the last checkpoint stays.
        DataError: fewer than two people.
        RecipeError: the batch does not divide over the ranks, or a sharded classifier does not fit into memory.
    """
    if faces.num_identities < 2:
        raise DataError(f"cannot train a recogniser on {faces.directory}", got="one person", needed="at least two")
    if spec.batch % world.size:
        raise RecipeError("recognize.batch", got=spec.batch, needed=f"a multiple of the {world.size} processes")
    learner = _Learner(embedder, faces.num_identities, spec, world)
    begin = learner.resume(directory)
    watch = Watch(
        directory,
        world=world,
        execution=execution,
        begin=begin,
        end=spec.iterations,
        every=REPORT,
        step="iteration",
        remedy=lambda: "start again with a lower lr or precision=fp32",
    )
    sight = Sight(seed=spec.seed, flip=spec.flip, size=spec.input_size)

    with execution.progress.task("recognize", spec.iterations * spec.batch, "images", begin * spec.batch) as task:
        steps = range(begin, spec.iterations)
        stream = batches(faces, sight, batch=spec.batch, steps=steps, world=world, workers=execution.workers)
        for step, batch in enumerate(stream, start=begin):
            rate = spec.lr * spec.batch / 512 * warmup_steps(step, spec.iterations, spec.warmup, spec.decay)
            labels = torch.from_numpy(batch.labels).to(world.device)
            loss = learner.loss(to_unit(batch.images, world.device), labels, step)
            learner.step(loss, rate)
            task.advance(spec.batch, watch.report(step, loss=loss))
            watch.keep(step, learner.whole, learner.state, learner.rows())
    watch.close()
    return {"iterations": spec.iterations, "images": len(faces), "identities": faces.num_identities}
