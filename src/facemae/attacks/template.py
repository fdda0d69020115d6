"""All images of one person together: on both sides, which released labels invite, or on the attacker's own alone."""

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int64

from facemae.attacks.attacker import Attacker, Fitted, Owned, Released, View, unit_rows
from facemae.attacks.retrieval import Retrieval
from facemae.faces.faceset import FaceSet
from facemae.faces.masks import record_seeds, seed_bytes
from facemae.faces.record import key_of

Group = Literal["labels", "people", "none"]


@dataclass(frozen=True)
class Template:
    """t = Σ v_i / ‖Σ v_i‖ over the images of one group, v_i the unit vectors of any other attacker.

    ``images``: how many of each person at most, None for all. ``group`` "labels" puts together what carries one
    released number (the intersection attack), "people" what truly shows one person: an upper end for releases whose
    numbers are wrong; "none" leaves the released images single, as whoever meets a release without numbers has to.
    ``same_photo`` "exclude" builds the two sides of a person from different photos (every second one, by a keyed
    order), "include" from all of them.
    """

    inner: Attacker = field(default_factory=Retrieval)
    images: int | None = None
    group: Group = "labels"
    same_photo: Literal["exclude", "include"] = "exclude"

    @property
    def name(self) -> str:
        """The inner attacker's, as a template."""
        count = "all images" if self.images is None else f"{self.images} image{'s' if self.images > 1 else ''}"
        return f"template of {self.inner.name} ({count}{', no numbers' if self.group == 'none' else ''})"

    @property
    def says(self) -> str:
        """Who attacks, what they own, what success means."""
        if self.group == "none":
            return (
                f"As {self.inner.name}, but with all their photos of a person taken together, against single released "
                "images, as if the release had no numbers; success is an image of that person among the nearest."
            )
        by = "released number" if self.group == "labels" else "person"
        return (
            f"As {self.inner.name}, but with all their photos of a person taken together, against all released images "
            f"of one {by} taken together; success is that person's group among the nearest."
        )

    def fit(self, owned: Owned) -> Fitted:
        """Whatever the inner attacker learns."""
        return self.over(self.inner.fit(owned), seed=owned.seed)

    def over(self, inner: Fitted, *, seed: int) -> Fitted:
        """The same over an inner attacker who has learned already."""
        told = inner.ask, inner.find, inner.chosen, inner.tried
        return _Pooled(*told, inner=inner, how=self, seed=seed)


@dataclass(frozen=True)
class _Pooled(Fitted):
    inner: Fitted = field(kw_only=True)
    how: Template = field(kw_only=True)
    seed: int = field(kw_only=True)

    def probes(self, photos: FaceSet) -> View:
        """One row a person."""
        view = self.inner.probes(photos)
        return pool(view, self._among(photos, view.photo, side=0))

    def gallery(self, released: Released) -> View:
        """One row a group; a group of several people counts as the one it shows most. Single rows without groups."""
        view = self.inner.gallery(released)
        if self.how.group == "none":
            among = self._among(released.original, view.photo, side=1)
            return View(*(part[among] for part in (view.vectors, view.person, view.photo, view.group)))
        if self.how.group == "people":
            view = replace(view, group=view.person)
        return pool(view, self._among(released.original, view.photo, side=1))

    def _among(self, original: FaceSet, photo: np.ndarray, *, side: int) -> Bool[np.ndarray, " n"]:
        """Rows of this side: places 0, 2, 4, … of a person's photos are for probes, 1, 3, 5, … for the gallery."""
        place = _places(original.identities, self.seed)[photo]
        apart = self.how.same_photo == "exclude"
        mine = place % 2 == side if apart else np.ones(len(place), bool)
        number = place // 2 if apart else place
        return mine if self.how.images is None else mine & (number < self.how.images)


def pool(view: View, among: Bool[np.ndarray, " n"]) -> View:
    """One unit row for each group that has a row ``among`` the chosen; its person is the one most rows show."""
    groups, of = np.unique(view.group[among], return_inverse=True)
    total = np.zeros((len(groups), view.vectors.shape[1]))
    np.add.at(total, of, view.vectors[among])
    shown, behind = _most(view.person[among], of, len(groups)), np.bincount(of, minlength=len(groups))
    return View(unit_rows(total), shown, np.full(len(groups), -1), groups, behind)


def _most(person: Int64[np.ndarray, " n"], of: Int64[np.ndarray, " n"], groups: int) -> Int64[np.ndarray, " groups"]:
    """The most frequent person of every group; the lowest number among equals."""
    pairs, counts = np.unique(np.stack([of, person]), axis=1, return_counts=True)
    order = np.lexsort((pairs[1], -counts, pairs[0]))
    first = np.searchsorted(pairs[0][order], np.arange(groups))
    return pairs[1][order][first]


def _places(identities: np.ndarray, seed: int) -> Int64[np.ndarray, " n"]:
    """Place of every photo in a keyed order of its person's photos."""
    keys = [key_of(i) for i in range(len(identities))]
    noise = record_seeds(seed_bytes(seed), "attack:template", keys)
    order = np.lexsort((noise, identities))
    place = np.empty(len(identities), np.int64)
    ordered = identities[order]
    place[order] = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    return place
