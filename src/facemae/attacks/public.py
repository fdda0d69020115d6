"""Public people on whom attackers learn, and those held out, on whom alone they choose."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int64

from facemae.attacks.attacker import Released
from facemae.errors import DataError
from facemae.faces.faceset import FaceSet
from facemae.faces.masks import permutation, seed_bytes

HELD_OUT, MOST = 0.2, 500
"""Share of the public people who are held out, and how many of them at most: more would choose no better."""

_BLOCK = 1024


class Split(NamedTuple):
    """Released records of the people an attacker learns from, and of those held out."""

    fit: Int64[np.ndarray, " f"]
    held: Int64[np.ndarray, " h"]


def split(public: Released, seed: int) -> Split:
    """One fifth of the people, at least two and at most `MOST`, are held out; who follows from ``seed``.

    Raises:
        DataError: fewer than four people.
    """
    people = np.unique(public.person)
    if len(people) < 4:
        raise DataError("public people for an attacker", got=len(people), needed="at least four")
    order = permutation(seed_bytes(seed), "attack:held-out", len(people))
    held = people[order[: min(max(2, round(HELD_OUT * len(people))), MOST)]]
    apart = np.isin(public.person, held)
    return Split(np.flatnonzero(~apart), np.flatnonzero(apart))


class Selection(FaceSet):
    """Records ``rows`` of a finished set, renumbered from 0, and their people likewise; nothing is copied.

    ``person``: whom each of the chosen records shows, where the attacker knows better than the set.
    """

    def __init__(self, faces: FaceSet, rows: np.ndarray, person: np.ndarray | None = None) -> None:
        super().__init__(faces.directory, faces.manifest)
        self._args = faces, rows, person
        self.index = np.array(self.index[rows])
        shown = self.index["identity"] if person is None else person
        self._people, self.index["identity"] = np.unique(shown, return_inverse=True)

    @property
    def num_identities(self) -> int:
        """How many people the chosen records show."""
        return len(self._people)

    @property
    def digest(self) -> str:
        """Names the set, the records, and whom they show."""
        chosen = np.stack([np.asarray(self._args[1], np.int64), self.identities.astype(np.int64)])
        return hashlib.sha256(self.manifest.digest.encode() + chosen.tobytes()).hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        return {"args": self._args}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(*state["args"])  # type: ignore[misc]


@dataclass(frozen=True)
class Trial:
    """What a candidate is tried on: held-out photos as probes, held-out released records as the gallery."""

    person: Int64[np.ndarray, " n"]
    photo: Int64[np.ndarray, " n"]

    @classmethod
    def of(cls, public: Released, held: np.ndarray) -> "Trial":
        """The released records ``held``, each asked for by the photo behind it."""
        return cls(public.person[held], public.photo[held])

    def score(
        self, probes: Float32[np.ndarray, "n d"], gallery: Float32[np.ndarray, "n d"], *, other_photo: bool = True
    ) -> float:
        """Mean over probes of 1 / rank of the nearest record of the same person, other people's records before it.

        Unit rows. For an ``other_photo`` the release of the probe's own photo does not count, but where no probe has
        another one. Smoother than a hit rate, so candidates are told apart with few people.
        """
        own = self._ranks(probes, gallery, other_photo=other_photo)
        reciprocal = own if len(own) else self._ranks(probes, gallery, other_photo=False)
        return float(reciprocal.mean()) if len(reciprocal) else 0.0

    def _ranks(self, probes: np.ndarray, gallery: np.ndarray, *, other_photo: bool) -> np.ndarray:
        told = []
        for start in range(0, len(probes), _BLOCK):
            rows = slice(start, start + _BLOCK)
            scores = probes[rows] @ gallery.T
            person = self.person[rows, None] == self.person
            mates = person & (self.photo[rows, None] != self.photo) if other_photo else person
            best = np.where(mates, scores, -np.inf).max(axis=1)
            ahead = ((scores >= best[:, None]) & ~person).sum(axis=1)
            told.append(1 / (1 + ahead[mates.any(axis=1)]))
        return np.concatenate(told)


def best_of(tried: Mapping[str, float]) -> str:
    """The candidate with the highest score; among equals the one named first, which is the simplest."""
    return max(tried, key=lambda name: tried[name])
