"""A procedural morphable head: one fixed grid, a mean shape written down by hand, and linear modes of variation.

    vertices = mean + Σ_k weight_k · mode_k      (millimetres; x right, y up, z towards the viewer)

The head is a stack of elliptic rows; features are smooth bumps on it. Because everything is linear in the weights,
a landmark is a fixed convex combination of vertices, and texture coordinates never move.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float, Int

from facemae.faces.synthetic.anatomy import (
    CHANGE_NAMES,
    CHANGES,
    CROWN,
    FEATURES,
    NOSE,
    ROWS,
    SHAPE_MODES,
    TOP,
    Bump,
    Scale,
)


@dataclass(frozen=True)
class Surface:
    """A quad grid: texture coordinates, mean positions, linear modes, triangles."""

    s: Float[np.ndarray, "r c"]
    v: Float[np.ndarray, "r c"]
    mean: Float[np.ndarray, "3 r c"]
    shape_modes: Float[np.ndarray, "k n"]  # n = 3·r·c
    change_modes: Float[np.ndarray, "m n"]
    azimuth: Float[np.ndarray, "r c"]  # degrees, 0 = front
    triangles: Int[np.ndarray, "3 t"]

    def deform(self, shape: Float[np.ndarray, " k"], changes: Float[np.ndarray, " m"]) -> Float[np.ndarray, "3 r c"]:
        """mean + shape · shape_modes + changes · change_modes."""
        moved = shape @ self.shape_modes + changes @ self.change_modes
        return self.mean + moved.reshape(self.mean.shape)


def profile_curve(table: np.ndarray, column: int, v: np.ndarray, blur: float = 3.0) -> np.ndarray:
    """A column of a (v, …) table as a smooth curve: linear interpolation, then a Gaussian of `blur` millimetres."""
    offsets = np.linspace(-2.5, 2.5, 11) * blur
    kernel = np.exp(-0.5 * (offsets / blur) ** 2)
    order = np.argsort(table[:, 0])
    samples = np.interp(np.asarray(v)[..., None] + offsets, table[order, 0], table[order, column])
    return samples @ (kernel / kernel.sum())


def grid_triangles(rows: int, columns: int) -> Int[np.ndarray, "3 t"]:
    """Two triangles for each cell of a rows × columns grid, counter-clockwise when seen from outside."""
    index = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    return np.stack([np.stack(corners).reshape(3, -1) for corners in ((a, c, b), (b, c, d))], axis=2).reshape(3, -1)


def window(bump: Bump, s: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The bump's weight and the sign of its outward direction at every grid point (both halves of the face)."""
    vertical = np.exp(-0.5 * ((v - bump.v) / bump.height) ** 2)
    right = np.exp(-0.5 * ((s - bump.s) / bump.width) ** 2)
    if bump.s == 0:
        return right * vertical, np.ones_like(s)
    left = np.exp(-0.5 * ((s + bump.s) / bump.width) ** 2)
    return (right + left) * vertical, np.tanh(s / 3.0)


def displacement(mode: Bump | Scale, s: np.ndarray, v: np.ndarray, base: np.ndarray) -> np.ndarray:
    """The (r, c, 3) field of one unit of a mode on the surface `base`."""
    field = np.zeros_like(base)
    if isinstance(mode, Scale):
        weight = np.exp(-0.5 * ((v - mode.v) / mode.height) ** 2)
        field[..., mode.axis] = mode.fraction * weight * (base[..., mode.axis] - mode.pivot)
        return field
    weight, sign = window(mode, s, v)
    flip = np.tanh(s / 6.0) if mode.odd and mode.s else 1.0
    field[..., 0] = mode.dx * weight * sign
    field[..., 1] = mode.dy * weight * flip
    field[..., 2] = mode.dz * weight * flip
    return field


def _jaw_opening(s: np.ndarray, v: np.ndarray, base: np.ndarray) -> np.ndarray:
    """One unit lowers the chin by 12 mm; the lips part along the line v = -73, where rows are pulled apart."""
    below = 1 / (1 + np.exp(np.clip((v + 73.0) / 0.7, -40, 40)))
    spread = np.exp(-((s / np.interp(v, [-120, -90, -73], [62, 48, 23])) ** 4))
    fade = 1 / (1 + np.exp(np.clip(-(v + 128) / 3.0, -40, 40)))
    amount = 12.0 * below * spread * fade
    return np.stack([0 * amount, -amount, -0.25 * amount], axis=-1)


def elliptic_rows(alpha: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The head without features: row v, azimuth alpha (0 = front) -> (x, y, z)."""
    width, front, back, lift = (profile_curve(ROWS, column, v) for column in (1, 2, 3, 4))
    dome = np.sqrt(np.clip(1 - ((v - CROWN) / (TOP - CROWN)) ** 2, 0, 1))
    dome = np.where(v > CROWN, dome, 1.0)
    sine, cosine = np.sin(alpha), np.cos(alpha)
    rise = np.where(np.abs(alpha) < np.pi / 2, sine**2, 1.0)
    depth = np.where(cosine > 0, front * dome**0.9, back * dome)
    return np.stack([width * dome * sine, v + lift * rise, depth * cosine], axis=-1)


def _ears(alpha: np.ndarray, v: np.ndarray) -> np.ndarray:
    """A flap beside the head, with its edge turned outwards and its middle hollow."""
    across = (np.abs(np.degrees(alpha)) - 99 - 0.12 * v) / 11.0
    along = (v + 16 - 3.0) / np.where(v > -16, 29.0, 33.0)
    flap = np.exp(-(((across**2 + along**2) / 0.85) ** 4))
    hollow = np.exp(-(((across + 0.2) ** 2 / 0.3 + along**2 / 0.3) ** 2))
    out = flap * (13.0 + 5.0 * across) - 4.0 * hollow
    return np.stack([np.sign(alpha) * out, 0 * out, -5.0 * flap], axis=-1)


@cache
def head_surface() -> Surface:
    """The head's grid: about 10,000 vertices, densest around eyes, nose and mouth."""
    rows = np.concatenate(
        [
            CROWN + (TOP - CROWN) * np.cos(np.linspace(0.0, 1.2, 12, endpoint=False)),
            np.arange(60, 25, -3.5),
            np.arange(25, -60, -2.1),
            np.arange(-60, -122, -2.2),
            np.array([-122, -125, -129, -135, -143, -152, -163, -174, -186, -205, -230]),
        ]
    )
    half = np.concatenate(
        [
            np.arange(0, 24, 1.55),
            np.arange(24, 55, 2.3),
            np.arange(55, 84, 3.8),
            np.arange(84, 116, 2.7),
            [122, 135, 150, 165, 180],
        ]
    )
    alpha, v = np.meshgrid(np.radians(np.concatenate([-half[:0:-1], half])), rows)
    base = elliptic_rows(alpha, v)
    steps = np.linalg.norm(np.diff(base[..., [0, 2]], axis=1), axis=-1)
    s = np.concatenate([np.zeros((len(rows), 1)), np.cumsum(steps, axis=1)], axis=1)
    s -= s[:, len(half) - 1][:, None]
    mean = base + sum(displacement(feature, s, v, base) for feature in FEATURES) + _ears(alpha, v)
    ridge = profile_curve(NOSE, 1, v, blur=1.5) * np.exp(-0.5 * (s / profile_curve(NOSE, 2, v)) ** 2)
    mean[..., 2] += np.where(np.abs(alpha) < 1.3, ridge, 0.0)
    shapes = [displacement(mode, s, v, mean) for mode in SHAPE_MODES]
    changes = [sum((displacement(mode, s, v, mean) for mode in CHANGES[name]), 0 * mean) for name in CHANGE_NAMES]
    changes[CHANGE_NAMES.index("jaw_open")] = _jaw_opening(s, v, mean)
    return make_surface(s, v, np.degrees(alpha), mean, shapes, changes)


def make_surface(
    s: np.ndarray,
    v: np.ndarray,
    azimuth: np.ndarray,
    mean: np.ndarray,
    shapes: list[np.ndarray],
    changes: list[np.ndarray],
) -> Surface:
    """A `Surface` from fields of shape (r, c, 3), stored component first and in single precision."""

    def rows(fields: list[np.ndarray]) -> np.ndarray:
        return np.stack([np.moveaxis(field, -1, 0).ravel() for field in fields]).astype(np.float32)

    return Surface(
        s.astype(np.float32),
        v.astype(np.float32),
        np.ascontiguousarray(np.moveaxis(mean, -1, 0), dtype=np.float32),
        rows(shapes),
        rows(changes),
        azimuth.astype(np.float32),
        grid_triangles(*s.shape),
    )


def vertex_normals(vertices: Float[np.ndarray, "3 r c"]) -> Float[np.ndarray, "3 r c"]:
    """n = ∂p/∂column × ∂p/∂row, normalised: outward unit normals of a grid by central differences."""
    across, down = np.empty_like(vertices), np.empty_like(vertices)
    across[..., 1:-1] = vertices[..., 2:] - vertices[..., :-2]
    across[..., 0] = across[..., -1] = vertices[..., 1] - vertices[..., -2]
    down[:, 1:-1] = vertices[:, 2:] - vertices[:, :-2]
    down[:, 0], down[:, -1] = vertices[:, 1] - vertices[:, 0], vertices[:, -1] - vertices[:, -2]
    normal = np.empty_like(vertices)
    normal[0] = down[1] * across[2] - down[2] * across[1]
    normal[1] = down[2] * across[0] - down[0] * across[2]
    normal[2] = down[0] * across[1] - down[1] * across[0]
    return normal / (np.sqrt((normal * normal).sum(0)) + 1e-9)


@cache
def landmark_weights() -> tuple[Int[np.ndarray, "5 k"], Float[np.ndarray, "5 k"]]:
    """The five landmarks (left eye, right eye, nose tip, mouth corners) as convex combinations of nearby vertices."""
    surface = head_surface()
    s, v = surface.s.ravel(), surface.v.ravel()
    points = np.array([(-32, 0), (32, 0), (0, -36.5), (-25, -73), (25, -73)])
    distance = (s - points[:, :1]) ** 2 + (v - points[:, 1:]) ** 2
    index = np.argsort(distance, axis=1)[:, :6]
    weight = np.exp(-0.5 * np.take_along_axis(distance, index, axis=1) / 1.5**2)
    return index, (weight / weight.sum(1, keepdims=True)).astype(np.float32)
