"""Our own stages as contenders. The first of a group is the one whose rate the peers are compared with."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from facemae.bench.counts import embedder_work, head_work, mae_work, topk_work
from facemae.bench.pairs import Contender, Lap
from facemae.bench.workspace import SEED, Workspace, phi_spec, pixel_spec
from facemae.faces.codec import decode, encode_jpeg
from facemae.faces.faceset import FaceSet
from facemae.measure.retrieval import FLOAT32, Product, topk
from facemae.nn.embedder import Embedder, embed_views, load_embedder, prepare
from facemae.nn.mae import FaceMAE
from facemae.nn.patches import enlarge_cells
from facemae.spec.execution import Execution
from facemae.spec.recipe import EmbedSpec, ImportSpec, MaskSpec, RecognizeSpec, ReconstructSpec
from facemae.stages.embed import embed
from facemae.stages.import_ import import_faces
from facemae.stages.mask import mask
from facemae.stages.pretrain import load_model, pretrain
from facemae.stages.recognize import recognize
from facemae.stages.reconstruct import reconstruct
from facemae.train.loader import to_unit
from facemae.train.precision import autocast, resolve
from facemae.train.products import fastest_product

END_TO_END = "facemae"
FORWARD = "facemae, forward alone"
FULL_PRODUCT = "facemae, float32 nominates"
K = 4


def importing(work: Workspace) -> list[Contender]:
    """A folder of JPEGs to a face set: hash, read, check, write, sync."""
    source, count = str(work.folder(work.sizes.records)), work.sizes.records

    def run(out: Path, execution: Execution) -> None:
        import_faces([source], out, ImportSpec(), execution)

    return [Contender(END_TO_END, "uint8", work.whole(run, count))]


def masking(work: Workspace) -> list[Contender]:
    """Originals to a masked set: decode, cut, encode, re-key, write, sync."""
    faces, count = work.originals(work.sizes.records), work.sizes.records

    def run(out: Path, execution: Execution) -> None:
        mask(faces, out, MaskSpec(seed=SEED), execution)

    return [Contender(END_TO_END, "uint8", work.whole(run, count))]


def decoding(work: Workspace) -> list[Contender]:
    """JPEG files to pixels."""
    files = jpegs(work)
    return [Contender(END_TO_END, "uint8", work.repeated(lambda: [decode(file) for file in files], len(files)))]


def encoding(work: Workspace) -> list[Contender]:
    """Pixels to JPEG files."""
    images = [decode(file) for file in jpegs(work)]
    call = work.repeated(lambda: [encode_jpeg(image) for image in images], len(images))
    return [Contender(END_TO_END, "uint8", call)]


def jpegs(work: Workspace) -> list[bytes]:
    """The drawn photos as files."""
    count = work.sizes.photos
    return [path.read_bytes() for path in sorted(work.folder(count).glob("*/*.jpg"))]


def reading(work: Workspace) -> list[Contender]:
    """Records as bytes, checksums compared, not decoded: in order, and in a shuffled order."""
    faces = FaceSet.open(work.originals(work.sizes.records))
    shuffled = np.random.default_rng(SEED).permutation(len(faces)).tolist()

    def in_order() -> int:
        return sum(len(faces.record(i).image) for i in range(len(faces)))

    def at_random() -> int:
        return sum(len(faces.record(i).image) for i in shuffled)

    return [
        Contender(END_TO_END, "bytes", work.repeated(in_order, len(faces))),
        Contender("facemae, shuffled", "bytes", work.repeated(at_random, len(faces))),
    ]


def reconstructing(work: Workspace, size: str) -> list[Contender]:
    """`reconstruct` from shards to shards, and the bare model on patches that are in memory."""
    dtype, operations = resolve("auto", work.device), mae_work(size).forward
    net, visible, ids = patches(work, size)

    @torch.no_grad()
    def forward() -> Tensor:
        with autocast("auto", work.device):
            return net(visible, ids)

    return [
        Contender(END_TO_END, dtype, reconstruct_lap(work, size, ReconstructSpec()), operations),
        Contender(FORWARD, dtype, work.repeated(forward, len(ids)), operations),
    ]


def reconstruct_lap(work: Workspace, size: str, spec: ReconstructSpec) -> Callable[[], Lap]:
    """Laps of the whole stage with these settings."""
    model, masked = work.model(size), work.masked(work.sizes.images)

    def run(out: Path, execution: Execution) -> None:
        reconstruct(model, masked, out, spec, execution)

    return work.steady(run, "reconstruct")


class Patches(NamedTuple):
    """A model in eval mode, and one chunk of what it reads."""

    net: FaceMAE
    visible: Tensor
    ids: Tensor


def patches(work: Workspace, size: str) -> Patches:
    """The model and the first chunk of the masked set."""
    net = load_model(work.model(size)).to(work.device).eval()
    faces = FaceSet.open(work.masked(work.sizes.images))
    cells, positions = faces.visible(range(min(work.sizes.chunk, len(faces))))
    visible = torch.from_numpy(cells).to(work.device).flatten(2).float() / 255
    visible = enlarge_cells(visible, factor=net.patch_size // cells.shape[2])
    return Patches(net, visible, torch.from_numpy(positions).to(work.device))


def pretraining(work: Workspace, size: str) -> list[Contender]:
    """Steps of `pretrain` with the pixel loss: read, decode, mask, forward, backward, AdamW."""
    sizes, batch = work.sizes, work.sizes.step_batch(size)
    faces, spec = work.originals(sizes.images), pixel_spec(size, batch=batch, steps=sizes.steps)

    def run(out: Path, execution: Execution) -> None:
        pretrain(faces, out, spec, execution)

    lap = work.steady(run, "pretrain", workers=sizes.workers)
    return [Contender(END_TO_END, resolve("auto", work.device), lap, mae_work(size).step)]


def matching(work: Workspace, size: str, backbone: str) -> list[Contender]:
    """Steps of `pretrain` with the paper's loss under a feature network; its vectors of the photos are at hand."""
    sizes, batch = work.sizes, work.sizes.step_batch(size)
    faces, phi = work.originals(sizes.images), work.recogniser(backbone)
    spec, cache = phi_spec(size, batch=batch, steps=sizes.steps), work.root / f"vectors-{backbone}"

    def run(out: Path, execution: Execution) -> None:
        pretrain(faces, out, spec, execution, phi=phi, cache=cache)

    operations = mae_work(size).step + embedder_work(backbone).frozen_step
    lap = work.steady(run, "pretrain", workers=sizes.workers)
    return [Contender(END_TO_END, resolve("auto", work.device), lap, operations)]


def embedding(work: Workspace, backbone: str) -> list[Contender]:
    """The network alone on pixels that are in memory, in both number types, and `embed` from shards to vectors."""
    operations, dtype = embedder_work(backbone).forward, resolve("auto", work.device)
    embedder, pixels = prepare(loaded(work, backbone).frozen(), work.device), views(work)

    def alone(precision: str) -> Contender:
        @torch.no_grad()
        def forward() -> Tensor:
            with autocast(precision, work.device):
                return embed_views(embedder, pixels)

        return Contender(embedded(precision), precision, work.repeated(forward, 2 * len(pixels)), operations)

    lap = embed_lap(work, backbone, EmbedSpec(precision="auto"))
    contenders = [alone(dtype), Contender(END_TO_END, dtype, lap, operations)]
    return contenders if dtype == "fp32" else [*contenders, alone("fp32")]


def embed_lap(work: Workspace, backbone: str, spec: EmbedSpec) -> Callable[[], Lap]:
    """Laps of the whole stage with these settings; an image is two views."""
    network, faces = work.recogniser(backbone), work.originals(work.sizes.images)

    def run(out: Path, execution: Execution) -> None:
        embed(network, faces, out, spec, execution)

    return work.steady(run, "embed", scale=2)


def embedded(precision: str) -> str:
    """The name of the bare network in one number type."""
    return f"{FORWARD}, {precision}"


def views(work: Workspace) -> Tensor:
    """One chunk of photos in [0, 1]."""
    faces = FaceSet.open(work.originals(work.sizes.images))
    return to_unit(faces.images(range(min(work.sizes.chunk, len(faces)))), work.device)


def loaded(work: Workspace, backbone: str) -> Embedder:
    """The network of a group as its file tells it, in float32 on the processor."""
    return load_embedder(work.recogniser(backbone))


def recognizing(work: Workspace, backbone: str) -> list[Contender]:
    """Steps of `recognize`: read, decode, forward, margin softmax, backward, SGD."""
    sizes = work.sizes
    faces = work.originals(sizes.images)
    spec = RecognizeSpec.model_validate(
        {"backbone": backbone, "iterations": sizes.steps, "batch": sizes.batch, "seed": SEED}
    )

    def run(out: Path, execution: Execution) -> None:
        recognize(faces, out, spec, execution)

    people = FaceSet.open(faces).num_identities
    operations = embedder_work(backbone).step + head_work(people, spec.embedding)
    lap = work.steady(run, "recognize", workers=sizes.workers)
    return [Contender(END_TO_END, resolve("auto", work.device), lap, operations)]


def retrieving(work: Workspace) -> list[Contender]:
    """The exact nearest four on the processor, whatever the device; a query is compared with the whole gallery."""
    queries, gallery = work.vectors
    operations = topk_work(len(gallery), gallery.shape[1])

    def search(name: str, dtype: str, product: Product) -> Contender:
        lap = work.repeated(lambda: topk(queries, gallery, K, product=product), len(queries))
        return Contender(name, dtype, lap, operations)

    fastest = fastest_product()
    return [
        search(END_TO_END, "fp32" if fastest is FLOAT32 else "bf16", fastest),
        search(FULL_PRODUCT, "fp32", FLOAT32),
    ]
