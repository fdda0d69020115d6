"""Embedders: resizing, normalisation, freezing, and loading each kind of file."""

import json
import pickle
from pathlib import Path
from typing import Any

import onnx
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from facemae.errors import FaceMAEError, RecipeError, UnsafeFile, WeightsError, WrongKeys, WrongShapes
from facemae.nn.backbones import build_backbone, own_width
from facemae.nn.embedder import Embedder, embed_views, load_embedder, prepare, save_recogniser


class Flat(nn.Module):
    """Returns what it was given, one row an image."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


def _flat(normalize: Any = "insightface", size: int = 4) -> Embedder:
    return Embedder(Flat(), input_size=size, embedding=3 * size * size, normalize=normalize)


def _settle(net: nn.Module) -> nn.Module:
    """Statistics as after training, so that folding has something to fold."""
    torch.manual_seed(0)
    for module in net.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
            module.weight.data.uniform_(0.5, 1.5)
    return net.eval()


@pytest.mark.parametrize(
    ("normalize", "black", "white"),
    [
        ("insightface", (-1.0, -1.0, -1.0), (1.0, 1.0, 1.0)),
        ("imagenet", (-2.1179, -2.0357, -1.8044), (2.2489, 2.4286, 2.64)),
        ("pixels", (0.0, 0.0, 0.0), (255.0, 255.0, 255.0)),
        (((0.1, 0.2, 0.3), (0.5, 1.0, 2.0)), (-0.2, -0.2, -0.15), (1.8, 0.8, 0.35)),
    ],
)
def test_normalisations(normalize: Any, black: tuple[float, ...], white: tuple[float, ...]) -> None:
    for level, expected in ((0.0, black), (1.0, white)):
        rows = _flat(normalize)(torch.full((1, 3, 4, 4), level)).reshape(3, 16)
        torch.testing.assert_close(rows, torch.tensor(expected)[:, None].expand(3, 16), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("normalize", ["rgb", ((0, 0), (1, 1)), ((0, 0, 0), (1, 0, 1))])
def test_a_wrong_normalisation_is_one_line(normalize: Any) -> None:
    with pytest.raises(RecipeError, match="normalisation"):
        _flat(normalize)


def test_pixels_are_not_clamped_and_a_fitting_size_is_not_touched() -> None:
    images = torch.randn(2, 3, 4, 4) * 3
    torch.testing.assert_close(_flat()(images), (images * 2 - 1).flatten(1))


def test_resizing_by_two_is_the_antialiased_triangle_and_differentiable() -> None:
    # Halving with a triangle of twice the width: inner pixels are weighted 1/8, 3/8, 3/8, 1/8 along each axis.
    images = torch.randn(1, 3, 8, 8, dtype=torch.double).requires_grad_()
    embedder = _flat(((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))).double()
    weights = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.double) / 8
    expected = torch.einsum("i,j,cij->c", weights, weights, images[0, :, 1:5, 3:7])
    small = embedder(images).reshape(3, 4, 4)
    torch.testing.assert_close(small[:, 1, 2], expected)
    assert torch.autograd.gradcheck(embedder, (images,))


@pytest.mark.parametrize(("name", "width"), [("iresnet18", 8), ("mbf", None)])
def test_frozen_folds_exactly_and_stays_frozen(name: str, width: int | None) -> None:
    net = _settle(build_backbone(name, width=width, input_size=32, embedding=16))
    embedder = Embedder(net, input_size=32, embedding=16)
    images = torch.rand(2, 3, 32, 32)
    before = embedder.eval()(images)
    frozen = prepare(embedder.frozen(), "cpu")
    nn.Sequential(frozen).train()
    assert not frozen.body.training
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    leaf = images.clone().requires_grad_()
    after = frozen(leaf)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4 * before.abs().max().item())
    after.sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.abs().sum() > 0
    norms = [module for module in frozen.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == (9 if name == "iresnet18" else 0)


def test_views_are_the_image_and_its_flip() -> None:
    images = torch.rand(2, 3, 4, 4)
    embedder = _flat()
    views = embed_views(embedder, images)
    torch.testing.assert_close(views[:, 0], embedder(images))
    torch.testing.assert_close(views[:, 1], embedder(images.flip(-1)))


@pytest.mark.parametrize("name", ["iresnet18", "mbf"])
@pytest.mark.slow
def test_a_saved_recogniser_comes_back(tmp_path: Path, name: str) -> None:
    width = 8 if name == "iresnet18" else None
    net = _settle(build_backbone(name, width=width, input_size=64, embedding=16))
    config = {"backbone": name, "width": width, "input_size": 64, "embedding": 16, "normalize": "imagenet", "epoch": 3}
    save_recogniser(tmp_path / "out", prepare(net, "cpu"), config)
    loaded = load_embedder(tmp_path / "out")
    images = torch.rand(2, 3, 64, 64)
    expected = Embedder(net, input_size=64, embedding=16, normalize="imagenet")(images)
    torch.testing.assert_close(loaded(images), expected)
    assert not loaded.training
    assert load_embedder(tmp_path / "out", normalize="insightface").normalize == "insightface"


@pytest.mark.parametrize(
    ("name", "width", "size"), [("iresnet18", 8, 64), ("iresnet34", 16, 112), ("mbf", None, 112), ("mbf2", None, 64)]
)
@pytest.mark.slow
def test_architecture_is_read_from_a_state_dict(tmp_path: Path, name: str, width: int | None, size: int) -> None:
    net = _settle(build_backbone(name, width=width, input_size=size, embedding=24))
    wrapped = {f"module.{key}": value for key, value in net.state_dict().items()}
    torch.save({"state_dict": wrapped}, tmp_path / "backbone.pth")
    safetensors.torch.save_file(net.state_dict(), tmp_path / "backbone.safetensors")
    images = torch.rand(1, 3, size, size)
    for file in ("backbone.pth", "backbone.safetensors"):
        embedder = load_embedder(tmp_path / file)
        assert (embedder.input_size, embedder.embedding) == (size, 24)
        expected = net(images * 2 - 1)
        torch.testing.assert_close(embedder(images), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


def _save_onnx(path: Path, *, size: int | str = 8, own_normalisation: bool = False) -> None:
    weights = [numpy_helper.from_array(torch.randn(5, 3, 3, 3).numpy(), "w")]
    nodes = [helper.make_node("Conv", ["z", "w"], ["c"]), helper.make_node("GlobalAveragePool", ["c"], ["g"])]
    nodes.append(helper.make_node("Flatten", ["g"], ["y"]))
    before = [helper.make_node("Identity", ["x"], ["z"])]
    if own_normalisation:
        weights += [numpy_helper.from_array(torch.tensor([v]).numpy(), n) for n, v in (("m", 127.5), ("s", 1 / 127.5))]
        before = [helper.make_node("Sub", ["x", "m"], ["d"]), helper.make_node("Mul", ["d", "s"], ["z"])]
    entry = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, size, size])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 5])
    graph = helper.make_graph([*before, *nodes], "net", [entry], [out], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)


def test_an_onnx_graph_as_embedder(tmp_path: Path) -> None:
    _save_onnx(tmp_path / "net.onnx")
    with pytest.raises(WeightsError, match="how its input is normalised"):
        load_embedder(tmp_path / "net.onnx")
    embedder = load_embedder(tmp_path / "net.onnx", normalize="imagenet").frozen()
    assert (embedder.input_size, embedder.embedding) == (8, 5)
    images = torch.rand(3, 3, 16, 16)
    small = F.interpolate(images, (8, 8), mode="bilinear", antialias=True)
    torch.testing.assert_close(embedder(images), embedder(small))
    with pytest.raises(WeightsError, match="one image size"):
        load_embedder(tmp_path / "net.onnx", normalize="imagenet", input_size=64)


def test_an_onnx_graph_that_normalises_itself_takes_pixels(tmp_path: Path) -> None:
    _save_onnx(tmp_path / "net.onnx", size="side", own_normalisation=True)
    embedder = load_embedder(tmp_path / "net.onnx", input_size=12)
    assert (embedder.normalize, embedder.input_size) == ("pixels", 12)


def test_wrong_keys_and_wrong_shapes_are_one_line(tmp_path: Path) -> None:
    state = build_backbone("iresnet18", width=8, input_size=32, embedding=16).state_dict()
    path = tmp_path / "net.pth"
    cases: list[tuple[type[FaceMAEError], dict[str, Tensor]]] = [
        (WrongKeys, {key: value for key, value in state.items() if key != "layer2.1.bn1.weight"}),
        (WrongShapes, {**state, "layer2.1.bn1.weight": torch.zeros(3)}),
        (WrongKeys, {"encoder.weight": torch.zeros(3)}),
        (WrongKeys, {key: value for key, value in state.items() if not key.startswith("layer2.1")}),
    ]
    for kind, content in cases:
        torch.save(content, path)
        with pytest.raises(kind) as caught:
            load_embedder(path)
        assert "\n" not in str(caught.value)


class Bomb:
    """Executes on a careless load."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise SystemExit('executed')",))


@pytest.mark.parametrize("by_torch", [True, False])
def test_a_pickle_that_executes_is_refused(tmp_path: Path, by_torch: bool) -> None:
    path = tmp_path / "net.pth"
    if by_torch:
        torch.save({"w": Bomb()}, path)
    else:
        path.write_bytes(pickle.dumps({"w": Bomb()}))
    with pytest.raises(UnsafeFile):
        load_embedder(path)


@pytest.mark.parametrize("text", ["{", "[]", '{"backbone": "mbf"}', '{"backbone": 3, "input_size": "x"}'])
def test_a_damaged_description_is_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(WeightsError, match=r"needed recogniser\.json"):
        load_embedder(tmp_path)
    (tmp_path / "recogniser.json").write_text(text)
    with pytest.raises(WeightsError, match="recogniser"):
        load_embedder(tmp_path)


def test_unknown_backbones_and_widths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="iresnet50"):
        build_backbone("resnet50")
    with pytest.raises(RecipeError, match="iresnet50"):
        own_width("resnet50")
    with pytest.raises(RecipeError, match="impossible sizes: got width -5, input_size 112, embedding 512; needed 1"):
        build_backbone("iresnet18", width=-5)
    with pytest.raises(RecipeError, match="fixed width"):
        build_backbone("mbf", width=32)
    for name in ("iresnet18", "mbf", "mbf2"):
        first = next(build_backbone(name, width=own_width(name), input_size=32, embedding=16).parameters())
        assert first.shape[0] == {"iresnet18": 64, "mbf": 64, "mbf2": 128}[name]
    config = {"backbone": "iresnet20", "input_size": 32, "embedding": 16, "normalize": "insightface"}
    (tmp_path / "recogniser.json").write_text(json.dumps(config))
    with pytest.raises(FaceMAEError, match="iresnet20"):
        load_embedder(tmp_path)


@pytest.mark.real
def test_a_public_recogniser_tells_people_apart(shared: Path) -> None:
    embedder = load_embedder(shared / "weights/mobilefacenet_ms1m.onnx", normalize="imagenet").frozen()
    with torch.no_grad():
        views = embed_views(embedder, torch.rand(2, 3, 64, 64))
    assert views.shape == (2, 2, 128)
    assert views.isfinite().all()
