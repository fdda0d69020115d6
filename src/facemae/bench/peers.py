"""Public tools at the same work, as their users run them, on this process's number of threads.

None is a dependency: each is loaded when its group is measured, runs once beside ours, and says by how much it differs.
One that is not installed, or fails, is a row that says so.
"""

import io
import os
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as PillowImage

from facemae.bench.counts import topk_work
from facemae.bench.pairs import Absent, Contender
from facemae.bench.stages import K, jpegs
from facemae.bench.workspace import Workspace
from facemae.errors import FaceMAEError
from facemae.faces.codec import decode
from facemae.faces.faceset import FaceSet
from facemae.measure.retrieval import topk
from facemae.nn.openvino import openvino_core

Offer = Contender | Absent

FAISS = "faiss, IndexFlatIP"
PACKAGES = ("transformers", "onnxruntime", "openvino", "faiss-cpu", "datasets", "webdataset", "pillow", "simplejpeg")


def offered(names: Sequence[str], build: Callable[[], Iterable[Contender]]) -> list[Offer]:
    """What ``build`` makes, or one row a name that says why there is nothing."""
    try:
        return list(build())
    except ModuleNotFoundError as error:
        return [Absent(name, f"{error.name} is not installed: pip install 'facemae[bench]'") for name in names]
    except FaceMAEError as error:
        return [Absent(name, str(error)) for name in names]
    except Exception as error:  # another project's fault must not end a long measurement of ours
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        return [Absent(name, reason) for name in names]


def load(name: str) -> Any:
    """A peer's module; none of them may ask the network for anything."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    return import_module(name)


# ---- JPEG ---------------------------------------------------------------------------------------


def pillow_decoding(work: Workspace) -> list[Offer]:
    """JPEG files to pixels."""
    files = jpegs(work)

    def call() -> list[np.ndarray]:
        return [np.asarray(PillowImage.open(io.BytesIO(file)).convert("RGB")) for file in files]

    largest = max(int(np.abs(x.astype(int) - decode(y)).max()) for x, y in zip(call(), files, strict=True))
    return [Contender("Pillow", "uint8", work.repeated(call, len(files)), check=f"largest difference {largest} of 255")]


def pillow_encoding(work: Workspace) -> list[Offer]:
    """Pixels to JPEG files of the same quality and subsampling."""
    images = [PillowImage.fromarray(decode(file)) for file in jpegs(work)]

    def call() -> None:
        for image in images:
            image.save(io.BytesIO(), "JPEG", quality=95, subsampling="4:2:0")

    return [Contender("Pillow", "uint8", work.repeated(call, len(images)))]


# ---- reading ------------------------------------------------------------------------------------


def readers(work: Workspace) -> list[Offer]:
    """The same JPEG bytes from Arrow, and from our own shards."""
    faces = FaceSet.open(work.originals(work.sizes.records))
    expected = sum(len(faces.record(i).image) for i in range(len(faces)))
    return [
        *offered(("datasets, in order", "datasets, shuffled"), lambda: _datasets(work, faces, expected)),
        *offered(("webdataset",), lambda: _webdataset(work, faces, expected)),
    ]


def _datasets(work: Workspace, faces: FaceSet, expected: int) -> list[Contender]:
    """A Parquet file with an image column that is not decoded: iterated, and at random."""
    datasets = load("datasets")
    datasets.disable_progress_bars()
    features = datasets.Features({"image": datasets.Image(decode=False), "label": datasets.Value("int32")})
    records = [faces.record(i) for i in range(len(faces))]
    images = [{"bytes": record.image, "path": None} for record in records]
    columns = {"image": images, "label": [record.identity for record in records]}
    file = str(work.root / "records.parquet")
    datasets.Dataset.from_dict(columns, features=features).to_parquet(file)
    table = datasets.Dataset.from_parquet(file, cache_dir=str(work.root / "datasets"), features=features)
    streamed, shuffled = table.to_iterable_dataset(), np.random.default_rng(1).permutation(len(faces)).tolist()

    def in_order() -> int:
        return sum(len(row["image"]["bytes"]) for row in streamed)

    def at_random() -> int:
        return sum(len(table[i]["image"]["bytes"]) for i in shuffled)

    calls = {"datasets, in order": in_order, "datasets, shuffled": at_random}
    return [_reader(work, name, call, len(faces), expected) for name, call in calls.items()]


def _webdataset(work: Workspace, faces: FaceSet, expected: int) -> list[Contender]:
    webdataset = load("webdataset")
    shards = [str(path) for path in sorted((faces.directory / "shards").glob("*.tar"))]

    def call() -> int:
        return sum(len(sample["jpg"]) for sample in webdataset.WebDataset(shards, shardshuffle=False))

    return [_reader(work, "webdataset", call, len(faces), expected)]


def _reader(work: Workspace, name: str, call: Callable[[], int], records: int, expected: int) -> Contender:
    found = call()
    check = "the same bytes" if found == expected else f"{found} bytes where there are {expected}"
    return Contender(name, "bytes", work.repeated(call, records), check=check)


# ---- embedding ----------------------------------------------------------------------------------


def exported(body: torch.nn.Module, inputs: torch.Tensor, path: Path) -> str:
    """The frozen network as an ONNX graph of one batch size, which is what these engines like best."""
    torch.onnx.export(body, (inputs,), str(path), dynamo=False, input_names=["images"], output_names=["vectors"])
    return str(path)


def onnxruntime_call(graph: str, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """The graph in float32 under onnxruntime's own optimisations."""
    runtime = load("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = runtime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return lambda pixels: session.run(None, {"images": pixels})[0]


def openvino_call(graph: str, threads: int, precision: str) -> Callable[[np.ndarray], np.ndarray]:
    """The graph under OpenVINO; the precision is said, because its default is bf16 on some processors."""
    core = openvino_core()
    wanted = {"f32": "FP32", "bf16": "BF16"}[precision]
    able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if wanted not in able:
        raise RuntimeError(f"OpenVINO has no {wanted} on this processor")
    settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    compiled = core.compile_model(core.read_model(graph), "CPU", settings)
    return lambda pixels: compiled([pixels])[0]


# ---- retrieval ----------------------------------------------------------------------------------


def faiss_search(work: Workspace) -> list[Offer]:
    """The flat index of inner products, which compares every pair as well."""

    def build() -> list[Contender]:
        faiss = load("faiss")
        faiss.omp_set_num_threads(torch.get_num_threads())
        queries, gallery = work.vectors
        index = faiss.IndexFlatIP(gallery.shape[1])
        index.add(gallery)
        few = queries[:50]
        same = (index.search(few, K)[1] == topk(few, gallery, K)[0]).all(axis=1).mean()
        lap = work.repeated(lambda: index.search(queries, K), len(queries))
        operations = topk_work(len(gallery), gallery.shape[1])
        return [Contender(FAISS, "fp32", lap, operations, f"{same:.0%} of the lists of {K} are ours")]

    return offered((FAISS,), build)
