"""The margin classifier over very many people, its centres split over the ranks, a sample of them used per step.

Rank r of W holds centres [start, start + n) with n = C // W + (r < C mod W), start = C // W * r + min(r, C mod W).
Source: An et al., Partial FC, ICCVW 2021; deepinsight/insightface, arcface_torch.
"""

import hashlib
import math
import os
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from facemae.errors import RecipeError
from facemae.nn.margin import KINDS, Gradient, Kind, Qualities, adaface, arcface, cosface, limit_of, others_above
from facemae.train.world import World, gather_labels, gather_rows, max_over_ranks, share_of, sum_over_ranks

BLOCK = 4096
"""Classes whose random numbers come from one generator, so that they do not depend on where a shard begins."""


class PartialFC(nn.Module):
    """`MarginHead` over ranks: mean cross-entropy of the margin logits of the global batch.

    At ``rate`` 1 the loss, the gradient of the embeddings and the centres after `update` are those of a `MarginHead`
    with the same weights on one process at the same global batch, whatever the number of ranks. At a lower rate a step
    sees int(rate * n) of the n centres of each rank: those of the batch's people, then those that draw the highest
    numbers. A number is a function of (seed, step, class), but n is the shard's, so losses then depend on W.

    `weight` (n, embedding) starts as N(0, 0.01), the same for every W, and `momentum` goes with it row by row. Both are
    float32 and updated here, not by an optimiser; centres that were not sampled keep both as they are: no gradient, no
    weight decay, no momentum (as the first version of Partial FC; today's decays and moves them all).

    `quality` holds AdaFace's running statistics, of the norms of all ranks and so the same on each; None otherwise.
    """

    weight: nn.Parameter
    momentum: Tensor

    def __init__(
        self,
        classes: int,
        embedding: int,
        *,
        world: World,
        rate: float = 1.0,
        seed: int = 0,
        kind: Kind = "arcface",
        margin: float = 0.5,
        scale: float = 64.0,
        gradient: Gradient = "exact",
        h: float = 0.333,
        t_alpha: float = 0.01,
        interclass_filter: float = 0.0,
    ) -> None:
        super().__init__()
        if classes < world.size:
            raise RecipeError("recognize.classifier.sharded", got=f"{classes} people", needed=f"{world.size} or more")
        assert kind in KINDS
        self.rate, self.share = rate, share_of(classes, world.rank, world.size)
        self._seed, self._world = seed, world
        change: dict[Kind, Callable[..., Tensor]] = {
            "arcface": partial(arcface, gradient=gradient),
            "cosface": cosface,
            "adaface": adaface,
        }
        change_own = partial(change[kind], margin=margin, scale=scale)
        self._rule = _Rule(change_own, scale, limit_of(kind), interclass_filter)
        self.quality = Qualities(h=h, t_alpha=t_alpha) if kind == "adaface" else None
        self.weight = nn.Parameter(_centres(seed, self.share, embedding).to(world.device))
        self.register_buffer("momentum", torch.zeros_like(self.weight))
        self._sampled: tuple[Tensor, Tensor] | None = None

    def forward(self, embeddings: Float[Tensor, "b d"], labels: Int64[Tensor, " b"], step: int) -> Float[Tensor, ""]:
        """The loss, the same on every rank.

        ``embeddings``, ``labels``: raw vectors and people of this rank's share of the batch, as many on each rank. The
        gradient of the embeddings is W times that of the loss, because the backbone's is averaged over W ranks.
        """
        with torch.autocast(embeddings.device.type, enabled=False):
            embeddings = embeddings.to(self.weight.dtype)
            unit = gather_rows(F.normalize(embeddings), self._world)
            columns = gather_labels(labels, self._world) - self.share.start
            columns = columns.where((columns >= 0) & (columns < len(self.share)), -1)
            rows: Tensor = self.weight
            if self.rate < 1:
                numbers, columns = self._sample(columns, step)
                rows = self.weight.detach()[numbers].requires_grad_()
                self._sampled = numbers, rows
            return _MarginLoss.apply(unit, rows, columns, self._rule_for(embeddings), self._world)

    @torch.no_grad()
    def update(self, *, lr: float, momentum: float, weight_decay: float) -> None:
        """v = momentum * v + gradient + weight_decay * w;  w = w - lr * v, for the centres of the last `forward`.

        The arithmetic of `torch.optim.SGD`. The gradient is used up.
        """
        numbers, rows = self._sampled or (None, self.weight)
        gradient, rows.grad, self._sampled = rows.grad, None, None
        assert gradient is not None, "an update follows a backward pass"
        gradient.add_(rows, alpha=weight_decay)
        if numbers is None:
            self.momentum.mul_(momentum).add_(gradient)
            self.weight.add_(self.momentum, alpha=-lr)
        else:
            velocity = self.momentum[numbers].mul_(momentum).add_(gradient)
            self.momentum.index_copy_(0, numbers, velocity)
            self.weight.index_copy_(0, numbers, rows.detach().add_(velocity, alpha=-lr))

    def _rule_for(self, embeddings: Float[Tensor, "b d"]) -> "_Rule":
        """The rule of this batch: AdaFace's margins follow the norms of its rows, of all ranks."""
        if self.quality is None:
            return self._rule
        norms = gather_rows(embeddings.detach().norm(dim=1, keepdim=True), self._world).squeeze(1)
        if self.training:
            self.quality.observe(norms)
        return self._rule._replace(margin=partial(self._rule.margin, quality=self.quality(norms)))

    def _sample(self, columns: Int64[Tensor, " b"], step: int) -> tuple[Int64[Tensor, " k"], Int64[Tensor, " b"]]:
        """Sorted numbers of the sampled rows, and the columns of the batch's people among them (-1 stays)."""
        drawn = _keyed(f"{self._seed}:step {step}", self.share, (), torch.rand, torch.float64)
        drawn = drawn.to(columns.device)
        positive = columns[columns >= 0].unique()
        drawn[positive] = 1.0
        count = max(_sample_size(len(self.share), self.rate), len(positive))
        sampled = drawn.topk(count).indices.sort().values
        found = torch.searchsorted(sampled, columns.clamp(min=0))
        return sampled, found.where(columns >= 0, -1)


class _Rule(NamedTuple):
    """What becomes of cosines: logits of the true class; the scale, the clip and the filter of the others."""

    margin: Callable[..., Tensor]
    scale: float
    limit: float
    threshold: float

    def flat(self, scores: Tensor, own: Tensor) -> Tensor | None:
        """Where scores are clipped or filtered, and so have no slope; None where cosines stay as they are."""
        if self.limit == 1.0 and not self.threshold:
            return None
        flat = torch.zeros_like(scores, dtype=torch.bool)
        if self.limit < 1.0:
            flat.logical_or_(scores > self.limit).logical_or_(scores < -self.limit)
        if self.threshold:
            filtered = others_above(scores, own, self.threshold)
            scores.masked_fill_(filtered, 0.0)
            flat.logical_or_(filtered)
        return flat


class _MarginLoss(torch.autograd.Function):
    """loss = mean over rows of log(sum over all classes of exp(logit)) - logit of the true class.

    Of what has a number for each row and class there is one copy: cosines become logits, probabilities and gradients.
    """

    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx,
        unit: Tensor,
        rows: Tensor,
        columns: Tensor,
        rule: _Rule,
        world: World,
    ) -> Tensor:
        inverse = rows.norm(dim=1).clamp_(min=1e-12).reciprocal_()
        scores = (unit @ rows.T).mul_(inverse)
        here, at = columns.unsqueeze(1) >= 0, columns.clamp(min=0).unsqueeze(1)
        flat = rule.flat(scores, columns.unsqueeze(1))
        target, slope = _target(scores.gather(1, at), here, rule.margin)
        scores.clamp_(-rule.limit, rule.limit).mul_(rule.scale).scatter_(1, at, target)
        ctx.flat = None
        if flat is not None:
            slope = slope.masked_fill(flat.gather(1, at), 0.0)
            ctx.flat = flat.view(-1).nonzero().squeeze(1)
        largest = max_over_ranks(scores.amax(1), world)
        scores.sub_(largest.unsqueeze(1)).exp_()
        # One word between the ranks for both: only the rank that holds a row's class knows its logit.
        own = (target.squeeze(1) - largest).where(here.squeeze(1), 0.0)
        total, own = sum_over_ranks(torch.stack([scores.sum(1), own]), world)
        ctx.scores, ctx.world = scores.div_(total.unsqueeze(1)), world
        ctx.scale = rule.scale
        ctx.save_for_backward(unit, rows, inverse, here, at, slope)
        return (total.log() - own).mean()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[no-untyped-def]
        unit, rows, inverse, here, at, slope = ctx.saved_tensors
        scores, ctx.scores = ctx.scores, None
        assert scores is not None, "the one copy is used up by the first backward pass"
        share = gradient / len(scores)
        own = (scores.gather(1, at) - here.to(scores.dtype)) * slope * share
        scores.mul_(share * ctx.scale)
        if ctx.flat is not None:
            scores.view(-1).index_fill_(0, ctx.flat, 0.0)
        scores.scatter_(1, at, own)
        # scores is now dL/dcos. With w^ = w / |w|:  dL/dw = (A - (A . w^) w^) / |w|,  A = sum over rows of dL/dcos e.
        centres = scores.T @ unit
        along = torch.einsum("kd,kd->k", centres, rows).mul_(inverse.square())
        centres.addcmul_(rows, along.unsqueeze(1), value=-1).mul_(inverse.unsqueeze(1))
        embeddings = (scores.mul_(inverse) @ rows).mul_(ctx.world.size)
        return embeddings, centres, None, None, None


def _target(cosine: Tensor, here: Tensor, margin: Callable[[Tensor, Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Logits of the true classes (b, 1), where they are here, and their derivative by the cosine."""
    with torch.enable_grad():
        cosine = cosine.detach().requires_grad_()
        logits = margin(cosine, torch.where(here.squeeze(1), 0, -1))
        (slope,) = torch.autograd.grad(logits.sum(), cosine)
    return logits.detach(), slope


def _centres(seed: int, share: range, embedding: int) -> Tensor:
    return _keyed(f"{seed}:centres", share, (embedding,), torch.randn, torch.float32).mul_(0.01)


def _keyed(key: str, share: range, tail: tuple[int, ...], draw: Callable[..., Tensor], dtype: torch.dtype) -> Tensor:
    """Random rows ``share``, each a function of ``key`` and its number alone; drawn on the CPU, for every device."""
    found = torch.empty((len(share), *tail), dtype=dtype)
    for block in range(share.start // BLOCK, math.ceil(share.stop / BLOCK)):
        seed = hashlib.sha256(f"{key}:{block}".encode()).digest()[:8]
        generator = torch.Generator().manual_seed(int.from_bytes(seed, "big", signed=True))
        rows = draw((BLOCK, *tail), generator=generator, dtype=dtype)
        begin, end = max(block * BLOCK, share.start), min((block + 1) * BLOCK, share.stop)
        found[begin - share.start : end - share.start] = rows[begin - block * BLOCK : end - block * BLOCK]
    return found


def _sample_size(held: int, rate: float) -> int:
    return held if rate == 1 else max(1, int(rate * held))


def estimate_memory(classes: int, embedding: int, *, ranks: int, rate: float, batch: int, masks: bool = False) -> int:
    """Bytes that the classifier takes on the fullest rank, beside the backbone, at the height of a step.

        4 * (2 n d  +  k d  +  k B  +  2 B d)                     at rate 1, where k = n
        4 * (2 n d  +  k d  +  k d  +  k max(B, d)  +  2 B d)     below

    n = ceil(C / W) centres of d numbers and their momentum; the gradient of the k in use; their logits for the global
    batch of B, which become their own gradient; gathered embeddings and their gradient. Below rate 1 also a copy of the
    k and, once the logits are gone, of their momentum. ``masks``: k B more, for AdaFace or an interclass filter.
    """
    held = len(share_of(classes, 0, ranks))
    sampled = min(held, max(_sample_size(held, rate), batch if rate < 1 else 0))
    in_use = embedding + batch if rate == 1 else 2 * embedding + max(batch, embedding)
    in_use += batch if masks else 0
    return 4 * (2 * held * embedding + sampled * in_use + 2 * batch * embedding)


def demand_memory(classes: int, embedding: int, *, world: World, rate: float, batch: int, masks: bool = False) -> None:
    """Refuse a classifier that this rank has no room for, before anything is allocated.

    Raises:
        RecipeError: `estimate_memory` is above the free memory, where the system tells that.
    """
    wanted = estimate_memory(classes, embedding, ranks=world.size, rate=rate, batch=batch, masks=masks)
    free = free_memory(world)
    if free is not None and wanted > free:
        raise RecipeError(
            f"recognize.classifier for {classes:,} people",
            got=f"{_gib(wanted)} on each of {world.size} ranks",
            needed=f"at most {_gib(free)}, which is what is free",
            remedy="run on more ranks, or set classifier.rate lower",
        )


def free_memory(world: World) -> int | None:
    """Bytes free on this rank's device; of the CPU's an equal part for each rank on this machine. None: not told."""
    if world.device.type == "cuda":
        return torch.cuda.mem_get_info(world.device)[0]
    ranks_here = int(os.environ.get("LOCAL_WORLD_SIZE", world.size))
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            told = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
        return told["MemAvailable"] * 1024 // ranks_here
    except (OSError, KeyError):
        names: dict[str, Any] = getattr(os, "sysconf_names", {})
        if not {"SC_AVPHYS_PAGES", "SC_PAGE_SIZE"} <= names.keys():
            return None
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // ranks_here


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"
