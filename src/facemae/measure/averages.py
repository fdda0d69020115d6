"""Templates drawn from the images of each person on two sides, and their search: what template retrieval rests on."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from facemae.errors import DataError
from facemae.measure.control import chance, ranks, shuffles
from facemae.measure.retrieval import Product, topk, unit_rows

_DRAWS, _PLACES, _CHUNK = 0x7E3A, 0x71AC, 1 << 13

Size = tuple[int | None, int | None]
"""Images a person on the probes' and on the gallery's side; None: all there are."""


@dataclass(frozen=True)
class Side:
    """Images: unit rows, whom each shows (a place among the people of both sides), and the photo it was made from."""

    rows: np.ndarray
    person: np.ndarray
    photo: np.ndarray

    def templates(self, taken: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """People with an image among ``taken`` (ordered by person), unit sums of theirs, and how many they are."""
        people, start = np.unique(self.person[taken], return_index=True)
        total = np.zeros((len(people), self.rows.shape[1]))
        place = np.repeat(np.arange(len(people)), np.diff(start, append=len(taken)))
        for top in range(0, len(taken), _CHUNK):
            part = place[top : top + _CHUNK]
            first = np.flatnonzero(np.diff(part, prepend=-1))
            total[part[first]] += np.add.reduceat(self.rows[taken[top : top + _CHUNK]], first, axis=0, dtype=np.float64)
        norm = np.linalg.norm(total, axis=1, keepdims=True)
        return people, (total / np.where(norm == 0, 1, norm)).astype(np.float32), np.diff(start, append=len(taken))


@dataclass(frozen=True)
class Search:
    """What each trial's template found: ``nearest`` are people, best first, −1 where there are no more.

    ``images``: how many the trial's two templates are made of. ``shown``: gallery images of each of all people;
    ``there[draw]``: who of them has one left in a draw. ``draw``: that of each trial.
    """

    person: Int[np.ndarray, " t"]
    nearest: Int[np.ndarray, "t k"]
    images: Int[np.ndarray, "t 2"]
    identities: Int[np.ndarray, " t"]
    shown: Int[np.ndarray, " people"]
    there: Bool[np.ndarray, "draws people"]
    draw: Int[np.ndarray, " t"]

    @property
    def draws(self) -> int:
        """Draws of images."""
        return len(self.there)

    def hits(self, wanted: Int[np.ndarray, " t"], ks: tuple[int, ...]) -> Bool[np.ndarray, "t ks"]:
        """Whether the person whom each trial is asked for is among the K nearest."""
        match = np.logical_or.accumulate(self.nearest == wanted[:, None], axis=1)
        return match[:, [k - 1 for k in ks]]

    def chance(self, k: int) -> Float[np.ndarray, " t"]:
        """K / identities, 1 at most."""
        return chance(self.identities, np.ones(len(self.identities), np.int64), k)

    def permuted(
        self, ks: tuple[int, ...], *, permutations: int, seed: int
    ) -> tuple[Float[np.ndarray, "p ks"], Float[np.ndarray, "p ks"]]:
        """Mean excess over chance after each permutation of the gallery's people, of all trials and of the moved ones.

        As ``control.permute``, with one template an identity; whole people change places with people of as many images.
        Whose images are all spent on their own probe in a draw can be found by nobody: no trial, as it is none at home.
        """
        everybody, moved_only = (np.full((permutations, len(ks)), np.nan) for _ in range(2))
        blind = np.stack([self.chance(k) for k in ks], axis=1)
        place = np.flatnonzero(self.shown)
        goal = np.arange(len(self.shown))
        for p, shuffled in enumerate(shuffles(self.shown[place], permutations=permutations, seed=seed)):
            goal[place] = place[shuffled]
            wanted = goal[self.person]
            left, moved = self.there[self.draw, wanted], wanted != self.person
            excess = self.hits(wanted, ks) - blind
            for rows, trials in ((everybody, left), (moved_only, left & moved)):
                if trials.any():
                    rows[p] = excess[trials].mean(axis=0)
        return everybody, moved_only


@dataclass(frozen=True)
class Sides:
    """Probes and gallery with their people (labels, ascending); ``apart``: no photo may be on both sides."""

    people: np.ndarray
    probe: Side
    gallery: Side
    owner: np.ndarray
    apart: bool

    @classmethod
    def of(
        cls,
        query_emb: np.ndarray,
        query_labels: np.ndarray,
        query_photo: np.ndarray | None,
        gallery_emb: np.ndarray,
        gallery_labels: np.ndarray,
        gallery_photo: np.ndarray | None,
    ) -> "Sides":
        """Checked sides: without photos on either, every image is a photo of its own and none is kept apart."""
        apart = query_photo is not None and gallery_photo is not None
        if not apart and (query_photo is not None or gallery_photo is not None):
            raise DataError("photos of one side only", needed="the photo behind every image of both sides, or of none")
        every = len(query_labels) + len(gallery_labels)
        photos = np.concatenate([query_photo, gallery_photo]) if apart else np.arange(every)
        people, person = np.unique(np.concatenate([query_labels, gallery_labels]), return_inverse=True)
        known, photo = np.unique(photos, return_inverse=True)
        owner = np.empty(len(known), np.int64)
        owner[photo] = person
        if (owner[photo] != person).any():
            raise DataError("a photo shows two people", got=f"{int((owner[photo] != person).sum())} images")
        split = len(query_labels)
        rows = unit_rows(query_emb, "probes"), unit_rows(gallery_emb, "gallery")
        sides = Side(rows[0], person[:split], photo[:split]), Side(rows[1], person[split:], photo[split:])
        return cls(people, *sides, owner, apart)

    def searches(self, sizes: tuple[Size, ...], k: int, draws: int, seed: int, product: Product) -> list[Search]:
        """The search by each size, over all draws of images."""
        found: list[list[tuple[np.ndarray, ...]]] = [[] for _ in sizes]
        place = self.places(np.random.default_rng([seed, _PLACES]))
        for draw in range(draws):
            order = _Order.of(self, place, np.random.default_rng([seed, _DRAWS, draw]))
            for size, parts in zip(sizes, found, strict=True):
                if draw == 0 or self.apart or size != (None, None):  # otherwise every draw takes all images
                    parts.append(self._search(order, size, k, product))
        shown = np.bincount(self.gallery.person, minlength=len(self.people))
        searches = []
        for parts in found:
            which = np.repeat(np.arange(len(parts)), [len(person) for person, *_ in parts])
            person, nearest, images, identities, left = (np.concatenate(part) for part in zip(*parts, strict=True))
            searches.append(Search(person, nearest, images, identities, shown, left, which))
        return searches

    def places(self, random: np.random.Generator) -> Int[np.ndarray, " photos"]:
        """The place of each photo among its person's, in random order."""
        return ranks(random.random(len(self.owner)), self.owner)

    def _search(self, order: "_Order", size: Size, k: int, product: Product) -> tuple[np.ndarray, ...]:
        taken = _first(order.probe, self.probe.person, order.spendable, size[0])
        used = np.zeros(len(self.owner), np.bool_)
        used[self.probe.photo[taken]] = self.apart
        asking, probes, spent = self.probe.templates(taken)
        left = ~used[self.gallery.photo]
        there, gallery, shown = self.gallery.templates(_first(order.gallery, self.gallery.person, left, size[1]))
        mated = np.isin(asking, there)
        if not mated.any():
            got = f"{len(asking)} people to ask with, {len(there)} to find"
            raise DataError("no person on both sides", got=got, needed="people with another photo in the gallery")
        found, _ = topk(probes[mated], gallery, k, product=product)
        nearest = np.where(found >= 0, there[found], -1)
        person = asking[mated]
        images = np.stack([spent[mated], shown[np.searchsorted(there, person)]], axis=1)
        present = np.isin(np.arange(len(self.people)), there)[None]
        return person, nearest, images, np.full(len(person), len(there)), present


@dataclass(frozen=True)
class _Order:
    """One draw: images of either side by person, in random order, those of one photo together among the probes.

    The places of the photos that probes take are drawn once for everybody. Sent to somebody else, a probe then meets
    the same splits as at home; splits of their own would give it more of them, and the permutations less spread than
    the attack has: 8 to 10 % of releases without leak were accused.
    """

    probe: np.ndarray
    gallery: np.ndarray
    spendable: np.ndarray

    @classmethod
    def of(cls, sides: Sides, place: Int[np.ndarray, " photos"], random: np.random.Generator) -> "_Order":
        photos = np.bincount(sides.owner)
        key = random.random(int(photos.max()))[place]
        within, beside = random.random(len(sides.probe.person)), random.random(len(sides.gallery.person))
        half = (ranks(key, sides.owner) < photos[sides.owner] // 2) | (not sides.apart)
        return cls(
            np.lexsort((within, key[sides.probe.photo], sides.probe.person)),
            np.lexsort((beside, sides.gallery.person)),
            half[sides.probe.photo],
        )


def _first(order: np.ndarray, person: np.ndarray, allowed: np.ndarray, images: int | None) -> np.ndarray:
    """The first so many allowed images of each person, in that order (by person)."""
    kept = order[allowed[order]]
    if images is None:
        return kept
    place = np.arange(len(kept)) - np.searchsorted(person[kept], person[kept], side="left")
    return kept[place < images]
