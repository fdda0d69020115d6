"""Images as rows of patches: cut, pick, put back, enlarge, number.

A patch is one row of p·p·3 numbers in the order (row, column, channel), channel last, as in
facebookresearch/mae; patches are counted along the rows of the image. Positions ``ids`` name the patches
that are present, one row of ids an image, in the order of the rows they belong to.
"""

import functools
import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def patchify(images: Float[Tensor, "b 3 h w"], *, patch_size: int) -> Float[Tensor, "b l d"]:
    """Cut images into l = (h/p)·(w/p) patches of d = p·p·3 numbers; h and w are multiples of p."""
    b, c, h, w = images.shape
    p = patch_size
    assert h % p == w % p == 0, f"{h}x{w} is no multiple of {p}"
    cut = images.reshape(b, c, h // p, p, w // p, p).permute(0, 2, 4, 3, 5, 1)
    return cut.reshape(b, (h // p) * (w // p), p * p * c)


def unpatchify(patches: Float[Tensor, "b l d"], *, patch_size: int) -> Float[Tensor, "b 3 h w"]:
    """The inverse of :func:`patchify` for square images."""
    b, count, d = patches.shape
    p, grid = patch_size, math.isqrt(count)
    assert (grid * grid, p * p * 3) == (count, d), f"{count} patches of {d} numbers are no square image at {p} pixels"
    return patches.reshape(b, grid, grid, p, p, 3).permute(0, 5, 1, 3, 2, 4).reshape(b, 3, grid * p, grid * p)


def gather_patches(patches: Float[Tensor, "b l d"], ids: Int[Tensor, "b k"]) -> Float[Tensor, "b k d"]:
    """out[i, j] = patches[i, ids[i, j]]."""
    return patches[_rows(ids), ids]


def paste_patches(
    patches: Float[Tensor, "b l d"], visible: Float[Tensor, "b k d"], ids: Int[Tensor, "b k"]
) -> Float[Tensor, "b l d"]:
    """A copy of ``patches`` with out[i, ids[i, j]] = visible[i, j]; the ids of one image differ."""
    return patches.index_put((_rows(ids), ids), visible.to(patches.dtype))


def masked_positions(ids: Int[Tensor, "b k"], length: int) -> Bool[Tensor, "b length"]:
    """True where a patch is masked: every position of 0 … length - 1 that ``ids`` does not name."""
    masked = torch.ones(ids.shape[0], length, dtype=torch.bool, device=ids.device)
    return masked.index_put((_rows(ids), ids), masked.new_zeros(()))


def pixel_statistics(patches: Float[Tensor, "b k d"]) -> tuple[Float[Tensor, " d"], Float[Tensor, " d"]]:
    """ImageNet's mean and std, once for each of a patch's d numbers, in fp32 on the device of ``patches``."""

    # Fills on the device: copying three numbers there would make the host wait for the device.
    def row(values: tuple[float, ...]) -> Tensor:
        fills = [torch.full((1,), value, device=patches.device) for value in values]
        return torch.cat(fills).repeat(patches.shape[-1] // 3)

    return row(IMAGENET_MEAN), row(IMAGENET_STD)


def normalize(patches: Float[Tensor, "b k d"]) -> Float[Tensor, "b k d"]:
    """(x - mean)/std per channel with ImageNet's statistics: from [0, 1] to what MAE sees."""
    mean, std = pixel_statistics(patches)
    return (patches - mean) / std


def denormalize(patches: Float[Tensor, "b k d"]) -> Float[Tensor, "b k d"]:
    """x·std + mean per channel, the inverse of :func:`normalize`; at least fp32, not clamped."""
    mean, std = pixel_statistics(patches)
    return patches * std + mean


def enlarge_cells(cells: Float[Tensor, "b k d"], *, factor: int) -> Float[Tensor, "b k e"]:
    """Y = A·X·Aᵀ for every n·n cell X and channel: bicubic enlargement by ``factor``, each cell alone.

    A is the (n·factor, n) matrix of cubic weights (a = -0.75) whose taps beyond an edge repeat the edge, so a
    cell becomes what bicubic interpolation makes of it when it is all there is: no pixel of one cell can reach
    another, hence no masked pixel a visible one. Edges overshoot [0, 1] by a few percent; nothing is clamped.

    Shapes: d = n·n·3 and e = (n·factor)²·3, both in patch order. Source: design, trust boundary.
    """
    b, k, d = cells.shape
    n = math.isqrt(d // 3)
    assert n * n * 3 == d, f"{d} numbers are no square cell of three channels"
    if factor == 1:
        return cells
    weights = _cubic_weights(n, factor).to(cells)
    # Autocast would round the pixels themselves to eight bits of mantissa.
    with torch.autocast(cells.device.type, enabled=False):
        tall = weights @ cells.reshape(b * k, n, n * 3)
        wide = weights @ tall.reshape(b * k * n * factor, n, 3)
    return wide.reshape(b, k, d * factor * factor)


def position_table(width: int, grid: int) -> Float[Tensor, "n width"]:
    """Row 1 + r·grid + c = [sin(c·ω), cos(c·ω), sin(r·ω), cos(r·ω)], ω_j = 10000^(-j/(width/4)); row 0 is zeros.

    The column comes first, as in facebookresearch/mae (timm's table has another order). Row 0 belongs to the
    class token; n = 1 + grid². Computed and returned in float64. ``width`` is a multiple of four.
    """
    assert width % 4 == 0, f"a position table needs a multiple of four, not {width}"
    omega = 10000.0 ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    angles = torch.arange(grid, dtype=torch.float64)[:, None] * omega
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)
    table = torch.cat([waves.repeat(grid, 1), waves.repeat_interleave(grid, dim=0)], dim=1)
    return torch.cat([table.new_zeros(1, width), table])


def _rows(ids: Tensor) -> Tensor:
    return torch.arange(ids.shape[0], device=ids.device)[:, None]


@functools.lru_cache(maxsize=8)
def _cubic_weights(n: int, factor: int) -> Tensor:
    # Interpolating the unit vectors gives the matrix of the interpolation, border rule included.
    with torch.inference_mode(False), torch.no_grad(), torch.device("cpu"):
        unit = torch.eye(n)[None, None]
        return F.interpolate(unit, size=(n * factor, n), mode="bicubic", align_corners=False)[0, 0]
