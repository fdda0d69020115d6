"""What each of several processes does, all of it in one start; what they find is left in a folder for the tests."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facemae.faces.faceset import FaceSet
from facemae.nn import mae
from facemae.nn.embedder import Embedder
from facemae.nn.irm import match
from facemae.spec.execution import Execution
from facemae.spec.recipe import Classifier, Loss, Margin, PretrainSpec, RecognizeSpec
from facemae.stages.pretrain import pretrain
from facemae.stages.recognize import recognize
from facemae.train import pretrain as pretrain_loop
from facemae.train import recognize as recognize_loop
from facemae.train.partial_fc import PartialFC
from facemae.train.world import World, all_agree, gather_labels, gather_rows, mean_over_ranks, of_all, parallel
from helpers import TINY, Interrupted, join_as, plain, pulling_plug, run_ranks, write_people_set, write_recogniser

PATIENCE = 600
"""Seconds after which processes that wait for one another are given up."""

STEPS, CUT = 8, 4
PRETRAIN = PretrainSpec(
    size="tiny",
    image_size=32,
    patch_size=8,
    image_steps=8 * STEPS,
    batch=8,
    loss=Loss(pixel=0.5, instance=1, relation=1),
    base_lr=0.05,
    precision="fp32",
)
RECOGNIZE = RecognizeSpec(
    backbone="iresnet18", width=16, input_size=32, embedding=8, batch=8, iterations=4, precision="fp32"
)
SHARDED = RecognizeSpec(
    input_size=32,
    embedding=8,
    batch=8,
    iterations=STEPS,
    lr=0.1,
    margin=Margin(margin=0.2, scale=16.0),
    warmup=0.1,
    precision="fp32",
    classifier=Classifier(sharded=True),
)
CLASSES, WIDTH, BATCH = 13, 8, 16


def start(ranks: int, folder: Path, earlier: Path | None) -> Path:
    """Run `one_rank` on ``ranks`` processes in ``folder``; ``earlier`` is what two of them left to go on with."""
    folder.mkdir()
    write_people_set(folder / "set", 6, 4)
    write_recogniser(folder / "phi")
    if earlier is not None:
        take_over(earlier, folder)
    run_ranks(ranks, one_rank, folder, patience=PATIENCE)
    return folder


def take_over(earlier: Path, folder: Path) -> None:
    """Copy the runs that were cut off."""
    for cut in [earlier / "sharded-cut", *earlier.glob(".model-cut.*.partial")]:
        shutil.copytree(cut, folder / cut.name)


def one_rank(rank: int, ranks: int, port: int, folder: Path) -> None:
    """What each process does."""
    world = join_as(rank, ranks, port)
    found = words(world) | {"irm": {}}
    for dtype in (torch.float64, torch.float32):
        terms, gradient = learned(irm_batch(dtype).chunk(ranks)[rank], world)
        found["irm"][str(dtype)] = {"terms": terms, "gradient": gradient.tolist()}
    for kind in ("arcface", "cosface", "adaface"):
        torch.save(classified(kind, world), folder / f"{kind}.{rank}.pt")
    with pytest.MonkeyPatch.context() as patch:
        tiny_sizes(patch)
        # The ranks' clocks disagree: only the main one writes checkpoints, and nobody may wait because of it.
        execution = plain(checkpoint_seconds=0.0 if world.main else 1e9)
        vectors = folder / "vectors"
        pretrain(folder / "set", folder / "model", PRETRAIN, execution, phi=folder / "phi", cache=vectors)
        train_sharded(folder / "set", folder / "sharded", world, execution)
        if ranks == 2:
            recognize(folder / "set", folder / "recogniser", RECOGNIZE, execution)
            cut_off(folder, world)
        else:
            pretrain(folder / "set", folder / "model-cut", PRETRAIN, execution, phi=folder / "phi")
            train_sharded(folder / "set", folder / "sharded-cut", world, execution)
    (folder / f"rank{rank}.json").write_text(json.dumps(found))


def cut_off(folder: Path, world: World) -> None:
    """Leave both kinds of training after `CUT` - 1 steps."""
    execution = pulling_plug(CUT, checkpoint_seconds=0.0 if world.main else 1e9)
    vectors = folder / "vectors"  # made already: to make them would pull the plug of one rank earlier than the other's
    with pytest.raises(Interrupted):
        pretrain(folder / "set", folder / "model-cut", PRETRAIN, execution, phi=folder / "phi", cache=vectors)
    execution = pulling_plug(CUT, checkpoint_seconds=0.0 if world.main else 1e9)
    with pytest.raises(Interrupted):
        train_sharded(folder / "set", folder / "sharded-cut", world, execution)


def words(world: World) -> dict[str, Any]:
    """What the ranks say to one another."""
    rank = world.rank
    mine = torch.arange(6.0).reshape(2, 3).add(10 * rank).requires_grad_()
    gathered = gather_rows(mine, world)
    # A loss of each rank's own: the backward pass has to bring home what the others felt for our rows.
    (gathered * (rank + 1)).sum().backward()
    assert mine.grad is not None
    return {
        "who": [world.rank, world.size, world.main],
        "gathered": gathered.tolist(),
        "gradient": mine.grad.tolist(),
        "labels": gather_labels(torch.tensor([rank, -1]), world).tolist(),
        "mean": mean_over_ranks([1.0 + rank, 5.0], world),
        "agree": [all_agree(True, world), all_agree(rank > 0, world)],
        "all": of_all(f"rank {rank}", world),
    }


def irm_batch(dtype: torch.dtype) -> Tensor:
    return torch.randn(8, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


def learned(rows: Tensor, world: World) -> tuple[dict[str, float], Tensor]:
    """IRM between ``rows`` and a linear map of them: its terms, and the gradient of the map's weights."""
    torch.manual_seed(1)
    layer = nn.Linear(6, 6, bias=False).to(rows.dtype)
    network = parallel(layer, world)  # kept: gradients are averaged only while it lives
    fake = network(rows)
    terms = match(rows, fake, columns=(gather_rows(rows, world), gather_rows(fake, world)))
    (terms.instance + 2 * terms.relation).backward()
    instance, relation = mean_over_ranks([terms.instance.item(), terms.relation.item()], world)
    assert layer.weight.grad is not None
    return {"instance": instance, "relation": relation}, layer.weight.grad


def classified(kind: Any, world: World) -> dict[str, Any]:
    """Train a linear map and a sharded classifier for three steps: what this rank saw and holds."""
    steps, random = 3, torch.Generator().manual_seed(0)
    inputs = torch.randn(steps, BATCH, 6, generator=random)
    labels = torch.randint(0, CLASSES, (steps, BATCH), generator=random)
    torch.manual_seed(1)
    layer = nn.Linear(6, WIDTH, bias=False)
    network = parallel(layer, world)
    head = PartialFC(CLASSES, WIDTH, world=world, kind=kind, seed=3, scale=16.0)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-2)
    found: dict[str, Any] = {"losses": [], "gradients": []}
    for step in range(steps):
        mine = slice(BATCH // world.size * world.rank, BATCH // world.size * (world.rank + 1))
        loss = head(network(inputs[step, mine]), labels[step, mine], step)
        optimizer.zero_grad()
        loss.backward()
        assert layer.weight.grad is not None
        found["losses"].append(loss.item())
        found["gradients"].append(layer.weight.grad.clone())
        optimizer.step()
        head.update(lr=0.1, momentum=0.9, weight_decay=5e-2)
    return found | {"weight": head.weight.detach().clone(), "momentum": head.momentum.clone()}


class Plain(nn.Module):
    """A body without batch norm, whose statistics would be each rank's own."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * 8 * 8, 8)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(F.avg_pool2d(images, 4).flatten(1))


def train_sharded(faces: Path, directory: Path, world: World, execution: Execution) -> Embedder:
    """The loop of `recognize` with a sharded classifier, in ``directory``."""
    directory.mkdir(exist_ok=True)
    torch.manual_seed(0)
    embedder = Embedder(Plain(), input_size=32, embedding=8)
    recognize_loop.recognize(
        embedder, FaceSet.open(faces), SHARDED, directory=directory, world=world, execution=execution
    )
    return embedder


def tiny_sizes(patch: pytest.MonkeyPatch) -> None:
    """A small model, and a row of the journal for every step."""
    patch.setitem(mae.SIZES, "tiny", TINY)
    patch.setattr(pretrain_loop, "REPORT", 1)
    patch.setattr(recognize_loop, "REPORT", 1)
