"""MAE's schedule against its published numbers; weight decay where it belongs."""

import math

import pytest
import torch
from torch import nn

from facemae.spec.recipe import PretrainSpec
from facemae.train.optim import clip_norm, decay_groups, set_rate, warmup_cosine
from helpers import tiny_mae


@pytest.mark.parametrize(("epoch", "rate"), [(0, 0.0), (0.5, 1.5e-5), (20, 6e-4), (40, 1.2e-3), (120, 6e-4), (200, 0)])
def test_mae_schedule_of_the_paper(epoch: float, rate: float) -> None:
    spec = PretrainSpec()
    base = spec.base_lr * 2048 / 256
    assert base == pytest.approx(1.2e-3)
    factor = warmup_cosine(int(epoch * 100), 200 * 100, spec.warmup)
    assert base * factor == pytest.approx(rate, abs=1e-12)


def test_cosine_without_warmup_starts_at_the_full_rate() -> None:
    assert warmup_cosine(0, 10, 0.0) == 1.0
    assert warmup_cosine(5, 10, 0.0) == pytest.approx(0.5)


def test_every_trained_parameter_is_in_one_group_and_vectors_are_not_decayed() -> None:
    model = tiny_mae()
    decayed, plain = decay_groups(model, 0.05)
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.05, 0.0)
    names = {id(p): name for name, p in model.named_parameters()}
    in_decayed, in_plain = ({names[id(p)] for p in group["params"]} for group in (decayed, plain))  # type: ignore[attr-defined]
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert in_decayed | in_plain == trained
    assert not in_decayed & in_plain
    # MAE decays the tokens, which have three dimensions, and never learns the positions.
    assert {"cls_token", "mask_token", "decoder_pred.weight"} <= in_decayed
    assert {"norm.weight", "norm.bias", "patch_embed.proj.bias"} <= in_plain
    assert "pos_embed" not in trained


def test_rate_reaches_every_group() -> None:
    optimizer = torch.optim.AdamW(decay_groups(tiny_mae(), 0.05), lr=0.0)
    set_rate(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]


def test_clipping_scales_the_joint_norm_and_none_leaves_it() -> None:
    layer = nn.Linear(2, 1, bias=False)

    def clipped(limit: float | None) -> list[float]:
        layer.weight.grad = torch.tensor([[3.0, 4.0]])
        clip_norm(layer.parameters(), limit)
        return layer.weight.grad.flatten().tolist()

    assert clipped(1.0) == pytest.approx([0.6, 0.8], rel=1e-5)
    assert clipped(None) == [3.0, 4.0]
    assert math.hypot(*clipped(10.0)) == pytest.approx(5.0)
