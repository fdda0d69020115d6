"""Photos of synthetic people by number."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from facemae.errors import DataError
from facemae.faces.synthetic.identity import Identity, mix_identities, sample_identity
from facemae.faces.synthetic.nuisance import Nuisance, sample_nuisance
from facemae.faces.synthetic.scene import photograph

_MIXING_STREAM = 0x33
_STEPS = 20  # SynFace draws weights from 0, 1/20 … 1


class Mix(NamedTuple):
    """A second person in a photo: its number, and the weight that the photo's own person keeps, in [1/2, 1]."""

    other: int
    weight: float


@dataclass(frozen=True)
class SyntheticFace:
    """One aligned photo. `extras` can be written as JSON: photo, yaw, pitch, roll (degrees), age (years), landmarks."""

    identity: int
    image: UInt8[np.ndarray, "size size 3"]
    extras: dict[str, Any]


def photo_nuisance(identity: int, photo: int, *, seed: int) -> Nuisance:
    """The circumstances of a photo without drawing it: pose and age decide who can be in which protocol."""
    return sample_nuisance(seed, identity, photo, main_age=sample_identity(seed, identity).birth_age)


def draw_mix(people: Sequence[int], place: int, photo: int, *, seed: int) -> Mix:
    """Who is mixed into a photo of people[place], uniformly among the others, and w = max(u, 1 - u), u in {0, .05 … 1}.

    SynFace draws u for the first of two people; naming the heavier one first gives the same pictures. A function of
    (seed, identity, photo) and `people`, of whom there are at least two.
    """
    rng = np.random.default_rng([seed, people[place], photo, _MIXING_STREAM])
    other, step = int(rng.integers(len(people) - 1)), int(rng.integers(_STEPS + 1))
    return Mix(people[other + (other >= place)], max(step, _STEPS - step) / _STEPS)


def render_photo(
    identity: int,
    photo: int,
    *,
    seed: int,
    size: int = 112,
    nuisance: Nuisance | None = None,
    mix: Mix | None = None,
) -> SyntheticFace:
    """Photo number `photo` of person number `identity`: a function of (seed, identity, photo, size) and nothing else.

    The crop is aligned to the ArcFace five-point template scaled to `size`, with a detector's jitter; `nuisance`
    replaces the photo's own circumstances, `mix` brings a second person in. Raises DataError for negative numbers and
    sizes under 16.
    """
    if min(identity, photo, seed) < 0 or size < 16:
        raise DataError(
            "cannot draw this synthetic photo",
            got=f"identity {identity}, photo {photo}, seed {seed}, size {size}",
            needed="numbers of at least 0 and a size of at least 16",
        )
    person = _person(identity, mix, seed)
    if nuisance is None:
        nuisance = sample_nuisance(seed, identity, photo, main_age=person.birth_age)
    image, landmarks = photograph(person, nuisance, size)
    extras = {
        "photo": photo,
        "yaw": nuisance.yaw,
        "pitch": nuisance.pitch,
        "roll": nuisance.roll,
        "age": nuisance.age,
        "landmarks": [[round(float(x), 3), round(float(y), 3)] for x, y in landmarks],
    }
    return SyntheticFace(identity, image, extras)


def _person(identity: int, mix: Mix | None, seed: int) -> Identity:
    own = sample_identity(seed, identity)
    return own if mix is None else mix_identities(own, sample_identity(seed, mix.other), mix.weight)
