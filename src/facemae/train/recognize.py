"""Train a recogniser on a set of faces: backbone and margin softmax over its people, by iterations (appendix A.1)."""

import hashlib
from functools import partial
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
from facemae.train.mixup import Mixer
from facemae.train.optim import clip_norm, decay_groups, set_rate
from facemae.train.partial_fc import PartialFC, demand_memory
from facemae.train.precision import autocast
from facemae.train.schedule import Schedule
from facemae.train.watch import REPORT, Watch
from facemae.train.world import World, gather_rows, parallel


class _Replicated(nn.Module):
    """Embedder and head as one module on every rank, so that gradients are averaged in one place."""

    def __init__(self, embedder: Embedder, head: MarginHead, precision: str) -> None:
        super().__init__()
        self.embedder, self.head, self._precision = embedder, head, precision

    def forward(self, images: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
        return self.head(_vectors(self.embedder, images, self._precision), labels, weights)


class _Backbone(nn.Module):
    """The part of a sharded classifier that every rank has alike; ``quality`` are AdaFace's running statistics."""

    def __init__(self, embedder: Embedder, quality: nn.Module | None, precision: str) -> None:
        super().__init__()
        self.embedder, self.quality, self._precision = embedder, quality, precision

    def forward(self, images: Tensor) -> Tensor:
        return _vectors(self.embedder, images, self._precision)


def _vectors(embedder: Embedder, images: Tensor, precision: str) -> Tensor:
    with autocast(precision, images.device):
        vectors: Tensor = embedder(images)
    return vectors.float()


class _Learner:
    """What learns: loss of a batch, one optimiser step, and the state of both; centres replicated or sharded.

    One optimiser over backbone and centres is numerically two of them with the same rate and decay, as arcface_torch
    of 2021 has; the gradient is clipped on the backbone alone.
    """

    def __init__(self, embedder: Embedder, people: int, spec: RecognizeSpec, world: World) -> None:
        self._embedder, self._spec, self._people, self._world = embedder, spec, people, world
        how = spec.margin.model_dump()
        self.shard: PartialFC | None = None
        alike: nn.Module
        if spec.classifier.sharded:
            rate = spec.classifier.rate
            masks = spec.margin.kind == "adaface" or spec.margin.interclass_filter > 0
            demand_memory(people, spec.embedding, world=world, rate=rate, batch=spec.batch, masks=masks)
            self.shard = PartialFC(people, spec.embedding, world=world, rate=rate, seed=spec.seed, **how)
            alike = _Backbone(embedder, self.shard.quality, spec.precision)
        else:
            torch.manual_seed(spec.seed)
            head = MarginHead(people, spec.embedding, **how, gather=partial(gather_rows, world=world))
            alike = _Replicated(embedder, head, spec.precision)
        self._alike = prepare(alike, world.device).train()
        self._network = parallel(self._alike, world)
        self._optimizer = _optimizer(self._alike, spec)
        self.whole = self._alike if self.shard is None else nn.ModuleList([self._alike, self.shard])

    def loss(self, images: Tensor, labels: Tensor, weights: Tensor | None, step: int) -> Tensor:
        """Mean margin cross-entropy: of this rank's images, or sharded of those of all ranks."""
        if self.shard is None:
            return self._network(images, labels, weights)
        return self.shard(self._network(images), labels, step)

    def step(self, loss: Tensor, rate: float) -> None:
        """One step at ``rate`` down the gradient of ``loss``."""
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


def _optimizer(module: nn.Module, spec: RecognizeSpec) -> torch.optim.Optimizer:
    every = [{"params": list(module.parameters()), "weight_decay": spec.weight_decay}]
    groups = decay_groups(module, spec.weight_decay) if spec.weight_decay_on == "no_bias_bn" else every
    if spec.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=0.0)
    return torch.optim.SGD(groups, lr=0.0, momentum=spec.momentum)


def _draw_for(seed: int, step: int, world: World) -> None:
    """What a backbone draws in training (tokens and branches left out) belongs to its step, whenever that is run."""
    key = hashlib.sha256(f"{seed}:step {step}:rank {world.rank}".encode()).digest()[:8]
    torch.manual_seed(int.from_bytes(key, "big", signed=True))


def recognize(
    embedder: Embedder,
    faces: FaceSet,
    spec: RecognizeSpec,
    *,
    directory: Path,
    world: World,
    execution: Execution,
    real: FaceSet | None = None,
) -> dict[str, Any]:
    """Train ``embedder`` in place and return what to say of it; state lives in ``directory`` and is gone on with.

    ``real`` photos are mixed into those of ``faces`` where the spec has a ``domain_mix``, and taught beside them.

    Raises:
        NonFiniteLoss: with the iteration; the last checkpoint stays.
        DataError: fewer than two people, or none that are mixed where the spec wants to learn from mixtures.
        RecipeError: the batch does not divide over the ranks, fills no epoch, a sharded classifier does not fit into
            memory, or ``real`` and ``domain_mix`` are not given together.
    """
    if faces.num_identities < 2:
        raise DataError(f"cannot train a recogniser on {faces.directory}", got="one person", needed="at least two")
    if spec.batch % world.size:
        raise RecipeError("recognize.batch", got=spec.batch, needed=f"a multiple of the {world.size} processes")
    schedule = Schedule(spec, len(faces))
    people = faces.num_identities + (real.num_identities if real else 0)
    learner = _Learner(embedder, people, spec, world)
    begin = learner.resume(directory)
    steps = range(begin, schedule.total)
    mixer = Mixer(faces, real, spec, steps=steps, world=world, workers=execution.workers)
    watch = Watch(
        directory,
        world=world,
        execution=execution,
        begin=begin,
        end=schedule.total,
        every=REPORT,
        step="iteration",
        remedy=lambda: "start again with a lower lr or precision=fp32",
    )
    sight = Sight(seed=spec.seed, flip=spec.flip, size=spec.input_size)

    with execution.progress.task("recognize", schedule.total * spec.batch, "images", begin * spec.batch) as task:
        stream = batches(faces, sight, batch=spec.batch, steps=steps, world=world, workers=execution.workers)
        for step, batch in enumerate(stream, start=begin):
            images, labels, weights = mixer(step, to_unit(batch.images, world.device), batch)
            _draw_for(spec.seed, step, world)
            loss = learner.loss(images, labels, weights, step)
            learner.step(loss, schedule.rate(step))
            task.advance(spec.batch, watch.report(step, loss=loss))
            watch.keep(step, learner.whole, learner.state, learner.rows())
    watch.close()
    told = {"iterations": schedule.total, "images": len(faces), "identities": faces.num_identities}
    return told | ({"real_images": len(real), "real_identities": real.num_identities} if real else {})
