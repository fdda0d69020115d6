"""The log of a run: one JSON object a line, never ahead of the checkpoint it is resumed from."""

import gc
from pathlib import Path

import pytest

from facemae.train.journal import Journal, read_journal


def write(path: Path, steps: range, *, begin: int = 0) -> None:
    journal = Journal(path, begin)
    for step in steps:
        journal.write(step, loss=1 / step)
    journal.close()


def test_rows_come_back_exactly(tmp_path: Path) -> None:
    write(tmp_path / "j", range(1, 4))
    assert read_journal(tmp_path / "j") == [{"step": s, "loss": 1 / s} for s in (1, 2, 3)]


def test_reopening_drops_what_the_checkpoint_does_not_know_of(tmp_path: Path) -> None:
    write(tmp_path / "whole", range(1, 10))
    write(tmp_path / "cut", range(1, 8))
    write(tmp_path / "cut", range(5, 10), begin=4)
    assert (tmp_path / "cut").read_bytes() == (tmp_path / "whole").read_bytes()


def test_reopening_from_the_beginning_forgets_everything(tmp_path: Path) -> None:
    write(tmp_path / "j", range(1, 4))
    write(tmp_path / "j", range(1, 2))
    assert [row["step"] for row in read_journal(tmp_path / "j")] == [1]


def test_a_line_cut_short_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "j"
    write(path, range(1, 4))
    path.write_bytes(path.read_bytes()[:-9])
    assert [row["step"] for row in read_journal(path)] == [1, 2]
    write(path, range(3, 4), begin=3)
    assert [row["step"] for row in read_journal(path)] == [1, 2, 3]


@pytest.mark.slow
def test_a_dead_run_in_the_same_process_writes_nothing_later(tmp_path: Path) -> None:
    dead = Journal(tmp_path / "j")
    dead.write(1, loss=1.0)
    dead.write(2, loss=0.5)
    write(tmp_path / "j", range(2, 4), begin=1)
    del dead
    gc.collect()
    assert [row["step"] for row in read_journal(tmp_path / "j")] == [1, 2, 3]


def test_rows_are_there_at_a_flush(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.write(1, loss=1.0)
    journal.flush()
    assert read_journal(tmp_path / "j") == [{"step": 1, "loss": 1.0}]
    journal.close()
