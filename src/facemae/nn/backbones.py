"""InsightFace's recognisers by name, and the name behind the shapes of a state dict."""

from collections.abc import Mapping
from math import isqrt
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from facemae.errors import RecipeError, WrongKeys
from facemae.nn import mobilefacenet
from facemae.nn.iresnet import BLOCKS, IResNet
from facemae.nn.mobilefacenet import MobileFaceNet
from facemae.nn.vit_face import VitFace

Backbone = IResNet | MobileFaceNet | VitFace

MOBILE: dict[str, tuple[int, tuple[int, int, int, int]]] = {
    "mbf": (1, mobilefacenet.BLOCKS),
    "mbf2": (2, mobilefacenet.BLOCKS),
    "mbf_large": (4, (2, 8, 12, 4)),
}
"""Scale and blocks."""


class VitSize(NamedTuple):
    """Width and number of the blocks, and the share of branches that the last one drops in training."""

    width: int
    depth: int
    drop_path: float


# vit_l is there only as vit_l_dp005_mask_005; its weights and shapes are those of any training.
VITS: dict[str, VitSize] = {
    "vit_t": VitSize(256, 12, 0.1),
    "vit_s": VitSize(512, 12, 0.1),
    "vit_b": VitSize(512, 24, 0.1),
    "vit_l": VitSize(768, 24, 0.05),
}

BACKBONES = (*(f"iresnet{depth}" for depth in BLOCKS), *MOBILE, *VITS)


def build_backbone(name: str, *, width: int | None = None, input_size: int = 112, embedding: int = 512) -> Backbone:
    """A recogniser with random weights. `width` (of the first stage, default `own_width`) is for IResNets only.

    Raises: RecipeError for an unknown name, a width for another backbone than its own, or an image below one patch.
    """
    own = own_width(name)
    if min(width or own, input_size, embedding) < 1:
        got = f"width {width or own}, input_size {input_size}, embedding {embedding}"
        raise RecipeError(f"backbone {name} has impossible sizes", got=got, needed="1 or more of each")
    if name.startswith("iresnet"):
        depth = int(name.removeprefix("iresnet"))
        return IResNet(depth, width=width or own, input_size=input_size, embedding=embedding)
    if width not in (None, own):
        remedy = "leave the width out, or choose an iresnet"
        raise RecipeError(f"backbone {name} has a fixed width", got=width, needed=own, remedy=remedy)
    if name in MOBILE:
        scale, blocks = MOBILE[name]
        return MobileFaceNet(scale=scale, blocks=blocks, input_size=input_size, embedding=embedding)
    return VitFace(**VITS[name]._asdict(), input_size=input_size, embedding=embedding)


def own_width(name: str) -> int:
    """Channels of a backbone's first stage, or the length of its tokens, where nothing else is asked for.

    Raises: RecipeError for an unknown name.
    """
    if name not in BACKBONES:
        raise RecipeError("unknown backbone", got=name, needed=f"one of {', '.join(BACKBONES)}")
    if name in VITS:
        return VITS[name].width
    return 64 * MOBILE[name][0] if name in MOBILE else 64


def name_of(net: Backbone) -> str | None:
    """The name under which `build_backbone` makes a network of these blocks; None where there is none."""
    if isinstance(net, IResNet):
        return f"iresnet{net.depth}"
    if isinstance(net, MobileFaceNet):
        return next((name for name, made in MOBILE.items() if made == (net.scale, net.blocks)), None)
    return next((name for name, made in VITS.items() if made[:2] == (net.width, len(net.blocks))), None)


def backbone_of(state: Mapping[str, Tensor], path: Path, *, input_size: int | None = None) -> Backbone:
    """The architecture whose names and shapes these are, with random weights.

    `input_size`: where it is not given, a map of n x n before the last layer of a convolutional network means 16 n
    pixels, and n x n patches of p pixels mean n p, or 112 where those fit as often into that.

    Raises: WrongKeys for anything else.
    """
    needed = "IResNet, MobileFaceNet or InsightFace's ViT"
    try:
        if "layer1.0.conv1.weight" in state:
            return _iresnet(state, path, input_size)
        if "features.layers.0.layers.0.weight" in state:
            return _mobilefacenet(state, input_size)
        if "feature.0.weight" in state:
            return _vit(state, input_size)
    except (KeyError, IndexError, ValueError, ZeroDivisionError, AssertionError, RuntimeError, RecipeError):
        raise WrongKeys(f"{path} is a damaged or unfamiliar recogniser", needed=needed) from None
    shown = ", ".join(list(state)[:3])
    raise WrongKeys(f"{path} is no recogniser we know", got=f"names like {shown}", needed=needed)


def _iresnet(state: Mapping[str, Tensor], path: Path, input_size: int | None) -> IResNet:
    blocks = tuple(_count(state, f"layer{stage}.") for stage in (1, 2, 3, 4))
    depth = next((depth for depth, known in BLOCKS.items() if known == blocks), None)
    if depth is None:
        raise WrongKeys(f"{path} is an IResNet of no known depth", got=f"stages of {blocks} blocks")
    width = state["conv1.weight"].shape[0]
    embedding, features = state["fc.weight"].shape
    size = input_size or 16 * isqrt(features // (8 * width))
    return IResNet(depth, width=width, input_size=size, embedding=embedding)


def _mobilefacenet(state: Mapping[str, Tensor], input_size: int | None) -> MobileFaceNet:
    scale = max(state["layers.0.layers.0.weight"].shape[0] // 64, 1)
    size = input_size or 16 * state["features.layers.0.layers.0.weight"].shape[2]
    embedding = state["features.layers.2.weight"].shape[0]
    before = _count(state, "layers.1.layers.") if "layers.1.layers.0.layers.0.layers.0.weight" in state else 1
    first, second, third = (_count(state, f"layers.{stage}.layers.") for stage in (3, 5, 7))
    blocks = (before, first, second, third)
    return MobileFaceNet(scale=scale, blocks=blocks, input_size=size, embedding=embedding)


def _vit(state: Mapping[str, Tensor], input_size: int | None) -> VitFace:
    width, _, patch, _ = state["patch_embed.proj.weight"].shape
    side = isqrt(state["pos_embed"].shape[1])
    size = input_size or (112 if 112 // patch == side else side * patch)
    return VitFace(
        width=width,
        depth=_count(state, "blocks."),
        patch_size=patch,
        input_size=size,
        embedding=state["feature.2.weight"].shape[0],
    )


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    """How many different names follow ``prefix``."""
    return len({key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)})
