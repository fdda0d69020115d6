"""Photos of synthetic people by number."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8

from facemae.errors import DataError
from facemae.faces.synthetic.identity import sample_identity
from facemae.faces.synthetic.nuisance import Nuisance, sample_nuisance
from facemae.faces.synthetic.scene import photograph


@dataclass(frozen=True)
class SyntheticFace:
    """One aligned photo. `extras` can be written as JSON: photo, yaw, pitch, roll (degrees), age (years), landmarks."""

    identity: int
    image: UInt8[np.ndarray, "size size 3"]
    extras: dict[str, Any]


def photo_nuisance(identity: int, photo: int, *, seed: int) -> Nuisance:
    """The circumstances of a photo without drawing it: pose and age decide who can be in which protocol."""
    return sample_nuisance(seed, identity, photo, main_age=sample_identity(seed, identity).birth_age)


def render_photo(
    identity: int, photo: int, *, seed: int, size: int = 112, nuisance: Nuisance | None = None
) -> SyntheticFace:
    """Photo number `photo` of person number `identity`: a function of (seed, identity, photo, size) and nothing else.

    The crop is aligned to the ArcFace five-point template scaled to `size`, with a detector's jitter; `nuisance`
    replaces the photo's own circumstances. Raises DataError for negative numbers and sizes under 16.
    """
    if min(identity, photo, seed) < 0 or size < 16:
        raise DataError(
            "cannot draw this synthetic photo",
            got=f"identity {identity}, photo {photo}, seed {seed}, size {size}",
            needed="numbers of at least 0 and a size of at least 16",
        )
    if nuisance is None:
        nuisance = photo_nuisance(identity, photo, seed=seed)
    image, landmarks = photograph(sample_identity(seed, identity), nuisance, size)
    extras = {
        "photo": photo,
        "yaw": nuisance.yaw,
        "pitch": nuisance.pitch,
        "roll": nuisance.roll,
        "age": nuisance.age,
        "landmarks": [[round(float(x), 3), round(float(y), 3)] for x, y in landmarks],
    }
    return SyntheticFace(identity, image, extras)
