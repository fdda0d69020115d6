"""A small network from vectors of protected faces to vectors of originals: what a cross-matcher learns from pairs."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class Matcher(nn.Module):
    """m(x) = x + W₂ gelu(W₁ x + b₁) + b₂, from unit vectors to raw ones.

    The second layer starts at 0, so an untrained network changes nothing.
    """

    def __init__(self, dimension: int, *, hidden: int = 1024) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(dimension, hidden), nn.Linear(hidden, dimension)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, vectors: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        return vectors + self.outer(F.gelu(self.inner(vectors)))


def matching_loss(
    mapped: Float[Tensor, "b d"], wanted: Float[Tensor, "b d"], same: Float[Tensor, "b b"], *, temperature: float
) -> Float[Tensor, ""]:
    """L = mean_i [1 − cos(m_i, o_i)] − mean_i log( e^{cos(m_i, o_i)/τ} / Σ_j e^{cos(m_i, o_j)/τ} ).

    ``mapped`` m and ``wanted`` o are raw rows of b pairs; ``same[i, j]`` is 1 where i and j show one person, which
    are no wrong answers to one another and left out of the sum (but for j = i). Computed in float32.

    Source: InfoNCE, van den Oord et al. 2018, one-sided.
    """
    cosines = F.normalize(mapped.float(), dim=1) @ F.normalize(wanted.float(), dim=1).T
    own = cosines.diagonal()
    others = same.clone().fill_diagonal_(0).bool()
    contrast = (cosines / temperature).masked_fill(others, float("-inf")).logsumexp(1) - own / temperature
    return (1 - own + contrast).mean()
