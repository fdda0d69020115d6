"""Our networks as ONNX graphs."""

import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from facemae.nn.backbones import Backbone

OPSET = 17


def graph_of(body: Backbone) -> bytes:
    """The network in eval mode as one ONNX graph: "data" (batch, 3, s, s) to "embedding" (batch, d), batch free.

    As InsightFace's torch2onnx, the input is normalised outside; the embedding is not normalised.
    """
    images = torch.zeros(1, 3, body.input_size, body.input_size)
    names = {"input_names": ["data"], "output_names": ["embedding"]}
    free = {"data": {0: "batch"}, "embedding": {0: "batch"}}
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "network.onnx"
        write_graph(body.eval(), (images,), path, dynamic_axes=free, **names)
        return path.read_bytes()


def write_graph(module: nn.Module, inputs: Sequence[Tensor], path: Path, **options: Any) -> None:
    """``torch.onnx.export`` in float32, by the older exporter.

    The newer one needs a package of its own and cannot trace our autograd functions.
    """
    with warnings.catch_warnings(), torch.no_grad(), torch.autocast("cpu", enabled=False):
        warnings.simplefilter("ignore")
        torch.onnx.export(module, tuple(inputs), str(path), dynamo=False, opset_version=OPSET, **options)
