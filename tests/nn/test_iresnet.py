"""IResNet: parameter counts, where the strides are."""

import math

import pytest
import torch

from facemae.nn.iresnet import IResNet


@pytest.mark.parametrize(("depth", "count"), [(18, 24_025_600), (50, 43_590_848)])
def test_parameter_counts(depth: int, count: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in IResNet(depth).parameters()) == count


def test_the_stride_is_on_the_second_convolution_and_every_stage_projects() -> None:
    net = IResNet(18, width=8, input_size=32)
    for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
        assert stage[0].conv1.stride == (1, 1)
        assert stage[0].conv2.stride == (2, 2)
        assert stage[0].downsample[0].stride == (2, 2)
        assert stage[1].downsample is None
    assert net.conv1.stride == (1, 1)


@pytest.mark.parametrize(("size", "side"), [(112, 7), (64, 4), (100, 7)])
def test_narrow_and_small(size: int, side: int) -> None:
    net = IResNet(18, width=16, input_size=size, embedding=32).eval()
    assert [stage[1].conv2.out_channels for stage in (net.layer1, net.layer2, net.layer3, net.layer4)] == [
        16,
        32,
        64,
        128,
    ]
    assert net.fc.in_features == 128 * side * side
    assert net(torch.randn(2, 3, size, size)).shape == (2, 32)


def test_initial_weights_and_the_frozen_scale() -> None:
    torch.manual_seed(0)
    net = IResNet(18, width=16, input_size=32)
    assert net.layer3[0].conv1.weight.std().item() == pytest.approx(0.1, rel=0.05)
    assert not net.features.weight.requires_grad
    assert net.features.bias.requires_grad
    assert net.fc.weight.abs().max().item() <= 1 / math.sqrt(net.fc.in_features)


def test_the_head_stays_in_float32_under_autocast() -> None:
    net = IResNet(18, width=8, input_size=32).eval()
    with torch.autocast("cpu", torch.bfloat16):
        assert net(torch.randn(2, 3, 32, 32)).dtype == torch.float32
