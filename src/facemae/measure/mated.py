"""Probes that have something of their person to find, against a gallery."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from facemae.errors import DataError
from facemae.measure.control import Trials, distinct, ranks
from facemae.measure.retrieval import Exclude, Product, best_mates, excluded_rows, topk

Arrays = tuple[np.ndarray, ...]
Divide = Callable[[Callable[[slice], Arrays], int], Arrays]
"""``divide(work, rows)``: ``work`` done on consecutive slices that cover 0 … rows, wherever, and joined row by row."""


def undivided(work: Callable[[slice], Arrays], rows: int) -> Arrays:
    """All rows at once, here."""
    return work(slice(0, rows))


@dataclass(frozen=True)
class Attack:
    """Mated probes (``rows`` of the queries) against a gallery; labels number its identities, ascending by label.

    ``behind``: images of each identity behind the rows of the gallery, where those are not images themselves.
    """

    rows: np.ndarray
    probes: np.ndarray
    person: np.ndarray
    gallery: np.ndarray
    identity: np.ndarray
    mate: np.ndarray
    banned: np.ndarray
    identities: int
    behind: np.ndarray

    @property
    def images(self) -> np.ndarray:
        """Gallery images of each identity."""
        return np.bincount(self.identity, minlength=self.identities)

    @property
    def mates(self) -> np.ndarray:
        """Eligible gallery images of each probe's own person."""
        return self.images[self.person] - self.gone

    @property
    def gone(self) -> np.ndarray:
        """Gallery images excluded for each probe (all of its own person)."""
        return distinct(self.banned)

    def nearest(self, k: int, divide: Divide, product: Product) -> tuple[np.ndarray, np.ndarray]:
        """Indices and scores of each probe's k nearest gallery images, as in ``topk``."""

        def search(rows: slice) -> Arrays:
            return topk(self.probes[rows], self.gallery, k, exclude=self.banned[rows], product=product)

        found, scores = divide(search, len(self.probes))
        return found, scores

    def trials(self, found: np.ndarray) -> Trials:
        """What the control needs of the images ``found`` (gallery rows, −1 for none): whose each is, and which."""
        place = ranks(np.arange(len(self.identity)), self.identity)
        person, which, spent = (
            np.where(rows >= 0, of[rows], -1)
            for of, rows in ((self.identity, found), (place, found), (place, self.banned))
        )
        return Trials(person, which, self.person, self.images, spent, self.behind)


def excluded_photos(exclude: Exclude, query_labels: np.ndarray, gallery_labels: np.ndarray) -> np.ndarray:
    """Excluded gallery indices as one array padded with −1; ``DataError`` where one carries another person's label."""
    banned = excluded_rows(exclude, len(query_labels), len(gallery_labels))
    row, place = np.nonzero(banned >= 0)
    if (gallery_labels[banned[row, place]] != query_labels[row]).any():
        raise DataError("an excluded image carries another person's label", remedy="exclude only a probe's own photo")
    return banned


def mated_attack(
    query_emb: np.ndarray,
    query_labels: np.ndarray,
    gallery_emb: np.ndarray,
    gallery_labels: np.ndarray,
    exclude: Exclude,
    behind: np.ndarray | None = None,
) -> Attack:
    """The queries that are mated, and each one's best mate; ``behind``: images behind each row of the gallery.

    Raises:
        DataError: none is, or an excluded image carries another person's label.
    """
    banned = excluded_photos(exclude, query_labels, gallery_labels)
    mate, _ = best_mates(query_emb, query_labels, gallery_emb, gallery_labels, exclude=banned)
    mated = mate >= 0
    if not mated.any():
        raise DataError(
            "no probe has an image of its person to find",
            got=f"{len(query_labels)} probes",
            needed="people with a photo in the gallery beside the probe itself",
        )
    people, identity = np.unique(gallery_labels, return_inverse=True)
    return Attack(
        rows=np.flatnonzero(mated),
        probes=query_emb[mated],
        person=np.searchsorted(people, query_labels[mated]),
        gallery=gallery_emb,
        identity=identity,
        mate=mate[mated],
        banned=banned[mated],
        identities=len(people),
        behind=np.bincount(identity, weights=behind, minlength=len(people)).astype(np.int64),
    )
