"""Embedders: images of any size to identity vectors. The loss network, attackers and judges are all of this kind.

Built from a directory that `save_recogniser` wrote, from an InsightFace state dict, or from an ONNX graph.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from facemae.errors import RecipeError, WeightsError
from facemae.nn.backbones import Backbone, backbone_of, build_backbone
from facemae.nn.keymaps import check_state, load_state
from facemae.nn.onnx_graph import load_graph

ModuleT = TypeVar("ModuleT", bound=nn.Module)
Statistics = Sequence[Sequence[float | int]]
"""Mean and deviation, three numbers each."""

NORMALISATIONS: dict[str, Statistics] = {
    "insightface": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "pixels": ((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)),
}
"""Mean and deviation of pixels in [0, 1]: to [−1, 1], to ImageNet's unit variance, to [0, 255]."""

STATE_DICT = "insightface"
"""What a bare state dict means: the recognisers of that project are shared so."""

CONFIG, WEIGHTS = "recogniser.json", "backbone.safetensors"


class Embedder(nn.Module):
    """v = body((resize(x) − mean) / deviation): RGB images in [0, 1] to raw vectors in float32.

    Values outside [0, 1] are kept, for a clamp would stop the gradient of a reconstruction. Resizing is bilinear with
    antialiasing, differentiable, and nothing at all where the size already fits. Callers normalise the result.

    `normalize` is a name of `NORMALISATIONS` or a pair (mean, deviation) of three numbers each.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, body: nn.Module, *, input_size: int, embedding: int, normalize: str | Statistics = "insightface"
    ) -> None:
        super().__init__()
        self.body, self.input_size, self.embedding, self.normalize = body, input_size, embedding, normalize
        self._is_frozen = False
        for name, values in zip(("mean", "deviation"), _statistics(normalize), strict=True):
            self.register_buffer(name, torch.tensor(values).reshape(1, 3, 1, 1), persistent=False)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        x = images.to(self.mean.dtype)
        if x.shape[2:] != (self.input_size, self.input_size):
            size = (self.input_size, self.input_size)
            x = F.interpolate(x, size, mode="bilinear", antialias=True, align_corners=False)
        x = (x - self.mean) / self.deviation
        return self.body(x.contiguous(memory_format=torch.channels_last))

    def frozen(self) -> "Embedder":
        """This embedder in eval mode for good, without parameter gradients; gradients still reach the images.

        Batch normalisation is folded into the convolution before it, so the state dict is no longer that of the file.
        """
        self._is_frozen = True
        self.eval().requires_grad_(False)
        _fold_batch_norm(self.body)
        return self

    def train(self, mode: bool = True) -> "Embedder":
        """As every module, but a frozen embedder stays in eval mode inside a model that trains."""
        return super().train(mode and not self._is_frozen)


def prepare(module: ModuleT, device: str | torch.device) -> ModuleT:
    """`module` on `device`, weights in channels_last: the fastest layout for convolutions in float32 and bfloat16."""
    return module.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def embed_views(embedder: Embedder, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 2 d"]:
    """Raw vectors of every image and of its horizontal flip, in that order."""
    return torch.stack([embedder(images), embedder(images.flip(3))], 1)


def load_embedder(
    path: str | Path, *, normalize: str | Statistics | None = None, input_size: int | None = None
) -> Embedder:
    """The embedder at `path`: a recogniser directory, InsightFace state dict (.pth .pt .safetensors) or ONNX file.

    `normalize` and `input_size` override what the file tells. A state dict means `STATE_DICT` normalisation; an ONNX
    graph does not tell its own, unless it subtracts and scales itself ("pixels"), so it has to be given.

    Raises: WeightsError and its kinds (damaged, unsafe, of another architecture, normalisation unknown).
    """
    path = Path(path)
    if path.is_dir():
        return _from_directory(path, normalize, input_size)
    if path.suffix.lower() == ".onnx":
        return _from_onnx(path, normalize, input_size)
    state = load_state(path)
    with torch.device("meta"):
        body = backbone_of(state, path, input_size=input_size)
    return _embedder(_filled(body, state, path), normalize or STATE_DICT)


def save_recogniser(directory: str | Path, net: nn.Module, config: Mapping[str, Any]) -> None:
    """Write `backbone.safetensors` and `recogniser.json` into `directory`.

    `config` has `backbone` (a name of `BACKBONES`), `input_size`, `embedding`, `normalize`, for an IResNet `width`, and
    whatever else is worth keeping.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}
    # Serialised first: the library's own writer hides the errno of a full disk.
    (directory / WEIGHTS).write_bytes(safetensors.torch.save(tensors))
    (directory / CONFIG).write_text(json.dumps(dict(config), indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _embedder(body: Backbone, normalize: str | Statistics) -> Embedder:
    return Embedder(body, input_size=body.input_size, embedding=body.embedding, normalize=normalize).eval()


def _from_directory(directory: Path, normalize: str | Statistics | None, input_size: int | None) -> Embedder:
    try:
        config = json.loads((directory / CONFIG).read_text(encoding="utf-8"))
        size = int(input_size or config["input_size"])
        with torch.device("meta"):
            body = build_backbone(
                config["backbone"], width=config.get("width"), input_size=size, embedding=int(config["embedding"])
            )
        stored = config["normalize"]
    except FileNotFoundError:
        raise WeightsError(f"{directory} is no recogniser", needed=f"{CONFIG} and {WEIGHTS} in it") from None
    except KeyError as error:
        raise WeightsError(f"{directory / CONFIG} lacks {error}") from None
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise WeightsError(f"{directory / CONFIG} is damaged", needed="a JSON object of settings") from None
    state = load_state(directory / WEIGHTS)
    return _embedder(_filled(body, state, directory / WEIGHTS), normalize or stored)


def _filled(body: Backbone, state: Mapping[str, Tensor], path: Path) -> Backbone:
    """A network on the meta device made real with these weights; memory is taken only for what the file holds."""
    check_state(body, state, path)
    body = body.to_empty(device="cpu")
    body.load_state_dict(state)
    return body


def _from_onnx(path: Path, normalize: str | Statistics | None, input_size: int | None) -> Embedder:
    graph = load_graph(path)
    if graph.input_size and input_size not in (None, graph.input_size):
        raise WeightsError(f"{path} takes one image size", got=input_size, needed=graph.input_size)
    normalize = normalize or ("pixels" if graph.normalises_itself else None)
    if normalize is None:
        needed = f"one of {', '.join(NORMALISATIONS)}, or mean and deviation"
        remedy = f"name it: --set normalize=imagenet, or --embedder {path.name}@imagenet in an audit"
        raise WeightsError(f"{path} does not tell how its input is normalised", needed=needed, remedy=remedy)
    size = graph.input_size or input_size or 112
    return Embedder(graph, input_size=size, embedding=graph.embedding, normalize=normalize).eval()


def _statistics(normalize: str | Statistics) -> Statistics:
    if isinstance(normalize, str):
        if normalize not in NORMALISATIONS:
            needed = f"one of {', '.join(NORMALISATIONS)}, or mean and deviation"
            raise RecipeError("unknown input normalisation", got=normalize, needed=needed)
        return NORMALISATIONS[normalize]
    try:
        mean, deviation = (tuple(float(value) for value in part) for part in normalize)
        if len(mean) != 3 or len(deviation) != 3 or min(deviation) <= 0:
            raise ValueError
    except (TypeError, ValueError):
        needed = "mean and deviation, three numbers each"
        raise RecipeError("wrong input normalisation", got=normalize, needed=needed) from None
    return mean, deviation


def _fold_batch_norm(body: nn.Module) -> None:
    """Fold every pair a module names in `conv_then_norm`; exact in eval mode."""
    for module in list(body.modules()):
        for conv_name, norm_name in getattr(module, "conv_then_norm", ()):
            try:
                conv, norm = module.get_submodule(conv_name), module.get_submodule(norm_name)
            except AttributeError:
                continue
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                module.set_submodule(conv_name, fuse_conv_bn_eval(conv, norm))
                module.set_submodule(norm_name, nn.Identity())
    body.requires_grad_(False)
