"""The attacker who speaks the release's language: photos go through the same process before they are compared."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from facemae.attacks.attacker import Fitted, Owned, Process, Rows, unit_rows
from facemae.faces.faceset import FaceSet


@dataclass(frozen=True)
class Imitator:
    """q = Σ_m v(process_m(photo)), v the unit vector of a photo's m-th pass, each of ``masks`` with new masks."""

    masks: int = 8
    name: str = "imitator"
    says: str = (
        "Somebody with photos of a person, a face recognition network and the process that made the release puts each "
        "photo through it with several masks of their own and looks with the mean; success is an image of that person "
        "among the nearest."
    )

    def fit(self, owned: Owned) -> Fitted:
        """Nothing to learn.

        Raises:
            RecipeError: the process is not known.
        """
        process, vectors = owned.converter(self.name), owned.judge.vectors
        return Fitted(
            ask=lambda photos: imitated(photos, process, vectors, masks=self.masks, seed=owned.seed),
            find=lambda released: vectors(released.faces),
        )


def imitated(
    photos: FaceSet, process: Process, vectors: Callable[[FaceSet], Rows], *, masks: int, seed: int
) -> Float64[np.ndarray, "n d"]:
    """Sum over ``masks`` passes of the unit vectors of what each photo became; rows of 0 where it became nothing."""
    total = np.zeros((0, 0))
    for mask in range(masks):
        again = process(photos, mask_seed(seed, mask))
        rows = unit_rows(vectors(again.faces))
        total = total if total.size else np.zeros((len(photos), rows.shape[1]))
        np.add.at(total, again.photo, rows)
    return total


def mask_seed(seed: int, mask: int) -> int:
    """The seed of the process's m-th pass: a hash, so that it is nobody's plain number."""
    return int.from_bytes(hashlib.sha256(f"{seed}:imitator:{mask}".encode()).digest()[:4], "big")
