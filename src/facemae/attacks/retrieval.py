"""The attacker of the paper: looks for a person's photo among the released images as they are."""

from dataclasses import dataclass

from facemae.attacks.attacker import Fitted, Owned


@dataclass(frozen=True)
class Retrieval:
    """Nearest released images to a photo, by cosine of one network's vectors (Eq. 3)."""

    name: str = "retrieval"
    says: str = (
        "Somebody with photos of a person and a face recognition network looks for that person among the released "
        "images as they are; success is an image of that person among the nearest."
    )

    def fit(self, owned: Owned) -> Fitted:
        """Nothing to learn."""
        vectors = owned.judge.vectors
        return Fitted(ask=vectors, find=lambda released: vectors(released.faces))
