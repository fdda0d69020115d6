"""Train a recogniser on a set of faces: backbone, margin softmax over its people, SGD by iterations (appendix A.1)."""

import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from facemae.errors import DataError, NonFiniteLoss, RecipeError
from facemae.faces.faceset import FaceSet
from facemae.nn.embedder import Embedder, prepare
from facemae.nn.margin import MarginHead
from facemae.spec.execution import Execution
from facemae.spec.recipe import RecognizeSpec
from facemae.train.checkpoint import all_finite, load_checkpoint, save_checkpoint
from facemae.train.journal import Journal
from facemae.train.loader import Sight, batches, to_unit
from facemae.train.optim import clip_norm, set_rate, warmup_steps
from facemae.train.precision import autocast
from facemae.train.world import World, mean_over_ranks, parallel, wait_for_all

REPORT = 10
"""Steps between two rows of the journal; the loss is looked at for NaN as often."""


class _Classifier(nn.Module):
    """Embedder and head as one module, so that gradients are averaged in one place."""

    def __init__(self, embedder: Embedder, head: MarginHead, precision: str) -> None:
        super().__init__()
        self.embedder, self.head, self._precision = embedder, head, precision

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        with autocast(self._precision, images.device):
            vectors = self.embedder(images)
        return self.head(vectors.float(), labels)


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
    """
    if faces.num_identities < 2:
        raise DataError(f"cannot train a recogniser on {faces.directory}", got="one person", needed="at least two")
    if spec.batch % world.size:
        raise RecipeError("recognize.batch", got=spec.batch, needed=f"a multiple of the {world.size} processes")
    margin = spec.margin
    torch.manual_seed(spec.seed)
    head = MarginHead(
        faces.num_identities,
        spec.embedding,
        kind=margin.kind,
        margin=margin.margin,
        scale=margin.scale,
        gradient=margin.gradient,
    )
    classifier = prepare(_Classifier(embedder, head, spec.precision), world.device).train()
    network = parallel(classifier, world)
    optimizer = torch.optim.SGD(classifier.parameters(), lr=0.0, momentum=spec.momentum, weight_decay=spec.weight_decay)
    begin = _resume(directory, classifier, optimizer)
    journal = Journal(directory / "journal.jsonl", begin) if world.main else None
    sight = Sight(seed=spec.seed, flip=spec.flip, size=spec.input_size)
    saved = time.monotonic()

    with execution.progress.task("recognize", spec.iterations * spec.batch, "images", begin * spec.batch) as task:
        steps = range(begin, spec.iterations)
        stream = batches(faces, sight, batch=spec.batch, steps=steps, world=world, workers=execution.workers)
        for step, batch in enumerate(stream, start=begin):
            # ---- forward ----------------------------------------------------------------------
            set_rate(
                optimizer, spec.lr * spec.batch / 512 * warmup_steps(step, spec.iterations, spec.warmup, spec.decay)
            )
            images = to_unit(batch.images, world.device)
            loss = network(images, torch.from_numpy(batch.labels).to(world.device))
            # ---- backward ---------------------------------------------------------------------
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            clip_norm(embedder.parameters(), spec.clip)
            optimizer.step()
            # ---- report -----------------------------------------------------------------------
            note = ""
            if (step + 1) % REPORT == 0 or step + 1 == spec.iterations:
                (value,) = mean_over_ranks([loss.item()], world)
                if not math.isfinite(value):
                    raise NonFiniteLoss(
                        f"the loss became {value} at iteration {step + 1}",
                        remedy="start again with a lower lr or precision=fp32",
                    )
                if journal:
                    journal.write(step + 1, loss=value)
                note = f"loss {value:.3f}"
            task.advance(spec.batch, note)
            # Only the main rank looks at the clock: nothing that the ranks do together may depend on it.
            due = step + 1 == spec.iterations or time.monotonic() - saved > execution.checkpoint_seconds
            if journal and due and all_finite(classifier):
                journal.flush()
                save_checkpoint(directory, _state(step + 1, classifier, optimizer))
                saved = time.monotonic()
    wait_for_all(world)
    if journal:
        journal.close()
    return {"iterations": spec.iterations, "images": len(faces), "identities": faces.num_identities}


def _state(step: int, classifier: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    return {"step": step, "classifier": classifier.state_dict(), "optimizer": optimizer.state_dict()}


def _resume(directory: Path, classifier: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    state = load_checkpoint(directory)
    if state is None:
        return 0
    classifier.load_state_dict(state["classifier"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])
