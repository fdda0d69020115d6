"""ONNX graphs against onnxruntime, gradients against finite differences, and every refusal."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from facemae.errors import UnknownOperator, WeightsError
from facemae.nn.onnx_graph import load_graph

onnxruntime = pytest.importorskip("onnxruntime")

Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Write a graph of nodes (op, inputs, attributes), chained through `x`, and random weights of the given shapes."""

    def write(
        nodes: list[tuple[str, list[Any], dict[str, Any]]],
        *,
        size: int = 8,
        opset: int = 17,
        output: str | None = None,
        batch: int | str = 1,
    ) -> Path:
        rng, made, weights = np.random.default_rng(0), [], []
        last = "x"
        for index, (op, inputs, options) in enumerate(nodes):
            attributes = dict(options)
            names = [last]
            for slot, value in enumerate(inputs):
                if isinstance(value, str):
                    names.append(value)
                    continue
                array = rng.normal(size=value).astype(np.float32) / 2 if isinstance(value, tuple) else np.asarray(value)
                if op == "BatchNormalization" and slot == 3:
                    array = np.abs(array) + 0.1
                names.append(f"w{index}.{slot}")
                weights.append(numpy_helper.from_array(array, names[-1]))
            names = attributes.pop("inputs", names)
            last = attributes.pop("output", f"y{index}")
            made.append(helper.make_node(op, names, [last], name=f"n{index}", **attributes))
        graph = helper.make_graph(
            made,
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, size, size])],
            [helper.make_tensor_value_info(output or last, TensorProto.FLOAT, None)],
            weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        path = tmp_path / "net.onnx"
        onnx.save(model, path)
        return path

    return write


def _reference(path: Path, images: torch.Tensor) -> torch.Tensor:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    rows = [session.run(None, {session.get_inputs()[0].name: image[None].numpy()})[0] for image in images]
    return torch.from_numpy(np.concatenate(rows))


CONV = ("Conv", [(4, 3, 3, 3), (4,)], {"pads": [1, 1, 1, 1]})
NORM = ("BatchNormalization", [(4,), (4,), (4,), (4,)], {"epsilon": 1e-3})
HEAD = [("GlobalAveragePool", [], {}), ("Flatten", [], {})]

GRAPHS: dict[str, tuple[list[Any], int]] = {
    "insightface, self-normalising": (
        [
            ("Sub", [np.float32(127.5)], {}),
            ("Mul", [np.float32(0.0078125)], {}),
            CONV,
            NORM,
            ("PRelu", [(4, 1, 1)], {}),
            ("Flatten", [], {}),
            ("Gemm", [(6, 256), (6,)], {"transB": 1}),
            ("BatchNormalization", [(6,), (6,), (6,), (6,)], {}),
        ],
        11,
    ),
    "reshape to [1, -1]": ([CONV, ("Relu", [], {}), ("Reshape", [[1, -1]], {}), ("MatMul", [(256, 5)], {})], 13),
    "reshape to [1, 256]": ([CONV, ("Clip", [np.float32(0), np.float32(6)], {}), ("Reshape", [[1, 256]], {})], 12),
    "reshape by a computed shape": (
        [
            CONV,
            ("Shape", [], {"output": "s"}),
            ("Gather", [np.int64(0)], {"inputs": ["s", "w2.0"]}),
            ("Unsqueeze", [np.array([0])], {"output": "n"}),
            ("Concat", [np.array([-1])], {"axis": 0, "output": "to"}),
            ("Reshape", [], {"inputs": ["y0", "to"]}),
        ],
        13,
    ),
    "pools and uneven pads": (
        [
            ("Pad", [np.array([0, 0, 1, 0, 0, 0, 0, 2])], {}),
            ("MaxPool", [], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 1, 1, 0]}),
            ("AveragePool", [], {"kernel_shape": [2, 2], "pads": [1, 0, 0, 1]}),
            ("Conv", [(4, 3, 2, 3)], {"auto_pad": "SAME_UPPER", "strides": [2, 1], "dilations": [1, 1]}),
            ("LeakyRelu", [], {"alpha": 0.2}),
            *HEAD,
        ],
        13,
    ),
    "old attributes": (
        [
            CONV,
            ("Clip", [], {"min": -0.2, "max": 0.4}),
            ("Pad", [], {"pads": [0, 0, 0, 1, 0, 0, 0, 1], "mode": "reflect"}),
            ("AveragePool", [], {"kernel_shape": [8, 10], "count_include_pad": 1}),
            ("Squeeze", [], {"axes": [2, 3]}),
            ("Softmax", [], {"axis": 1}),
        ],
        9,
    ),
    "squeeze and excite": (
        [
            CONV,
            ("GlobalAveragePool", [], {}),
            ("Conv", [(4, 4, 1, 1), (4,)], {}),
            ("Sigmoid", [], {"output": "gate"}),
            ("Mul", [], {"inputs": ["y0", "gate"]}),
            ("Dropout", [], {}),
            ("Transpose", [], {"perm": [0, 2, 3, 1]}),
            ("ReduceMean", [], {"axes": [1, 2], "keepdims": 0}),
        ],
        13,
    ),
    "a shared convolution, a unit norm": (
        [
            CONV,
            NORM,
            ("Add", ["y0"], {}),
            ("Cast", [], {"to": 1}),
            *HEAD,
            ("Gemm", [(4, 5), (5,)], {"alpha": 0.5, "output": "v"}),
            ("ReduceL2", [], {"axes": [1], "keepdims": 1, "output": "r"}),
            ("Div", [], {"inputs": ["v", "r"]}),
            ("Identity", [], {}),
        ],
        13,
    ),
}


@pytest.mark.parametrize("fold", [True, False])
@pytest.mark.parametrize("name", GRAPHS)
def test_parity_with_onnxruntime_for_a_batch(save: Save, name: str, fold: bool) -> None:
    nodes, opset = GRAPHS[name]
    path = save(nodes, opset=opset)
    graph = load_graph(path, fold=fold)
    images = torch.randn(3, 3, 8, 8)
    torch.testing.assert_close(graph(images), _reference(path, images), rtol=1e-5, atol=1e-5)
    assert graph.normalises_itself == name.startswith("insightface")
    assert graph.input_size == 8


def test_folding_removes_batch_norm_and_shared_outputs_are_left_alone(save: Save) -> None:
    chain = [CONV, NORM, ("Relu", [], {}), *HEAD]
    assert len(load_graph(save(chain), fold=False).state_dict()) == 6
    assert len(load_graph(save(chain)).state_dict()) == 2
    shared = [CONV, NORM, ("Add", ["y0"], {}), *HEAD]
    assert len(load_graph(save(shared)).state_dict()) == 6


def test_gradients_equal_finite_differences(save: Save) -> None:
    nodes = [CONV, ("PRelu", [(4, 1, 1)], {}), ("Conv", [(4, 1, 3, 3)], {"group": 4, "strides": [2, 2]}), NORM]
    nodes += [("Clip", [np.float32(-1), np.float32(1)], {}), ("Flatten", [], {}), ("Gemm", [(2, 36)], {"transB": 1})]
    graph = load_graph(save(nodes)).double()
    images = torch.randn(2, 3, 8, 8, dtype=torch.double, generator=torch.Generator().manual_seed(1)).requires_grad_()
    assert torch.autograd.gradcheck(graph, (images,))
    graph(images).sum().backward()
    assert all(parameter.grad is not None for parameter in graph.parameters())


def test_the_last_layer_stays_in_float32_under_autocast(save: Save) -> None:
    graph = load_graph(save([CONV, *HEAD, ("Gemm", [(4, 5)], {})]))
    images = torch.randn(2, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        out = graph(images)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, graph(images), rtol=0.05, atol=0.02)


def test_unknown_operator_names_operator_node_and_choice(save: Save) -> None:
    with pytest.raises(UnknownOperator, match=r"'Mish' in node 'n1'.*Conv.*Unsqueeze"):
        load_graph(save([CONV, ("Mish", [], {}), *HEAD], opset=18))


def test_bounds_that_are_computed_are_refused(save: Save) -> None:
    nodes = [CONV, ("ReduceMean", [], {"output": "m", "keepdims": 0}), ("Clip", [], {"inputs": ["y0", "m"]}), *HEAD]
    with pytest.raises(UnknownOperator, match="n2"):
        load_graph(save(nodes))


def test_rows_that_depend_on_each_other_are_refused(save: Save) -> None:
    nodes = [
        CONV,
        *HEAD,
        ("ReduceMean", [], {"axes": [0], "keepdims": 1, "output": "m"}),
        ("Sub", [], {"inputs": ["y2", "m"]}),
    ]
    with pytest.raises(WeightsError, match="batch size"):
        load_graph(save(nodes))


@pytest.mark.parametrize("damage", ["truncate", "noise", "empty"])
def test_a_damaged_file_is_one_line(save: Save, damage: str) -> None:
    path = save([CONV, *HEAD])
    whole = path.read_bytes()
    path.write_bytes({"truncate": whole[: len(whole) // 2], "noise": b"\xff" * 100, "empty": b""}[damage])
    with pytest.raises(WeightsError) as caught:
        load_graph(path)
    assert "\n" not in str(caught.value)
    assert "net.onnx" in str(caught.value)


def test_a_weight_of_the_wrong_shape_is_one_line(save: Save) -> None:
    with pytest.raises(WeightsError, match="does not run"):
        load_graph(save([CONV, *HEAD, ("Gemm", [(9, 5)], {})]))


def test_weights_in_other_files_are_refused(save: Save, tmp_path: Path) -> None:
    path = save([CONV, *HEAD])
    model = onnx.load(path)
    outside = tmp_path / "outside.onnx"
    onnx.save(model, outside, save_as_external_data=True, location="secret.bin", size_threshold=0)
    with pytest.raises(WeightsError, match="another file"):
        load_graph(outside)
    with pytest.raises(WeightsError, match="no file"):
        load_graph(tmp_path / "absent.onnx")


@pytest.mark.real
def test_a_public_recogniser(shared: Path) -> None:
    path = shared / "weights/mobilefacenet_ms1m.onnx"
    graph = load_graph(path)
    images = torch.randn(2, 3, 112, 112)
    assert (graph(images) - _reference(path, images)).abs().max().item() < 1e-4
    assert graph.embedding == 128


LAST = [("Flatten", [], {}), ("Gemm", [(4, 192)], {"transB": 1})]
FIXED = {"inputs": ["w0.0", "w0.1"]}
UNFIT = "net.onnx is damaged or not a graph that can be run: got "
DAMAGED: dict[str, tuple[list[Any], str]] = {
    "no inputs": ([("Relu", [], {"inputs": []}), *LAST], r"net.onnx is damaged: got Relu node 'n0' without inputs"),
    "constants side by side": ([("Concat", [(4, 192), (2, 3)], {"axis": 0, **FIXED}), *LAST], UNFIT + "Sizes"),
    "constants multiplied": ([("MatMul", [(4, 192), (2, 3)], FIXED), *LAST], UNFIT + "mat1"),
    "a constant reshaped": ([("Reshape", [(4, 192), np.array([7, -1])], FIXED), *LAST], UNFIT + "shape"),
    "three pads": ([("Conv", [(3, 3, 3, 3)], {"pads": [1, 1, 1]}), *LAST], "Conv node 'n0' is damaged: got not enough"),
    "auto_pad a number": ([("Conv", [(3, 3, 3, 3)], {"auto_pad": 3}), *LAST], "Conv node 'n0' is damaged: got 'int'"),
    "axis a word": ([("Flatten", [], {"axis": "q"}), LAST[1]], "Flatten node 'n0' is damaged: got invalid literal"),
    "a bound of many numbers": ([("Clip", [(2, 2)], {}), *LAST], "Clip node 'n0' is damaged: got a Tensor with 4"),
    "a norm of one input": ([*LAST, ("BatchNormalization", [], {})], "does not run on a batch of two: got "),
    "a norm of seven": ([*LAST, ("BatchNormalization", [(7,)] * 4, {})], "on a batch of two: got running_mean should"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_graphs_that_do_not_fit_together_are_one_line(save: Save, name: str) -> None:
    nodes, said = DAMAGED[name]
    with pytest.raises(WeightsError, match=said) as raised:
        load_graph(save(nodes))
    assert "\n" not in str(raised.value)


def test_a_node_without_outputs_is_one_line(save: Save) -> None:
    model = onnx.load(path := save([CONV, *HEAD]))
    del model.graph.node[1].output[:]
    onnx.save(model, path)
    with pytest.raises(WeightsError, match="is damaged: got GlobalAveragePool node 'n1' without outputs"):
        load_graph(path)


FAR = np.array([0, 0, 1 << 15, 1 << 15])
TALL, WIDE = (1 << 15, 1), (1, 1 << 15)
LARGE: dict[str, list[Any]] = {
    "a constant": [("Pad", [(4, 4), FAR], FIXED), *LAST],
    "a product of constants": [("MatMul", [TALL, WIDE], FIXED), *LAST],
    "a sum of constants": [("Add", [TALL, WIDE], FIXED), *LAST],
    "a step on the way": [("Conv", [(1, 1, 8, 8), (1, 1, 1, 1)], {"pads": [0, 0, 1 << 15, 1 << 15], **FIXED}), *LAST],
    "an image": [("Pad", [np.concatenate([[0, 0], FAR, [0, 0]])], {}), *HEAD],
    "one image": [("Add", [(1 << 21, 1, 1, 1)], {}), *HEAD],
}


@pytest.mark.parametrize("name", LARGE)
def test_a_graph_that_asks_for_much_memory_gets_none(save: Save, name: str) -> None:
    with pytest.raises(WeightsError, match=UNFIT + r"a tensor of \d{10,} bytes, where 1073741824 are the most"):
        load_graph(save(LARGE[name]))


def test_constants_are_counted_together(save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    double = [("Concat", [(64,)], {"inputs": ["w0.0", "w0.0"], "axis": 0})]
    double += [("Concat", [], {"inputs": [f"y{i}", f"y{i}"], "axis": 0}) for i in range(8)]
    chain = [*double, ("Conv", [(3, 3, 1, 1)], {"inputs": ["x", "w9.0"]}), *LAST]
    assert load_graph(save(chain)).embedding == 4
    monkeypatch.setattr("facemae.nn.onnx_graph._MOST", 100_000)
    with pytest.raises(WeightsError, match="a tensor of 65536 bytes, where 34976 are the most"):
        load_graph(save(chain))


def test_norms_of_other_lengths_are_not_folded(save: Save) -> None:
    """A million numbers and a million weights would be multiplied to a million times a million."""
    many = 1 << 16
    nodes = [("Conv", [(1, 3, 1, 1)], {}), ("BatchNormalization", [(many,)] * 4, {}), *HEAD]
    with pytest.raises(WeightsError, match="does not run on a batch of two: got running_mean should contain 1 elem"):
        load_graph(save(nodes))
