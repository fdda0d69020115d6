"""What changes from photo to photo of one person: pose, expression, age, light, camera.

The strengths below were tuned once, before any model of the project was trained, so that a small recogniser trained on
200 people verifies others clearly above a pixel distance and clearly below 100 %; they are frozen. Changing one makes
another benchmark: log it and rerun everything that used these faces.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

_STREAM = 0x70

PROFILE_SHARE = 0.20  # photos taken from the side
PROFILE_YAW = (55.0, 92.0)  # degrees
FRONTAL_YAW = 17.0  # standard deviation of the others
PITCH, ROLL = 8.0, 6.0
OTHER_AGE_SHARE = 0.35  # photos from another time of life
NEAR_AGE = 4.0  # standard deviation, years
AGE_RANGE = (16.0, 80.0)
EXPRESSION = 1.0
LIGHT_RATIO = (0.35, 3.2)  # key light over ambient, log-uniform
LIGHT_AZIMUTH, LIGHT_ELEVATION = 48.0, 24.0
WARMTH = 0.10
DISTANCE = (450.0, 1500.0)  # millimetres: selfie to portrait
ALIGNMENT_JITTER = 1.0  # error of a landmark detector, pixels at 112
BLUR = (0.15, 1.25)  # pixels at 112
NOISE = (0.004, 0.035)
JPEG_QUALITY = (28, 95)
EXPOSURE = 0.18
CONTRAST = 0.16
CAST = 0.05
HAIR_SHADE = 0.18
MAKE_UP_SHARE = 0.45
GLASSES_SHARE = 0.75  # among photos of those who wear them


@dataclass(frozen=True)
class Nuisance:
    """One photo's circumstances. Angles in degrees, age in years; light azimuth > 0 comes from the right."""

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    age: float = 35.0
    smile: float = 0.0
    jaw_open: float = 0.0
    brow_raise: float = 0.0
    frown: float = 0.0
    pucker: float = 0.0
    weight: float = 0.0
    openness: float = 1.0
    gaze: tuple[float, float] = (0.0, 0.0)
    light_azimuth: float = 25.0
    light_elevation: float = 35.0
    light_ratio: float = 1.2
    warmth: float = 0.0
    distance: float = 900.0
    jitter: tuple[tuple[float, float], ...] = ((0.0, 0.0),) * 5
    blur: float = 0.3
    noise: float = 0.004
    jpeg_quality: int = 95
    exposure: float = 0.0
    contrast: float = 0.0
    cast: tuple[float, float, float] = (0.0, 0.0, 0.0)
    hair_style: int = 0  # which of the person's two
    hair_volume: float = 0.0
    hair_shade: float = 0.0
    stubble: float = 0.3
    make_up: float = 0.0
    glasses: bool = False
    texture_seed: int = 0  # background, clothes and camera noise

    def changes(self) -> Float[np.ndarray, " 7"]:
        """Weights of `anatomy.CHANGE_NAMES`."""
        sag = np.clip((self.age - 35) / 30, -0.6, 1.5)
        values = (self.smile, self.jaw_open, self.brow_raise, self.frown, self.pucker, self.weight, sag)
        return np.array(values, dtype=np.float32)


def _expression(rng: np.random.Generator) -> dict[str, float | tuple[float, float]]:
    smiles = rng.random() < 0.45
    jaw = rng.exponential(0.28) if rng.random() < 0.45 else 0.0
    return {
        "smile": EXPRESSION * float(rng.uniform(0.3, 1.2) if smiles else 0.18 * rng.standard_normal()),
        "jaw_open": EXPRESSION * float(min(jaw, 1.2)),
        "brow_raise": EXPRESSION * float(0.35 * rng.standard_normal()),
        "frown": EXPRESSION * float(max(0.0, 0.4 * rng.standard_normal())),
        "pucker": EXPRESSION * float(0.0 if smiles else max(0.0, 0.3 * rng.standard_normal() - 0.1)),
        "weight": float(0.4 * rng.standard_normal()),
        "openness": float(np.clip(1.0 + 0.13 * rng.standard_normal() - 0.12 * smiles, 0.35, 1.3)),
        "gaze": (float(np.clip(2.0 * rng.standard_normal(), -5, 5)), float(0.7 * rng.standard_normal())),
    }


def _camera(rng: np.random.Generator) -> dict[str, object]:
    def log_uniform(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    jitter = ALIGNMENT_JITTER * rng.standard_normal((5, 2))
    return {
        "light_azimuth": float(np.clip(LIGHT_AZIMUTH * rng.standard_normal(), -105, 105)),
        "light_elevation": float(np.clip(28 + LIGHT_ELEVATION * rng.standard_normal(), -25, 80)),
        "light_ratio": log_uniform(*LIGHT_RATIO),
        "warmth": float(WARMTH * rng.standard_normal()),
        "distance": log_uniform(*DISTANCE),
        "jitter": tuple((float(x), float(y)) for x, y in jitter),
        "blur": float(rng.uniform(*BLUR)),
        "noise": log_uniform(*NOISE),
        "jpeg_quality": int(rng.integers(JPEG_QUALITY[0], JPEG_QUALITY[1] + 1)),
        "exposure": float(EXPOSURE * rng.standard_normal()),
        "contrast": float(CONTRAST * rng.standard_normal()),
        "cast": tuple(float(value) for value in CAST * rng.standard_normal(3)),
    }


def sample_nuisance(seed: int, identity: int, photo: int, *, main_age: float = 35.0) -> Nuisance:
    """The circumstances of photo number `photo`, a function of (seed, identity, photo) alone."""
    rng = np.random.default_rng([seed, identity, photo, _STREAM])
    if rng.random() < PROFILE_SHARE:
        yaw = rng.choice((-1.0, 1.0)) * rng.uniform(*PROFILE_YAW)
    else:
        yaw = np.clip(FRONTAL_YAW * rng.standard_normal(), -45, 45)
    other = rng.random() < OTHER_AGE_SHARE
    age = rng.uniform(*AGE_RANGE) if other else np.clip(main_age + NEAR_AGE * rng.standard_normal(), *AGE_RANGE)
    return Nuisance(
        yaw=float(yaw),
        pitch=float(PITCH * rng.standard_normal()),
        roll=float(ROLL * rng.standard_normal()),
        age=float(age),
        **_expression(rng),  # type: ignore[arg-type]
        **_camera(rng),  # type: ignore[arg-type]
        hair_style=int(rng.random() < 0.4),
        hair_volume=float(0.25 * rng.standard_normal()),
        hair_shade=float(HAIR_SHADE * rng.standard_normal()),
        stubble=float(rng.beta(0.7, 1.0)),
        make_up=float(rng.random() if rng.random() < MAKE_UP_SHARE else 0.0),
        glasses=bool(rng.random() < GLASSES_SHARE),
        texture_seed=int(rng.integers(2**31)),
    )
