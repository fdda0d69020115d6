"""MobileFaceNet: what its widths change and what they leave, and other input sizes."""

import pytest
import torch
from torch import nn

from facemae.nn.mobilefacenet import MobileFaceNet


def shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a module's state dict, in order."""
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize(("scale", "count"), [(1, 1_200_512), (2, 2_059_520)])
def test_parameter_counts(scale: int, count: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in MobileFaceNet(scale=scale).parameters()) == count


def test_groups_stay_when_the_width_doubles() -> None:
    with torch.device("meta"):
        narrow, wide = shapes(MobileFaceNet(scale=1)), shapes(MobileFaceNet(scale=2))
    assert list(narrow) == list(wide)
    assert narrow["layers.1.layers.0.weight"] == (64, 1, 3, 3)
    assert wide["layers.1.layers.0.weight"] == (128, 2, 3, 3)


@pytest.mark.parametrize(("size", "side"), [(112, 7), (64, 4)])
def test_the_last_window_covers_the_map(size: int, side: int) -> None:
    net = MobileFaceNet(input_size=size, embedding=24).eval()
    assert shapes(net)["features.layers.0.layers.0.weight"] == (512, 1, side, side)
    with torch.autocast("cpu", torch.bfloat16):
        embeddings = net(torch.randn(2, 3, size, size))
    assert embeddings.shape == (2, 24)
    assert embeddings.dtype == torch.float32


def test_residual_blocks_add_their_input() -> None:
    net = MobileFaceNet().eval()
    block = net.layers[3].layers[0]
    for parameter in block.layers[2].layers[0].parameters():
        parameter.data.zero_()
    x = torch.randn(1, 64, 4, 4)
    torch.testing.assert_close(block(x), x)
