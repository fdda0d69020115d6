"""Triangles to pixels: a z-buffer in numpy that treats all candidate (triangle, pixel) pairs at once."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True)
class Coverage:
    """The nearest triangle at each covered pixel."""

    pixel: Int[np.ndarray, " p"]  # y·size + x, ascending
    corners: Int[np.ndarray, "3 p"]  # vertex indices
    weights: Float[np.ndarray, "3 p"]  # barycentric
    depth: Float[np.ndarray, " p"]  # larger is nearer

    def interpolate(self, attributes: Float[np.ndarray, "v a"]) -> Float[np.ndarray, "a p"]:
        """Σ_j weight_j · attributes[corner_j], attribute first."""
        mixed = np.take(attributes, self.corners[0], axis=0) * self.weights[0, :, None]
        mixed += np.take(attributes, self.corners[1], axis=0) * self.weights[1, :, None]
        mixed += np.take(attributes, self.corners[2], axis=0) * self.weights[2, :, None]
        return np.ascontiguousarray(mixed.T)


def _edges(x: np.ndarray, y: np.ndarray, area: np.ndarray) -> np.ndarray:
    """Coefficients (a, b, c) of the first two barycentric coordinates a·X + b·Y + c, one row a triangle."""
    coefficients = np.empty((len(area), 6), dtype=np.float32)
    for first, (j, k) in enumerate(((1, 2), (2, 0))):
        slope_x, slope_y = (y[j] - y[k]) / area, (x[k] - x[j]) / area
        coefficients[:, 3 * first] = slope_x
        coefficients[:, 3 * first + 1] = slope_y
        coefficients[:, 3 * first + 2] = -(slope_x * x[k] + slope_y * y[k])
    return coefficients


def rasterize(
    points: Float[np.ndarray, "2 v"], depth: Float[np.ndarray, " v"], triangles: Int[np.ndarray, "3 t"], size: int
) -> Coverage:
    """For every pixel centre the triangle with the largest interpolated depth; triangles that turn away are left out.

    `points` are pixel coordinates (x right, y down, pixel centres at integers); front faces have positive
    (x1 - x0)(y2 - y0) - (x2 - x0)(y1 - y0) negated, i.e. they run counter-clockwise on the screen.
    """
    x, y = points[0][triangles], points[1][triangles]
    area = (x[0] - x[2]) * (y[1] - y[2]) - (x[1] - x[2]) * (y[0] - y[2])
    facing = np.flatnonzero(area < -1e-6)
    x, y = x[:, facing], y[:, facing]
    left = np.maximum(np.ceil(np.minimum(np.minimum(x[0], x[1]), x[2])), 0)
    right = np.minimum(np.floor(np.maximum(np.maximum(x[0], x[1]), x[2])), size - 1)
    top = np.maximum(np.ceil(np.minimum(np.minimum(y[0], y[1]), y[2])), 0)
    bottom = np.minimum(np.floor(np.maximum(np.maximum(y[0], y[1]), y[2])), size - 1)
    keep = np.flatnonzero((right >= left) & (bottom >= top))
    x, y, area, triangles = x[:, keep], y[:, keep], area[facing[keep]], triangles[:, facing[keep]]
    z = depth[triangles]
    left, top = left[keep].astype(np.int32), top[keep].astype(np.int32)
    wide = right[keep].astype(np.int32) - left + 1
    count = wide * (bottom[keep].astype(np.int32) - top + 1)
    owner = np.repeat(np.arange(len(keep), dtype=np.int32), count)
    step = np.arange(len(owner), dtype=np.int32) - np.repeat((np.cumsum(count) - count).astype(np.int32), count)
    row = step // wide[owner]
    px = left[owner] + step - row * wide[owner]
    py = top[owner] + row
    edge = np.take(_edges(x, y, area), owner, axis=0).T
    w0 = edge[0] * px + edge[1] * py + edge[2]
    w1 = edge[3] * px + edge[4] * py + edge[5]
    inside = np.flatnonzero(np.minimum(np.minimum(w0, w1), 1 - w0 - w1) >= -1e-4)
    owner, w0, w1 = owner[inside], w0[inside], w1[inside]
    pixel = py[inside] * size + px[inside]
    near = z[2, owner] + w0 * (z[0] - z[2])[owner] + w1 * (z[1] - z[2])[owner]
    # Depth in the high bits, the candidate in the low ones: one maximum finds the winner, and ties have a fixed order.
    key = ((near * 256 + 2**24).astype(np.int64) << 24) | np.arange(len(owner))
    buffer = np.full(size * size, -1, dtype=np.int64)
    np.maximum.at(buffer, pixel, key)
    covered = np.flatnonzero(buffer >= 0)
    winner = buffer[covered] & (2**24 - 1)
    w0, w1 = w0[winner], w1[winner]
    return Coverage(covered, triangles[:, owner[winner]], np.stack([w0, w1, 1 - w0 - w1]), near[winner])
