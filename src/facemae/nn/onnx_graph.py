"""An ONNX graph as a differentiable torch module: the form in which most public face recognisers are shared.

The `onnx` package only parses; every operator is one of `onnx_ops.OPERATORS`. Weights become parameters, the batch size
becomes free, and batch normalisation that follows a convolution is folded into it, which is exact for a frozen network
and saves one pass over memory each.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from facemae.errors import FaceMAEError, UnknownOperator, WeightsError
from facemae.nn.onnx_layers import Kernel, Node
from facemae.nn.onnx_ops import OPERATORS, demand_small, kernel_of, reason

_WEIGHTED = ("Conv", "Gemm", "MatMul")
# Operators whose further inputs are read once, when the kernel is built.
_READ_ONCE = ("Clip", "Pad")
# Operators whose backward pass does not read their own output, so that an activation may overwrite it.
_OVERWRITABLE = ("Conv", "BatchNormalization", "Gemm", "Add", "Sub")
_MOST = 1 << 30
"""Bytes of a tensor while two images run, and of all that is made from constants; or four times the weights' own."""


@dataclass(frozen=True)
class Program:
    """The parsed graph: nodes in order of execution, the tensors that never change, its one input and output."""

    nodes: tuple[Node, ...]
    constants: Mapping[str, Tensor]
    input: str
    output: str
    input_size: int | None


@dataclass(frozen=True)
class _Step:
    kernel: Kernel
    inputs: tuple[str, ...]
    output: str
    last_use_of: tuple[str, ...]


class OnnxGraph(nn.Module):
    """Runs a `Program`: image batch b 3 h w, normalised as the network wants it, to embeddings b d.

    The last weighted operator and everything behind it run in float32 outside autocast.

    Attributes: `input_size` in pixels (None when the graph leaves it open), `embedding` (d), `normalises_itself`
    (the graph subtracts and scales before its first convolution: its input is in [0, 255], as InsightFace does).
    """

    embedding: int

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.input_size = program.input_size
        self.normalises_itself = _normalises_itself(program)
        self._input, self._output = program.input, program.output
        self._attribute: dict[str, str] = {}
        self._integers: dict[str, Tensor] = {}
        self._steps = _schedule(program)
        used = {name for step in self._steps for name in step.inputs}
        statistics = {n for node in program.nodes if node.op == "BatchNormalization" for n in node.inputs[3:]}
        for name, tensor in program.constants.items():
            if name not in used:
                continue
            if tensor.is_floating_point():
                self._attribute[name] = attribute = f"{re.sub(r'[^0-9A-Za-z]+', '_', name)}_{len(self._attribute)}"
                if name in statistics:
                    self.register_buffer(attribute, tensor)
                else:
                    self.register_parameter(attribute, nn.Parameter(tensor))
            else:
                self._integers[name] = tensor
        self._tail = max((i for i, node in enumerate(program.nodes) if node.op in _WEIGHTED), default=0)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """Raw (not normalised) embeddings of images already in the network's input normalisation."""
        values: dict[str, Tensor] = {name: getattr(self, attribute) for name, attribute in self._attribute.items()}
        values.update(self._integers)
        values[self._input] = images
        self._run(self._steps[: self._tail], values)
        with torch.autocast(images.device.type, enabled=False):
            for name, value in values.items():
                if value.dtype in (torch.bfloat16, torch.float16):
                    values[name] = value.float()
            self._run(self._steps[self._tail :], values)
        return values[self._output]

    def shapes(self, batch: int, size: int) -> None:
        """The forward pass of so many images without memory: on torch's meta device, which keeps nothing but shapes."""
        values = {name: getattr(self, attribute).to("meta") for name, attribute in self._attribute.items()}
        values |= self._integers | {self._input: torch.empty(batch, 3, size, size, device="meta")}
        self._run(self._steps, values)

    def _run(self, steps: tuple[_Step, ...], values: dict[str, Tensor]) -> None:
        for step in steps:
            values[step.output] = step.kernel(*(values[name] if name else None for name in step.inputs))
            for name in step.last_use_of:
                del values[name]


def load_graph(path: str | Path, *, fold: bool = True) -> OnnxGraph:
    """The network in an ONNX file, in eval mode, for any batch size.

    Raises: UnknownOperator naming operator, node and what is supported; WeightsError for a damaged file, weights in
    another file, several inputs or outputs, more memory than any face model needs, or a batch size that cannot be
    freed.
    """
    try:
        program = parse(path)
        if fold:
            program = fold_batch_norm(program)
        graph = OnnxGraph(_without_constant_nodes(program)).eval()
        graph.embedding = _try_batches(graph, path)
        return graph
    except (FaceMAEError, OSError, ImportError):
        raise
    except Exception as error:  # a graph that does not fit together breaks names, shapes or arithmetic, anywhere
        raise WeightsError(f"{path} is damaged or not a graph that can be run", got=reason(error)) from None


def parse(path: str | Path) -> Program:
    """Read an ONNX file without touching any other file. Raises: as `load_graph`."""
    model = _read(path)
    graph = model.graph
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    constants = {tensor.name: _tensor(tensor, path) for tensor in graph.initializer}
    nodes: list[Node] = []
    for index, proto in enumerate(graph.node):
        attributes = {attribute.name: _attribute(attribute, path) for attribute in proto.attribute}
        if proto.op_type == "Constant" and proto.domain in ("", "ai.onnx") and len(attributes) == 1:
            constants[proto.output[0]] = torch.as_tensor(next(iter(attributes.values())))
            continue
        op = proto.op_type if proto.domain in ("", "ai.onnx") else f"{proto.domain}.{proto.op_type}"
        name = proto.name or f"#{index}"
        if not proto.output or (op in OPERATORS and not proto.input):
            got = f"{op} node {name!r} without {'inputs' if proto.output else 'outputs'}"
            raise WeightsError(f"{path} is damaged", got=got)
        nodes += _single(Node(op, name, tuple(proto.input), tuple(proto.output), attributes, opset))
    inputs = [entry for entry in graph.input if entry.name not in constants]
    if len(inputs) != 1 or len(graph.output) != 1:
        needed = "one image batch in and one embedding out"
        raise WeightsError(f"{path}", got=f"{len(inputs)} inputs and {len(graph.output)} outputs", needed=needed)
    return Program(tuple(nodes), constants, inputs[0].name, graph.output[0].name, _input_size(inputs[0], path))


def _single(node: Node) -> list[Node]:
    """A node with several outputs as one node for each: a Split becomes its parts."""
    if node.op != "Split":
        return [node]
    parts = len(node.outputs)
    return [
        replace(node, outputs=(output,), attributes={**node.attributes, "part": part, "parts": parts})
        for part, output in enumerate(node.outputs)
    ]


def fold_batch_norm(program: Program) -> Program:
    """Fold y = γ·(Wx + b − μ)/√(σ² + ε) + β into W' = W·γ/√(σ² + ε), b' = (b − μ)·γ/√(σ² + ε) + β.

    Applies where a convolution or Gemm with constant weights feeds nothing but the batch normalisation.
    """
    constants, uses = dict(program.constants), _uses(program)
    made_by = {node.outputs[0]: node for node in program.nodes}
    folded: dict[str, Node] = {}
    absorbed: set[str] = set()
    for node in program.nodes:
        source = made_by.get(node.inputs[0]) if node.op == "BatchNormalization" else None
        if source is None or uses[source.outputs[0]] > 1 or not _foldable(source, node, constants):
            continue
        weight, bias = (constants.get(name) for name in (*source.inputs, "")[1:3])
        assert weight is not None
        gamma, beta, mean, var = (constants[name].double() for name in node.inputs[1:5])
        scale = gamma / torch.sqrt(var + float(node.attributes.get("epsilon", 1e-5)))
        rows = source.op == "Conv" or bool(source.attributes.get("transB", 0))
        by_output = scale.reshape(-1, *[1] * (weight.ndim - 1)) if rows else scale
        shift = beta - mean * scale if bias is None else (bias.double() - mean) * scale + beta
        names = (f"{source.outputs[0]}.weight", f"{source.outputs[0]}.bias")
        constants[names[0]], constants[names[1]] = (weight.double() * by_output).float(), shift.float()
        folded[source.outputs[0]] = replace(source, inputs=(source.inputs[0], *names), outputs=node.outputs)
        absorbed.add(node.outputs[0])
    kept = (folded.get(node.outputs[0], node) for node in program.nodes if node.outputs[0] not in absorbed)
    return replace(program, nodes=tuple(kept), constants=constants)


def _foldable(source: Node, norm: Node, constants: Mapping[str, Tensor]) -> bool:
    plain = source.attributes.get("alpha", 1.0) == 1.0 and source.attributes.get("beta", 1.0) == 1.0
    if source.op not in ("Conv", "Gemm") or not plain or norm.attributes.get("training_mode", 0):
        return False
    weight, *bias = (name for name in source.inputs[1:3] if name)
    numbers = [constants.get(name) for name in (*bias, *norm.inputs[1:5])]
    if weight not in constants or len(numbers) < 4 + len(bias):
        return False
    # One number an output, or the products below would be of other shapes, and of any size.
    by_column = source.op == "Gemm" and not source.attributes.get("transB", 0)
    outputs = (constants[weight].shape[1 if by_column else 0],)
    return all(vector is not None and vector.shape == outputs for vector in numbers)


def _without_constant_nodes(program: Program) -> Program:
    """Compute every node that depends on constants alone, and tell the others which of their inputs are constant."""
    constants, kept = dict(program.constants), []
    # Large files may have each of their weights reshaped and transposed; small ones have no use for much.
    left = max(_MOST, 4 * sum(tensor.nbytes for tensor in constants.values()))
    for bare in program.nodes:
        known = {i: constants[name] for i, name in enumerate(bare.inputs) if name in constants}
        node = replace(bare, known=known)
        if len(known) == len([name for name in node.inputs if name]):
            kernel, inputs = kernel_of(node), [known.get(i) for i in range(len(node.inputs))]
            demand_small(partial(kernel, *(None if one is None else one.to("meta") for one in inputs)), left)
            constants[node.outputs[0]] = made = kernel(*inputs)
            left -= made.nbytes
        else:
            kept.append(node)
    return replace(program, nodes=tuple(kept), constants=constants)


def _schedule(program: Program) -> tuple[_Step, ...]:
    uses, made_by = _uses(program), {node.outputs[0]: node.op for node in program.nodes}
    last = {name: i for i, node in enumerate(program.nodes) for name in node.inputs}
    steps = []
    for i, node in enumerate(program.nodes):
        first = node.inputs[0]
        kernel = kernel_of(replace(node, overwrite=made_by.get(first) in _OVERWRITABLE and uses[first] == 1))
        inputs = node.inputs[:1] if node.op in _READ_ONCE else node.inputs
        done = {name for name in inputs if name and last[name] == i and name != program.output}
        steps.append(_Step(kernel, inputs, node.outputs[0], tuple(done)))
    return tuple(steps)


def _normalises_itself(program: Program) -> bool:
    first = next((i for i, node in enumerate(program.nodes) if node.op in _WEIGHTED), 0)
    before = {node.op for node in program.nodes[:first]}
    return "Sub" in before and bool(before & {"Mul", "Div"})


def _uses(program: Program) -> Counter[str]:
    return Counter([*(name for node in program.nodes for name in node.inputs), program.output])


def _try_batches(graph: OnnxGraph, path: str | Path) -> int:
    """The length of an embedding; refuses a graph whose rows depend on the batch they come in."""
    size = graph.input_size or 112
    most = max(_MOST, 4 * sum(tensor.nbytes for tensor in graph.parameters()))
    for batch in (1, 2):
        demand_small(partial(graph.shapes, batch, size), most)
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    try:
        with torch.no_grad():
            one, two = graph(images[:1]), graph(images)
    except WeightsError:
        raise
    except Exception as error:  # whatever the operators make of shapes and types that do not fit
        raise WeightsError(f"{path} does not run on a batch of two", got=reason(error)) from None
    if two.ndim != 2 or two.shape[0] != 2 or not torch.allclose(one, two[:1], rtol=1e-3, atol=1e-4):
        got = f"outputs of shape {tuple(one.shape)} and {tuple(two.shape)} for one and two images"
        raise WeightsError(f"{path} cannot be freed from its batch size", got=got, needed="one embedding an image")
    return int(two.shape[1])


def _read(path: str | Path) -> Any:
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    if not Path(path).is_file():
        raise WeightsError(f"no file {path}")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except DecodeError:
        raise WeightsError(f"{path} is damaged or not an ONNX file") from None
    if not model.graph.node:
        raise WeightsError(f"{path} is damaged or not an ONNX file", got="a graph without nodes")
    return model


def _tensor(proto: Any, path: str | Path) -> Tensor:
    """A stored tensor; any floating type becomes float32."""
    import onnx

    if proto.data_location == onnx.TensorProto.EXTERNAL:
        remedy = "save the model as a single file"
        raise WeightsError(f"{path} keeps {proto.name!r} in another file, which is not read", remedy=remedy)
    try:
        array = onnx.numpy_helper.to_array(proto)
        tensor = torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=True))
    except (ValueError, TypeError, KeyError) as error:
        raise WeightsError(f"{path} is damaged at tensor {proto.name!r}", got=str(error).splitlines()[0]) from None
    return tensor.float() if tensor.is_floating_point() else tensor


def _attribute(proto: Any, path: str | Path) -> Any:
    import onnx

    if proto.type == onnx.AttributeProto.TENSOR:
        return _tensor(proto.t, path)
    if proto.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS):
        raise UnknownOperator(f"{path} branches or loops", got=f"a graph in {proto.name!r}", needed="a plain chain")
    value = onnx.helper.get_attribute_value(proto)
    return list(value) if not isinstance(value, (bytes, int, float)) else value


def _input_size(entry: Any, path: str | Path) -> int | None:
    dims = [dim.dim_value for dim in entry.type.tensor_type.shape.dim]
    if len(dims) != 4 or dims[1] not in (0, 3) or dims[2] != dims[3]:
        raise WeightsError(f"{path} takes an input of shape {dims}", needed="b 3 h w with h = w")
    return dims[2] or None
