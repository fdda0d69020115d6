"""Margin classifiers over cosines: ArcFace and CosFace.

Labels of −1 mean "the class of this row is not among these columns", as in a classifier sharded over ranks.
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

Gradient = Literal["exact", "straight_through"]

_SIN2_FLOOR = torch.finfo(torch.float32).eps


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
    with the line cos θ − m·sin(π − m). `straight_through` has the derivative s everywhere and no such line: what
    InsightFace computes since December 2022. Cosines are clipped to [−1, 1]; derivatives stay finite there.

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


class MarginHead(nn.Module):
    """Class centres and the margin loss over the cosines to them; everything in float32.

    `weight` (classes, embedding) starts as N(0, 0.01) and is normalised at every use, as the embeddings are.
    """

    def __init__(
        self,
        classes: int,
        embedding: int,
        *,
        kind: Literal["arcface", "cosface"] = "arcface",
        margin: float = 0.5,
        scale: float = 64.0,
        gradient: Gradient = "exact",
    ) -> None:
        super().__init__()
        assert kind in ("arcface", "cosface")
        self.kind, self.margin, self.scale, self.gradient = kind, margin, scale, gradient
        self.weight = nn.Parameter(torch.normal(0.0, 0.01, (classes, embedding)))

    def forward(self, embeddings: Float[Tensor, "b d"], labels: Int[Tensor, " b"]) -> Float[Tensor, ""]:
        """Mean cross-entropy of the margin logits."""
        return F.cross_entropy(self.logits(embeddings, labels), labels)

    def logits(self, embeddings: Float[Tensor, "b d"], labels: Int[Tensor, " b"]) -> Float[Tensor, "b c"]:
        """Scaled cosines with the margin at the true class."""
        cosine = self.cosine(embeddings)
        if self.kind == "cosface":
            return cosface(cosine, labels, margin=self.margin, scale=self.scale)
        return arcface(cosine, labels, margin=self.margin, scale=self.scale, gradient=self.gradient)

    def cosine(self, embeddings: Float[Tensor, "b d"]) -> Float[Tensor, "b c"]:
        """Cosines between raw embeddings and class centres."""
        with torch.autocast(embeddings.device.type, enabled=False):
            return F.linear(F.normalize(embeddings.float()), F.normalize(self.weight.float()))


def _with_margin(
    cosine: Float[Tensor, "b c"], labels: Int[Tensor, " b"], change: Callable[[Tensor], Tensor], scale: float
) -> Float[Tensor, "b c"]:
    with torch.autocast(cosine.device.type, enabled=False):
        cosine = (cosine if cosine.dtype == torch.float64 else cosine.float()).clamp(-1.0, 1.0)
        here = (labels >= 0).unsqueeze(1)
        column = labels.clamp(min=0).unsqueeze(1)
        target = cosine.gather(1, column)
        return scale * cosine.scatter(1, column, torch.where(here, change(target), target))


def _arc(cosine: Tensor, margin: float, gradient: Gradient) -> Tensor:
    assert gradient in ("exact", "straight_through")
    if gradient == "straight_through":
        return cosine + (torch.cos(torch.acos(cosine.detach()) + margin) - cosine.detach())
    # The floor is one rounding step below |cos| = 1, where the derivative of the root would be infinite.
    sine = torch.sqrt((1.0 - cosine.square()).clamp(min=_SIN2_FLOOR))
    turned = cosine * math.cos(margin) - sine * math.sin(margin)
    line = cosine - margin * math.sin(math.pi - margin)
    return torch.where(cosine > math.cos(math.pi - margin), turned, line)
