"""The face's colours, painted on the surface in millimetres: s to the side, v up, (0, 0) between the eyes.

Every painter gets the visible skin samples and changes their albedo in place.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from facemae.faces.synthetic.anatomy import Millimetres
from facemae.faces.synthetic.hair import Haircut
from facemae.faces.synthetic.identity import Identity
from facemae.faces.synthetic.nuisance import Nuisance

MOUTH = -73.0
EYE_S = 32.0
_BLOOD = np.array([0.86, 0.50, 0.44])
_GUM = np.array([0.055, 0.012, 0.012])
_TEETH = np.array([0.62, 0.57, 0.47])


def soft(distance: np.ndarray, width: Millimetres = 1.0) -> np.ndarray:
    """A step from 0 to 1 at distance 0, `width` millimetres wide."""
    return np.minimum(np.maximum(0.5 + distance / width, 0), 1)


def bell(distance: np.ndarray, width: Millimetres) -> np.ndarray:
    """exp(-(distance / width)²)."""
    scaled = distance / width
    return np.exp(-scaled * scaled)


@dataclass
class Skin:
    """Visible samples of the head and what light will find there."""

    s: Float[np.ndarray, " p"]
    v: Float[np.ndarray, " p"]
    albedo: Float[np.ndarray, "3 p"]
    gloss: Float[np.ndarray, " p"]

    @cached_property
    def side(self) -> np.ndarray:
        """Distance from the middle of the face."""
        return np.abs(self.s)

    def within(self, side: tuple[Millimetres, Millimetres], height: tuple[Millimetres, Millimetres]) -> np.ndarray:
        """Indices of samples in a box (both halves of the face)."""
        inside = (self.v > height[0]) & (self.v < height[1]) & (self.side > side[0]) & (self.side < side[1])
        return np.flatnonzero(inside)

    def tint(self, where: np.ndarray | slice, amount: np.ndarray, factor: np.ndarray) -> None:
        """albedo ← albedo · (1 + amount · (factor - 1))."""
        change = np.reshape(factor, (3, 1)).astype(np.float32) - 1
        self.albedo[:, where] *= 1 + amount * change

    def cover(self, where: np.ndarray | slice, amount: np.ndarray, colour: np.ndarray) -> None:
        """albedo ← (1 - amount) · albedo + amount · colour."""
        colour = (colour if colour.ndim == 2 else np.reshape(colour, (3, 1))).astype(np.float32)
        self.albedo[:, where] += amount * (colour - self.albedo[:, where])


def paint_skin(
    person: Identity, photo: Nuisance, haircut: Haircut, s: np.ndarray, v: np.ndarray, azimuth: np.ndarray
) -> Skin:
    """Albedo and gloss of every visible sample of the head, neck and shoulders."""
    base = person.skin * np.exp(-0.004 * max(0.0, photo.age - 45) * np.array([0.6, 1.0, 1.2]))
    skin = Skin(s, v, np.repeat(base[:, None].astype(np.float32), len(s), axis=1), np.full(len(s), 0.5, np.float32))
    _complexion(skin, person, photo, haircut)
    _wrinkles(skin, person, photo)
    _beard(skin, person, photo, haircut)
    _lips(skin, person, photo)
    _nostrils(skin)
    _ears(skin)
    for sign in (-1.0, 1.0):
        _eye(skin, person, photo, sign)
    _brows(skin, person, photo, haircut)
    _scalp(skin, haircut, azimuth)
    _clothes(skin, photo)
    return skin


def _complexion(skin: Skin, person: Identity, photo: Nuisance, haircut: Haircut) -> None:
    s, v, side = skin.s, skin.v, skin.side
    row = np.clip((70 - v) * (144 / 240), 0, 143).astype(np.int32)
    column = np.clip((s + 100) * (120 / 200), 0, 119).astype(np.int32)
    mottle = person.mottle[row, column]
    tone = 1 + (0.035 + 0.0006 * photo.age) * mottle
    skin.albedo *= tone
    red = (
        bell(side - 42, 19) * bell(v + 32, 17)
        + 0.9 * bell(s, 13) * bell(v + 38, 9)
        + 0.5 * bell(s, 20) * bell(v + 108, 12)
    )
    red = person.ruddy * (0.32 + 0.35 * photo.make_up * max(person.feminine, 0.0)) * red * (1 + 0.25 * mottle)
    everywhere = slice(None)
    skin.tint(everywhere, red, np.array([0.97, 0.72, 0.72]))
    skin.gloss += 0.35 * bell(s, 9) * bell(v + 34, 12) + 0.25 * bell(s, 32) * bell(v - 38, 16)
    if person.freckles > 0.05:
        spots = 0.6 * person.freckles * np.clip(haircut.strands[(row * 37 + column * 101) & 1023] - 0.9, 0, 1)
        skin.tint(everywhere, spots * bell(side - 22, 34) * bell(v + 25, 30), np.array([0.62, 0.48, 0.38]))
    for at, height, radius in person.moles.tolist():
        where = np.flatnonzero((np.abs(s - at) < 5) & (np.abs(v - height) < 5))
        spot = soft(radius - np.hypot(s[where] - at, v[where] - height), 1.0)
        skin.tint(where, 0.75 * spot, np.array([0.45, 0.34, 0.30]))


def _wrinkles(skin: Skin, person: Identity, photo: Nuisance) -> None:
    age = float(np.clip((photo.age - 27) / 45, 0, 1.1))
    height, wave, phase, eyes, folds, bags = person.wrinkle.tolist()
    crease = np.array([0.70, 0.58, 0.54])
    where = skin.within((0, 48), (24, 62))
    s, v = skin.s[where], skin.v[where]
    bend = wave * np.sin(s / 13 + phase)
    lines = sum(bell(v - height - 8.5 * k - bend, 1.1) for k in range(3))
    skin.tint(where, (0.75 * age + 0.25 * max(photo.brow_raise, 0)) * bell(s, 34) * lines, crease)
    where = skin.within((0, 12), (6, 32))
    skin.tint(
        where, (0.5 * photo.frown + 0.35 * age) * bell(skin.side[where] - 5, 1.3) * bell(skin.v[where] - 19, 6), crease
    )
    where = skin.within((45, 66), (-18, 14))
    out, up = skin.side[where] - 44, skin.v[where] - 1
    rays = np.clip(np.sin(7.5 * np.arctan2(up, out + 4) + phase), 0, 1) * bell(out - 9, 6.5)
    skin.tint(where, eyes * (0.55 * age + 0.22 * max(photo.smile, 0)) * rays, crease)
    where = skin.within((10, 42), (-92, -40))
    v = skin.v[where]
    path = 15 + 14 * np.clip((-44 - v) / 30, 0, 1) ** 1.2
    fold = bell(skin.side[where] - path, 1.9) * soft(-43 - v, 5) * soft(v + 78 + 14 * age, 10)
    skin.tint(where, folds * (0.12 + 0.62 * age + 0.45 * max(photo.smile, 0)) * fold, crease)
    where = skin.within((15, 48), (-22, -3))
    out = (skin.side[where] - EYE_S) / 15
    bag = bell(skin.v[where] + 11 + 1.5 * age - 4.5 * out**2, 1.6) * bell(out, 0.95)
    skin.tint(where, bags * (0.15 + 0.6 * age) * bag, crease)
    skin.tint(where, bags * 0.28 * bell(skin.v[where] + 8, 4) * bell(out, 0.8), np.array([0.74, 0.66, 0.72]))


def _beard(skin: Skin, person: Identity, photo: Nuisance, haircut: Haircut) -> None:
    tendency, moustache, coverage = person.beard.tolist()
    grown = 0.62 * max(0.0, tendency) * (0.35 + 0.65 * photo.stubble) * min(1.0, (photo.age - 14) / 8)
    grown = grown * 1.35 if tendency > 0.75 and photo.stubble > 0.35 else 0.55 * grown
    if grown < 0.03:
        return
    where = skin.within((0, 110), (-140, -38))
    s, v, side = skin.s[where], skin.v[where], skin.side[where]
    cheek = np.interp(side, [0, 26, 40, 62, 84, 98], [-86, -80, -76 + 10 * coverage, -62 + 14 * coverage, -40, -30])
    region = soft(cheek - v, 9) * soft(v + 133, 14) * soft(100 - side, 16)
    lip = soft(-57 - 0.22 * side - v, 5) * soft(v + 67 + 0.3 * side, 5) * soft(27 - side, 9)
    chin = bell(s, 17) * bell(v + 106, 19)
    region = np.clip(
        np.maximum(
            np.maximum(region * (0.5 + 0.5 * np.clip(coverage, 0, 1)), chin),
            lip * np.clip(0.8 * moustache + 0.3, 0, 0.9),
        ),
        0,
        1,
    )
    grain = 1 + 0.22 * haircut.strands[(s * 7.0 + v * 2.3 + 2048).astype(np.int32) & 1023]
    amount = np.clip(grown * region * grain, 0, 0.93)
    skin.cover(where, amount, np.maximum(0.8 * haircut.colour, 0.012))
    skin.gloss[where] *= 1 - 0.8 * amount


def _lips(skin: Skin, person: Identity, photo: Nuisance) -> None:
    half, upper, lower, bow, redness, darkness = person.lips.tolist()
    where = skin.within((0, 34), (-94, -56))
    s, v, side = skin.s[where], skin.v[where] - MOUTH, skin.side[where]
    arc = np.clip(1 - (side / half) ** 2, 0, 1)
    thin = 1 - 0.25 * np.clip((photo.age - 45) / 35, 0, 1)
    top = thin * max(upper, 2.6) * np.clip(1 - (side / half) ** 1.7, 0, 1) - bow * bell(s, 3.6)
    bottom = -thin * max(lower, 3.4) * arc**0.75
    region = soft(np.minimum(top - v, v - bottom), 1.4) * soft(half - side, 1.0)
    make_up = photo.make_up * float(np.clip(0.3 + person.feminine, 0, 1))
    tint = _BLOOD ** (0.8 + 0.9 * redness + 0.9 * make_up) * (1 - 0.30 * np.clip(darkness, 0, 1))
    skin.tint(where, region, tint)
    skin.tint(where, 0.22 * region * (v > 0), np.array([0.7, 0.7, 0.7]))
    skin.gloss[where] += region * (v < 0) * (0.5 + 0.8 * make_up)
    line = 0.75 * np.sqrt(arc) + 0.1
    gap = soft(line - np.abs(v + 0.15 * s * 0), 0.5) * soft(half - side, 1.5)
    teeth = (
        np.clip((v / line + 0.55) * 2.2, 0, 1)
        * np.clip(2.5 * photo.jaw_open + 0.5 * photo.smile - 0.12, 0, 1)
        * bell(s, 17)
    )
    teeth = teeth * (0.86 + 0.14 * np.cos(s * 0.9))
    mouth = _GUM[:, None] + teeth * (_TEETH - _GUM)[:, None]
    skin.cover(where, 0.88 * gap, mouth)
    skin.tint(where, 0.4 * bell(side - half, 1.8) * bell(v, 1.8), np.array([0.5, 0.4, 0.4]))
    skin.gloss[where] *= 1 - gap


def _nostrils(skin: Skin) -> None:
    where = skin.within((0, 24), (-56, -32))
    v, side = skin.v[where], skin.side[where]
    hole = np.exp(-(((side - 7.6) / 4.0) ** 4 + ((v + 47.6 - 0.12 * side) / 2.3) ** 4))
    skin.tint(where, 0.88 * hole, np.array([0.12, 0.07, 0.06]))
    wing = bell(np.hypot(side - 11, (v + 42)) - 7.2, 1.4) * soft(side - 13, 3)
    skin.tint(where, 0.38 * wing, np.array([0.5, 0.38, 0.36]))


def _ears(skin: Skin) -> None:
    where = skin.within((104, 150), (-50, 16))
    hollow = bell(skin.side[where] - 126 - 0.1 * skin.v[where], 5) * bell(skin.v[where] + 18, 13)
    skin.tint(where, 0.75 * hollow, np.array([0.55, 0.40, 0.36]))


def _eye(skin: Skin, person: Identity, photo: Nuisance, sign: float) -> None:
    half, upper, lower, tilt, crease, lash = person.eye.tolist()
    where = np.flatnonzero((skin.s * sign > 10) & (skin.s * sign < 56) & (skin.v > -16) & (skin.v < 19))
    if len(where) == 0:
        return
    x, y = skin.s[where] * sign - EYE_S, skin.v[where]
    openness = photo.openness * (1 - 0.10 * np.clip((photo.age - 50) / 30, 0, 1)) * (1 - 0.22 * max(photo.smile, 0))
    arc = np.clip(1 - (x / half) ** 2, 0, 1)
    lid = tilt * x + max(upper, 3.8) * openness * np.clip(arc * (1 - 0.16 * x / half), 0, None) ** 0.62
    floor = tilt * x - max(lower, 2.8) * (0.75 + 0.25 * openness) * np.clip(arc * (1 + 0.16 * x / half), 0, None) ** 0.8
    inside = soft(np.minimum(lid - y, y - floor), 0.9) * soft(half - np.abs(x), 0.8)
    make_up = photo.make_up * float(np.clip(0.3 + person.feminine, 0, 1))
    above = y - lid
    skin.tint(
        where,
        (0.16 + 0.5 * make_up) * soft(above, 2) * soft(9.5 - above, 6) * bell(x, 17),
        np.array([0.55, 0.45, 0.47]),
    )
    fold = bell(above - crease, 0.95) * soft(half + 2 - np.abs(x), 6)
    skin.tint(where, 0.62 * fold, np.array([0.46, 0.36, 0.33]))
    shade = (1 - 0.30 * (x / half) ** 2) * (0.42 + 0.58 * np.clip((lid - y) / 2.8, 0, 1))
    white = (
        float(0.55 + 0.45 * person.skin.mean() / 0.4) * np.array([[0.55], [0.495], [0.47]], dtype=np.float32) * shade
    )
    skin.cover(where, inside, white)
    skin.tint(where, inside * bell(x + half - 0.5, 2.2), np.array([0.9, 0.55, 0.5]))
    _iris(skin, person, photo, where, (x - sign * photo.gaze[0], y - 0.6 - photo.gaze[1]), inside, shade, sign)
    lashes = bell(above - 0.15, 1.0 + 0.4 * lash + 0.4 * make_up) * soft(half + 1.2 - np.abs(x), 1.5)
    skin.cover(where, np.clip((0.55 + 0.45 * lash + 0.3 * make_up) * lashes, 0, 0.95), np.array([0.016, 0.011, 0.009]))
    skin.tint(where, 0.5 * bell(y - floor + 0.2, 0.8) * soft(half - np.abs(x), 2), np.array([0.42, 0.3, 0.28]))
    skin.gloss[where] *= 1 - inside


def _iris(
    skin: Skin,
    person: Identity,
    photo: Nuisance,
    where: np.ndarray,
    offset: tuple[np.ndarray, np.ndarray],
    inside: np.ndarray,
    shade: np.ndarray,
    sign: float,
) -> None:
    radius = np.hypot(*offset)
    disc = inside * soft(6.3 - radius, 0.9)
    ring = 1 - 0.75 * soft(radius - 5.2, 1.4)
    glow = 1 + 0.7 * np.clip(-offset[1] / 6, -0.6, 0.8)
    skin.cover(where, disc, person.iris[:, None].astype(np.float32) * ring * glow * shade)
    skin.cover(where, inside * soft(2.5 - radius, 0.9), np.array([0.004, 0.004, 0.004]))
    toward = 1.9 * np.sin(np.radians(photo.light_azimuth - photo.yaw)) * sign
    spark = inside * soft(1.1 - np.hypot(offset[0] - toward, offset[1] - 2.6), 0.9)
    skin.cover(where, 0.8 * spark, np.array([1.1, 1.1, 1.1]))


def _brows(skin: Skin, person: Identity, photo: Nuisance, haircut: Haircut) -> None:
    height, rise, arch, thick, inner, outer, density, darkness = person.brow.tolist()
    where = skin.within((4, 62), (5, 36))
    s, v, side = skin.s[where], skin.v[where], skin.side[where]
    along = np.clip((side - inner) / (outer - inner), 0, 1)
    middle = height + rise * along + arch * np.sin(np.pi * along**1.25) - 2.2 * along**3
    half = max(thick, 1.5) * (1 - 0.72 * along**1.6) * (0.72 + 0.28 * np.clip(along * 6, 0, 1))
    hairs = haircut.strands[((s * 4.2 + np.sign(s) * v * 2.4) + 2048).astype(np.int32) & 1023]
    amount = soft(half - np.abs(v - middle) + 0.28 * hairs, 1.9) * soft(side - inner, 4) * soft(outer - side, 3)
    amount = amount * np.clip(density + 0.10 * hairs, 0.2, 0.95)
    dark = np.minimum(haircut.colour, 0.30 * person.skin + 0.02) * np.clip(1.25 - 0.6 * darkness, 0.4, 1.2)
    skin.cover(where, amount, np.maximum(dark, 0.006))
    skin.gloss[where] *= 1 - amount


def _scalp(skin: Skin, haircut: Haircut, azimuth: np.ndarray) -> None:
    """Darkens skin under the hair, so that nothing bare shows between strands."""
    where = np.flatnonzero((skin.v > -70) & ((skin.v > 15) | (skin.side > 90)))
    amount = haircut.coverage(azimuth[where], skin.v[where])
    if haircut.drape > 0.5:  # hanging hair leaves the skin below the temples
        amount = amount * soft(skin.v[where] - 12, 16)
    skin.cover(where, 0.92 * amount, 0.8 * haircut.colour)


def _clothes(skin: Skin, photo: Nuisance) -> None:
    where = np.flatnonzero(skin.v < -158)
    if len(where) == 0:
        return
    rng = np.random.default_rng([photo.texture_seed, 1])
    colour = rng.uniform(0.02, 0.5) * rng.uniform(0.4, 1.0, 3)
    collar = -160 - 0.12 * skin.side[where] - 8 * bell(skin.s[where], 30)
    skin.cover(where, soft(collar - skin.v[where], 2), colour)
    skin.gloss[where] = 0
