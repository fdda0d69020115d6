"""Two and four processes against one: gathering, the loss and its gradient, and training from end to end."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from facemae.errors import RecipeError
from facemae.stages.pretrain import pretrain
from facemae.train.journal import read_journal
from facemae.train.world import (
    World,
    all_agree,
    gather_labels,
    gather_rows,
    join,
    max_over_ranks,
    mean_over_ranks,
    parallel,
    share_of,
    sum_over_ranks,
    wait_for_all,
)
from helpers import contents, plain
from train.ranks import PRETRAIN, STEPS, irm_batch, learned, take_over, tiny_sizes

ALONE = World(0, 1, torch.device("cpu"))


@pytest.fixture(params=[2, 4])
def folder(request: pytest.FixtureRequest, folders: dict[int, Path]) -> Path:
    return folders[request.param]


@pytest.fixture
def found(folder: Path) -> list[dict[str, Any]]:
    """What each rank found, in rank order."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("rank*.json"))]


@pytest.fixture(scope="module")
def alone(folders: dict[int, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process makes of the same settings."""
    place = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patch:
        tiny_sizes(patch)
        pretrain(folders[2] / "set", place / "model", PRETRAIN, plain(), phi=folders[2] / "phi")
    return place


def losses_agree(one: Path, other: Path) -> None:
    first, second = (read_journal(place / "journal.jsonl") for place in (one, other))
    assert len(first) == len(second) == STEPS
    assert first[-1]["loss"] < first[0]["loss"]
    for a, b in zip(first, second, strict=True):
        assert b == pytest.approx(a, abs=1e-5, rel=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(1500)  # the processes start within the first test
class TestSeveralProcesses:
    def test_who_is_who(self, found: list[dict[str, Any]]) -> None:
        assert [f["who"] for f in found] == [[rank, len(found), rank == 0] for rank in range(len(found))]

    def test_gathering_is_concatenation_in_rank_order(self, found: list[dict[str, Any]]) -> None:
        whole = [[10 * r + x for x in row] for r in range(len(found)) for row in ([0, 1, 2], [3, 4, 5])]
        assert all(f["gathered"] == whole for f in found)
        assert all(f["labels"] == [x for rank in range(len(found)) for x in (rank, -1)] for f in found)
        assert all(f["all"] == [f"rank {rank}" for rank in range(len(found))] for f in found)

    def test_gradients_of_all_ranks_come_home(self, found: list[dict[str, Any]]) -> None:
        # The loss of rank r has derivative r + 1 at every gathered row.
        total = sum(range(1, len(found) + 1))
        assert all(f["gradient"] == [[total] * 3] * 2 for f in found)

    def test_means_and_decisions(self, found: list[dict[str, Any]]) -> None:
        assert all(f["mean"] == [(1 + len(found)) / 2, 5.0] for f in found)
        assert all(f["agree"] == [True, False] for f in found)

    @pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
    def test_loss_and_gradient_equal_one_process(
        self, dtype: torch.dtype, tolerance: float, found: list[dict[str, Any]]
    ) -> None:
        terms, gradient = learned(irm_batch(dtype), ALONE)
        for f in found:
            there = f["irm"][str(dtype)]
            assert there["terms"] == pytest.approx(terms, rel=tolerance, abs=tolerance)
            torch.testing.assert_close(
                torch.tensor(there["gradient"], dtype=dtype),
                gradient,
                rtol=tolerance,
                atol=tolerance * float(gradient.abs().max()),
            )

    def test_pretraining_equals_one_process(self, folder: Path, alone: Path) -> None:
        losses_agree(alone / "model", folder / "model")
        # Same settings, same parents: one process and four make the same thing, so it has one name.
        assert (alone / "model" / "manifest.json").read_bytes() == (folder / "model" / "manifest.json").read_bytes()

    def test_pretraining_goes_on_with_more_or_fewer_processes(
        self, folders: dict[int, Path], alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        take_over(folders[2], tmp_path)
        tiny_sizes(monkeypatch)
        pretrain(folders[2] / "set", tmp_path / "model-cut", PRETRAIN, plain(), phi=folders[2] / "phi")
        assert not list(tmp_path.glob(".model-cut.*"))  # it was this partial directory that was gone on with
        for place in (tmp_path, folders[4]):
            losses_agree(alone / "model", place / "model-cut")

    def test_out_holds_the_result_and_nothing_of_its_making(self, folder: Path, folders: dict[int, Path]) -> None:
        names = {"manifest.json", "journal.jsonl"}
        assert set(contents(folder / "model")) == names | {"model.safetensors", "model.json"}
        assert set(contents(folders[2] / "recogniser")) == names | {"backbone.safetensors", "recogniser.json"}
        assert [path.name for path in folder.glob(".*.partial") if "-cut" not in path.name] == []


def test_one_process_needs_no_words() -> None:
    world = join("cpu")
    rows, labels = torch.randn(2, 3), torch.tensor([1, 2])
    assert (world.rank, world.size, world.main) == (0, 1, True)
    assert gather_rows(rows, world) is rows
    assert gather_labels(labels, world) is labels
    assert sum_over_ranks(rows, world) is max_over_ranks(rows, world) is rows
    assert [all_agree(True, world), all_agree(False, world)] == [True, False]
    assert mean_over_ranks([1.0, 2.0], world) == [1.0, 2.0]
    layer = nn.Linear(2, 2)
    assert parallel(layer, world) is layer
    wait_for_all(world)


def test_shares_by_hand() -> None:
    assert [share_of(10, rank, 4) for rank in range(4)] == [range(3), range(3, 6), range(6, 8), range(8, 10)]


@given(st.integers(0, 10**9), st.integers(1, 64))
def test_shares_are_contiguous_and_even(count: int, size: int) -> None:
    shares = [share_of(count, rank, size) for rank in range(size)]
    assert (shares[0].start, shares[-1].stop) == (0, count)
    assert all(a.stop == b.start for a, b in pairwise(shares))
    assert len(shares[0]) - len(shares[-1]) in (0, 1)


@pytest.mark.parametrize(
    ("device", "message"), [("tpu", "--device: got 'tpu'; needed auto, cpu or cuda"), ("cuda", "no CUDA device")]
)
def test_devices_that_are_not_there(device: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RecipeError, match=message):
        join(device)
