"""Who somebody is: everything that stays the same in all photos of one synthetic person."""

from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from facemae.faces.synthetic.anatomy import SHAPE_MODES

_STREAM = 0x1D
_SHAPE_STRENGTH = 0.8  # 1 gives caricatures: real features are correlated, these are not

# Skin reflectance (linear light) from the lightest to the darkest human tones, evenly spaced in appearance.
_SKIN = np.array(
    [
        (0.80, 0.55, 0.45),
        (0.72, 0.455, 0.345),
        (0.60, 0.345, 0.240),
        (0.46, 0.245, 0.155),
        (0.335, 0.175, 0.098),
        (0.215, 0.105, 0.057),
        (0.125, 0.060, 0.034),
    ]
)
_HAIR = np.array(
    [(0.011, 0.009, 0.008), (0.035, 0.020, 0.013), (0.085, 0.046, 0.024), (0.19, 0.115, 0.055), (0.42, 0.30, 0.155)]
)
_RED_HAIR = np.array([0.24, 0.068, 0.020])
_IRIS = np.array(
    [
        (0.030, 0.014, 0.007),
        (0.085, 0.038, 0.014),
        (0.13, 0.085, 0.030),
        (0.10, 0.12, 0.060),
        (0.12, 0.19, 0.27),
        (0.22, 0.26, 0.29),
    ]
)


@dataclass(frozen=True)
class Identity:
    """One person. Lengths are millimetres on the face, colours linear RGB, everything else a strength near 0 or 1."""

    shape: Float[np.ndarray, " k"]
    feminine: float
    birth_age: float  # the age at which most photos were taken
    skin: Float[np.ndarray, " 3"]
    melanin: float  # 0 lightest, 1 darkest
    ruddy: float
    freckles: float
    mottle: Float[np.ndarray, "h w"]  # smooth unit-variance pattern over the face
    moles: Float[np.ndarray, "m 3"]  # s, v, radius
    hair: Float[np.ndarray, " 3"]
    hair_styles: tuple[int, int]
    hair_volume: float
    hair_texture: float  # 0 straight, 1 curly
    hairline: Float[np.ndarray, " 3"]  # height, temples, widow's peak
    balding: float
    greying: float  # years by which grey comes early
    strands: Float[np.ndarray, " n"]
    brow: Float[np.ndarray, " 8"]  # height, rise, arch, thickness, inner end, outer end, density, darkness
    eye: Float[np.ndarray, " 6"]  # half width, upper lid, lower lid, tilt, crease, lash
    iris: Float[np.ndarray, " 3"]
    lips: Float[np.ndarray, " 6"]  # half width, upper, lower, bow, redness, darkness
    beard: Float[np.ndarray, " 3"]  # tendency, moustache, coverage
    wrinkle: Float[np.ndarray, " 6"]  # forehead height, wave, phase, eyes, folds, bags
    glasses: Float[np.ndarray, " 5"]  # wears them, half width, half height, squareness, darkness


def _ramp(table: np.ndarray, position: float) -> np.ndarray:
    """A colour between the rows of a table, at `position` in [0, 1]."""
    places = np.linspace(0, 1, len(table))
    return np.array([np.interp(position, places, table[:, channel]) for channel in range(table.shape[1])])


def smooth_field(rng: np.random.Generator, coarse: tuple[int, int], fine: tuple[int, int]) -> Float[np.ndarray, "h w"]:
    """Gaussian noise on a coarse grid, stretched with linear weights to a fine one, with unit variance."""
    field = rng.standard_normal(coarse)
    for axis in range(2):
        place = np.linspace(0, coarse[axis] - 1, fine[axis])
        weights = np.clip(1 - np.abs(place[:, None] - np.arange(coarse[axis])), 0, None)
        field = np.moveaxis(np.tensordot(weights, field, axes=(1, axis)), 0, axis)
    return (field - field.mean()) / field.std()


def _hair_colour(rng: np.random.Generator, melanin: float) -> np.ndarray:
    """Dark hair is common everywhere; fair and red hair grow rarer as skin grows darker."""
    fairness = rng.beta(1.2, 1.6) * np.clip(1.3 - 1.6 * melanin, 0.12, 1.0)
    colour = _ramp(_HAIR, fairness)
    red = rng.beta(0.6, 4.0) * np.clip(1.0 - 1.5 * melanin, 0.05, 1.0)
    return (1 - red) * colour + red * _RED_HAIR * (0.3 + fairness)


def _mottle(rng: np.random.Generator) -> np.ndarray:
    """Blotches at three scales over 240 × 200 mm."""
    scales = ((9, 8), (24, 20), (72, 60))
    field = sum(
        weight * smooth_field(rng, scale, (144, 120)) for weight, scale in zip((0.8, 0.5, 0.35), scales, strict=True)
    )
    return np.asarray(field, dtype=np.float32)


def _features(rng: np.random.Generator, feminine: float) -> dict[str, np.ndarray]:
    """Brows, eyes, lips, beard, wrinkles and glasses: centre, spread and lean with `feminine` of each number."""

    def draw(centre: tuple, spread: tuple, lean: tuple) -> np.ndarray:
        normal = np.clip(rng.standard_normal(len(centre)), -2.2, 2.2)
        return np.array(centre) + np.array(spread) * normal + feminine * np.array(lean)

    return {
        "brow": draw(
            (16.0, 1.2, 2.2, 3.1, 12.5, 50.0, 0.85, 0.8),
            (1.3, 1.5, 1.3, 0.75, 2.6, 3.0, 0.14, 0.15),
            (0.6, 0.5, 0.9, -0.8, 1.0, 0.0, 0, 0),
        ),
        "eye": draw(
            (15.6, 6.0, 4.8, 0.03, 3.6, 0.6), (0.8, 0.75, 0.55, 0.055, 0.9, 0.15), (0.2, 0.5, 0.1, 0.01, 0.2, 0.25)
        ),
        "lips": draw((25.0, 6.6, 8.2, 1.5, 0.5, 0.2), (1.3, 1.6, 1.7, 0.7, 0.22, 0.12), (-0.6, 0.8, 0.9, 0.2, 0.14, 0)),
        "beard": draw((0.55, 0.5, 0.5), (0.28, 0.35, 0.3), (-1.2, 0, 0)),
        "wrinkle": draw((38.0, 2.0, 0.0, 1.0, 1.0, 0.8), (3.0, 1.0, 2.0, 0.4, 0.4, 0.4), (0, 0, 0, 0, 0, 0)),
        "glasses": np.array(
            [rng.random(), rng.uniform(23, 28), rng.uniform(15, 21), rng.uniform(2, 5), rng.uniform(0.01, 0.25)]
        ),
    }


@lru_cache(maxsize=512)
def sample_identity(seed: int, index: int) -> Identity:
    """Person `index` of the population `seed`; the same person whatever else is drawn."""
    rng = np.random.default_rng([seed, index, _STREAM])
    feminine = float(np.tanh(2.2 * rng.standard_normal()))
    melanin = rng.random()
    tint = np.exp(rng.standard_normal(3) * (0.05, 0.04, 0.08))
    shape = _SHAPE_STRENGTH * np.clip(rng.standard_normal(len(SHAPE_MODES)), -2.2, 2.2)
    # Jaw width, chin width, brow ridge and lip fullness lean with the sexes, with wide overlap.
    shape[[4, 5, 15, 42]] -= feminine * np.array([0.45, 0.35, 0.55, 0.4])
    strands = rng.standard_normal(1024)
    strands = (
        strands
        + np.roll(strands, 1)
        + 0.6 * np.roll(strands, 2)
        + 0.8 * np.interp(np.arange(1024), np.arange(0, 1032, 8), rng.standard_normal(129))
    )
    count = rng.poisson(1.6)
    moles = np.column_stack([rng.uniform(-58, 58, count), rng.uniform(-105, 45, count), rng.uniform(0.7, 1.9, count)])
    styles = (3, 4, 5, 6, 3) if feminine > 0 else (0, 1, 2, 0, 6)
    first = styles[rng.integers(5)]
    second = styles[rng.integers(5)] if rng.random() < 0.5 else first
    return Identity(
        shape=shape.astype(np.float32),
        feminine=feminine,
        birth_age=float(rng.uniform(19, 62)),
        skin=np.clip(_ramp(_SKIN, melanin) * tint, 0.02, 0.9),
        melanin=melanin,
        ruddy=float(np.clip(1 + 0.5 * rng.standard_normal(), 0, 2.2)),
        freckles=float(np.clip(rng.standard_normal() - 0.8, 0, 2) * (1 - 0.7 * melanin)),
        mottle=_mottle(rng),
        moles=moles,
        hair=_hair_colour(rng, melanin),
        hair_styles=(int(first), int(second)),
        hair_volume=float(rng.uniform(0.25, 1.0)),
        hair_texture=float(rng.beta(0.8, 1.2)),
        hairline=np.array([58, 0, 0]) + np.array([5.0, 6.0, 2.5]) * np.clip(rng.standard_normal(3), -2, 2),
        balding=float(np.clip(0.5 * rng.standard_normal() + 0.2 - 0.8 * feminine, 0, 1)),
        greying=float(8 * rng.standard_normal()),
        strands=(strands / strands.std()).astype(np.float32),
        iris=_ramp(_IRIS, float(np.clip(rng.beta(1.0, 1.1) * (1.2 - 1.3 * melanin), 0, 1)))
        * np.exp(0.12 * rng.standard_normal(3)),
        **_features(rng, feminine),
    )


_UNDIVIDED = frozenset({"hair_styles", "moles", "glasses"})


def mix_identities(first: Identity, second: Identity, weight: float) -> Identity:
    """weight * first + (1 - weight) * second in every number of a person: SynFace's identity mixup, on our own people.

    What cannot be divided (hair styles, moles, glasses) is the heavier person's; ``weight`` 1 gives back the first.
    """
    heavier = first if weight >= 0.5 else second
    mixed = {
        field.name: getattr(heavier, field.name)
        if field.name in _UNDIVIDED
        else weight * getattr(first, field.name) + (1 - weight) * getattr(second, field.name)
        for field in fields(Identity)
    }
    return Identity(**mixed)


def identity_name(index: int) -> str:
    """ "synthetic-00012" for person 12."""
    return f"synthetic-{index:05d}"
