"""The classic distortions that `mask` makes instead of hiding cells: baselines, each with one strength."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from facemae.errors import RecipeError
from facemae.faces.distort import add_noise, blur, keep_windows, matching_sigma, pixelate, sharpness
from facemae.faces.faceset import FaceSet
from facemae.faces.masks import record_secret
from facemae.spec.recipe import MaskSpec

STRENGTHS = {"blur": "sigma", "pixelate": "block", "noise": "deviation", "windows": "side"}
"""The key of each method's strength, which no other method takes."""

SAMPLED = 256
"""Photos of each set by which sharpness is compared."""


@dataclass(frozen=True)
class Distortion:
    """One method with its strength."""

    method: str
    strength: float

    def __call__(self, image: UInt8[np.ndarray, "h w 3"], key: str, secret: bytes) -> UInt8[np.ndarray, "h w 3"]:
        """The distorted photo; noise follows from the set's secret and the photo's key."""
        if self.method == "blur":
            return blur(image, self.strength)
        if self.method == "pixelate":
            return pixelate(image, int(self.strength))
        if self.method == "windows":
            return keep_windows(image, int(self.strength))
        return add_noise(image, self.strength, record_secret(secret, "noise", key))

    def facts(self) -> dict[str, Any]:
        """What the manifest says of it."""
        return {STRENGTHS[self.method]: self.strength}


def demand_strength(spec: MaskSpec, originals: FaceSet, like: Path | None) -> None:
    """Refuse a strength that is missing, or that belongs to another method.

    Raises:
        RecipeError: naming the key.
    """
    for method, key in STRENGTHS.items():
        value, second = getattr(spec, key), like if method == "blur" else None
        if method != spec.method and (value is not None or second is not None):
            given = f"{key}={value}" if value is not None else f"--like {second}"
            without = "neither sigma nor --like" if method == "blur" else f"no {key}"
            raise RecipeError("mask.method", got=f"{spec.method} and {given}", needed=f"method={method}, or {without}")
    if spec.method == "blur" and (spec.sigma is None) == (like is None):
        raise RecipeError("mask.sigma", got=spec.sigma, needed="for blur either a width in pixels or --like SET")
    if spec.method in ("pixelate", "noise", "windows") and getattr(spec, STRENGTHS[spec.method]) is None:
        unit = "grey levels" if spec.method == "noise" else "pixels"
        raise RecipeError(f"mask.{STRENGTHS[spec.method]}", needed=f"for {spec.method} a number of {unit}")
    height, width = originals.size
    if spec.side is not None and (height != width or spec.side > height):
        raise RecipeError(
            "mask.side",
            got=f"{spec.side} over images of {height}x{width}",
            needed="windows no larger than the image, and square images aligned to the ArcFace template",
        )


def distortion(spec: MaskSpec, originals: FaceSet, reference: FaceSet | None) -> Distortion:
    """What `demand_strength` let pass; with ``reference`` the blur that makes the photos as sharp as that set.

    Raises:
        RecipeError: a reference that is no softer than the originals.
    """
    if reference is not None:
        return Distortion("blur", _matching_sigma(originals, reference))
    return Distortion(spec.method, getattr(spec, STRENGTHS[spec.method]))


def _matching_sigma(originals: FaceSet, reference: FaceSet) -> float:
    def sample(faces: FaceSet) -> np.ndarray:
        return faces.images(np.linspace(0, len(faces) - 1, min(SAMPLED, len(faces))).astype(int).tolist())

    sigma = matching_sigma(sample(originals), sharpness(sample(reference)))
    if sigma == 0:
        raise RecipeError(
            f"--like {reference.directory}", got="a set at least as sharp as the originals", needed="a softer one"
        )
    return sigma
