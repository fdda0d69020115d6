"""Multiply-adds of a forward pass, counted from the layers that run."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from facemae.faces.masks import kept_cells
from facemae.nn.mae import PatchEmbed, build_mae
from facemae.nn.margin import MarginHead
from facemae.nn.vit import Attention


@torch.no_grad()
def multiply_adds(module: nn.Module, call: Callable[[], object]) -> int:
    """Multiply-adds of the layers of ``module`` that run during ``call``.

    Linear: outputs * in.  Convolution: outputs * in/groups * r * s.  Patch embedding: k * 3p^2 * d.
    Attention over n tokens of width d: 2 n^2 d for the two products around the softmax.  Margin head: b * classes * d.
    """
    total = 0

    def count(layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        nonlocal total
        total += _of_layer(layer, inputs[0], output)

    with ExitStack() as hooks:
        for layer in module.modules():
            if isinstance(layer, (nn.Linear, nn.Conv2d, PatchEmbed, Attention, MarginHead)):
                hooks.callback(layer.register_forward_hook(count).remove)
        call()
    return total


def mae_multiply_adds(size: str, *, ratio: float, **geometry: int) -> tuple[int, int]:
    """Of one image through a masked autoencoder that sees a share 1 - ``ratio``, and of its patch embedding alone.

    ``geometry`` as `nn.mae.build_mae` takes it; nothing is allocated.
    """
    with torch.device("meta"):
        model = build_mae(size, **geometry)
        kept = kept_cells(model.grid**2, ratio)
        visible = torch.empty(1, kept, 3 * model.patch_size**2)
        ids = torch.zeros(1, kept, dtype=torch.int64)
    whole = multiply_adds(model, lambda: model(visible, ids))
    return whole, multiply_adds(model.patch_embed, lambda: model.patch_embed(visible))


def _of_layer(layer: nn.Module, x: Tensor, output: Tensor) -> int:
    if isinstance(layer, nn.Linear):
        return output.numel() * layer.in_features
    if isinstance(layer, nn.Conv2d):
        return output.numel() * layer.weight[0].numel()
    if isinstance(layer, PatchEmbed):
        return x.shape[0] * x.shape[1] * layer.proj.weight.numel()
    if isinstance(layer, MarginHead):
        return x.shape[0] * layer.weight.numel()
    batch, tokens, width = x.shape
    return 2 * batch * tokens * tokens * width
