"""OpenVINO against torch on the same weights, and what happens without it."""

import copy
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from facemae.errors import RecipeError
from facemae.nn.backbones import build_backbone
from facemae.nn.embedder import Embedder
from facemae.nn.openvino import compiled, openvino_core
from helpers import tiny_mae

CPU = torch.device("cpu")


def installed() -> None:
    pytest.importorskip("openvino")


@torch.no_grad()
def embedder(backbone: str) -> Embedder:
    """A frozen one whose statistics and slopes are not the initial ones: folding and PReLU can go wrong in it."""
    torch.manual_seed(0)
    width = 16 if backbone.startswith("iresnet") else None
    body = build_backbone(backbone, width=width, input_size=32, embedding=24)
    for module in body.modules():
        if isinstance(module, nn.PReLU):
            module.weight.uniform_(-0.2, 0.6)
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    body.train()(torch.rand(8, 3, 32, 32) * 2 - 1)
    return Embedder(body, input_size=32, embedding=24).frozen()


def relative(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).abs().max() / expected.abs().max()).item()


@torch.no_grad()
@pytest.mark.parametrize("backbone", ["iresnet18", "mbf"])
@pytest.mark.slow
def test_an_embedder_in_float32(backbone: str) -> None:
    installed()
    net = embedder(backbone)
    images, others = torch.rand(2, 3, 3, 40, 40)
    expected = net(images), net(others), net(images[:1])
    compiled(net.body, precision="fp32", device=CPU)
    first, second, fewer = net(images), net(others), net(images[:1])
    assert relative(first, expected[0]) < 1e-4, "the second call must not write over the answer of the first"
    assert relative(second, expected[1]) < 1e-4
    assert relative(fewer, expected[2]) < 1e-4, "another shape is another graph"
    assert relative(expected[0], expected[1]) > 1e-2


@torch.no_grad()
@pytest.mark.slow
def test_a_masked_autoencoder_in_float32() -> None:
    installed()
    net = tiny_mae().eval()
    ids = torch.stack([torch.randperm(16)[:4] for _ in range(6)])
    visible = torch.rand(6, 4, 8 * 8 * 3)
    expected = net(visible, ids)
    shifted = net(visible, (ids + 1) % 16)
    assert compiled(net, precision="fp32", device=CPU) is net
    assert relative(net(visible, ids), expected) < 1e-4
    assert relative(net(visible, (ids + 1) % 16), shifted) < 1e-4, "positions are an input, not part of the graph"
    assert relative(shifted, expected) > 1e-2


@torch.no_grad()
def test_bfloat16_points_the_same_way() -> None:
    installed()
    net = embedder("iresnet18")
    images = torch.rand(5, 3, 32, 32)
    expected = net(images)
    if "BF16" not in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.raises(RecipeError, match="precision=fp32"):
            compiled(net.body, precision="bf16", device=CPU)
        return
    compiled(net.body, precision="bf16", device=CPU)
    found = net(images)
    assert found.dtype == torch.float32
    assert torch.cosine_similarity(found, expected).min() > 0.999
    assert relative(found, expected) > 1e-5, "not bf16 at all"


@torch.no_grad()
def test_autocast_around_it_changes_nothing() -> None:
    installed()
    net = compiled(tiny_mae().eval(), precision="fp32", device=CPU)
    visible, ids = torch.rand(2, 4, 8 * 8 * 3), torch.arange(8).reshape(2, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = net(visible, ids)
    expected = tiny_mae().eval()(visible, ids)
    assert torch.equal(inside, net(visible, ids))
    assert relative(inside, expected) < 1e-4


def test_without_the_package_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(RecipeError, match=r"pip install facemae\[openvino\]"):
        compiled(copy.copy(tiny_mae()), precision="fp32", device=CPU)


def test_other_devices_are_refused() -> None:
    with pytest.raises(RecipeError, match="device cuda"):
        compiled(tiny_mae(), precision="fp32", device=torch.device("cuda"))


@pytest.mark.slow
def test_nothing_is_reported_to_its_maker() -> None:
    installed()
    code = (
        "from facemae.nn.openvino import load_openvino; load_openvino(); import sys;"
        "from openvino.tools.ovc import telemetry_utils as t; print(t.tm.__name__, sys.modules['openvino_telemetry'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["openvino.tools.ovc.telemetry_stub", "None"]
