"""Data stages on several processes: the bytes of one, whoever was interrupted, and an end where one of them fails."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from facemae.errors import StageError
from facemae.faces.faceset import FaceSet
from facemae.spec.execution import Execution
from facemae.spec.recipe import AuditSpec, EmbedSpec, MaskSpec, ReconstructSpec, VerifySpec
from facemae.stages import reconstruct as stage
from facemae.stages.audit import Inputs, audit
from facemae.stages.embed import embed
from facemae.stages.mask import mask, private_of
from facemae.stages.reconstruct import CHUNK, reconstruct
from facemae.stages.verify import verify
from facemae.train import parts
from facemae.train.parts import Parts, by_ranks, meet
from facemae.train.world import World, of_all, wait_for_all
from helpers import (
    Interrupted,
    contents,
    join_as,
    plain,
    pulling_plug,
    run_ranks,
    smooth_photos,
    tiny_mae,
    write_model,
    write_recogniser,
    write_set,
)

PEOPLE, PHOTOS, CHUNKS = 110, 6, 11  # ten whole chunks of 64 and a padded one
PATIENCE = 280
"""Seconds after which processes that wait for one another are given up; a quiet machine needs a tenth of them."""
ALONE = World(0, 1, torch.device("cpu"))
AUDIT = AuditSpec(k=(1, 2), identities=(5, 40), replicates=50)


def coarse_parts(patch: pytest.MonkeyPatch) -> None:
    """Parts of two chunks, so that one can be interrupted in its middle: five of them and half a one."""
    patch.setattr(parts, "MOST", 5)


# ---- what each process does ----------------------------------------------------------------------------------------


def longer_stages(place: Path, out: Path) -> tuple[Callable[[Execution], Path], Callable[[Execution], Path]]:
    """Those that go on where they were interrupted."""
    spec = ReconstructSpec(precision="fp32")
    return (
        lambda execution: reconstruct(place / "model", place / "masked", out / "set", spec, execution),
        lambda execution: embed(place / "net", place / "originals", out / "vectors", EmbedSpec(), execution),
    )


def everything(place: Path, out: Path) -> None:
    for make in longer_stages(place, out):
        make(plain())
    inputs = Inputs(
        original=place / "originals",
        released=out / "set",
        linkage=private_of(place / "masked"),
        embedders={"net": place / "net"},
        nonmembers=place / "strangers",
    )
    cache = out / "cache"
    audit(inputs, out / "audit", AUDIT, plain(), cache=cache)
    verify(
        place / "net",
        place / "originals",
        place / "pairs.csv",
        out / "verification",
        VerifySpec(replicates=50),
        plain(),
        cache=cache,
    )


def cut(place: Path, out: Path, calls: int) -> None:
    """Both longer stages, interrupted in every process at once."""
    for make in longer_stages(place, out):
        with pytest.raises(Interrupted):
            make(pulling_plug(calls))


def go_on(place: Path, out: Path) -> None:
    for make in longer_stages(place, out):
        make(plain())


Job = tuple[Callable[..., None], tuple[Any, ...]]


def one_rank(rank: int, size: int, port: int, jobs: Sequence[Job]) -> None:
    world = join_as(rank, size, port)
    assert of_all(rank, world) == list(range(size))
    with pytest.MonkeyPatch.context() as patch:
        coarse_parts(patch)
        for job, words in jobs:
            job(*words)
    wait_for_all(world)


def together(size: int, *jobs: Job) -> None:
    """The jobs one after another, each by all of ``size`` processes."""
    run_ranks(size, one_rank, jobs, patience=PATIENCE)


# ---- the tests -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sets, networks and pairs."""
    place = tmp_path_factory.mktemp("ranks")
    labels = np.arange(PEOPLE).repeat(PHOTOS)
    originals = write_set(place / "originals", smooth_photos(PEOPLE, PHOTOS, noise=30.0), labels)
    strangers = np.arange(50).repeat(2)
    write_set(place / "strangers", smooth_photos(50, 2, seed=9), strangers, kind="reconstructed")
    mask(originals, place / "masked", MaskSpec(seed=5), plain())
    write_model(place / "model", tiny_mae())
    write_recogniser(place / "net")
    people = FaceSet.open(originals).people
    assert people is not None
    rows = ["left,right,same,fold"]
    for i in range(0, 600, PHOTOS):
        rows += [f"{people.files[i]},{people.files[i + 1]},1,{i // 60}"]
        rows += [f"{people.files[i]},{people.files[i + 2 + PHOTOS]},0,{i // 60}"]
    (place / "pairs.csv").write_text("\n".join(rows))
    return place


@pytest.fixture(scope="module")
def made(place: Path) -> Path:
    """What 1, 2 and 4 processes made, from nothing and from what others had been interrupted at."""
    with pytest.MonkeyPatch.context() as patch:
        coarse_parts(patch)
        everything(place, place / "one")
        cut(place, place / "one-then-four", 3)
    together(
        4,
        (everything, (place, place / "four")),
        (go_on, (place, place / "one-then-four")),
        (cut, (place, place / "four-then-two", 2)),
    )
    together(
        2,
        (everything, (place, place / "two")),
        (go_on, (place, place / "four-then-two")),
        (cut, (place, place / "two-then-one", 5)),
    )
    return place


@pytest.mark.slow
class TestSeveralProcesses:
    @pytest.mark.parametrize("processes", ["two", "four"])
    @pytest.mark.parametrize("made_by", ["set", "vectors", "audit", "verification", "cache"])
    def test_several_processes_write_the_bytes_of_one(self, made: Path, processes: str, made_by: str) -> None:
        one = contents(made / "one" / made_by)
        assert one
        assert contents(made / processes / made_by) == one

    @pytest.mark.parametrize("order", ["one-then-four", "four-then-two"])
    @pytest.mark.parametrize("made_by", ["set", "vectors"])
    def test_another_number_of_processes_goes_on(self, made: Path, order: str, made_by: str) -> None:
        assert contents(made / order / made_by) == contents(made / "one" / made_by)

    def test_one_process_uses_the_parts_of_two(self, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        coarse_parts(monkeypatch)
        computed: list[int] = []
        predict = stage._predict

        def noting(*words: Any) -> np.ndarray:
            computed.append(1)
            return predict(*words)

        monkeypatch.setattr(stage, "_predict", noting)
        go_on(made, made / "two-then-one")
        # Each of the two had one part of two chunks, and half of its next one, which only several processes go on with.
        assert len(computed) == CHUNKS - 4
        for made_by in ("set", "vectors"):
            assert contents(made / "two-then-one" / made_by) == contents(made / "one" / made_by)
        assert not [path for path in made.rglob(".*") if path.suffix in (".partial", ".lock")]


def torchrun(*words: object) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "facemae"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [*launcher, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE, env=environment)


@pytest.mark.slow
def test_a_process_that_fails_ends_the_run(place: Path, tmp_path: Path) -> None:
    """The second process meets a damaged record while the first one waits for it."""
    masked = shutil.copytree(place / "masked", tmp_path / "masked")
    number = CHUNK + 3
    row = FaceSet.open(masked).index[number]
    with (masked / "shards" / f"{row['shard']:05d}.tar").open("r+b") as shard:
        shard.seek(int(row["offset"]) + 40)
        shard.write(b"damage")
    ended = torchrun("reconstruct", place / "model", masked, tmp_path / "out", "--set", "precision=fp32")
    assert ended.returncode != 0
    assert ended.stdout == ""
    said = [line for line in ended.stderr.splitlines() if line.startswith("facemae:")]
    assert len(said) == 1, ended.stderr
    assert f"record {number:08d} of {masked} is damaged" in said[0]
    assert "Connection closed" not in ended.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_only_the_first_process_speaks(place: Path, tmp_path: Path) -> None:
    ended = torchrun("verify", place / "net", place / "originals", tmp_path / "out", "--pairs", place / "pairs.csv")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("accuracy") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("records", [0, 1, 64, 65, 660, 16_384, 100_000, 1_000_003])
def test_parts_are_whole_chunks_and_cover_the_set(records: int) -> None:
    spans = Parts(Path("nowhere"), records, CHUNK).spans()
    assert [i for span in spans for i in (span.start, span.stop)] == sorted(
        [0, *(span.start for span in spans[1:]), *(span.stop for span in spans)]
    )[: 2 * len(spans)]
    assert sum(len(span) for span in spans) == records
    assert all(len(span) % CHUNK == 0 for span in spans[:-1])
    assert max((len(span) for span in spans), default=0) <= parts.LARGEST * CHUNK
    chunks = -(-records // CHUNK)
    assert len(spans) >= min(chunks, parts.MOST), "too few parts for many ranks"


def test_a_part_counts_once_it_is_complete(tmp_path: Path) -> None:
    found = Parts(tmp_path / "parts", 200, CHUNK)
    first, second, *_ = found.spans()
    assert found.made() == []
    with found.making(first) as path:
        path.write_bytes(b"whole")
    with pytest.raises(Interrupted), found.making(second) as path:  # noqa: PT012 (the block is what is tested)
        path.write_bytes(b"half")
        raise Interrupted
    assert found.made() == [first]
    assert found.path(first).read_bytes() == b"whole"
    with found.making(second) as path:
        assert path.read_bytes() == b"half", "it is gone on with"
    found.drop()
    assert found.made() == []


def test_one_process_divides_nothing(tmp_path: Path) -> None:
    rows = np.arange(12).reshape(6, 2)
    asked: list[slice] = []

    def work(part: slice) -> tuple[np.ndarray, np.ndarray]:
        asked.append(part)
        return rows[part], rows[part].sum(axis=1)

    joined, sums = by_ranks(work, len(rows), world=ALONE)
    assert asked == [slice(0, 6)]
    assert np.array_equal(joined, rows)
    assert np.array_equal(sums, rows.sum(axis=1))
    assert of_all("x", ALONE) == ["x"]


def test_storage_that_is_not_shared_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "APPEARS", 0.0)
    monkeypatch.setattr(parts, "wait_for_all", lambda world: None)
    meet(tmp_path, World(1, 2, ALONE.device))
    with pytest.raises(StageError, match="is not seen by process 1: needed storage that all machines of the run share"):
        meet(tmp_path / "out", World(1, 2, ALONE.device))
