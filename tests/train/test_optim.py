"""Schedules against the published numbers of MAE and InsightFace; weight decay where it belongs."""

import math

import pytest
import torch
from torch import nn

from facemae.spec.recipe import PretrainSpec, RecognizeSpec
from facemae.train.optim import clip_norm, decay_groups, set_rate, warmup_cosine, warmup_steps
from helpers import tiny_mae

STEPS_PER_EPOCH = 958  # CASIA-WebFace: 490,623 images at batch 512


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


def test_insightface_schedule_by_our_default_shares() -> None:
    spec = RecognizeSpec()
    factors = [warmup_steps(step, spec.iterations, spec.warmup, spec.decay) for step in range(spec.iterations)]
    assert spec.iterations == 34 * STEPS_PER_EPOCH
    assert factors[0] == 0.0
    assert factors[479] == pytest.approx(0.5)
    assert factors[957] < 1.0
    assert factors[958] == 1.0
    drops = [step for step in range(959, spec.iterations) if factors[step] < factors[step - 1]]
    # Whole epochs of 958 iterations; arcface_torch counts 958.25 and is 4, 6 and 7 iterations later.
    assert drops == [20 * STEPS_PER_EPOCH, 28 * STEPS_PER_EPOCH, 32 * STEPS_PER_EPOCH] == [19160, 26824, 30656]
    assert [factors[step] for step in drops] == pytest.approx([0.1, 0.01, 0.001])


def test_insightface_schedule_exactly_by_shares_that_name_its_iterations() -> None:
    total = 32572
    points = [epoch * 490_623 // 512 for epoch in (20, 28, 32)]
    assert points == [19164, 26830, 30663]
    shares = [point / total for point in points]
    for i, point in enumerate(points):
        assert warmup_steps(point - 1, total, 1 / 34, shares) == pytest.approx(0.1**i)
        assert warmup_steps(point, total, 1 / 34, shares) == pytest.approx(0.1 ** (i + 1))


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
