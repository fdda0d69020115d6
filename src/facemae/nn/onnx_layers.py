"""The layers of face-recognition graphs as ONNX writes them: convolution, pooling, normalisation, activations, Gemm.

Source: the ONNX operator specification, versions 7 to 22 of the default domain.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from facemae.errors import UnknownOperator
from facemae.nn.kernels import clip, convolve, prelu

Kernel = Callable[..., Tensor]


@dataclass(frozen=True)
class Node:
    """One node of a graph.

    `known` holds the inputs whose value never changes, by position; `overwrite` allows the first input to be reused.
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    opset: int
    known: Mapping[int, Tensor] = field(default_factory=dict)
    overwrite: bool = False

    def integers(self, attribute: str, position: int, default: list[int] | None = None) -> list[int] | None:
        """Integers that older operator sets keep in an attribute and newer ones pass as a constant input."""
        if attribute in self.attributes:
            return [int(value) for value in self.attributes[attribute]]
        if position < len(self.inputs) and self.inputs[position]:
            return [int(value) for value in self.constant(position).reshape(-1).tolist()]
        return default

    def constant(self, position: int) -> Tensor:
        """The value of an input that has to be constant."""
        if position not in self.known:
            raise UnknownOperator(
                f"{self.op} node {self.name!r}", got=f"a computed input {position}", needed="a constant there"
            )
        return self.known[position]

    def refuse(self, what: str) -> UnknownOperator:
        """The error for a form of a known operator that is not implemented."""
        return UnknownOperator(f"{self.op} node {self.name!r}", got=what, needed="a form that face models use")


Builder = Callable[[Node], Kernel]


def _pads(node: Node, size: list[int], stride: list[int], dilation: list[int]) -> Callable[[Tensor], list[int]]:
    """The (left, right, top, bottom) zeros around an image, from `pads` or `auto_pad`."""
    mode = node.attributes.get("auto_pad", b"NOTSET").decode()
    if mode in ("NOTSET", "VALID"):
        top, left, bottom, right = node.attributes.get("pads", [0, 0, 0, 0]) if mode == "NOTSET" else [0, 0, 0, 0]
        return lambda _: [left, right, top, bottom]

    def same(x: Tensor) -> list[int]:
        margins: list[int] = []
        for axis in (1, 0):
            n, step = x.shape[2 + axis], stride[axis]
            total = max((-(-n // step) - 1) * step + (size[axis] - 1) * dilation[axis] + 1 - n, 0)
            small, large = total // 2, total - total // 2
            margins += [small, large] if mode == "SAME_UPPER" else [large, small]
        return margins

    return same


def _window(node: Node) -> tuple[list[int], list[int], Callable[[Tensor], list[int]]]:
    """Stride, dilation and padding of a convolution or pooling window over two axes."""
    size = node.attributes.get("kernel_shape") or list(node.constant(1).shape[2:])
    if len(size) != 2:
        raise node.refuse(f"a window over {len(size)} axes")
    stride = list(node.attributes.get("strides", [1, 1]))
    dilation = list(node.attributes.get("dilations", [1, 1]))
    return stride, dilation, _pads(node, list(size), stride, dilation)


def _conv(node: Node) -> Kernel:
    stride, dilation, pads = _window(node)
    groups = int(node.attributes.get("group", 1))
    step, spacing = (stride[0], stride[1]), (dilation[0], dilation[1])

    def conv(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        left, right, top, bottom = pads(x)
        padding = (top, left)
        if left != right or top != bottom:
            x, padding = F.pad(x, (left, right, top, bottom)), (0, 0)
        return convolve(x, weight, bias, stride=step, padding=padding, dilation=spacing, groups=groups)

    return conv


def _max_pool(node: Node) -> Kernel:
    stride, dilation, pads = _window(node)
    size, ceil = list(node.attributes["kernel_shape"]), bool(node.attributes.get("ceil_mode", 0))

    def pool(x: Tensor) -> Tensor:
        margins = pads(x)
        if any(margins):
            x = F.pad(x, margins, value=-torch.inf)
        return F.max_pool2d(x, size, stride, 0, dilation, ceil)

    return pool


def _average_pool(node: Node) -> Kernel:
    stride, _, pads = _window(node)
    size, ceil = list(node.attributes["kernel_shape"]), bool(node.attributes.get("ceil_mode", 0))
    count_pad = bool(node.attributes.get("count_include_pad", 0))

    def pool(x: Tensor) -> Tensor:
        left, right, top, bottom = pads(x)
        if left == right and top == bottom:
            return F.avg_pool2d(x, size, stride, (top, left), ceil, count_pad)
        if ceil:
            raise node.refuse("uneven padding with ceil_mode")
        padded = F.avg_pool2d(F.pad(x, (left, right, top, bottom)), size, stride)
        if count_pad:
            return padded
        # The share of each window that lies on the image turns a mean over the window into a mean over the image.
        inside = F.avg_pool2d(F.pad(torch.ones_like(x[:1, :1]), (left, right, top, bottom)), size, stride)
        return padded / inside

    return pool


def _batch_norm(node: Node) -> Kernel:
    if node.attributes.get("training_mode", 0) or len([name for name in node.outputs if name]) > 1:
        raise node.refuse("training mode")
    eps = float(node.attributes.get("epsilon", 1e-5))
    return lambda x, gamma, beta, mean, var: F.batch_norm(x, mean, var, gamma, beta, False, 0.0, eps)


def _layer_norm(node: Node) -> Kernel:
    axis, eps = int(node.attributes.get("axis", -1)), float(node.attributes.get("epsilon", 1e-5))
    return lambda x, weight, bias=None: F.layer_norm(x, x.shape[axis:], weight, bias, eps)


def _prelu(node: Node) -> Kernel:
    def activate(x: Tensor, slope: Tensor) -> Tensor:
        # Slopes come as (c, 1, 1), (c,) or (1,): old MXNet exports keep (c,) for the channel axis of an image.
        if slope.numel() == 1 or (slope.numel() == x.shape[1] and slope.shape[0] in (1, slope.numel())):
            return prelu(x, slope.reshape(-1))
        return torch.where(x >= 0, x, slope * x)

    return activate


def _clip(node: Node) -> Kernel:
    bounds: list[float | None] = []
    for position, attribute in ((1, "min"), (2, "max")):
        if position < len(node.inputs) and node.inputs[position]:
            bounds.append(float(node.constant(position).item()))
        else:
            bounds.append(node.attributes.get(attribute))
    low, high = bounds
    if low is None and high is None:
        return keep_first
    if low is None or high is None:
        return lambda x, *_: torch.clamp(x, low, high)
    return lambda x, *_: clip(x, low, high, overwrite=node.overwrite)


def _relu(node: Node) -> Kernel:
    return torch.relu_ if node.overwrite else torch.relu


def _gemm(node: Node) -> Kernel:
    alpha, beta = float(node.attributes.get("alpha", 1.0)), float(node.attributes.get("beta", 1.0))
    trans_a, trans_b = bool(node.attributes.get("transA", 0)), bool(node.attributes.get("transB", 0))

    def gemm(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        a, weight = a.t() if trans_a else a, b if trans_b else b.t()
        if alpha == 1.0 and beta == 1.0 and (c is None or c.ndim == 1):
            return F.linear(a, weight, c)
        product = alpha * F.linear(a, weight)
        return product if c is None else product + beta * c

    return gemm


def _softmax(node: Node) -> Kernel:
    axis = node.attributes.get("axis", -1 if node.opset >= 13 else 1)
    if node.opset >= 13:
        return lambda x: x.softmax(axis)
    # Before set 13 the axis splits the tensor into rows and everything behind it.
    return lambda x: x.flatten(axis % x.ndim).softmax(-1).reshape(x.shape)


def _leaky_relu(node: Node) -> Kernel:
    slope = float(node.attributes.get("alpha", 0.01))
    return lambda x: F.leaky_relu(x, slope)


def _global_average(x: Tensor) -> Tensor:
    return x.mean(tuple(range(2, x.ndim)), keepdim=True)


def keep_first(x: Tensor, *_: Tensor | None) -> Tensor:
    return x


LAYERS: dict[str, Builder] = {
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    "Conv": _conv,
    "Dropout": lambda node: keep_first,
    "Gemm": _gemm,
    "GlobalAveragePool": lambda node: _global_average,
    "Identity": lambda node: keep_first,
    "LayerNormalization": _layer_norm,
    "LeakyRelu": _leaky_relu,
    "MaxPool": _max_pool,
    "PRelu": _prelu,
    "Relu": _relu,
    "Softmax": _softmax,
}
