"""Instance and relation matching (IRM), the loss by which FaceMAE learns to keep what a face recogniser sees."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

EPS = 1e-12
"""Added under every root, so that identical rows have a zero gradient; it moves a distance of 1e-3 by 5e-10."""

REFERENCE_BATCH = 256
"""The batch of the paper. Relation distances grow as √N, so they are scaled to this N."""


class Terms(NamedTuple):
    """The two scalars of the loss: L = instance + β · relation."""

    instance: Float[Tensor, ""]
    relation: Float[Tensor, ""]


def match(
    real: Float[Tensor, "n d"],
    fake: Float[Tensor, "n d"],
    *,
    columns: tuple[Float[Tensor, "m d"], Float[Tensor, "m d"]] | None = None,
) -> Terms:
    """Distance between the features of originals and of their reconstructions, alone and in relation to each other.

    With unit rows f of `real` and f̂ of `fake`, F and F̂ the rows stacked, N the number of columns::

        instance = mean_i ‖f_i − f̂_i‖
        relation = √(256/N) · mean_i ‖(F Fᵀ)_i − (F̂ F̂ᵀ)_i‖

    Norms are Euclidean and not squared, each √(Σ x² + 1e-12). Computed in float32 whatever autocast says.

    Shapes: `real` and `fake` hold the raw features of n pairs. `columns` holds the features (real, fake) of the whole
    batch when it is spread over ranks: rows are then local and columns global, and with equal n the mean over ranks of
    each term, and of its gradient through gathered columns, equals the value of one process. Default: the rows.

    Source: FaceMAE, eq. 2 of section 3.3; the row-wise reading is the only one in which both terms use one Δ.
    """
    with torch.autocast(real.device.type, enabled=False):
        rows = _unit(real), _unit(fake)
        across = rows if columns is None else (_unit(columns[0]), _unit(columns[1]))
        relations = rows[0] @ across[0].T - rows[1] @ across[1].T
        scale = (REFERENCE_BATCH / relations.shape[1]) ** 0.5
        return Terms(_mean_norm(rows[0] - rows[1]), scale * _mean_norm(relations))


def _unit(features: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    return F.normalize(features if features.dtype == torch.float64 else features.float(), dim=1)


def _mean_norm(rows: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    return torch.sqrt(rows.square().sum(1) + EPS).mean()
