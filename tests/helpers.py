"""Tiny worlds for tests: smooth pictures of a few people as finished sets, small networks as finished stages."""

import importlib
import os
import socket
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from facemae.faces.codec import encode_png
from facemae.faces.faceset import FaceSet, write_people
from facemae.faces.record import People
from facemae.faces.writer import FaceSetWriter
from facemae.nn.backbones import build_backbone
from facemae.nn.embedder import save_recogniser
from facemae.nn.mae import FaceMAE, Size
from facemae.spec.execution import Execution, Silent
from facemae.spec.manifest import Kind
from facemae.stages.pretrain import save_model
from facemae.stages.stage import open_stage
from facemae.train.world import World, join, leave

torch.set_num_threads(1)  # networks this small only wait for one another

TINY = Size(16, 1, 2, 16, 1, 2, image_size=32, patch_size=8)
"""Stands in for the smallest row of the model sizes: a step takes milliseconds."""


def smooth_photos(people: int, photos: int, *, size: int = 32, seed: int = 0, noise: float = 10.0) -> np.ndarray:
    """Photos of one person in a row: a person is a random 5 x 5 colour pattern, a photo adds a weaker one; enlarged."""
    random = np.random.default_rng(seed)
    patterns = random.uniform(40, 215, (people, 1, 5, 5, 3)) + random.normal(0, noise, (people, photos, 5, 5, 3))
    small = patterns.reshape(-1, 5, 5, 3).clip(0, 255).astype(np.uint8)
    return np.stack([np.asarray(Image.fromarray(one).resize((size, size), Image.Resampling.BICUBIC)) for one in small])


def write_set(
    directory: Path,
    images: np.ndarray,
    labels: Sequence[int] | np.ndarray,
    *,
    kind: Kind = "original",
    files: Sequence[str] | None = None,
    extras: Sequence[dict[str, Any] | None] | None = None,
    **facts: Any,
) -> Path:
    """A finished, lossless set of these images; originals carry names, and so does every set with ``files``."""
    content: dict[str, Any] = {"bytes": zlib.crc32(images.tobytes()), "labels": [int(label) for label in labels]}
    content |= {"kind": kind} | ({"extras": repr(list(extras))} if extras else {})
    with open_stage("test-set", directory, spec=content, parents={}) as stage:
        writer = FaceSetWriter(stage.directory)
        for image, label, more in zip(images, labels, extras or [None] * len(images), strict=True):
            writer.add(encode_png(image), int(label), extras=more)
        writer.finish()
        if kind == "original" or files is not None:
            write_people(stage.directory, _people(labels, files))
        identities = int(max(labels)) + 1
        size = {"records": len(images), "identities": identities, "size": list(images.shape[1:3])}
        stage.publish(kind, size | facts)
    return directory


def write_people_set(directory: Path, people: int, photos: int, *, size: int = 32, seed: int = 0) -> Path:
    """A finished set of originals: ``people`` smooth people with ``photos`` pictures each."""
    return write_set(directory, smooth_photos(people, photos, size=size, seed=seed), np.arange(people).repeat(photos))


def tiny_mae(*, image_size: int = 32, patch_size: int = 8, seed: int = 0) -> FaceMAE:
    """A model of a few thousand weights, the same for the same seed."""
    torch.manual_seed(seed)
    return FaceMAE(**TINY._replace(image_size=image_size, patch_size=patch_size)._asdict())


def write_model(directory: Path, model: FaceMAE) -> Path:
    """``model`` as `pretrain` would have left it."""
    with open_stage("test-model", directory, spec=model.size._asdict(), parents={}) as stage:
        save_model(stage.directory, model)
        stage.publish("model", {})
    return directory


def write_recogniser(directory: Path, *, input_size: int = 32, embedding: int = 16, seed: int = 0) -> Path:
    """A random recogniser as `recognize` would have left it."""
    torch.manual_seed(seed)
    config = {"backbone": "iresnet18", "width": 4, "input_size": input_size, "embedding": embedding}
    net = build_backbone("iresnet18", width=4, input_size=input_size, embedding=embedding)
    with open_stage("test-recogniser", directory, spec=config | {"seed": seed}, parents={}) as stage:
        save_recogniser(stage.directory, net, config | {"normalize": "insightface"})
        stage.publish("recogniser", {})
    return directory


def contents(directory: Path) -> dict[str, bytes]:
    """Every file below ``directory`` by relative name."""
    return {str(file.relative_to(directory)): file.read_bytes() for file in directory.rglob("*") if file.is_file()}


def images_of(directory: Path) -> np.ndarray:
    """Every picture of a set."""
    faces = FaceSet.open(directory)
    return faces.images(range(len(faces)))


class Interrupted(Exception):
    """What a pulled plug looks like from inside."""


@dataclass
class PulledPlug(Silent):
    """Progress whose ``calls``-th advance does not come back."""

    calls: int

    @contextmanager
    def task(self, name: str, total: int, unit: str, done: int = 0) -> Iterator["PulledPlug"]:
        yield self

    def advance(self, amount: int = 1, note: str = "") -> None:
        self.calls -= 1
        if self.calls == 0:
            raise Interrupted


def plain(**settings: Any) -> Execution:
    """An execution on the CPU."""
    return Execution(device="cpu", **settings)


def pulling_plug(calls: int, **settings: Any) -> Execution:
    """An execution that is interrupted by its ``calls``-th advance."""
    return plain(progress=PulledPlug(calls), **settings)


def _people(labels: Sequence[int] | np.ndarray, files: Sequence[str] | None) -> People:
    seen: dict[int, int] = {}
    named = []
    for label in (int(label) for label in labels):
        seen[label] = seen.get(label, 0) + 1
        named.append(f"Person_{label:03d}/Person_{label:03d}_{seen[label]:04d}.png")
    names = tuple(f"Person_{i:03d}" for i in range(int(max(labels)) + 1))
    return People(names, tuple(files or named))


def run_ranks(size: int, work: Callable[..., None], *arguments: Any, patience: float) -> None:
    """``work(rank, size, port, *arguments)`` on ``size`` new processes, given up after ``patience`` seconds."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = torch.multiprocessing.start_processes(
        _one_rank, (work, size, port, *arguments), size, join=False, daemon=True, start_method="spawn"
    )
    given_up = time.monotonic() + patience
    while not processes.join(1.0):  # true once all have ended; raises what one of them raised
        if time.monotonic() > given_up:
            for process in processes.processes:
                process.kill()
            pytest.fail("the processes wait for one another")


def _one_rank(rank: int, work: Callable[..., None], size: int, port: int, *arguments: Any) -> None:
    work(rank, size, port, *arguments)
    # One that goes while another still speaks to it now and then aborts that one.
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        leave()
    # Threads of gloo that outlive the group abort the process once in a while when the interpreter is taken down.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def join_as(rank: int, size: int, port: int) -> World:
    """The world of one of the processes that `run_ranks` started."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"WORLD_SIZE": str(size), "RANK": str(rank), "LOCAL_RANK": str(rank)}
    return join("cpu")


def benchmark_module(monkeypatch: pytest.MonkeyPatch, name: str) -> ModuleType:
    """A script of ``benchmarks/`` as a module of its own, with those that it takes from beside it."""
    folder = Path(__file__).resolve().parents[1] / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    for path in folder.glob("audit_*.py"):
        monkeypatch.delitem(sys.modules, path.stem, raising=False)
    return importlib.import_module(name)
