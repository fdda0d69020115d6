"""Training state on disk: whole or absent, and safe to read."""

import errno
import os
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from facemae.train.checkpoint import FILE, all_finite, drop_checkpoint, load_checkpoint, save_checkpoint, write_bytes


def test_state_comes_back_bit_for_bit(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95))
    model(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    save_checkpoint(tmp_path, {"step": 7, "model": model.state_dict(), "optimizer": optimizer.state_dict()})

    state = load_checkpoint(tmp_path)
    assert state is not None
    assert state["step"] == 7
    assert torch.equal(state["model"]["weight"], model.weight)
    moments = optimizer.state_dict()["state"][0]
    assert torch.equal(state["optimizer"]["state"][0]["exp_avg_sq"], moments["exp_avg_sq"])
    assert state["optimizer"]["param_groups"][0]["betas"] == (0.9, 0.95)


def test_no_checkpoint_is_none_and_dropping_forgets(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path) is None
    drop_checkpoint(tmp_path)
    save_checkpoint(tmp_path, {"step": 1})
    drop_checkpoint(tmp_path)
    assert load_checkpoint(tmp_path) is None


def test_a_full_disk_leaves_the_older_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path, {"step": 1, "weights": torch.arange(5)})

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(tmp_path, {"step": 2, "weights": torch.zeros(5)})
    monkeypatch.undo()
    state = load_checkpoint(tmp_path)
    assert state is not None
    assert state["step"] == 1
    assert torch.equal(state["weights"], torch.arange(5))


def test_bytes_are_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", cut)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(tmp_path / "file", b"half")
    assert not (tmp_path / "file").exists()
    monkeypatch.undo()
    write_bytes(tmp_path / "file", b"whole")
    assert (tmp_path / "file").read_bytes() == b"whole"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch executed",)


def test_nothing_in_the_file_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"step": 1, "model": _Evil()}, tmp_path / FILE)
    with pytest.raises(pickle.UnpicklingError):
        load_checkpoint(tmp_path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_one_weight_that_is_no_number_is_seen(value: float) -> None:
    model = nn.Linear(3, 2)
    assert all_finite(model)
    with torch.no_grad():
        model.weight[1, 2] = value
    assert not all_finite(model)
