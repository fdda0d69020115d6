"""Cosines of all pairs of a probe and a gallery image, counted by person: what linking and unlinkability rest on.

Unit rows are multiplied by 4095 − √d/2 and rounded to whole numbers (error of a cosine about 1e-4). Every partial sum
of a product of two such rows is then a whole number below 2²⁴, exact in float32: counts depend on no order of
summation, block or machine. Cosines are counted in cells of 1/2048.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from facemae.errors import DataError
from facemae.measure.control import shuffles
from facemae.measure.mated import excluded_photos
from facemae.measure.retrieval import Exclude, unit_rows

PER_UNIT = 2048
CELLS = 2 * PER_UNIT + 1
MOST_PAIRS = 1 << 30
_ELEMENTS, _CHUNK, _ROWS = 1 << 22, 512, 256
_DRAWN = 0x9A12


@dataclass(frozen=True)
class PairScores:
    """How many pairs fall into each cell of cosine; cell c holds those in (c − 2048 ± ½) / 2048.

    ``mated[i]``: pairs of person i's own. ``beside[i]``: pairs of two people of whom one is i, so that each is counted
    twice. ``moved[r]``: pairs of those whom permutation r sends to somebody else; ``stayed[r, i]``: whom it sends to
    themselves. ``everybody``: people of the sets, more than there are here where some were drawn from them.
    """

    people: Shaped[np.ndarray, " people"]
    mated: Int[np.ndarray, "people cells"] = field(repr=False)
    beside: Int[np.ndarray, "people cells"] = field(repr=False)
    moved: Int[np.ndarray, "permutations cells"] = field(repr=False)
    stayed: Bool[np.ndarray, "permutations people"] = field(repr=False)
    impostors: int
    everybody: int

    @property
    def nonmated(self) -> Int[np.ndarray, " cells"]:
        """Pairs of two people."""
        return self.beside.sum(axis=0, dtype=np.int64) // 2

    @property
    def mated_people(self) -> int:
        """People with a pair of their own."""
        return int(self.mated.any(axis=1).sum())

    @property
    def method(self) -> str:
        """How the pairs came about, in words."""
        drawn = f" drawn at random from {self.everybody}" if len(self.people) < self.everybody else ""
        return f"all pairs of {len(self.people)} people{drawn}"

    def counts(self) -> dict[str, Any]:
        """Keys ``people mated nonmated pairs``: mated people, both kinds of pairs, and how they came about."""
        pairs = {"mated": int(self.mated.sum()), "nonmated": int(self.nonmated.sum())}
        return {"people": self.mated_people} | pairs | {"pairs": self.method}

    def weighted(
        self, weights: Float[np.ndarray, "b people"]
    ) -> tuple[Float[np.ndarray, "b cells"], Float[np.ndarray, "b cells"]]:
        """Mated and non-mated counts when people are drawn ``weights`` times: Σ wᵢ mᵢ and Σ wᵢ rᵢ − N.

        The second is Σ wᵢ wⱼ nᵢⱼ without its term of second order, (wᵢ − 1)(wⱼ − 1) nᵢⱼ (Hájek's projection). That
        term would count the noise of single pairs three times over, the projection counts it twice. It may be negative
        in single cells.
        """
        return _product(weights, self.mated), _product(weights, self.beside) - self.nonmated

    def permuted(self) -> Iterator[tuple[Float[np.ndarray, "b cells"], Float[np.ndarray, "b cells"]]]:
        """Mated and non-mated counts under each permutation, in blocks: all pairs are one kind or the other."""
        pairs = self.mated.sum(axis=0, dtype=np.int64) + self.nonmated
        for start in range(0, len(self.moved), _ROWS):
            rows = slice(start, start + _ROWS)
            mated = self.moved[rows] + _product(self.stayed[rows].astype(np.float64), self.mated)
            yield mated, pairs - mated


def cell_score(cell: int) -> float:
    """The smallest cosine of a cell."""
    return (cell - PER_UNIT - 0.5) / PER_UNIT


def pair_scores(
    query_emb: Float[np.ndarray, "q d"],
    query_labels: Int[np.ndarray, " q"],
    gallery_emb: Float[np.ndarray, "g d"],
    gallery_labels: Int[np.ndarray, " g"],
    *,
    exclude: Exclude = None,
    seed: int,
    permutations: int = 999,
    most: int = MOST_PAIRS,
) -> PairScores:
    """s(x, y) = ⟨x, y⟩ of every probe x and gallery image y, mated where both show one person.

    Unit rows. ``exclude`` leaves out pairs of one photo (as in ``topk``). Where there are more pairs than ``most``, so
    many people are drawn at random that about ``most`` are left, with all of their pairs. Memory: 33 kB a person (two
    counts of 4,097 cells) and 33 kB a permutation, beside blocks of 4 million pairs. Time: about two products of all
    probes by the gallery.

    Raises ``DataError`` for rows that are not finite unit rows, without a mated pair or two people, and for an excluded
    image that carries another person's label.
    """
    x, y = unit_rows(query_emb, "probes"), unit_rows(gallery_emb, "gallery")
    banned = excluded_photos(exclude, query_labels, gallery_labels)
    everybody = np.union1d(query_labels, gallery_labels)
    people = _drawn(everybody, len(x) * len(y), most, seed)
    probes, gallery = _Side.of(x, query_labels, people), _Side.of(y, gallery_labels, people)
    place = np.full(len(y), -1)
    place[gallery.order] = np.arange(len(gallery.order))
    # A last entry for the padding, whose index −1 takes it.
    banned = np.append(place, -1)[banned[probes.order]]
    mated, photos = _own(probes, gallery, banned)
    impostors = min(int((side.images > 0).sum()) for side in (probes, gallery))
    if not mated.any() or len(people) < 2:
        needed = "two people or more, and somebody with another photo on the other side"
        raise DataError("no pair to compare", got=f"{int(mated.sum())} pairs of one person", needed=needed)
    beside = _of_everybody(probes, gallery) + _of_everybody(gallery, probes) - 2 * (mated + photos)
    moved, stayed = _moved(probes, gallery, banned, permutations, seed)
    return PairScores(people, mated, beside, moved, stayed, impostors, len(everybody))


@dataclass(frozen=True)
class _Side:
    """Rows as whole numbers, ordered by person; person i has those from ``start[i]`` to ``start[i + 1]``."""

    rows: np.ndarray
    order: np.ndarray
    person: np.ndarray
    start: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, labels: np.ndarray, people: np.ndarray) -> "_Side":
        order = np.argsort(labels, kind="stable")
        order = order[np.isin(labels[order], people)]
        person = np.searchsorted(people, labels[order])
        scale = _scale(rows.shape[1])
        whole = np.empty((len(order), rows.shape[1]), np.float32)
        for start in range(0, len(order), _CHUNK):
            part = rows[order[start : start + _CHUNK]].astype(np.float64)
            norm = np.linalg.norm(part, axis=1, keepdims=True)
            whole[start : start + _CHUNK] = np.rint(part * (scale / np.where(norm == 0, 1, norm)))
        return cls(whole, order, person, np.searchsorted(person, np.arange(len(people) + 1)))

    @property
    def images(self) -> np.ndarray:
        return np.diff(self.start)

    def of_person(self, i: int) -> np.ndarray:
        return self.rows[self.start[i] : self.start[i + 1]]


def _scale(dimension: int) -> int:
    return int(4095 - math.sqrt(dimension) / 2)


def _cells(products: np.ndarray, dimension: int) -> np.ndarray:
    """Cells of products of whole rows, which are overwritten."""
    products *= np.float32(PER_UNIT / _scale(dimension) ** 2)
    np.rint(products, out=products)
    products += PER_UNIT
    np.clip(products, 0, CELLS - 1, out=products)
    return products.astype(np.int64)


def _drawn(everybody: np.ndarray, pairs: int, most: int, seed: int) -> np.ndarray:
    if pairs <= most:
        return everybody
    kept = max(2, int(len(everybody) * math.sqrt(most / pairs)))
    return np.sort(np.random.default_rng([seed, _DRAWN]).choice(everybody, kept, replace=False))


def _of_everybody(side: _Side, other: _Side) -> np.ndarray:
    """Pairs of each person on one side with everybody on the other: (people, cells)."""
    counts = np.zeros((len(side.images), CELLS), np.int32)
    step = max(1, _ELEMENTS // max(1, len(other.rows)))
    for start in range(0, len(side.rows), step):
        rows = slice(start, start + step)
        person = side.person[rows]
        cells = _cells(side.rows[rows] @ other.rows.T, side.rows.shape[1])
        cells += CELLS * (person - person[0])[:, None]
        several = int(person[-1] - person[0]) + 1
        found = np.bincount(cells.ravel(), minlength=several * CELLS).reshape(several, CELLS)
        counts[person[0] : person[-1] + 1] += found.astype(np.int32)
    return counts


def _own(probes: _Side, gallery: _Side, banned: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mated pairs of each person, and those left out because both are of one photo: twice (people, cells)."""
    kept, left_out = (np.zeros((len(probes.images), CELLS), np.int32) for _ in range(2))
    for i in np.flatnonzero((probes.images > 0) & (gallery.images > 0)).tolist():
        cells = _cells(probes.of_person(i) @ gallery.of_person(i).T, probes.rows.shape[1])
        own = banned[probes.start[i] : probes.start[i + 1]]
        row, place = np.nonzero(own >= 0)
        photo = np.zeros(cells.shape, np.bool_)
        photo[row, own[row, place] - gallery.start[i]] = True
        kept[i] = np.bincount(cells[~photo], minlength=CELLS)
        left_out[i] = np.bincount(cells[photo], minlength=CELLS)
    return kept, left_out


def _moved(
    probes: _Side, gallery: _Side, banned: np.ndarray, permutations: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of each probe with the person it is sent to, without those sent to themselves, and who these are.

    A probe leaves out as many pairs there as at home, or fewer pairs alone would set the true ones apart.
    """
    counts = np.zeros((permutations, CELLS), np.int64)
    stayed = np.zeros((permutations, len(probes.images)), np.bool_)
    shown = np.flatnonzero(gallery.images > 0)
    asking = probes.images[shown] > 0
    # Places of the excluded images among those of their person: they stand for the same places at somebody else's.
    places = np.where(banned >= 0, banned - gallery.start[probes.person][:, None], -1)
    kept = _Kept(probes, gallery, places)
    for r, goal in enumerate(shuffles(gallery.images[shown], permutations=permutations, seed=seed)):
        wanted = shown[goal]
        stayed[r, shown] = wanted == shown
        leaving = asking & (wanted != shown)
        for products in _batches(probes, gallery, kept, shown[leaving], wanted[leaving]):
            counts[r] += np.bincount(_cells(products, probes.rows.shape[1]), minlength=CELLS)
    return counts, stayed


class _Kept:
    """Which pairs a person's probes keep at somebody with so many images; None for all. Remembered."""

    def __init__(self, probes: _Side, gallery: _Side, places: np.ndarray) -> None:
        self._probes, self._gallery, self._places = probes, gallery, places
        self._some = (places >= 0).any()
        self._known: dict[tuple[int, int], np.ndarray | None] = {}

    def at(self, i: int, images: int) -> np.ndarray | None:
        if self._some and (i, images) not in self._known:
            own = self._places[self._probes.start[i] : self._probes.start[i + 1]]
            kept = np.ones((len(own), images), np.bool_)
            row, column = np.nonzero(own >= 0)
            kept[row, own[row, column] % images] = False
            self._known[i, images] = kept if len(row) else None
        return self._known.get((i, images))


def _batches(
    probes: _Side, gallery: _Side, kept: _Kept, asking: np.ndarray, wanted: np.ndarray
) -> Iterator[np.ndarray]:
    """Products of everybody's probes with the images of the person they are sent to, many people at a time."""
    held: list[np.ndarray] = []
    size = 0
    for i, j in zip(asking.tolist(), wanted.tolist(), strict=True):
        products = probes.of_person(i) @ gallery.of_person(j).T
        mask = kept.at(i, products.shape[1])
        held.append(products.ravel() if mask is None else products[mask])
        size += len(held[-1])
        if size >= _ELEMENTS:
            yield np.concatenate(held)
            held, size = [], 0
    if held:
        yield np.concatenate(held)


def _product(weights: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """weights @ counts, some cells at a time: a product with whole numbers makes a copy of them."""
    parts = [weights @ counts[:, start : start + _CHUNK] for start in range(0, counts.shape[1], _CHUNK)]
    return np.concatenate(parts, axis=1)
