"""What the stages are measured on: synthetic faces, sets and models, made by the stages themselves."""

import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import nn

from facemae.bench.pairs import Basis, Lap, Repeated, clock_of, lap_between
from facemae.bench.stopwatch import Stopwatch
from facemae.faces.codec import encode_jpeg
from facemae.faces.synthetic import render_photo
from facemae.nn.backbones import build_backbone
from facemae.nn.embedder import save_recogniser
from facemae.nn.mae import SIZES
from facemae.spec.execution import Execution, Progress, Silent
from facemae.spec.recipe import ImportSpec, Loss, MaskSpec, PretrainSpec
from facemae.stages.import_ import import_faces
from facemae.stages.mask import mask
from facemae.stages.pretrain import pretrain

SEED = 0
NATIVE = 112
LARGE = ("base", "large", "huge")
PEOPLE = 16
"""Photos a person in the sets that are measured."""


@dataclass(frozen=True)
class Sizes:
    """What is measured at which size.

    ``records``: images of import, mask and reading; ``images``: of reconstruct, embed and training. A lap of training
    is ``steps`` steps, of which the first is not timed, of ``batch`` images (``large_batch`` for base and above).
    ``chunk``: images of a forward pass on its own. ``seconds``: the shortest lap of a single call. ``memory``: the two
    numbers of records whose peaks are compared. No ``gallery`` and no ``memory_stages``: not measured.
    """

    matrices: tuple[int, ...] = (512, 1024, 2048)
    maes: tuple[str, ...] = ("tiny", "small", "base")
    phis: tuple[tuple[str, str], ...] = (("base", "iresnet50"), ("base", "mbf"))
    embedders: tuple[str, ...] = ("iresnet50", "mbf")
    recognisers: tuple[str, ...] = ("iresnet50", "mbf")
    photos: int = 64
    records: int = 2048
    images: int = 256
    batch: int = 64
    chunk: int = 64
    large_batch: int = 32
    steps: int = 3
    workers: int = 0
    queries: int = 500
    gallery: int = 500_000
    dimension: int = 512
    rounds: int = 5
    seconds: float = 0.3
    memory: tuple[int, int] = (10_000, 100_000)
    memory_stages: tuple[str, ...] = ("import", "mask", "reconstruct", "embed", "top-4")

    @classmethod
    def quick(cls) -> "Sizes":
        """Under a minute on one core: the smallest networks, and the stages that need no torch for the memory."""
        return cls(
            matrices=(512, 1024),
            maes=("tiny",),
            phis=(("tiny", "mbf"),),
            embedders=("mbf",),
            recognisers=("mbf",),
            photos=16,
            records=256,
            images=128,
            batch=16,
            chunk=16,
            large_batch=4,
            queries=200,
            gallery=20_000,
            rounds=3,
            seconds=0.05,
            memory=(200, 1000),
            memory_stages=("import", "mask", "top-4"),
        )

    @classmethod
    def accelerator(cls) -> "Sizes":
        """For one GPU with the input pipeline running: the paper's batch, laps long enough to empty its buffers.

        Retrieval and memory belong to the processor and are left out.
        """
        workers = max(1, (os.cpu_count() or 2) - 1)
        return cls(
            matrices=(2048, 4096, 8192, 16384),
            images=256 * 64,
            batch=256,
            large_batch=256,
            steps=64,
            workers=workers,
            gallery=0,
            memory_stages=(),
        )

    def step_batch(self, size: str) -> int:
        """Images a training step of a masked autoencoder."""
        return self.large_batch if size in LARGE else self.batch


class Workspace:
    """Inputs of the stages, each made once under ``root``; how they are run; and how they are timed."""

    def __init__(self, root: Path, sizes: Sizes, device: torch.device) -> None:
        self.root, self.sizes, self.device = root, sizes, device
        self.clock = clock_of(device)
        alone = device.type == "cpu" and torch.get_num_threads() == 1
        self.basis: Basis = "processor" if alone else "wall"
        """On one thread the processor's seconds, which other programs on the machine disturb least."""

    # ---- inputs -----------------------------------------------------------------------------

    def folder(self, count: int) -> Path:
        """``count`` JPEGs of people; only the first ``sizes.photos`` of them are drawn, the others are their copies."""
        return write_photos(self.root / f"photos-{count}", count, drawn=self.sizes.photos, size=NATIVE)

    def originals(self, count: int) -> Path:
        """The imported folder."""
        out = self.root / f"originals-{count}"
        return out if out.exists() else import_faces([str(self.folder(count))], out, ImportSpec(), Execution())

    def masked(self, count: int) -> Path:
        """The masked set."""
        out = self.root / f"masked-{count}"
        return out if out.exists() else mask(self.originals(count), out, MaskSpec(seed=SEED), Execution())

    def model(self, size: str) -> Path:
        """A masked autoencoder after one step."""
        out = self.root / f"mae-{size}"
        if out.exists():
            return out
        faces = self.originals(self.sizes.images)
        return pretrain(faces, out, pixel_spec(size, batch=2, steps=1), self.execution(Silent()))

    def recogniser(self, backbone: str) -> Path:
        """A backbone with random weights."""
        return write_recogniser(self.root / backbone, backbone, input_size=NATIVE)

    @cached_property
    def vectors(self) -> tuple[np.ndarray, np.ndarray]:
        """Random unit rows: queries and gallery."""
        random, sizes = np.random.default_rng(SEED), self.sizes
        queries, gallery = (random_rows(random, count, sizes.dimension) for count in (sizes.queries, sizes.gallery))
        return queries, gallery

    # ---- laps -------------------------------------------------------------------------------

    def execution(self, progress: Progress, *, workers: int = 0) -> Execution:
        """How stages run here; a checkpoint in the middle of a lap would be timed with it."""
        device = self.device.type
        return Execution(device=device, progress=progress, workers=workers, checkpoint_seconds=math.inf)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for one lap."""
        folder = Path(tempfile.mkdtemp(dir=self.root))
        try:
            yield folder
        finally:
            shutil.rmtree(folder)

    def whole(self, run: Callable[[Path, Execution], object], units: float) -> Callable[[], Lap]:
        """Laps of a stage from its call to its return; ``run`` gets an OUT that does not exist."""

        def lap() -> Lap:
            with self.scratch() as folder:
                before = self.clock()
                run(folder / "out", self.execution(Silent()))
                return lap_between(before, self.clock(), units)

        return lap

    def steady(
        self, run: Callable[[Path, Execution], object], task: str, *, scale: float = 1.0, workers: int = 0
    ) -> Callable[[], Lap]:
        """Laps of a stage while it reports its progress under ``task``; ``scale`` units of ours are one of its own."""

        def lap() -> Lap:
            watch = Stopwatch(task, self.clock)
            with self.scratch() as folder:
                run(folder / "out", self.execution(watch, workers=workers))
            return watch.lap(scale=scale)

        return lap

    def repeated(self, call: Callable[[], object], units: float) -> Repeated:
        """Laps of a call on its own."""
        return Repeated(call, units, clock=self.clock, seconds=self.sizes.seconds)


def write_photos(folder: Path, count: int, *, drawn: int, size: int, people: int = PEOPLE) -> Path:
    """``folder``/person/number.jpg, ``people`` photos a person: ``drawn`` different ones and their copies."""
    if folder.exists():
        return folder
    files = [encode_jpeg(render_photo(i, 0, seed=SEED, size=size).image) for i in range(min(drawn, count))]
    for i in range(count):
        path = folder / f"p{i // people:06d}" / f"{i % people:04d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(files[i % len(files)])
    return folder


def random_rows(random: np.random.Generator, count: int, dimension: int) -> np.ndarray:
    """Unit rows in float32, of no preferred direction."""
    rows = random.standard_normal((count, dimension), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def write_recogniser(directory: Path, backbone: str, *, input_size: int, width: int | None = None) -> Path:
    """A recogniser with random weights, as `recognize` leaves one.

    Its batch normalisation has seen a batch. Without that a random network's activations fade to nothing or overflow
    on the way, and numbers too small for the format take some engines several times as long.
    """
    if not directory.exists():
        torch.manual_seed(SEED)
        net = build_backbone(backbone, input_size=input_size, width=width)
        for layer in net.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.momentum = None  # the plain mean over all batches seen, of which there is one
        with torch.no_grad():
            net.train()(torch.randn(8, 3, input_size, input_size))
        config = {"backbone": backbone, "input_size": input_size, "embedding": net.embedding, "width": width}
        save_recogniser(directory, net, config | {"normalize": "insightface"})
    return directory


def pixel_spec(size: str, *, batch: int, steps: int) -> PretrainSpec:
    """A plain masked autoencoder of a row of `SIZES`, at the row's image size."""
    return phi_spec(size, batch=batch, steps=steps).model_copy(
        update={"loss": Loss(pixel=1.0, instance=0.0, relation=0.0, pixel_on="masked")}
    )


def phi_spec(size: str, *, batch: int, steps: int) -> PretrainSpec:
    """The paper's loss, with a feature network."""
    row = SIZES[size]
    return PretrainSpec.model_validate(
        {
            "size": size,
            "image_size": row.image_size,
            "patch_size": row.patch_size,
            "image_steps": steps * batch,
            "batch": batch,
            "seed": SEED,
        }
    )
