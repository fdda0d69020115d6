"""How fast each stage computes here, beside the rate at which this machine multiplies matrices in the same number type.

    of_matrix_rate = operations per unit * units per second / (operations per second of the fastest matrix product)

Operations are counted from the layers (two a multiply-add: linear layers, convolutions, attention, the classifier's
cosines), never estimated from time; normalisations, activations, resizing and optimisers count as nothing, so what they
cost shows as a lower share. A training step counts three forward passes: one forward, two for the gradients. A share
above 1 is possible: convolution kernels skip zero padding, and some beat every plain matrix product measured here.
"""

import io
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image as PillowImage
from torch import Tensor, nn

from facemae.faces.codec import decode, encode_jpeg, encode_png
from facemae.faces.masks import kept_cells, record_seeds, seed_bytes, visible_cells
from facemae.faces.record import key_of
from facemae.faces.synthetic import render_photo
from facemae.measure import topk
from facemae.nn.embedder import Embedder, build_backbone, embed_views, prepare
from facemae.nn.mae import build_mae, pixel_loss
from facemae.nn.margin import MarginHead
from facemae.nn.patches import gather_patches, patchify
from facemae.spec.recipe import PretrainSpec, RecognizeSpec
from facemae.train.loader import to_unit
from facemae.train.operations import multiply_adds
from facemae.train.optim import clip_norm, decay_groups
from facemae.train.precision import autocast, resolve
from facemae.train.world import join

MATRIX = "matrix product"
BACKWARD = 2
"""Forward passes' worth of multiply-adds in a backward pass: gradients of the inputs and of the weights."""


@dataclass(frozen=True)
class Sizes:
    """What is measured at which size; ``seconds`` is the shortest time that one repeat of a stage may take."""

    matrices: tuple[int, ...] = (1024, 2048)
    maes: tuple[str, ...] = ("tiny", "small")
    backbones: tuple[str, ...] = ("iresnet18", "mbf")
    width: int = 16
    people: int = 1000
    batch: int = 64
    photos: int = 16
    queries: int = 1000
    gallery: int = 10000
    dimension: int = 512
    repeats: int = 5
    seconds: float = 0.05


@dataclass(frozen=True)
class Row:
    """One stage: the median of ``repeats`` interleaved with those of all other stages, and the slowest and fastest.

    ``rate``, ``low`` and ``high`` are units a second (GFLOP/s for the matrix product), ``operations`` floating-point
    operations per unit. Where none are counted (JPEG), ``operations`` and ``of_matrix_rate`` are 0.
    """

    stage: str
    dtype: str
    rate: float
    low: float
    high: float
    unit: str
    operations: int
    of_matrix_rate: float
    repeats: int

    def to_dict(self) -> dict[str, Any]:
        """The fields, by name."""
        return asdict(self)


@dataclass(frozen=True)
class _Job:
    """One measurement: ``call`` does ``units`` units of work, each of ``operations`` operations in ``dtype``."""

    stage: str
    dtype: str
    unit: str
    units: int | float
    operations: int | float
    call: Callable[[], object]


def measure_stages(device: str = "auto", *, sizes: Sizes | None = None) -> list[Row]:
    """Measure every stage on ``device``; under a minute on one core with the default sizes.

    Raises:
        RecipeError: "cuda" was asked for and there is none.
    """
    sizes = sizes or Sizes()
    place = join(device).device
    torch.manual_seed(0)
    photos = np.stack([render_photo(i, 0, seed=0).image for i in range(sizes.photos)])
    images = np.resize(photos, (sizes.batch, *photos.shape[1:]))
    jobs = _matrix_jobs(sizes, place) + _jpeg_jobs(photos)
    for size in sizes.maes:
        jobs += _mae_jobs(size, images, place)
    for backbone in sizes.backbones:
        jobs += _recogniser_jobs(backbone, images, sizes, place)
    jobs.append(_retrieval_job(sizes))
    return _rows(jobs, _interleaved(jobs, sizes, place))


# ---- jobs -----------------------------------------------------------------------------------


def _matrix_jobs(sizes: Sizes, device: torch.device) -> list[_Job]:
    jobs = []
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        for n in sizes.matrices:
            a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
            call = _fixed(torch.mm, a, b)
            # A unit of 1e9 operations makes the rate GFLOP/s and the share of the fastest size exactly 1.
            jobs.append(_Job(f"{MATRIX} {name} {n}", name, "GFLOP/s", 2 * n**3 / 1e9, 1e9, call))
            if name == "fp32" and device.type == "cpu":
                # numpy brings a library of its own, on some processors the faster one; retrieval runs in it.
                call = _fixed(np.matmul, a.numpy(), b.numpy())
                jobs.append(_Job(f"{MATRIX} {name} {n}, numpy", name, "GFLOP/s", 2 * n**3 / 1e9, 1e9, call))
    return jobs


def _jpeg_jobs(photos: np.ndarray) -> list[_Job]:
    files = [encode_jpeg(photo) for photo in photos]

    def pillow_decode() -> list[np.ndarray]:
        return [np.asarray(PillowImage.open(io.BytesIO(file)).convert("RGB")) for file in files]

    def pillow_encode() -> None:
        for photo in photos:
            PillowImage.fromarray(photo).save(io.BytesIO(), "JPEG", quality=95, subsampling="4:2:0")

    calls: list[tuple[str, Callable[[], object]]] = [
        ("decode JPEG", lambda: [decode(file) for file in files]),
        ("decode JPEG, Pillow", pillow_decode),
        ("encode JPEG", lambda: [encode_jpeg(photo) for photo in photos]),
        ("encode JPEG, Pillow", pillow_encode),
    ]
    return [_Job(stage, "uint8", "images/s", len(files), 0, call) for stage, call in calls]


def _mae_jobs(size: str, images: np.ndarray, device: torch.device) -> list[_Job]:
    """Forward, training step (pixel loss) and reconstruction to PNG bytes at the default mask ratio."""
    spec = PretrainSpec()
    model = build_mae(size).to(device)
    cells = model.grid**2
    seeds = record_seeds(seed_bytes(0), "mask", [key_of(i) for i in range(len(images))])
    ids = torch.from_numpy(visible_cells(seeds, cells, kept_cells(cells, spec.ratio))).to(device)
    patches = patchify(to_unit(images, device), patch_size=model.patch_size)
    visible = gather_patches(patches, ids)
    optimizer = torch.optim.AdamW(decay_groups(model, spec.weight_decay), lr=1e-4, betas=spec.betas)

    @torch.no_grad()
    def forward() -> Tensor:
        with autocast("auto", device):
            return model(visible, ids)

    def step() -> None:
        with autocast("auto", device):
            prediction = model(visible, ids)
        loss = pixel_loss(patchify(prediction, patch_size=model.patch_size), patches, ids, on="all")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    def reconstruct() -> list[bytes]:
        pixels = (forward().float().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).contiguous().cpu().numpy()
        return [encode_png(image) for image in pixels]

    dtype, each = resolve("auto", device), 2 * multiply_adds(model, forward) / len(images)
    return [
        _Job(f"forward {size}", dtype, "images/s", len(images), each, forward),
        _Job(f"pretrain {size}, pixel loss", dtype, "images/s", len(images), (1 + BACKWARD) * each, step),
        _Job(f"reconstruct {size} to PNG", dtype, "images/s", len(images), each, reconstruct),
    ]


def _recogniser_jobs(backbone: str, images: np.ndarray, sizes: Sizes, device: torch.device) -> list[_Job]:
    """Embedding as `embed` does it (both views, fp32, frozen) and a step of `recognize`."""
    width = sizes.width if backbone.startswith("iresnet") else None
    name = f"{backbone} width {width}" if width else backbone
    spec = RecognizeSpec()
    pixels = to_unit(images, device)
    frozen, trained = (_embedder(backbone, width, sizes.dimension) for _ in range(2))
    frozen = prepare(frozen.frozen(), device)
    head = MarginHead(sizes.people, sizes.dimension)
    both = prepare(nn.ModuleList([trained, head]), device).train()
    labels = torch.arange(len(images), device=device) % sizes.people
    optimizer = torch.optim.SGD(both.parameters(), lr=1e-3, momentum=spec.momentum, weight_decay=spec.weight_decay)

    @torch.no_grad()
    def embed() -> Tensor:
        return embed_views(frozen, pixels)

    def loss() -> Tensor:
        with autocast("auto", device):
            vectors = trained(pixels)
        return head(vectors.float(), labels)

    def step() -> None:
        value = loss()
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        clip_norm(trained.parameters(), spec.clip)
        optimizer.step()

    count = len(images)
    embedding, training = (2 * multiply_adds(net, call) / count for net, call in ((frozen, embed), (both, loss)))
    return [
        _Job(f"embed {name}, two views", "fp32", "images/s", count, embedding, embed),
        _Job(f"recognize {name}", resolve("auto", device), "images/s", count, (1 + BACKWARD) * training, step),
    ]


def _embedder(backbone: str, width: int | None, embedding: int) -> Embedder:
    net = build_backbone(backbone, width=width, embedding=embedding)
    return Embedder(net, input_size=net.input_size, embedding=embedding)


def _retrieval_job(sizes: Sizes) -> _Job:
    """Exact top-K on the processor, whatever the device."""
    random = np.random.default_rng(0)
    queries, gallery = (_unit(random, count, sizes.dimension) for count in (sizes.queries, sizes.gallery))
    operations = 2 * sizes.gallery * sizes.dimension
    stage = f"exact top-4 of {sizes.gallery}"
    return _Job(stage, "fp32", "queries/s", sizes.queries, operations, _fixed(topk, queries, gallery, 4))


def _unit(random: np.random.Generator, count: int, dimension: int) -> np.ndarray:
    rows = random.standard_normal((count, dimension), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _fixed(function: Callable[..., object], *arguments: object) -> Callable[[], object]:
    return lambda: function(*arguments)


# ---- time -----------------------------------------------------------------------------------


def _interleaved(jobs: Sequence[_Job], sizes: Sizes, device: torch.device) -> list[list[float]]:
    """Units a second of every job, ``repeats`` times; each round visits all jobs, so that drift meets them alike."""
    calls = [_calls_for(job, sizes.seconds, device) for job in jobs]
    rates: list[list[float]] = [[] for _ in jobs]
    for _ in range(sizes.repeats):
        for job, count, found in zip(jobs, calls, rates, strict=True):
            found.append(job.units * count / _seconds(job.call, count, device))
    return rates


def _calls_for(job: _Job, seconds: float, device: torch.device) -> int:
    _seconds(job.call, 1, device)  # the first call allocates and picks kernels
    return max(1, round(seconds / _seconds(job.call, 1, device)))


def _seconds(call: Callable[[], object], count: int, device: torch.device) -> float:
    _finish(device)
    start = time.perf_counter()
    for _ in range(count):
        call()
    _finish(device)
    return time.perf_counter() - start


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _rows(jobs: Sequence[_Job], rates: Sequence[Sequence[float]]) -> list[Row]:
    medians = [statistics.median(found) for found in rates]
    fastest: dict[str, float] = {}
    for job, rate in zip(jobs, medians, strict=True):
        if job.stage.startswith(MATRIX):
            fastest[job.dtype] = max(rate * job.operations, fastest.get(job.dtype, 0.0))
    return [
        Row(
            stage=job.stage,
            dtype=job.dtype,
            rate=rate,
            low=min(found),
            high=max(found),
            unit=job.unit,
            operations=round(job.operations),
            of_matrix_rate=rate * job.operations / fastest[job.dtype] if job.operations else 0.0,
            repeats=len(found),
        )
        for job, rate, found in zip(jobs, medians, rates, strict=True)
    ]
