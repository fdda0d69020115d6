"""Hair: a second surface around the skull, cut to a style by its outline and painted with strands."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float

from facemae.faces.synthetic.anatomy import CROWN, SHAPE_MODES, TOP, Scale
from facemae.faces.synthetic.head import Surface, displacement, elliptic_rows, make_surface, vertex_normals
from facemae.faces.synthetic.identity import Identity
from facemae.faces.synthetic.nuisance import Nuisance

# Azimuth in degrees, and the height below which a style shows no hair there. The first entry is added to the hairline.
_AZIMUTH = np.array([0, 22, 40, 54, 64, 72, 79, 85, 91, 98, 106, 118, 130, 150, 180], dtype=np.float32)


@dataclass(frozen=True)
class Style:
    """An outline over `_AZIMUTH`, thickness on top and at the sides, raggedness (all mm); drape 1 hangs free."""

    outline: tuple[float, ...]
    top: float
    side: float
    drape: float
    ragged: float


STYLES = (
    Style(
        (58.0, 58.0, 55.0, 44.0, 22.0, -2.0, -14.0, -20.0, -4.0, 14.0, 16.0, 0.0, -28.0, -48.0, -55.0),
        9.0,
        1.5,
        0.0,
        1.2,
    ),  # short
    Style(
        (58.0, 58.0, 55.0, 45.0, 28.0, 8.0, -2.0, -8.0, 4.0, 18.0, 20.0, 10.0, -18.0, -36.0, -42.0), 1.5, 0.0, 0.0, 1.5
    ),  # cropped
    Style(
        (44.0, 50.0, 55.0, 44.0, 20.0, -8.0, -22.0, -28.0, -12.0, 8.0, 8.0, -14.0, -42.0, -62.0, -70.0),
        17.0,
        2.0,
        0.0,
        2.0,
    ),  # full on top
    Style(
        (58.0, 57.0, 54.0, 42.0, 8.0, -60.0, -130.0, -160.0, -168.0, -170.0, -172.0, -172.0, -172.0, -172.0, -172.0),
        9.0,
        3.0,
        1.0,
        6.0,
    ),  # long
    Style(
        (24.0, 24.0, 25.0, 25.0, 10.0, -40.0, -74.0, -82.0, -86.0, -86.0, -86.0, -86.0, -86.0, -84.0, -84.0),
        9.0,
        6.0,
        0.9,
        2.2,
    ),  # bob with a fringe
    Style(
        (54.0, 47.0, 32.0, 20.0, -6.0, -70.0, -140.0, -165.0, -170.0, -172.0, -174.0, -174.0, -174.0, -174.0, -174.0),
        11.0,
        5.0,
        1.0,
        5.0,
    ),  # parted
    Style(
        (60.0, 59.0, 57.0, 48.0, 30.0, 8.0, -4.0, -8.0, 0.0, 12.0, 10.0, -16.0, -40.0, -56.0, -66.0), 8.0, 3.0, 0.0, 2.5
    ),  # pulled back
)
_BALD = np.array([112, 112, 108, 98, 80, 58, 34, 18, 24, 30, 30, 20, -10, -40, -50], dtype=np.float32)


@cache
def hair_surface() -> Surface:
    """The skull with 3 mm of air; changes: 1 mm of volume on top, 1 mm at the sides, hanging free, 1 mm of curls."""
    rows = np.concatenate(
        [
            CROWN + (TOP - CROWN) * np.cos(np.linspace(0.0, 1.35, 14, endpoint=False)),
            np.arange(44, -75, -5.5),
            np.arange(-75, -180, -8.0),
        ]
    )
    columns = np.concatenate([np.arange(-180, -108, 9), np.arange(-108, 108, 4.5), np.arange(108, 181, 9)])
    alpha, v = np.meshgrid(np.radians(columns), rows)
    base = elliptic_rows(alpha, v)
    normal = np.moveaxis(vertex_normals(np.ascontiguousarray(np.moveaxis(base, -1, 0))), 0, -1)
    mean = base + 0.7 * normal
    high = 1 / (1 + np.exp(-(v - 38) / 9.0))
    top, side = normal * high[..., None], normal * (1 - high)[..., None]
    low = 1 / (1 + np.exp((v + 12) / 9.0))
    flare = np.clip((-v - 60) / 110, 0, 1)
    hang = np.stack(
        [(94 + 6 * flare) * np.sin(alpha), v, np.where(np.cos(alpha) > 0, 60, 103 - 14 * flare) * np.cos(alpha)],
        axis=-1,
    )
    drape = (hang - mean) * low[..., None]
    curls = normal * (np.sin(9 * alpha + v / 9.0) * np.sin(v / 5.5 + 3 * alpha))[..., None]
    skull = [
        displacement(mode, 0 * v, v, mean) if isinstance(mode, Scale) and mode.skull else 0 * mean
        for mode in SHAPE_MODES
    ]
    return make_surface(0 * v, v, np.degrees(alpha), mean, skull, [top, side, drape, curls])


@dataclass(frozen=True)
class Haircut:
    """A style as worn by one person in one photo."""

    outline: Float[np.ndarray, " a"]
    ragged: float
    density: float
    colour: Float[np.ndarray, " 3"]
    changes: Float[np.ndarray, " 4"]
    drape: float
    strands: Float[np.ndarray, " n"]
    waviness: float

    def coverage(self, azimuth: Float[np.ndarray, " p"], v: Float[np.ndarray, " p"]) -> Float[np.ndarray, " p"]:
        """Opacity of the hair in [0, 1] at azimuth (degrees) and height (mm)."""
        strand = self.strand(azimuth, v)
        far = np.abs(azimuth)
        ragged = self.ragged * np.where((far > 45) & (far < 88), 0.35, 1.0).astype(np.float32)
        edge = np.interp(far, _AZIMUTH, self.outline).astype(np.float32) + ragged * strand
        return np.clip((v - edge) / (1.0 + self.ragged) + 0.5, 0, 1) * self.density

    def lowest(self, azimuth: Float[np.ndarray, " p"]) -> Float[np.ndarray, " p"]:
        """A height below which the coverage is surely 0."""
        return np.interp(np.abs(azimuth), _AZIMUTH, self.outline) - 4 * self.ragged - 8

    def shell(self, shape: Float[np.ndarray, " k"]) -> Float[np.ndarray, "3 r c"]:
        """The vertices of `hair_surface`: full thickness inside the outline, tapering to the skin along it."""
        surface = hair_surface()
        flat = surface.deform(shape, self.changes * (0, 0, 1, 0))
        full = surface.deform(shape, self.changes)
        edge = np.interp(np.abs(surface.azimuth), _AZIMUTH, self.outline).astype(np.float32)
        return flat + np.clip((surface.v - edge + 3) / 18, 0, 1) * (full - flat)

    def strand(self, azimuth: Float[np.ndarray, " p"], v: Float[np.ndarray, " p"]) -> Float[np.ndarray, " p"]:
        """The strand pattern (about unit variance): noise across, almost constant along."""
        wave = self.waviness * np.sin(v * 0.09 + azimuth * 0.05) * 1.2
        place = (azimuth * (2.8 + 0.002 * v) + wave * 2.4 + 0.10 * v + 1024).astype(np.int32)
        return self.strands[place & 1023]


def hair_colour(person: Identity, photo: Nuisance) -> Float[np.ndarray, " 3"]:
    """The colour as seen: lighter or darker with the day, grey with age."""
    grey = 1 / (1 + np.exp(-(photo.age + person.greying - 58) / 6.0))
    colour = person.hair * np.exp(photo.hair_shade)
    return (1 - 0.93 * grey) * colour + 0.93 * grey * np.array([0.40, 0.39, 0.38])


def cut_hair(person: Identity, photo: Nuisance) -> Haircut:
    """The haircut of this photo: the style's outline, moved by the person's hairline and age."""
    style = STYLES[person.hair_styles[photo.hair_style]]
    height, temples, peak = person.hairline
    loss = person.balding * float(np.clip((photo.age - 24) / 36, 0, 1))
    shift = np.where(_AZIMUTH < 60, height - 58 + temples * np.exp(-(((_AZIMUTH - 44) / 14) ** 2)), 0.0)
    shift = shift - peak * np.exp(-((_AZIMUTH / 10) ** 2)) + 22 * loss * np.exp(-(((_AZIMUTH - 34) / 18) ** 2))
    outline = np.asarray(style.outline) + shift
    if loss > 0.62:
        outline = np.maximum(outline, _BALD)
    volume = float(np.clip(person.hair_volume + photo.hair_volume, 0.05, 1.4)) * (1 - 0.5 * loss)
    curly = person.hair_texture**2
    changes = (
        2.0 + style.top * (0.35 + volume),
        1.5 + style.side * (0.3 + volume) + 2.5 * curly,
        style.drape,
        2.6 * curly * (style.top > 3),
    )
    return Haircut(
        outline=outline.astype(np.float32),
        ragged=style.ragged,
        density=0.82 if style.top < 3 else 1.0,
        colour=hair_colour(person, photo),
        changes=np.array(changes, dtype=np.float32),
        drape=style.drape,
        strands=person.strands,
        waviness=person.hair_texture * 3.0,
    )
