"""Class centres of InsightFace's PartialFC: joined from any number of ranks, split over any other, nothing lost."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from facemae.errors import RecipeError, UnsafeFile, WeightsError, WrongKeys, WrongShapes
from facemae.train.class_centres import holds_centres, read_class_centres, split_class_centres

WEIGHT, MOMENTUM = torch.randn(11, 4), torch.randn(11, 4)
# 11 classes on 3 ranks, by num_local = C // W + (r < C % W).
STARTS = {1: (0, 11), 2: (0, 6, 11), 3: (0, 4, 8, 11), 4: (0, 3, 6, 9, 11)}


def shares(rows: Tensor, ranks: int) -> list[Tensor]:
    return [rows[a:b].clone() for a, b in zip(STARTS[ranks], STARTS[ranks][1:], strict=False)]


def write_v1(directory: Path, ranks: int, *, momentum: bool = True) -> Path:
    directory.mkdir()
    for rank, (weight, mom) in enumerate(zip(shares(WEIGHT, ranks), shares(MOMENTUM, ranks), strict=True)):
        torch.save(weight, directory / f"rank_{rank}_softmax_weight.pt")
        if momentum:
            torch.save(mom, directory / f"rank_{rank}_softmax_weight_mom.pt")
    return directory


def one_checkpoint(weight: Tensor, kept: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """What `checkpoint_gpu_R.pt` holds: a backbone of two tensors, then the centres, in one optimiser."""
    backbone = nn.Linear(3, 2)
    with torch.no_grad():
        backbone.weight.copy_(torch.arange(6.0).reshape(2, 3))
        backbone.bias.zero_()
    groups = [{"lr": 0.1, "params": [0, 1]}, {"lr": 0.1, "params": [2]}]
    optimiser = {"state": {0: {"momentum_buffer": torch.ones(2, 3)}, 2: kept}, "param_groups": groups}
    return {
        "epoch": 3,
        "global_step": 77,
        "state_dict_backbone": backbone.state_dict(),
        "state_dict_softmax_fc": {"weight": weight},
        "state_optimizer": optimiser,
        "state_lr_scheduler": {"last_epoch": 77, "base_lrs": [0.1, 0.1]},
    } | changes


def write_v2(directory: Path, ranks: int) -> Path:
    directory.mkdir()
    for rank, (weight, mom) in enumerate(zip(shares(WEIGHT, ranks), shares(MOMENTUM, ranks), strict=True)):
        torch.save(one_checkpoint(weight, {"momentum_buffer": mom}), directory / f"checkpoint_gpu_{rank}.pt")
    return directory


def write_split(directory: Path, source: Path, ranks: int) -> Path:
    directory.mkdir()
    for name, content in split_class_centres(read_class_centres(source), ranks):
        torch.save(content, directory / name)
    return directory


def test_rows_that_the_file_does_not_hold_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    torch.save(torch.zeros(1).expand(10**9, 512), tmp_path / "rank_0_softmax_weight.pt")
    with pytest.raises(
        WeightsError, match=r"rank_0_softmax_weight\.pt is not a checkpoint: got 2048000000000 bytes of"
    ):
        read_class_centres(tmp_path)


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_version_1_is_split_anew(tmp_path: Path, ranks: int) -> None:
    source = write_v1(tmp_path / "in", 3)
    centres = read_class_centres(source)
    assert torch.equal(centres.rows["weight"], WEIGHT)
    assert torch.equal(centres.rows["momentum"], MOMENTUM)
    out, wanted = write_split(tmp_path / "out", source, ranks), write_v1(tmp_path / "wanted", ranks)
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in wanted.iterdir())
    for path in wanted.iterdir():
        found = torch.load(out / path.name, weights_only=True)
        assert torch.equal(found, torch.load(path, weights_only=True))
        assert found.untyped_storage().nbytes() == 4 * found.numel()


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_version_2_is_split_anew_and_keeps_all_else(tmp_path: Path, ranks: int) -> None:
    out = write_split(tmp_path / "out", write_v2(tmp_path / "in", 3), ranks)
    wanted = write_v2(tmp_path / "wanted", ranks)
    assert {path.name for path in out.iterdir()} == {path.name for path in wanted.iterdir()}
    for path in wanted.iterdir():
        found, expected = (torch.load(place / path.name, weights_only=True) for place in (out, wanted))
        assert flat(found) == flat(expected)


def flat(value: Any) -> Any:
    """Nested containers with every tensor as a list, so that == compares them."""
    if isinstance(value, Tensor):
        return value.tolist()
    return {key: flat(item) for key, item in value.items()} if isinstance(value, dict) else value


def test_what_an_adaptive_optimiser_keeps_goes_along(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for rank, (weight, mom) in enumerate(zip(shares(WEIGHT, 2), shares(MOMENTUM, 2), strict=True)):
        kept = {"step": torch.tensor(77.0), "exp_avg": mom, "exp_avg_sq": mom.square()}
        torch.save(one_checkpoint(weight, kept), tmp_path / f"in/checkpoint_gpu_{rank}.pt")
    rows = read_class_centres(tmp_path / "in").rows
    assert torch.equal(rows["exp_avg_sq"], MOMENTUM.square())
    out = write_split(tmp_path / "out", tmp_path / "in", 3)
    state = torch.load(out / "checkpoint_gpu_2.pt", weights_only=True)["state_optimizer"]["state"][2]
    assert torch.equal(state["exp_avg"], MOMENTUM[8:])
    assert state["step"] == 77


def test_centres_without_momentum(tmp_path: Path) -> None:
    source = write_v1(tmp_path / "in", 2, momentum=False)
    assert set(read_class_centres(source).rows) == {"weight"}
    assert len(list(split_class_centres(read_class_centres(source), 4))) == 4
    torch.save(MOMENTUM[:6], source / "rank_0_softmax_weight_mom.pt")
    with pytest.raises(WeightsError, match=r"no rank_1_softmax_weight_mom\.pt beside rank_0_softmax_weight_mom\.pt"):
        read_class_centres(source)


def test_a_missing_or_foreign_rank_is_named(tmp_path: Path) -> None:
    assert not holds_centres(tmp_path)
    with pytest.raises(WeightsError, match=r"holds no class centres: needed rank_0_softmax_weight\.pt or checkpoint"):
        read_class_centres(tmp_path)
    source = write_v1(tmp_path / "in", 3)
    assert holds_centres(source)
    (source / "rank_1_softmax_weight.pt").unlink()
    with pytest.raises(WeightsError, match="lacks the file of rank 1: needed those of all ranks from 0 to 2"):
        read_class_centres(source)
    torch.save(WEIGHT[:5], source / "rank_1_softmax_weight.pt")
    with pytest.raises(
        WrongShapes, match=r"rank_1_softmax_weight\.pt is not rank 1 of 3: got \(5, 4\); needed \(4, 4\)"
    ):
        read_class_centres(source)
    torch.save({"weight": WEIGHT}, source / "rank_1_softmax_weight.pt")
    with pytest.raises(WrongShapes, match="holds no rows of weight"):
        read_class_centres(source)
    other = write_v2(tmp_path / "other", 2)
    torch.save({"model": 1}, other / "checkpoint_gpu_1.pt")
    with pytest.raises(WrongKeys, match=r"checkpoint_gpu_1\.pt is no checkpoint of PartialFC"):
        read_class_centres(other)
    torch.save(WEIGHT, other / "checkpoint_gpu_99999999999999.pt")
    with pytest.raises(WeightsError, match="lacks the file of rank 2"):
        read_class_centres(other)


def test_nothing_is_executed(tmp_path: Path) -> None:
    (tmp_path / "rank_0_softmax_weight.pt").write_bytes(pickle.dumps({"weight": Path}))
    with pytest.raises(UnsafeFile, match="was not opened"):
        read_class_centres(tmp_path)


def test_no_more_ranks_than_classes(tmp_path: Path) -> None:
    centres = read_class_centres(write_v1(tmp_path / "in", 1))
    with pytest.raises(RecipeError, match=r"export\.ranks: got 12; needed at most 11"):
        next(split_class_centres(centres, 12))
