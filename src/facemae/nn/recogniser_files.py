"""Recognisers as other tools keep them: InsightFace's state dict, an ONNX graph, our own directory."""

import json

import safetensors.torch

from facemae.errors import WeightsError
from facemae.nn.backbones import BACKBONES, Backbone, name_of
from facemae.nn.embedder import CONFIG, WEIGHTS, Embedder
from facemae.nn.mae_files import saved
from facemae.nn.onnx_export import graph_of
from facemae.spec.formats import RecogniserFormat


def recogniser_files(embedder: Embedder, form: RecogniserFormat) -> dict[str, bytes]:
    """Names and contents of the files of a format; ``embedder`` is not `frozen`, which would have folded its layers.

    insightface: the bare state dict of arcface_torch's `backbone.pth`. onnx: see `onnx_export.graph_of`. safetensors:
    the directory that `load_embedder` opens.

    Raises:
        WeightsError: the network came from an ONNX graph, or has sizes that no name of `BACKBONES` stands for.
    """
    body = embedder.body
    if not isinstance(body, Backbone):
        raise WeightsError("the recogniser is an ONNX graph already", needed="one that was trained here, or a .pth")
    if form == "onnx":
        return {"recogniser.onnx": graph_of(body)}
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in body.state_dict().items()}
    if form == "insightface":
        return {"backbone.pth": saved(state)}
    return {CONFIG: _config(embedder), WEIGHTS: safetensors.torch.save(state)}


def _config(embedder: Embedder) -> bytes:
    body = embedder.body
    assert isinstance(body, Backbone)
    name = name_of(body)
    if name is None:
        needed = f"the blocks of {', '.join(BACKBONES)}"
        raise WeightsError("the recogniser has sizes of its own", needed=needed, remedy="set format=insightface")
    config = {
        "backbone": name,
        "width": body.width,
        "input_size": embedder.input_size,
        "embedding": embedder.embedding,
        "normalize": embedder.normalize,
    }
    return (json.dumps(config, indent=2, sort_keys=True) + "\n").encode()
