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


def warmup_steps(step: int, total: int, warmup: float, decay: Sequence[float]) -> float:
    """Factor of the learning rate: step / w while step < w, then 0.1^(number of decay points reached).

    w = round(warmup * total), decay points = floor(share * total). Source: InsightFace arcface_torch of 2021-H2, whose
    first iteration has learning rate 0. Its decay points count epochs of images / batch, unrounded, ours epochs of
    whole iterations: 20, 28 and 32 of 34 epochs of 490,623 images at 512 are 19160, 26824 and 30656 here, 19164, 26830
    and 30663 there.
    """
    w = round(warmup * total)
    if step < w:
        return step / w
    return 0.1 ** sum(step >= math.floor(share * total) for share in decay)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group the same learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def clip_norm(parameters: Iterable[nn.Parameter], limit: float | None) -> None:
    """Scale the gradients so that their joint norm is at most ``limit``."""
    if limit is not None:
        nn.utils.clip_grad_norm_(parameters, limit)
