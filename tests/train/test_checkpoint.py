"""Training state on disk: whole or absent, and safe to read."""

import errno
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from facemae.errors import Damaged
from facemae.train import checkpoint
from facemae.train.checkpoint import (
    FILE,
    all_finite,
    drop_checkpoint,
    load_checkpoint,
    load_rows,
    save_checkpoint,
    write_bytes,
)
from facemae.train.world import World, share_of


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


COUNT = 11
ROWS = torch.randn(COUNT, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks that come one after another in this process."""
    monkeypatch.setattr(checkpoint, "wait_for_all", lambda world: None)


def save_split(directory: Path, step: int, ranks: int, rows: Tensor = ROWS) -> None:
    for rank in reversed(range(ranks)):  # the main rank last, as if it had waited for the others
        share = share_of(COUNT, rank, ranks)
        state = {"step": step, "weights": torch.full((2,), float(step))}
        world = World(rank, ranks, torch.device("cpu"))
        save_checkpoint(directory, state, world=world, rows={"weight": rows[share.start : share.stop]})


def load_split(directory: Path, ranks: int) -> Tensor:
    state = load_checkpoint(directory)
    assert state is not None
    shares = [share_of(COUNT, rank, ranks) for rank in range(ranks)]
    parts = [load_rows(directory, state, "weight", count=COUNT, wanted=share) for share in shares]
    assert [len(part) for part in parts] == [len(share) for share in shares]
    return torch.from_numpy(np.concatenate(parts))


@pytest.mark.usefixtures("_no_waiting")
class TestSplitRows:
    @pytest.mark.parametrize("before", [1, 2, 4])
    @pytest.mark.parametrize("after", [1, 2, 3, 4, 11])
    def test_another_number_of_ranks_finds_the_same_rows(self, before: int, after: int, tmp_path: Path) -> None:
        save_split(tmp_path, 3, before)
        assert torch.equal(load_split(tmp_path, after), ROWS)

    def test_only_the_last_checkpoint_stays(self, tmp_path: Path) -> None:
        save_split(tmp_path, 1, 4)
        save_split(tmp_path, 2, 2, 2 * ROWS)
        assert torch.equal(load_split(tmp_path, 3), 2 * ROWS)
        names = [path.name for path in tmp_path.iterdir()]
        assert set(names) == {FILE, "checkpoint.2.weight.0.npy", "checkpoint.2.weight.1.npy"}
        (tmp_path / ".checkpoint.3.weight.0.npy.partial").write_bytes(b"half")
        (tmp_path / "journal.jsonl").write_bytes(b"")
        drop_checkpoint(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["journal.jsonl"]

    @pytest.mark.parametrize("files", range(5))
    def test_an_interrupted_save_leaves_the_earlier_one_whole(
        self, files: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The plug is pulled as the save of four ranks gives its (files + 1)-th file its name."""
        save_split(tmp_path, 1, 2)
        calls = iter(range(100))

        def pulled(self: Path, target: Path) -> Path:
            if next(calls) == files:
                raise KeyboardInterrupt
            return replace(self, target)

        replace = Path.replace
        monkeypatch.setattr(Path, "replace", pulled)
        with pytest.raises(KeyboardInterrupt):
            save_split(tmp_path, 2, 4, 2 * ROWS)
        monkeypatch.undo()
        state = load_checkpoint(tmp_path)
        assert state is not None
        assert state["step"] == 1
        assert torch.equal(load_split(tmp_path, 3), ROWS)

    def test_a_full_disk_is_told_as_one(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left") as raised:
            save_split(tmp_path, 1, 2)
        assert raised.value.errno == errno.ENOSPC
        assert load_checkpoint(tmp_path) is None

    def test_rows_are_read_without_pickle(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        save_split(tmp_path, 1, 1)
        np.save(tmp_path / "checkpoint.1.weight.0.npy", np.array([_Evil()] * COUNT, object))
        with pytest.raises(ValueError, match="Python objects in dtype"):
            load_split(tmp_path, 1)
        assert not (tmp_path / "executed").exists()

    def test_rows_of_another_run_are_refused(self, tmp_path: Path) -> None:
        save_split(tmp_path, 1, 2)
        np.save(tmp_path / "checkpoint.1.weight.1.npy", np.zeros((4, 3), np.float32))
        with pytest.raises(Damaged, match="is not of this run: got 4 rows; needed 5"):
            load_split(tmp_path, 1)


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
