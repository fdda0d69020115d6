"""Recognisers to other tools: one graph for every batch, a state dict as it was, a directory that opens."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from facemae.errors import WeightsError, WrongKeys, WrongShapes
from facemae.nn.backbones import build_backbone
from facemae.nn.embedder import Embedder, load_embedder, prepare
from facemae.nn.onnx_export import graph_of
from facemae.nn.recogniser_files import recogniser_files
from facemae.nn.vit_face import VitFace

NETWORKS = [("iresnet18", 16), ("mbf", None), ("vit_t", None)]


def trained(name: str, width: int | None, size: int = 32) -> Embedder:
    """A recogniser whose statistics are those of what it sees, so that its vectors are of the order of 1."""
    torch.manual_seed(0)
    net = build_backbone(name, width=width, input_size=size, embedding=16)
    for module in net.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.momentum = None
    with torch.no_grad():
        net.train()(torch.randn(16, 3, size, size))
    return Embedder(net.eval(), input_size=size, embedding=16)


def write(directory: Path, embedder: Embedder, form: Any) -> Path:
    directory.mkdir()
    for name, content in recogniser_files(embedder, form).items():
        (directory / name).write_bytes(content)
    return directory


@pytest.mark.parametrize(("name", "width"), NETWORKS)
@pytest.mark.slow
def test_onnxruntime_and_our_own_reader_see_the_same_vectors(name: str, width: int | None, tmp_path: Path) -> None:
    embedder = trained(name, width)
    path = write(tmp_path / "out", embedder, "onnx") / "recogniser.onnx"
    onnx.checker.check_model(onnx.load(path))
    session = onnxruntime.InferenceSession(path)
    assert [entry.name for entry in (*session.get_inputs(), *session.get_outputs())] == ["data", "embedding"]
    assert session.get_inputs()[0].shape == ["batch", 3, 32, 32]
    assert session.get_outputs()[0].shape == ["batch", 16]
    ours = load_embedder(path, normalize="insightface")
    assert (ours.input_size, ours.embedding) == (32, 16)
    for batch in (1, 3):
        images = torch.rand(batch, 3, 32, 32)
        with torch.no_grad():
            expected = embedder(images)
            again = ours(images)
        assert expected.norm(dim=1).min() > 0.1
        (theirs,) = session.run(None, {"data": (images * 2 - 1).numpy()})
        assert np.abs(theirs - expected.numpy()).max() < 1e-4
        assert (again - expected).abs().max() < 1e-4


@pytest.mark.slow
def test_gradients_go_through_a_transformer_read_back(tmp_path: Path) -> None:
    embedder = trained("vit_t", None)
    ours = load_embedder(write(tmp_path / "out", embedder, "onnx") / "recogniser.onnx", normalize="insightface")
    found = []
    for net in (embedder, ours):
        images = torch.linspace(0, 1, 2 * 3 * 32 * 32).reshape(2, 3, 32, 32).requires_grad_()
        net(images).square().sum().backward()
        found.append(images.grad)
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("name", "width"), NETWORKS)
@pytest.mark.slow
def test_insightfaces_file_is_the_bare_state_dict(name: str, width: int | None, tmp_path: Path) -> None:
    embedder = trained(name, width)
    path = write(tmp_path / "out", embedder, "insightface") / "backbone.pth"
    state = torch.load(path, weights_only=True)
    own = embedder.body.state_dict()
    assert list(state) == list(own)
    assert all(torch.equal(value, own[key]) and value.is_contiguous() for key, value in state.items())
    # 32 pixels leave room for a second reading where patches of 9 do not fill them.
    again = load_embedder(path, input_size=32)
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(again(images), embedder(images))


@pytest.mark.parametrize(("name", "width"), NETWORKS)
def test_our_directory_opens_as_it_is(name: str, width: int | None, tmp_path: Path) -> None:
    embedder = trained(name, width)
    again = load_embedder(write(tmp_path / "out", embedder, "safetensors"))
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(again(images), embedder(images))


def test_what_has_no_such_form_is_one_line(tmp_path: Path) -> None:
    embedder = trained("iresnet18", 16)
    path = write(tmp_path / "out", embedder, "onnx") / "recogniser.onnx"
    with pytest.raises(WeightsError, match="is an ONNX graph already"):
        recogniser_files(load_embedder(path, normalize="insightface"), "insightface")
    odd = Embedder(VitFace(width=16, depth=5, input_size=18, embedding=4).eval(), input_size=18, embedding=4)
    assert recogniser_files(odd, "insightface")
    with pytest.raises(WeightsError, match=r"sizes of its own: needed the blocks of iresnet18.*set format=insightface"):
        recogniser_files(odd, "safetensors")


def test_a_small_file_that_claims_a_large_network_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    with torch.device("meta"):
        shapes = build_backbone("iresnet18", width=8192).state_dict()
    one = torch.zeros(())
    torch.save({name: one.to(t.dtype).expand(t.shape) for name, t in shapes.items()}, tmp_path / "views.pth")
    with pytest.raises(WeightsError, match="bytes of tensors in a file of"):
        load_embedder(tmp_path / "views.pth")
    state = build_backbone("iresnet18", width=16, input_size=32, embedding=4).state_dict()
    torch.save(dict(state) | {"conv1.weight": torch.zeros(200_000, 1)}, tmp_path / "big.pth")
    with pytest.raises((WrongKeys, WrongShapes)):
        load_embedder(tmp_path / "big.pth", input_size=32)


def test_a_network_prepared_for_this_processor_is_written_as_well() -> None:
    """channels_last memory takes other kernels, which no exporter can write down."""
    torch.manual_seed(0)
    body = build_backbone("mbf", input_size=32, embedding=24).eval()
    plain = graph_of(body)
    prepared = graph_of(prepare(body, torch.device("cpu")))
    images = torch.rand(3, 3, 32, 32)
    found, expected = (
        onnxruntime.InferenceSession(graph).run(None, {"data": images.numpy()})[0] for graph in (prepared, plain)
    )
    np.testing.assert_allclose(found, expected, atol=1e-4)
