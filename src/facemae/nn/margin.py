"""Margin classifiers over cosines: ArcFace, CosFace and AdaFace, for people and for mixtures of people.

Labels of −1 mean "the class of this row is not among these columns", as in a classifier sharded over ranks.
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

Kind = Literal["arcface", "cosface", "adaface"]
Gradient = Literal["exact", "expanded", "unguarded", "straight_through"]

KINDS: tuple[Kind, ...] = ("arcface", "cosface", "adaface")
GRADIENTS: tuple[Gradient, ...] = ("exact", "expanded", "unguarded", "straight_through")

_SIN2_FLOOR = torch.finfo(torch.float32).eps
_ADAFACE_EPS = 1e-3


def arcface(
    cosine: Float[Tensor, "b c"],
    labels: Int[Tensor, " b"],
    *,
    margin: float = 0.5,
    scale: float = 64.0,
    gradient: Gradient = "exact",
) -> Float[Tensor, "b c"]:
    """Logits s·cos(θ + m) for the true class and s·cos θ for all others.

    `exact` has the true derivative s·sin(θ + m)/sin θ and continues beyond θ + m = π, where cos turns upwards again,
    with the line cos θ − m·sin(π − m). `expanded` is InsightFace's formula of 2022, cos θ·cos m − sin θ·sin m with that
    line: the same function and derivative. `unguarded` is what it computed in 2021: no line, and so a derivative below
    0 beyond π − m. `straight_through` has the derivative s everywhere and no line: since December 2022. Cosines are
    clipped to [−1, 1]; derivatives stay finite there in all of them (in 2021 and 2022 theirs did not).

    Source: Deng et al., ArcFace, CVPR 2019, eq. 3; deepinsight/insightface, arcface_torch.
    """
    return _with_margin(cosine, labels, lambda target: _arc(target, margin, gradient), scale)


def cosface(
    cosine: Float[Tensor, "b c"], labels: Int[Tensor, " b"], *, margin: float = 0.4, scale: float = 64.0
) -> Float[Tensor, "b c"]:
    """Logits s·(cos θ − m) for the true class and s·cos θ for all others.

    Source: Wang et al., CosFace, CVPR 2018, eq. 4.
    """
    return _with_margin(cosine, labels, lambda target: target - margin, scale)


def adaface(
    cosine: Float[Tensor, "b c"],
    labels: Int[Tensor, " b"],
    quality: Float[Tensor, " b"],
    *,
    margin: float = 0.4,
    scale: float = 64.0,
) -> Float[Tensor, "b c"]:
    """Logits s·(cos(θ − m·q) − (m + m·q)) for the true class and s·cos θ for all others; q in [−1, 1], of `Qualities`.

    q = −1 is ArcFace with m, q = 0 CosFace with m. Cosines are clipped to ±(1 − 1e-3) and θ − m·q to [1e-3, π − 1e-3].

    Source: Kim et al., AdaFace, CVPR 2022, eq. 10 to 14; mk-minchul/AdaFace.
    """
    return _with_margin(cosine, labels, lambda target: _ada(target, quality, margin), scale, limit_of("adaface"))


def limit_of(kind: Kind) -> float:
    """Cosines are clipped to ± this before anything else."""
    return 1.0 - _ADAFACE_EPS if kind == "adaface" else 1.0


class Qualities(nn.Module):
    """z = clip(h·(|x| − mean) / (deviation + 1e-3), −1, 1): how far feature norms are above the usual ones.

    `observe` takes mean and deviation of a batch's norms into running ones: new = t·batch + (1 − t)·old. They start at
    20 and 100 and are part of the state. Norms are clipped to [1e-3, 100]; no gradient flows.
    """

    norm_mean: Tensor
    norm_deviation: Tensor

    def __init__(self, *, h: float = 0.333, t_alpha: float = 0.01) -> None:
        super().__init__()
        self.h, self.t_alpha = h, t_alpha
        self.register_buffer("norm_mean", torch.tensor(20.0))
        self.register_buffer("norm_deviation", torch.tensor(100.0))

    @torch.no_grad()
    def observe(self, norms: Float[Tensor, " n"]) -> None:
        """Learn from the norms of a whole batch: of all ranks, so that all go on with the same numbers."""
        safe = norms.to(self.norm_mean.dtype).clamp(1e-3, 100.0)
        self.norm_mean.lerp_(safe.mean(), self.t_alpha)
        if len(safe) > 1:  # one number has no deviation
            self.norm_deviation.lerp_(safe.std(), self.t_alpha)

    @torch.no_grad()
    def forward(self, norms: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """The quality of each row."""
        safe = norms.to(self.norm_mean.dtype).clamp(1e-3, 100.0)
        return (self.h * (safe - self.norm_mean) / (self.norm_deviation + _ADAFACE_EPS)).clamp(-1.0, 1.0)


class MarginHead(nn.Module):
    """Class centres and the margin loss over the cosines to them; everything in float32.

    `weight` (classes, embedding) starts as N(0, 0.01) and is normalised at every use, as the embeddings are. With
    ``interclass_filter`` f > 0 the cosines above f to other people are set to 0 and learn nothing: they are probably
    of the same person under two labels. ``gather`` joins the norms of all ranks (n, 1), for AdaFace's statistics.
    """

    def __init__(
        self,
        classes: int,
        embedding: int,
        *,
        kind: Kind = "arcface",
        margin: float = 0.5,
        scale: float = 64.0,
        gradient: Gradient = "exact",
        h: float = 0.333,
        t_alpha: float = 0.01,
        interclass_filter: float = 0.0,
        gather: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        assert kind in KINDS
        self.kind, self.margin, self.scale, self.gradient = kind, margin, scale, gradient
        self.interclass_filter, self._gather = interclass_filter, gather
        self.weight = nn.Parameter(torch.normal(0.0, 0.01, (classes, embedding)))
        self.quality = Qualities(h=h, t_alpha=t_alpha) if kind == "adaface" else None

    def forward(
        self,
        embeddings: Float[Tensor, "b d"],
        labels: Int[Tensor, " b"] | Int[Tensor, "b k"],
        weights: Float[Tensor, "b k"] | None = None,
    ) -> Float[Tensor, ""]:
        """Mean cross-entropy of the margin logits.

        With ``weights``, a row shows the people ``labels[row]`` in these shares, which sum to 1 (`soft_cross_entropy`).
        """
        if weights is None:
            return F.cross_entropy(self.logits(embeddings, labels), labels)
        return soft_cross_entropy(self.logits(embeddings, labels, weights), labels, weights)

    def logits(
        self,
        embeddings: Float[Tensor, "b d"],
        labels: Int[Tensor, " b"] | Int[Tensor, "b k"],
        weights: Float[Tensor, "b k"] | None = None,
    ) -> Float[Tensor, "b c"]:
        """Scaled cosines with the margin at the true class, or in shares at those of a mixture (`mixed_margin`)."""
        cosine, quality = self.cosine(embeddings), self._qualities(embeddings)
        if self.interclass_filter:
            own = labels.unsqueeze(1) if weights is None else labels
            cosine = cosine.masked_fill(others_above(cosine.detach(), own, self.interclass_filter), 0.0)
        if weights is not None:
            change = margin_of(self.kind, self.margin, gradient=self.gradient, quality=quality)
            return mixed_margin(cosine, labels, weights, change, scale=self.scale, limit=limit_of(self.kind))
        if self.kind == "cosface":
            return cosface(cosine, labels, margin=self.margin, scale=self.scale)
        if quality is not None:
            return adaface(cosine, labels, quality, margin=self.margin, scale=self.scale)
        return arcface(cosine, labels, margin=self.margin, scale=self.scale, gradient=self.gradient)

    def cosine(self, embeddings: Float[Tensor, "b d"]) -> Float[Tensor, "b c"]:
        """Cosines between raw embeddings and class centres."""
        with torch.autocast(embeddings.device.type, enabled=False):
            return F.linear(F.normalize(embeddings.float()), F.normalize(self.weight.float()))

    def _qualities(self, embeddings: Tensor) -> Tensor | None:
        """Of each row, after the running statistics have taken this batch in."""
        if self.quality is None:
            return None
        norms = embeddings.detach().float().norm(dim=1)
        if self.training:
            everyone = norms if self._gather is None else self._gather(norms.unsqueeze(1)).squeeze(1)
            self.quality.observe(everyone)
        return self.quality(norms)


def margin_of(
    kind: Kind, margin: float, *, gradient: Gradient = "exact", quality: Float[Tensor, " b"] | None = None
) -> Callable[[Tensor], Tensor]:
    """ψ of this kind: what becomes of the cosines (b, k) to people a row shows. AdaFace's needs ``quality``."""
    assert kind in KINDS
    if kind == "cosface":
        return lambda target: target - margin
    if kind == "adaface":
        assert quality is not None
        return lambda target: _ada(target, quality, margin)
    return lambda target: _arc(target, margin, gradient)


def mixed_margin(
    cosine: Float[Tensor, "b c"],
    labels: Int[Tensor, "b k"],
    weights: Float[Tensor, "b k"],
    change: Callable[[Tensor], Tensor],
    *,
    scale: float,
    limit: float = 1.0,
) -> Float[Tensor, "b c"]:
    """Logits s·(cos θ_j + Σ_k w_k·[j = label k]·(ψ(cos θ_j) − cos θ_j)), ψ = ``change``.

    With weights that sum to 1 that is Σ_k w_k·(the margin logits of person k): SynFace's mixture of outputs.

    Source: Qiu et al., SynFace, ICCV 2021, section 3.3; haibo-qiu/SynFace.
    """
    with torch.autocast(cosine.device.type, enabled=False):
        cosine = _clipped(cosine, limit)
        target = cosine.gather(1, labels)
        # Added, not written: two shares of a mixture may name the same person.
        return scale * cosine.scatter_add(1, labels, weights.to(cosine.dtype) * (change(target) - target))


def soft_cross_entropy(
    logits: Float[Tensor, "b c"], labels: Int[Tensor, "b k"], weights: Float[Tensor, "b k"]
) -> Float[Tensor, ""]:
    """Mean over rows of Σ_k w_k·(log Σ_j exp(logit_j) − logit of label k)."""
    terms = F.log_softmax(logits, 1).gather(1, labels)
    return -(weights.to(terms.dtype) * terms).sum(1).mean()


def others_above(cosine: Float[Tensor, "b c"], own: Int[Tensor, "b k"], threshold: float) -> Bool[Tensor, "b c"]:
    """Where cosines to people that are not a row's ``own`` exceed the threshold; −1 stands for nobody."""
    here = own >= 0
    mine = torch.zeros_like(cosine, dtype=torch.bool)
    mine.scatter_(1, own.clamp(min=0), here)
    return (cosine > threshold) & ~mine


def _with_margin(
    cosine: Float[Tensor, "b c"],
    labels: Int[Tensor, " b"],
    change: Callable[[Tensor], Tensor],
    scale: float,
    limit: float = 1.0,
) -> Float[Tensor, "b c"]:
    with torch.autocast(cosine.device.type, enabled=False):
        cosine = _clipped(cosine, limit)
        here = (labels >= 0).unsqueeze(1)
        column = labels.clamp(min=0).unsqueeze(1)
        target = cosine.gather(1, column)
        return scale * cosine.scatter(1, column, torch.where(here, change(target), target))


def _clipped(cosine: Tensor, limit: float) -> Tensor:
    return (cosine if cosine.dtype == torch.float64 else cosine.float()).clamp(-limit, limit)


def _arc(cosine: Tensor, margin: float, gradient: Gradient) -> Tensor:
    assert gradient in GRADIENTS
    if gradient == "straight_through":
        return cosine + (torch.cos(torch.acos(cosine.detach()) + margin) - cosine.detach())
    # The floor is one rounding step below |cos| = 1, where the derivative of the root would be infinite.
    sine = torch.sqrt((1.0 - cosine.square()).clamp(min=_SIN2_FLOOR))
    turned = cosine * math.cos(margin) - sine * math.sin(margin)
    if gradient == "unguarded":
        return turned
    line = cosine - margin * math.sin(math.pi - margin)
    return torch.where(cosine > math.cos(math.pi - margin), turned, line)


def _ada(cosine: Tensor, quality: Tensor, margin: float) -> Tensor:
    quality = quality.unsqueeze(1).to(cosine.dtype)
    angle = (torch.acos(cosine) - margin * quality).clamp(_ADAFACE_EPS, math.pi - _ADAFACE_EPS)
    return torch.cos(angle) - (margin + margin * quality)
