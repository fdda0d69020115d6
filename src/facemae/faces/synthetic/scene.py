"""One head before one camera: pose, perspective, the aligned crop, light."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float

from facemae.faces.align import ARCFACE_TEMPLATE, similarity_transform
from facemae.faces.synthetic.anatomy import Millimetres
from facemae.faces.synthetic.camera import background, develop
from facemae.faces.synthetic.hair import Haircut, cut_hair, hair_surface
from facemae.faces.synthetic.head import Surface, head_surface, landmark_weights, vertex_normals
from facemae.faces.synthetic.identity import Identity
from facemae.faces.synthetic.nuisance import Nuisance
from facemae.faces.synthetic.paint import bell, paint_skin, soft
from facemae.faces.synthetic.raster import Coverage, rasterize

SUPERSAMPLING = 1.5
_NECK = np.array([0.0, -90.0, -20.0], dtype=np.float32)  # heads turn about the neck
_WRAP = np.array([0.34, 0.20, 0.15], dtype=np.float32)[:, None]  # light bleeds into shadows, red the furthest


def rotation(yaw: float, pitch: float, roll: float) -> Float[np.ndarray, "3 3"]:
    """R = R_z(roll) · R_x(pitch) · R_y(yaw), degrees; yaw > 0 turns to the right of the image, pitch > 0 looks up."""
    a, b, c = np.radians([yaw, -pitch, roll])
    turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    nod = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    lean = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return (lean @ nod @ turn).astype(np.float32)


def project(points: Float[np.ndarray, "3 n"], distance: float) -> Float[np.ndarray, "2 n"]:
    """(x, -y) · d / (d - z): a pinhole `distance` millimetres before the head; y down."""
    factor = distance / (distance - points[2])
    return np.stack([points[0] * factor, -points[1] * factor])


def aligned_camera(
    landmarks: Float[np.ndarray, "5 2"], jitter: Float[np.ndarray, "5 2"], size: int
) -> Float[np.ndarray, "2 3"]:
    """The similarity that takes landmarks, seen with a detector's error, to the ArcFace template at `size` pixels.

    The error `jitter` is in pixels of the 112-pixel template; landmarks are projected millimetres.
    """
    template = np.asarray(ARCFACE_TEMPLATE, dtype=np.float64)
    exact = similarity_transform(np.asarray(landmarks, dtype=np.float64), template)
    seen = landmarks + jitter / np.hypot(exact[0, 0], exact[1, 0])
    return similarity_transform(np.asarray(seen, dtype=np.float64), template * (size / 112))


def _occlusion(s: Float[np.ndarray, "r c"], v: Float[np.ndarray, "r c"]) -> Float[np.ndarray, "r c"]:
    """How much of the surroundings' light reaches a point of the mean head, in [0, 1]; fixed, written by hand."""
    side = np.abs(s)

    def dent(amount: float, at: tuple[Millimetres, Millimetres], size: tuple[Millimetres, Millimetres]) -> np.ndarray:
        return 1 - amount * bell(side - at[0], size[0]) * bell(v - at[1], size[1])

    open_sky = dent(0.35, (14, 3), (8, 10)) * dent(0.25, (31, 9), (16, 5)) * dent(0.35, (0, -51), (13, 5))
    open_sky *= dent(0.22, (18, -42), (5, 9)) * dent(0.2, (0, -88), (20, 5)) * dent(0.25, (0, -73), (24, 2.5))
    open_sky *= dent(0.3, (6.5, -48), (5, 3.5))
    return open_sky * (1 - 0.55 * soft(-122 - v, 12) * soft(v + 185, 40) * (0.3 + 0.7 * bell(side, 75)))


@cache
def _fixed_attributes() -> Float[np.ndarray, "4 v"]:
    """s, v, azimuth and open sky of every vertex of the head."""
    surface = head_surface()
    fields = (surface.s, surface.v, surface.azimuth, _occlusion(surface.s, surface.v))
    return np.stack([field.ravel() for field in fields]).astype(np.float32)


@dataclass(frozen=True)
class Posed:
    """A surface as the camera sees it: raster coordinates, depth and unit normals of its vertices."""

    surface: Surface
    points: Float[np.ndarray, "2 v"]
    depth: Float[np.ndarray, " v"]
    normals: Float[np.ndarray, "3 v"]

    def visible(self, size: int, keep: np.ndarray | None = None, *, back: bool = False) -> Coverage:
        """Nearest triangles at each pixel, of those selected by `keep`; with `back`, of those that turn away."""
        triangles = self.surface.triangles if keep is None else self.surface.triangles[:, keep]
        return rasterize(self.points, self.depth, triangles[::-1] if back else triangles, size)


class Scene:
    """A person in the circumstances of one photo."""

    def __init__(self, person: Identity, photo: Nuisance, size: int) -> None:
        self.person, self.photo, self.size = person, photo, size
        self.fine = round(size * SUPERSAMPLING)
        self.haircut: Haircut = cut_hair(person, photo)
        self.turn = rotation(photo.yaw, photo.pitch, photo.roll)
        vertices = head_surface().deform(person.shape, photo.changes())
        index, weight = landmark_weights()
        spots = (vertices.reshape(3, -1)[:, index] * weight).sum(-1)
        flat = project(self._pose(spots), photo.distance).T
        self.camera = aligned_camera(flat, np.array(photo.jitter), size)
        self.landmarks = flat @ self.camera[:, :2].T + self.camera[:, 2]
        self.head = self._place(head_surface(), vertices)

    def _pose(self, points: np.ndarray) -> np.ndarray:
        return self.turn @ (points - _NECK[:, None]) + _NECK[:, None]

    def _to_raster(self, points: np.ndarray) -> np.ndarray:
        """Posed millimetres -> pixels of the fine raster (centres at integers)."""
        flat = project(points, self.photo.distance)
        pixel = self.camera[:, :2].astype(np.float32) @ flat + self.camera[:, 2:].astype(np.float32)
        return (pixel + 0.5) * np.float32(self.fine / self.size) - 0.5

    def _place(self, surface: Surface, vertices: np.ndarray) -> Posed:
        posed = self._pose(vertices.reshape(3, -1))
        normals = self.turn @ vertex_normals(vertices).reshape(3, -1)
        return Posed(surface, self._to_raster(posed), posed[2], normals)

    def draw(self) -> tuple[Float[np.ndarray, "3 n"], float]:
        """Linear light on the fine raster, and the mean light of the face."""
        image = background(self.photo, self.fine)
        depth = np.full(self.fine**2, -1e4, dtype=np.float32)
        hair = self._place(hair_surface(), self.haircut.shell(self.person.shape))
        if self.haircut.drape > 0.5:
            self._blend_hair(image, depth, hair, back=True)
        level = self._blend_head(image, depth)
        self._blend_hair(image, depth, hair, back=False)
        self._blend_glasses(image, depth)
        return image, level

    def _blend_head(self, image: np.ndarray, depth: np.ndarray) -> float:
        seen = self.head.visible(self.fine)
        attributes = np.concatenate([_fixed_attributes(), self.head.normals])
        s, v, azimuth, open_sky, *normal = seen.interpolate(np.ascontiguousarray(attributes.T))
        skin = paint_skin(self.person, self.photo, self.haircut, s, v, azimuth)
        diffuse, highlight = self._light(np.stack(normal), open_sky)
        lit = skin.albedo * diffuse + skin.gloss * highlight
        image[:, seen.pixel] = lit
        depth[seen.pixel] = seen.depth
        face = (np.abs(s) < 45) & (v > -95) & (v < 25)
        return float(lit[:, face].mean()) if face.any() else 0.2

    def _light(self, normal: np.ndarray, open_sky: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Wrapped Lambert of one key light over a sky, and a broad Blinn highlight."""
        photo = self.photo
        key, ambient = photo.light_ratio / (1 + photo.light_ratio), 1 / (1 + photo.light_ratio)
        direction = self._direction()
        normal = normal / np.sqrt((normal * normal).sum(0) + 1e-9)
        cosine = direction @ normal
        wrapped = np.clip((cosine + _WRAP) / (1 + _WRAP), 0, None) * (0.45 + 0.55 * open_sky)
        warm = np.array([1 + photo.warmth, 1.0, 1 - photo.warmth], dtype=np.float32)[:, None]
        sky = (0.72 + 0.28 * normal[1] + 0.10 * normal[2]) * open_sky
        half = direction + np.array([0, 0, 1], dtype=np.float32)
        half /= np.linalg.norm(half) + 1e-6
        shine = 0.10 * key * np.clip(half @ normal, 0, 1) ** 22 * open_sky
        return (1.25 * key * wrapped * warm + 0.95 * ambient * sky / warm).astype(np.float32), shine

    def _direction(self) -> np.ndarray:
        """Unit vector towards the key light."""
        azimuth, height = np.radians([self.photo.light_azimuth, self.photo.light_elevation])
        vector = [np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height)]
        return np.array(vector, dtype=np.float32)

    def _blend_hair(self, image: np.ndarray, depth: np.ndarray, hair: Posed, *, back: bool) -> None:
        surface = hair.surface
        azimuth, v = surface.azimuth.ravel(), surface.v.ravel()
        a, b, c = (v > self.haircut.lowest(azimuth))[surface.triangles]
        keep = np.flatnonzero(a | b | c)
        seen = hair.visible(self.fine, keep, back=back)
        azimuth, v, *normal = seen.interpolate(np.stack([azimuth, v, *hair.normals], axis=1).astype(np.float32))
        opacity = self.haircut.coverage(azimuth, v) * (seen.depth > depth[seen.pixel] - 1.0)
        shown = np.flatnonzero(opacity > 0.02)
        opacity, pixel = opacity[shown], seen.pixel[shown]
        colour = self._hair_light(azimuth[shown], v[shown], np.stack(normal)[:, shown], back=back)
        image[:, pixel] += opacity * (colour - image[:, pixel])
        solid = opacity > 0.5
        depth[pixel[solid]] = seen.depth[shown][solid]

    def _hair_light(self, azimuth: np.ndarray, v: np.ndarray, normal: np.ndarray, *, back: bool) -> np.ndarray:
        strand = self.haircut.strand(azimuth, v)
        open_sky = np.full_like(strand, 0.35) if back else np.clip(0.85 + 0.10 * strand, 0.3, 1.1)
        diffuse, _ = self._light(normal, open_sky)
        along = self.turn[:, 1:2] - normal * (self.turn[:, 1] @ normal)
        along /= np.sqrt((along * along).sum(0)) + 1e-6
        half = self._direction() + np.array([0, 0, 1], dtype=np.float32)
        across = (half / (np.linalg.norm(half) + 1e-6)) @ along
        key = self.photo.light_ratio / (1 + self.photo.light_ratio)
        sheen = (
            (0.0 if back else 0.16)
            * key
            * np.clip(1 - across * across, 0, 1) ** 10
            * np.clip(0.5 + 0.35 * strand, 0, 1.5)
        )
        colour = self.haircut.colour[:, None] * np.clip(1 + 0.24 * strand, 0.4, 2.0)
        return (colour * diffuse + sheen * (0.35 * np.sqrt(self.haircut.colour)[:, None] + 0.05)).astype(np.float32)

    def _blend_glasses(self, image: np.ndarray, depth: np.ndarray) -> None:
        """Frames as a chain of dots in space, drawn where nothing is before them."""
        wears, width, height, square, darkness = self.person.glasses
        if wears > 0.22 or not self.photo.glasses:
            return
        angle = np.linspace(0, 2 * np.pi, 150, endpoint=False)
        power = 2 / (1 + square / 2)
        rim_x = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** power * width
        rim_y = np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** power * height - 2
        rim = np.stack([rim_x + 34, rim_y, 96 - 0.10 * np.abs(rim_x + 34) - 0.003 * (rim_x + 34) ** 2])
        bridge = np.stack([np.linspace(0, 34 - width, 14), np.full(14, 3.0), np.full(14, 100.0)])
        temple = np.stack([np.linspace(34 + width, 80, 70), np.full(70, 5.0), np.linspace(rim[2].min(), 0, 70)])
        half = np.concatenate([rim, bridge, temple], axis=1)
        chain = np.concatenate([half, half * np.array([[-1.0], [1], [1]])], axis=1).astype(np.float32)
        posed = self._pose(chain)
        x, y = np.rint(self._to_raster(posed)).astype(np.int32)
        reach = (-1, 0, 1) if self.fine > 120 else (0, 1)
        colour = np.array([darkness, darkness * 0.8, darkness * 0.7], dtype=np.float32) * 0.4
        for dx in reach:
            for dy in reach[1:]:
                inside = (x + dx >= 0) & (x + dx < self.fine) & (y + dy >= 0) & (y + dy < self.fine)
                pixel = (y + dy)[inside] * self.fine + (x + dx)[inside]
                pixel = pixel[posed[2][inside] > depth[pixel] - 1.0]
                image[:, pixel] = colour[:, None]


def photograph(person: Identity, photo: Nuisance, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The photo (uint8, size × size × 3, RGB) and its true landmarks (5 × 2 pixels)."""
    scene = Scene(person, photo, size)
    light, level = scene.draw()
    return develop(light, photo, size=size, skin_level=level), scene.landmarks
