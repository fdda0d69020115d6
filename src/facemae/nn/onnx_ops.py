"""The operators of face-recognition graphs: a table from an ONNX operator's name to a builder of its kernel.

A builder reads a node once (attributes, operator-set version, inputs that never change) and returns the function that
is called at every forward pass. All kernels are differentiable in their floating-point inputs. Small integer tensors
(shapes, axes, indices) stay on the CPU, so reading them never waits for an accelerator.

Source: the ONNX operator specification, versions 7 to 22 of the default domain.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from facemae.errors import UnknownOperator, WeightsError
from facemae.nn.onnx_layers import LAYERS, Builder, Kernel, Node


def _flatten(node: Node) -> Kernel:
    axis = int(node.attributes.get("axis", 1))
    if axis == 1:
        return lambda x: x.flatten(1)
    return lambda x: x.reshape(x.shape[: axis % x.ndim].numel(), -1)


def _reshape(node: Node) -> Kernel:
    fixed = node.integers("shape", 1) if node.opset < 5 or 1 in node.known else None
    if node.attributes.get("allowzero", 0):
        raise node.refuse("allowzero")

    def reshape(x: Tensor, shape: Tensor | None = None) -> Tensor:
        target = list(fixed) if fixed is not None else shape.tolist()  # type: ignore[union-attr]
        # Graphs are exported at batch one; a leading 1 there means "this batch".
        if fixed is not None and len(target) > 1 and target[0] == 1:
            target[0] = x.shape[0]
        return x.reshape([x.shape[i] if n == 0 else n for i, n in enumerate(target)])

    return reshape


def _transpose(node: Node) -> Kernel:
    order = node.attributes.get("perm")
    return lambda x: x.permute(*(order or reversed(range(x.ndim))))


def _pad(node: Node) -> Kernel:
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}.get(
        node.attributes.get("mode", b"constant").decode(), ""
    )
    amounts = node.integers("pads", 1)
    if not mode or amounts is None or len(node.inputs) > 3:
        raise node.refuse("another mode or chosen axes")
    given = node.constant(2).item() if len(node.inputs) > 2 and node.inputs[2] else node.attributes.get("value", 0.0)
    value = float(given) if mode == "constant" else None
    half = len(amounts) // 2
    # ONNX lists all starts, then all ends, first axis first; torch wants (start, end) pairs, last axis first.
    pairs = [amount for axis in reversed(range(half)) for amount in (amounts[axis], amounts[axis + half])]
    if mode != "constant":
        if any(pairs[2 * half - 4 :]):
            raise node.refuse(f"{mode} padding of batch or channels")
        pairs = pairs[: 2 * half - 4]
    return lambda x, *_: F.pad(x, pairs, mode, value)


def _concat(node: Node) -> Kernel:
    axis = int(node.attributes["axis"])
    return lambda *parts: torch.cat(parts, axis)


def _squeeze(node: Node) -> Kernel:
    axes = node.integers("axes", 1)
    return lambda x, *_: x.squeeze() if axes is None else x.squeeze(tuple(axes))


def _unsqueeze(node: Node) -> Kernel:
    axes = node.integers("axes", 1) or []

    def unsqueeze(x: Tensor, *_: Tensor) -> Tensor:
        rank = x.ndim + len(axes)
        for axis in sorted(axis % rank for axis in axes):
            x = x.unsqueeze(axis)
        return x

    return unsqueeze


def _shape(node: Node) -> Kernel:
    start, end = node.attributes.get("start", 0), node.attributes.get("end")
    return lambda x: torch.tensor(x.shape[start:end], dtype=torch.int64)


def _gather(node: Node) -> Kernel:
    axis = int(node.attributes.get("axis", 0))
    where = node.constant(1)

    def gather(x: Tensor, _: Tensor) -> Tensor:
        if where.ndim == 0:
            return x.select(axis, int(where))
        chosen = x.index_select(axis, (where.reshape(-1) % x.shape[axis]).to(x.device))
        return chosen.unflatten(axis, tuple(where.shape))

    return gather


def _cast(node: Node) -> Kernel:
    target = int(node.attributes["to"])
    # 1, 10, 11, 16 are float, half, double, bfloat16: precision belongs to the module, so these change nothing real.
    if target in (1, 10, 11, 16):
        return lambda x: x if x.is_floating_point() else x.to(torch.get_default_dtype())
    if target in (6, 7):
        return lambda x: x.to(torch.int64)
    raise node.refuse(f"a cast to type {target}")


def _reduce(compute: Callable[[Tensor, tuple[int, ...], bool], Tensor]) -> Builder:
    def build(node: Node) -> Kernel:
        axes, keep = node.integers("axes", 1), bool(node.attributes.get("keepdims", 1))
        if axes is None and node.attributes.get("noop_with_empty_axes", 0):
            return lambda x, *_: x
        return lambda x, *_: compute(x, tuple(axes or range(x.ndim)), keep)

    return build


def _divide(a: Tensor, b: Tensor) -> Tensor:
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def _slice(node: Node) -> Kernel:
    starts, ends = node.integers("starts", 1) or [], node.integers("ends", 2) or []
    axes = node.integers("axes", 3) or list(range(len(starts)))
    steps = node.integers("steps", 4) or [1] * len(starts)
    if min(steps, default=1) < 1:
        raise node.refuse("a backward slice")
    spans = {axis: slice(*bounds) for axis, *bounds in zip(axes, starts, ends, steps, strict=True)}

    def cut(x: Tensor, *_: Tensor) -> Tensor:
        chosen = {axis % x.ndim: span for axis, span in spans.items()}
        return x[tuple(chosen.get(axis, slice(None)) for axis in range(x.ndim))]

    return cut


def _split(node: Node) -> Kernel:
    axis, part, parts = (int(node.attributes.get(name, 0)) for name in ("axis", "part", "parts"))
    sizes = node.integers("split", 1)
    return lambda x, *_: x.split(sizes or -(-x.shape[axis] // parts), axis)[part]


def _together(compute: Callable[[Tensor, Tensor], Tensor]) -> Builder:
    """Arithmetic whose operands may lie apart: numbers from shapes stay on the CPU."""

    def calculate(a: Tensor, b: Tensor) -> Tensor:
        if a.device != b.device:
            a, b = (a.to(b.device), b) if a.device.type == "cpu" else (a, b.to(a.device))
        return compute(a, b)

    return _plain(calculate)


def _plain(kernel: Kernel) -> Builder:
    return lambda node: kernel


OPERATORS: dict[str, Builder] = {
    **LAYERS,
    "Add": _together(torch.add),
    "Cast": _cast,
    "Concat": _concat,
    "Div": _together(_divide),
    "Flatten": _flatten,
    "Gather": _gather,
    "MatMul": _plain(torch.matmul),
    "Mul": _together(torch.mul),
    "Pad": _pad,
    "ReduceL2": _reduce(lambda x, axes, keep: torch.linalg.vector_norm(x, dim=axes, keepdim=keep)),
    "ReduceMean": _reduce(lambda x, axes, keep: x.mean(axes, keepdim=keep)),
    "ReduceSum": _reduce(lambda x, axes, keep: x.sum(axes, keepdim=keep)),
    "Reshape": _reshape,
    "Shape": _shape,
    "Sigmoid": _plain(torch.sigmoid),
    "Slice": _slice,
    "Split": _split,
    "Sqrt": _plain(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _together(torch.sub),
    "Tanh": _plain(torch.tanh),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}


def kernel_of(node: Node) -> Kernel:
    """The function that computes `node`.

    Raises: UnknownOperator for an operator outside `OPERATORS` or a form of it that is not implemented; WeightsError
    for one whose attributes or constants are damaged.
    """
    builder = OPERATORS.get(node.op)
    if builder is None:
        supported = " ".join(sorted(OPERATORS))
        raise UnknownOperator(f"operator {node.op!r} in node {node.name!r}", needed=f"one of {supported}")
    try:
        return builder(node)
    except WeightsError:
        raise
    except KeyError as error:
        raise WeightsError(f"{node.op} node {node.name!r} lacks its attribute {error}") from None
    except Exception as error:  # an attribute of a damaged file may be of any type and length
        raise WeightsError(f"{node.op} node {node.name!r} is damaged", got=reason(error)) from None


class TooLarge(Exception):
    """A graph asks for more memory than any face model does."""


class _Bounded(TorchDispatchMode):
    """Ends what is computed on torch's meta device, where a tensor would take more than ``most`` bytes."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        if isinstance(made, Tensor) and made.nbytes > self._most:
            raise TooLarge(f"a tensor of {made.nbytes} bytes, where {self._most} are the most")
        return made


def demand_small(compute: Callable[[], object], most: int) -> None:
    """Refuse a tensor of more than ``most`` bytes before there is one: ``compute`` works on torch's meta device.

    Raises: TooLarge.
    """
    try:
        with torch.no_grad(), _Bounded(most):
            compute()
    except TooLarge:
        raise
    except Exception:  # what fails here fails with memory too, and says why
        return


def reason(error: BaseException) -> str:
    """What one of Python's or torch's errors says, in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
