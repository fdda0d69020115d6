"""Parameter groups and learning-rate schedules."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import nn


def decay_groups(module: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """MAE's rule: weight decay on matrices and tokens, none on one-dimensional parameters (norms and biases)."""
    trained = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    plain = [p for name, p in trained if p.ndim <= 1 or name.endswith(".bias")]
    decayed = [p for name, p in trained if not (p.ndim <= 1 or name.endswith(".bias"))]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]


def warmup_cosine(step: int, total: int, warmup: float) -> float:
    """Factor of the learning rate before step ``step`` (from 0) of ``total``.

        step / w                                  while step < w = warmup * total
        (1 + cos(pi * (step - w) / (total - w))) / 2       afterwards, 0 at the end

    Source: MAE, per-iteration linear warm-up then half a cosine to 0.
    """
    w = warmup * total
    if step < w:
        return step / w
    return 0.5 * (1 + math.cos(math.pi * (step - w) / max(total - w, 1)))


def stepped(step: int, w: int, points: Sequence[int]) -> float:
    """Factor of the learning rate: step / w while step < w, then 0.1^(number of decay points reached).

    The first iteration of a warm-up has learning rate 0. Source: InsightFace arcface_torch of 2021-H2.
    """
    if step < w:
        return step / w
    return 0.1 ** sum(step >= point for point in points)


def stepped_by_epoch(epoch: int, warmup: float, decay: Sequence[float]) -> float:
    """Factor of the learning rate in ``epoch`` (from 0):

        ((epoch + 1) / 5)^2     while epoch < warmup
        0.1^(number of decay epochs m with m - 1 <= epoch)     afterwards: one epoch earlier than they say

    The 5 is a constant, whatever the warm-up. Source: InsightFace arcface_torch of March to July 2021.
    """
    if epoch < warmup:
        return ((epoch + 1) / 5) ** 2
    return 0.1 ** sum(m - 1 <= epoch for m in decay)


def polynomial(step: int, total: int, w: int) -> float:
    """Factor of the learning rate: step / w up to step w, then (total - step) / (total - w), a line to 0.

    Step 0 has factor 1, warm-up or not: so InsightFace's `PolynomialLRWarmup` (power 1) does it, whose first optimiser
    step runs at the full rate before the rate falls to 1 / w of it. Source: arcface_torch since 2022, train_v2.py.
    """
    if step == 0:
        return 1.0
    return step / w if step <= w else (total - step) / (total - w)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group the same learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def clip_norm(parameters: Iterable[nn.Parameter], limit: float | None) -> None:
    """Scale the gradients so that their joint norm is at most ``limit``."""
    if limit is not None:
        nn.utils.clip_grad_norm_(parameters, limit)
