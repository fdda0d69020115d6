"""Multiply-adds of a forward pass, counted from the layers that run."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from facemae.nn.mae import PatchEmbed
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
