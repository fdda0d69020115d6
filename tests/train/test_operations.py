"""Operations are counted as one would by hand."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from facemae.nn.backbones import build_backbone
from facemae.nn.mae import FaceMAE, build_mae
from facemae.nn.margin import MarginHead
from facemae.train.operations import multiply_adds


def test_base_encoder_by_hand() -> None:
    # 49 visible patches and the class token; a block multiplies 12 d² a token and 2 n² d in attention.
    with torch.device("meta"):
        model = build_mae("base")
        visible, ids = torch.empty(1, 49, 768), torch.zeros(1, 49, dtype=torch.int64)
    blocks = 12 * (50 * 12 * 768**2 + 2 * 50**2 * 768)
    assert multiply_adds(model, lambda: model.encode(visible, ids)) == 49 * 768 * 768 + blocks == 4_321_714_176


def test_iresnet18_by_hand() -> None:
    # Stages of 64, 128, 256, 512 channels; the first 3×3 of a stage still has the previous stage's side.
    sides, channels = (112, 56, 28, 14, 7), (64, 64, 128, 256, 512)
    expected = 112**2 * 64 * 3 * 9 + 7 * 7 * 512 * 512
    for before, after, inputs, outputs in zip(sides, sides[1:], channels, channels[1:], strict=False):
        first = before**2 * inputs * outputs * 9 + after**2 * outputs**2 * 9
        expected += first + after**2 * inputs * outputs + 2 * after**2 * outputs**2 * 9
    net = build_backbone("iresnet18").eval()
    assert multiply_adds(net, lambda: net(torch.zeros(1, 3, 112, 112))) == expected
    assert expected / 1e9 == pytest.approx(2.610, abs=5e-4)


@pytest.mark.parametrize(
    ("name", "published"),
    [("mbf", 221.2e6), ("mbf2", 437.5e6), ("mbf_large", 1.816e9), ("vit_t", 1.377e9 + 12 * 2 * 144**2 * 256)],
)
def test_published_counts(name: str, published: float) -> None:
    net = build_backbone(name).eval()
    assert multiply_adds(net, lambda: net(torch.zeros(1, 3, 112, 112))) == pytest.approx(published, rel=5e-4)


def test_torchs_own_counter_agrees() -> None:
    sizes = {"width": 16, "depth": 2, "heads": 2, "decoder_width": 12, "decoder_depth": 1, "decoder_heads": 3}
    model = FaceMAE(image_size=32, patch_size=8, **sizes)
    head = MarginHead(7, 16)
    ids = torch.tensor([[0, 5, 11]]).expand(2, -1)
    visible, vectors, labels = torch.rand(2, 3, 192), torch.rand(2, 16), torch.tensor([1, 6])

    def call() -> None:
        # The products of attention written out: which fused kernel a torch version counts is its own affair.
        with nn.attention.sdpa_kernel(nn.attention.SDPBackend.MATH):
            model(visible, ids)
        head(vectors, labels)

    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        call()
    ours = multiply_adds(nn.ModuleList([model, head]), call)
    assert 2 * ours == counter.get_total_flops()


def test_hooks_are_gone_afterwards() -> None:
    layer = nn.Linear(3, 5)
    assert multiply_adds(layer, lambda: layer(torch.zeros(2, 3))) == 2 * 3 * 5
    assert not layer._forward_hooks
