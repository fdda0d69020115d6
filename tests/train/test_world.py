"""Two processes against one: gathering, the loss and its gradient, and training from end to end."""

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from facemae.errors import RecipeError
from facemae.nn import mae
from facemae.nn.irm import match
from facemae.spec.recipe import Loss, PretrainSpec, RecognizeSpec
from facemae.stages.pretrain import pretrain
from facemae.stages.recognize import recognize
from facemae.train import pretrain as loop
from facemae.train.journal import read_journal
from facemae.train.world import World, gather_rows, join, mean_over_ranks, parallel, wait_for_all
from helpers import TINY, contents, plain, write_people_set, write_recogniser

RANKS, STEPS = 2, 12
PATIENCE = 120
"""Seconds after which two processes that wait for one another are given up."""

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


def tiny_sizes(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(mae.SIZES, "tiny", TINY)
    patch.setattr(loop, "REPORT", 1)


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


def batch(dtype: torch.dtype) -> Tensor:
    return torch.randn(8, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


def one_rank(rank: int, port: int, folder: str) -> None:
    """What each of the processes does; its findings are left in ``folder``."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"WORLD_SIZE": str(RANKS), "RANK": str(rank), "LOCAL_RANK": str(rank)}
    world = join("cpu")
    found: dict[str, Any] = {"rank": world.rank, "size": world.size, "main": world.main}
    mine = torch.arange(6.0).reshape(2, 3).add(10 * rank).requires_grad_()
    gathered = gather_rows(mine, world)
    # A loss of each rank's own: the backward pass has to bring home what the other rank felt for our rows.
    (gathered * (rank + 1)).sum().backward()
    assert mine.grad is not None
    found |= {"gathered": gathered.tolist(), "gradient": mine.grad.tolist()}
    found["mean"] = mean_over_ranks([1.0 + rank, 5.0], world)
    for dtype in (torch.float64, torch.float32):
        terms, gradient = learned(batch(dtype).chunk(RANKS)[rank], world)
        found[str(dtype)] = {"terms": terms, "gradient": gradient.tolist()}
    with pytest.MonkeyPatch.context() as patch:
        tiny_sizes(patch)
        place = Path(folder)
        # The ranks' clocks disagree: only the main one writes checkpoints, and nobody may wait because of it.
        execution = plain(checkpoint_seconds=0.0 if world.main else 1e9)
        pretrain(place / "set", place / "model", PRETRAIN, execution, phi=place / "phi")
        recognize(place / "set", place / "recogniser", RECOGNIZE, execution)
    wait_for_all(world)
    (place / f"rank{rank}.json").write_text(json.dumps(found))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes left behind."""
    folder = tmp_path_factory.mktemp("world")
    write_people_set(folder / "set", 6, 4)
    write_recogniser(folder / "phi")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ranks = torch.multiprocessing.start_processes(
        one_rank, (port, str(folder)), RANKS, join=False, daemon=True, start_method="spawn"
    )
    given_up = time.monotonic() + PATIENCE
    while not ranks.join(1.0):  # true once all have ended; raises what one of them raised
        if time.monotonic() > given_up:
            for process in ranks.processes:
                process.kill()
            pytest.fail("the two processes wait for one another")
    return folder


@pytest.fixture(scope="module")
def found(folder: Path) -> list[dict[str, Any]]:
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(RANKS)]


@pytest.mark.slow
class TestTwoProcesses:
    def test_who_is_who(self, found: list[dict[str, Any]]) -> None:
        assert [(f["rank"], f["size"], f["main"]) for f in found] == [(0, 2, True), (1, 2, False)]

    def test_gathering_is_concatenation_in_rank_order(self, found: list[dict[str, Any]]) -> None:
        whole = [[0, 1, 2], [3, 4, 5], [10, 11, 12], [13, 14, 15]]
        assert all(f["gathered"] == whole for f in found)

    def test_gradients_of_all_ranks_come_home(self, found: list[dict[str, Any]]) -> None:
        # Rank 0's loss has derivative 1 at every gathered row and rank 1's has 2.
        assert all(f["gradient"] == [[3, 3, 3], [3, 3, 3]] for f in found)

    def test_means(self, found: list[dict[str, Any]]) -> None:
        assert all(f["mean"] == [1.5, 5.0] for f in found)

    @pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
    def test_loss_and_gradient_equal_one_process(
        self, dtype: torch.dtype, tolerance: float, found: list[dict[str, Any]]
    ) -> None:
        terms, gradient = learned(batch(dtype), World(0, 1, torch.device("cpu")))
        for f in found:
            assert f[str(dtype)]["terms"] == pytest.approx(terms, rel=tolerance, abs=tolerance)
            there = torch.tensor(f[str(dtype)]["gradient"], dtype=dtype)
            torch.testing.assert_close(there, gradient, rtol=tolerance, atol=tolerance * float(gradient.abs().max()))

    def test_pretraining_equals_one_process(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tiny_sizes(monkeypatch)
        pretrain(folder / "set", tmp_path / "model", PRETRAIN, plain(), phi=folder / "phi")
        one, two = (read_journal(place / "model" / "journal.jsonl") for place in (tmp_path, folder))
        assert len(one) == len(two) == STEPS
        assert one[-1]["loss"] < one[0]["loss"]
        for a, b in zip(one, two, strict=True):
            assert b == pytest.approx(a, abs=1e-5, rel=1e-5)
        # Same settings, same parents: one process and two make the same thing, so it has one name.
        assert (tmp_path / "model" / "manifest.json").read_bytes() == (folder / "model" / "manifest.json").read_bytes()

    def test_out_holds_the_result_and_nothing_of_its_making(self, folder: Path) -> None:
        names = {"manifest.json", "journal.jsonl"}
        assert set(contents(folder / "model")) == names | {"model.safetensors", "model.json"}
        assert set(contents(folder / "recogniser")) == names | {"backbone.safetensors", "recogniser.json"}
        assert not list(folder.glob(".*.partial"))


def test_one_process_needs_no_words() -> None:
    world = join("cpu")
    rows = torch.randn(2, 3)
    assert (world.rank, world.size, world.main) == (0, 1, True)
    assert gather_rows(rows, world) is rows
    assert mean_over_ranks([1.0, 2.0], world) == [1.0, 2.0]
    layer = nn.Linear(2, 2)
    assert parallel(layer, world) is layer
    wait_for_all(world)


@pytest.mark.parametrize(
    ("device", "message"), [("tpu", "--device: got 'tpu'; needed auto, cpu or cuda"), ("cuda", "no CUDA device")]
)
def test_devices_that_are_not_there(device: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RecipeError, match=message):
        join(device)
