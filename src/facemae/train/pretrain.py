"""The paper's training stage: reconstruct masked faces so that the feature network cannot tell (section 3.2, 3.3).

visible, ids = gamma(I);  Î = D(E[visible]);  loss = pixel * MSE + instance * IM + relation * RM
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facemae.errors import RecipeError
from facemae.faces.faceset import FaceSet
from facemae.faces.masks import kept_cells
from facemae.nn.embedder import Embedder, prepare
from facemae.nn.irm import match
from facemae.nn.mae import FaceMAE, pixel_loss
from facemae.nn.patches import enlarge_cells, gather_patches, patchify
from facemae.spec.execution import Execution
from facemae.spec.recipe import PretrainSpec
from facemae.train.checkpoint import FILE as CHECKPOINT
from facemae.train.checkpoint import load_checkpoint
from facemae.train.loader import Batch, Sight, batches, to_unit
from facemae.train.optim import clip_norm, decay_groups, set_rate, warmup_cosine
from facemae.train.precision import autocast
from facemae.train.watch import REPORT, Watch
from facemae.train.world import World, gather_rows, parallel


def native_cell(image_size: int, patch_size: int, native: tuple[int, int]) -> int:
    """Side of a mask cell in source pixels: patch_size * native / image_size (16 at 224 is 8 at 112).

    Raises:
        RecipeError: the images are not square, or the grid does not fall on whole source pixels.
    """
    height, width = native
    cell = patch_size * height / image_size
    if height != width or cell != int(cell) or patch_size % int(cell):
        raise RecipeError(
            "pretrain.image_size",
            got=f"{image_size} with patches of {patch_size} over images of {height}x{width}",
            needed="square images whose size divides image_size with whole cells, such as 112 under 224/16 or 112/8",
        )
    return int(cell)


def total_steps(spec: PretrainSpec, count: int) -> int:
    """Optimiser steps: ceil(image-steps / batch); an epoch (the paper has 200 of them) is ``count`` image-steps."""
    image_steps = spec.image_steps or (spec.epochs or 200) * count
    return math.ceil(image_steps / spec.batch)


def pretrain(
    model: FaceMAE,
    faces: FaceSet,
    spec: PretrainSpec,
    *,
    phi: Embedder | None,
    features: np.ndarray | None,
    directory: Path,
    world: World,
    execution: Execution,
) -> dict[str, Any]:
    """Train ``model`` in place and return what to say of it; state lives in ``directory`` and is gone on with.

    ``features`` are the raw vectors of the real images and of their mirror images (n x 2 x d) under ``phi``.

    Raises:
        NonFiniteLoss: with the step; the last checkpoint stays.
        RecipeError: the batch does not divide over the ranks, or the geometry does not fit.
    """
    if spec.batch % world.size:
        raise RecipeError("pretrain.batch", got=spec.batch, needed=f"a multiple of the {world.size} processes")
    steps = total_steps(spec, len(faces))
    cell = native_cell(spec.image_size, spec.patch_size, faces.size)
    cells = (spec.image_size // spec.patch_size) ** 2
    sight = Sight(seed=spec.seed, flip=spec.flip, cells=cells, keep=kept_cells(cells, spec.ratio))
    model.to(world.device).train()
    network = parallel(model, world)
    optimizer = torch.optim.AdamW(decay_groups(model, spec.weight_decay), lr=0.0, betas=spec.betas)
    begin = _resume(directory, model, optimizer)
    watch = Watch(
        directory,
        world=world,
        execution=execution,
        begin=begin,
        end=steps,
        every=REPORT,
        step="step",
        remedy=lambda: _remedy(directory),
    )
    if phi is not None:
        phi = prepare(phi.frozen(), world.device)
    step_loss = _StepLoss(network, spec, phi, features, cell, world)
    task_total, done = steps * spec.batch, begin * spec.batch

    with execution.progress.task("pretrain", task_total, "images", done) as task:
        stream = batches(
            faces, sight, batch=spec.batch, steps=range(begin, steps), world=world, workers=execution.workers
        )
        for step, batch in enumerate(stream, start=begin):
            # ---- forward ----------------------------------------------------------------------
            set_rate(optimizer, spec.base_lr * spec.batch / 256 * warmup_cosine(step, steps, spec.warmup))
            total, terms = step_loss(batch)
            # ---- backward ---------------------------------------------------------------------
            optimizer.zero_grad(set_to_none=True)
            total.backward()
            clip_norm(model.parameters(), spec.clip)
            optimizer.step()
            # ---- report and keep --------------------------------------------------------------
            task.advance(spec.batch, watch.report(step, loss=total, **terms))
            watch.keep(step, model, lambda: {"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    watch.close()
    return {"steps": steps, "image_steps": steps * spec.batch, "images": len(faces), "cell": cell}


class _StepLoss:
    """One forward pass: a batch to the weighted loss and its unweighted terms."""

    def __init__(
        self,
        network: torch.nn.Module,
        spec: PretrainSpec,
        phi: Embedder | None,
        features: np.ndarray | None,
        cell: int,
        world: World,
    ) -> None:
        self._network, self._spec, self._phi, self._features = network, spec, phi, features
        self._cell, self._world = cell, world

    def __call__(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        spec, device = self._spec, self._world.device
        ids = torch.from_numpy(batch.visible).to(device)
        cells = patchify(to_unit(batch.images, device), patch_size=self._cell)
        # Cells are enlarged one by one, so that no hidden source pixel can reach a visible patch.
        patches = enlarge_cells(cells, factor=spec.patch_size // self._cell)
        with autocast(spec.precision, device):
            prediction = self._network(gather_patches(patches, ids), ids)
        total = torch.zeros((), device=device)
        terms: dict[str, Tensor] = {}
        if spec.loss.pixel > 0:
            predicted = patchify(prediction, patch_size=spec.patch_size)
            terms["pixel"] = pixel_loss(predicted, patches, ids, on=spec.loss.pixel_on)
            total = total + spec.loss.pixel * terms["pixel"]
        if self._phi is not None and self._features is not None:
            views = self._features[batch.indices, batch.flipped.astype(np.int64)]
            terms |= self._match(torch.from_numpy(views).to(device), prediction)
            total = total + spec.loss.instance * terms["instance"] + spec.loss.relation * terms["relation"]
        return total, {name: term.detach() for name, term in terms.items()}

    def _match(self, real: Tensor, prediction: Tensor) -> dict[str, Tensor]:
        assert self._phi is not None
        with autocast(self._spec.precision, self._world.device):
            fake = self._phi(prediction)
        fake = fake.float()
        columns = None
        if self._spec.loss.relation_scope == "global":
            columns = (gather_rows(real, self._world), gather_rows(fake, self._world))
        terms = match(real, fake, columns=columns)
        return {"instance": terms.instance, "relation": terms.relation}


def _remedy(directory: Path) -> str:
    good = directory / CHECKPOINT
    go_on = f"; to go on from the last good weights add --init {good}" if good.exists() else ""
    return f"start again with a lower base_lr, clip=1.0 or precision=fp32{go_on}"


def _resume(directory: Path, model: FaceMAE, optimizer: torch.optim.Optimizer) -> int:
    state = load_checkpoint(directory)
    if state is None:
        return 0
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])
