"""A directory that exists is complete; whatever goes wrong inside a stage leaves OUT as it was."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from facemae.errors import DiskFull, OutputExists
from facemae.spec.manifest import digest_of, read_manifest
from facemae.stages.stage import Stage, open_stage
from folders import tree

SPEC, PARENTS = {"ratio": 0.75}, {"faces": "f0"}


def run(out: Path, work: Callable[[Stage], None] | None = None, **changes: Any) -> Stage:
    """A stage that writes one file, or does ``work`` instead."""
    request = {"spec": SPEC, "parents": PARENTS} | changes
    with open_stage("test", out, **request) as stage:
        if stage.finished:
            return stage
        if work is not None:
            work(stage)
        (stage.directory / "x").write_bytes(b"result")
        stage.publish("audit", {"n": 1})
    return stage


def interrupted(out: Path, error: BaseException, **changes: Any) -> Stage:
    """The same stage, stopped by ``error`` after it had begun to write."""
    seen: list[Stage] = []

    def work(stage: Stage) -> None:
        seen.append(stage)
        (stage.directory / "half").write_bytes(b"unfinished")
        raise error

    with pytest.raises((type(error), DiskFull)):
        run(out, work, **changes)
    return seen[0]


def test_finished(tmp_path: Path) -> None:
    stage = run(tmp_path / "a/b/out")
    assert stage.finished
    assert [path.name for path in (tmp_path / "a/b").iterdir()] == ["out"]
    manifest = read_manifest(tmp_path / "a/b/out")
    assert (manifest.stage, manifest.kind, manifest.facts) == ("test", "audit", {"n": 1})
    assert (manifest.spec, manifest.parents) == (SPEC, PARENTS)
    assert manifest.digest == stage.digest == digest_of("test", SPEC, PARENTS)


def test_out_is_not_there_before_its_manifest(tmp_path: Path) -> None:
    def work(stage: Stage) -> None:
        assert not (tmp_path / "out").exists()
        assert stage.directory.parent == tmp_path
        assert list(stage.directory.iterdir()) == []

    run(tmp_path / "out", work)
    assert (tmp_path / "out/manifest.json").exists()


def test_the_same_request_is_not_done_twice(tmp_path: Path) -> None:
    run(tmp_path / "out")

    def never(stage: Stage) -> None:
        raise AssertionError("the stage ran again")

    again = run(tmp_path / "out", never)
    assert again.finished
    assert again.directory == tmp_path / "out"


@pytest.mark.parametrize("changes", [{"spec": {"ratio": 0.5}}, {"parents": {"faces": "f1"}}])
def test_another_request_does_not_touch_out(tmp_path: Path, changes: dict[str, Any]) -> None:
    run(tmp_path / "out")
    before = tree(tmp_path)
    with pytest.raises(OutputExists, match=r"holds another result: got digest .*; needed .*; name another OUT"):
        run(tmp_path / "out", **changes)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("kind", ["empty", "files", "file", "other manifest"])
def test_an_out_that_is_not_ours(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    if kind == "file":
        out.write_text("mine")
    else:
        out.mkdir()
    if kind == "files":
        (out / "mine.txt").write_text("mine")
    if kind == "other manifest":
        (out / "manifest.json").write_text('{"name": "a web app"}')
    before = tree(tmp_path)
    with pytest.raises(OutputExists, match="exists and is not a finished facemae directory: name another OUT"):
        run(out)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), OSError(errno.EIO, "x")])
def test_an_error_inside_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    interrupted(tmp_path / "out", error)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_clear_line(tmp_path: Path, number: int) -> None:
    run(tmp_path / "earlier")
    before = tree(tmp_path)

    def work(stage: Stage) -> None:
        raise OSError(number, os.strerror(number))

    with pytest.raises(DiskFull) as caught:
        run(tmp_path / "out", work)
    assert str(caught.value).startswith(f"no space left while writing {tmp_path / 'out'}: free some space")
    assert tree(tmp_path) == before


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_disk_that_fills_at_the_last_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    run(tmp_path / "earlier")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if call == "fsync":
        monkeypatch.setattr("os.fsync", full)
    else:
        monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(DiskFull):
        run(tmp_path / "out")
    monkeypatch.undo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["earlier"]
    assert run(tmp_path / "out").finished


def test_another_error_of_the_system_keeps_its_name(tmp_path: Path) -> None:
    def work(stage: Stage) -> None:
        (tmp_path / "nowhere").read_bytes()

    with pytest.raises(FileNotFoundError, match="nowhere"):
        run(tmp_path / "out", work)


def test_killed_in_the_middle(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from facemae.stages.stage import open_stage\n"
        f"with open_stage('test', Path(sys.argv[1]), spec={SPEC!r}, parents={PARENTS!r}) as stage:\n"
        "    (stage.directory / 'half').write_bytes(b'unfinished'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path / "out")], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    left = sorted(path.suffix for path in tmp_path.iterdir() if path.name.startswith(".out."))
    assert left == [".lock", ".partial"] == sorted(path.suffix for path in tmp_path.iterdir())

    def work(stage: Stage) -> None:
        assert list(stage.directory.iterdir()) == []

    run(tmp_path / "out", work)
    assert sorted(tree(tmp_path)) == ["out/manifest.json", "out/x"]


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), OSError(errno.ENOSPC, "full")])
def test_a_resumable_stage_finds_its_half_again(tmp_path: Path, error: BaseException) -> None:
    first = interrupted(tmp_path / "out", error, resumable=True)
    assert not (tmp_path / "out").exists()

    def work(stage: Stage) -> None:
        assert stage.directory == first.directory
        assert (stage.directory / "half").read_bytes() == b"unfinished"
        (stage.directory / "half").unlink()

    assert run(tmp_path / "out", work, resumable=True).finished
    assert sorted(tree(tmp_path)) == ["out/manifest.json", "out/x"]


def test_a_resumable_stage_never_finds_anothers_half(tmp_path: Path) -> None:
    interrupted(tmp_path / "out", ValueError("x"), resumable=True)

    def work(stage: Stage) -> None:
        assert list(stage.directory.iterdir()) == []

    run(tmp_path / "out", work, resumable=True, spec={"ratio": 0.5})


def test_a_masked_set_is_a_new_root(tmp_path: Path) -> None:
    own = "cd" * 32
    with open_stage("mask", tmp_path / "out", spec=SPEC, parents=PARENTS) as stage:
        stage.publish("masked", {}, digest=own)
    manifest = read_manifest(tmp_path / "out")
    assert (manifest.digest, manifest.parents) == (own, {})
    assert run(tmp_path / "out", existing=own).finished
    with pytest.raises(OutputExists):
        run(tmp_path / "out")


def _make_slowly(out: str, log: str) -> None:
    with open_stage("slow", Path(out), spec={}, parents={}) as stage:
        with Path(log).open("a") as stream:
            stream.write("found\n" if stage.finished else "made\n")
        if not stage.finished:
            time.sleep(0.5)
            (stage.directory / "data").write_text("whole")
            stage.publish("embeddings", {})


@pytest.mark.slow
def test_two_processes_make_one_directory_once(tmp_path: Path) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    workers = [get_context("spawn").Process(target=_make_slowly, args=(str(out), str(log))) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert log.read_text().split() == ["made", "found"]
    assert (out / "data").read_text() == "whole"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
