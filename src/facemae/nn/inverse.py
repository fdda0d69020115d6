"""Linear ways back from protected pictures to originals, fitted on pairs by ridge regression.

    W = argmin ‖X W − Y‖² + λ ‖W‖²        X, Y: centred rows of protected and original pixels

Whatever a fixed key does linearly to pixels (order, mixing, sign) has such a way back.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from facemae.nn.patches import patchify, unpatchify

PENALTIES = (1e-6, 1e-4, 1e-3, 1e-2, 1e-1)
"""λ as multiples of the mean variance of an input (blocks) or of the mean squared norm of a row (pictures)."""

COMPONENTS = 6
"""Principal components of a block by which its source is looked for."""


class Pairs(NamedTuple):
    """Pictures in [0, 1], protected and original in the same order."""

    protected: Float[Tensor, "n 3 s s"]
    original: Float[Tensor, "n 3 s s"]


class WholeInverse(nn.Module):
    """Î = ȳ + ((I' − x̄) Xᵀ) A with A = (X Xᵀ + λ)⁻¹ Y: ridge over all pixels at once, in its dual form.

    The result is a combination of the n original pictures that it was fitted on, so any linear scramble of all pixels
    is undone as far as those pictures span the others. Memory: n rows of all pixels, twice.
    """

    def __init__(self, rows: Tensor, back: Tensor, mean_in: Tensor, mean_out: Tensor, size: int) -> None:
        super().__init__()
        self.size = size
        for name, tensor in (("rows", rows), ("back", back), ("mean_in", mean_in), ("mean_out", mean_out)):
            self.register_buffer(name, tensor)

    def forward(self, pictures: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b 3 s s"]:
        # The products of a dual solution cancel: bf16 would leave noise.
        with torch.autocast(pictures.device.type, enabled=False):
            x = pictures.flatten(1) - self.get_buffer("mean_in")
            y = (x @ self.get_buffer("rows").T) @ self.get_buffer("back") + self.get_buffer("mean_out")
        return y.reshape(len(y), 3, self.size, self.size)


class BlockInverse(nn.Module):
    """Block g of Î = block source(g) of I' · W_g + b_g: blocks in a fixed other order, each mixed in a fixed way."""

    def __init__(self, source: Tensor, weight: Tensor, bias: Tensor, cell: int) -> None:
        super().__init__()
        self.cell = cell
        for name, tensor in (("source", source), ("weight", weight), ("bias", bias)):
            self.register_buffer(name, tensor)

    def forward(self, pictures: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b 3 s s"]:
        blocks = patchify(pictures, patch_size=self.cell)[:, self.get_buffer("source")]
        with torch.autocast(pictures.device.type, enabled=False):
            mixed = torch.einsum("bgd,gde->bge", blocks, self.get_buffer("weight")) + self.get_buffer("bias")
        return unpatchify(mixed, patch_size=self.cell)


@torch.no_grad()
def fit_whole(pairs: Pairs, held_out: Pairs, *, penalties: Sequence[float] = PENALTIES) -> WholeInverse:
    """The way back over all pixels; λ is that of the smallest pixel error on the pairs held out."""
    x, y = (part.flatten(1) for part in pairs)
    mean_in, mean_out = x.mean(0), y.mean(0)
    x, y = x - mean_in, y - mean_out
    values, vectors = torch.linalg.eigh((x @ x.T).double())
    scale = values.clamp(min=0).mean()
    towards = (held_out.protected.flatten(1) - mean_in) @ x.T
    wanted = held_out.original.flatten(1) - mean_out

    def inverse(penalty: float) -> Tensor:
        # eigh of a singular matrix gives values slightly below 0.
        return ((vectors / (values.clamp(min=0) + penalty * scale)) @ vectors.T).float()

    errors = [float(((towards @ inverse(penalty)) @ y - wanted).square().mean()) for penalty in penalties]
    best = penalties[errors.index(min(errors))]
    return WholeInverse(x, inverse(best) @ y, mean_in, mean_out, pairs.original.shape[2])


@torch.no_grad()
def fit_blocks(pairs: Pairs, held_out: Pairs, *, cell: int, penalties: Sequence[float] = PENALTIES) -> BlockInverse:
    """The way back block by block (``cell`` pixels a side); sources by correlation, λ by the pairs held out."""
    x, y = (patchify(part, patch_size=cell) for part in pairs)
    source = block_sources(x, y)
    x = x[:, source]
    mean_in, mean_out = x.mean(0), y.mean(0)
    x, y = (x - mean_in).transpose(0, 1), (y - mean_out).transpose(0, 1)
    # Only the small products are in float64: in it, the pictures themselves would take gigabytes.
    gram, cross = (x.mT @ x).double(), (x.mT @ y).double()
    scale = gram.diagonal(dim1=1, dim2=2).mean().clamp(min=1e-12)
    towards = patchify(held_out.protected, patch_size=cell)[:, source].transpose(0, 1) - mean_in[:, None]
    wanted = patchify(held_out.original, patch_size=cell).transpose(0, 1) - mean_out[:, None]
    unit = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    weights = [torch.linalg.solve(gram + penalty * scale * unit, cross).float() for penalty in penalties]
    errors = [float((towards @ weight - wanted).square().mean()) for weight in weights]
    weight = weights[errors.index(min(errors))]
    bias = mean_out - torch.einsum("gd,gde->ge", mean_in, weight)
    return BlockInverse(source, weight, bias, cell)


def block_sources(x: Float[Tensor, "n g d"], y: Float[Tensor, "n g d"]) -> Int[Tensor, " g"]:
    """source(g) = argmax_h Σ_a λ_ga Σ_b corr(y_ga, x_hb)²: the block h that tells most of the variance of block g.

    y_ga and x_hb are principal components of the blocks over the n pictures, λ_ga the variance of y_ga. An orthogonal
    mixing within a block (pixels in another order) leaves the correlations as they are.
    """
    (inside, _), (outside, variances) = _components(x), _components(y)
    n, g, k = inside.shape
    correlation = outside.reshape(n, g * k).T @ inside.reshape(n, g * k) / n
    told = correlation.square().reshape(g, k, g, k).sum(3)
    return torch.einsum("gk,gkh->gh", variances, told).argmax(1)


def _components(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """The first principal components of each block, n g k of unit variance, and their variances, g k."""
    centred = (blocks - blocks.mean(0)).transpose(0, 1)
    values, vectors = torch.linalg.eigh(centred.mT @ centred / blocks.shape[0])
    values, vectors = values[:, -COMPONENTS:], vectors[:, :, -COMPONENTS:]
    scores = (centred @ vectors) / values.clamp(min=1e-12).sqrt()[:, None]
    return scores.transpose(0, 1), values.clamp(min=0)
