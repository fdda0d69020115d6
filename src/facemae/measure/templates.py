"""Retrieval by templates: several images of a person averaged on either side, nearest identities, not images."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from facemae.errors import DataError
from facemae.measure.averages import Search, Sides, Size
from facemae.measure.control import FAMILY_WISE, Control, control_of, max_statistic, told_from_chance
from facemae.measure.intervals import PeopleTally
from facemae.measure.rates import Rate
from facemae.measure.retrieval import FLOAT32, Product
from facemae.measure.worst import Outcome


@dataclass(frozen=True)
class TemplatePoint:
    """People found among the K nearest identities by templates of so many images (None: all).

    ``probe_mean`` and ``gallery_mean`` are the numbers truly averaged, since not everybody has as many as asked for.
    """

    k: int
    probe_images: int | None
    gallery_images: int | None
    probe_mean: float
    gallery_mean: float
    identities: int
    rate: Rate
    chance: float
    control: Control
    p_value: float
    outcome: Outcome = field(repr=False, compare=False)

    @property
    def distinguishable(self) -> bool:
        """Whether the attack beats permuted identities at 5 %, family-wise over the sizes and K of the attack."""
        return self.p_value <= FAMILY_WISE

    @property
    def verdict(self) -> str:
        """The finding in words, with the upper bound where the attack is not told from chance."""
        most, blind = f"{self.rate.high:.2%}", f"{self.chance:.2%}"
        return told_from_chance(self.distinguishable, f"this attack finds at most {most} (chance {blind})")

    def to_dict(self) -> dict[str, Any]:
        """Keys of the fields, the rate's and the control's among them, and ``verdict``."""
        names = ("k", "probe_images", "gallery_images", "probe_mean", "gallery_mean", "identities")
        head = {name: getattr(self, name) for name in names} | self.rate.to_dict() | {"chance": self.chance}
        return head | self.control.to_dict() | {"p_value": self.p_value, "verdict": self.verdict}


@dataclass(frozen=True)
class Templates:
    """Every size at every K; ``unmated`` people had nothing to ask with or to find, at the first size.

    ``observed`` and ``permuted`` (rate − chance) are what ``family_wise`` takes, ``replicates`` what differences
    between rows are made from; columns in the order of ``at``.
    """

    at: tuple[TemplatePoint, ...]
    people: int
    unmated: int
    observed: Float[np.ndarray, " tests"] = field(repr=False, compare=False)
    permuted: Float[np.ndarray, "permutations tests"] = field(repr=False, compare=False)
    replicates: Float[np.ndarray, "r tests"] = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Keys ``at people unmated``."""
        return {"at": [point.to_dict() for point in self.at], "people": self.people, "unmated": self.unmated}


def template_leakage(
    query_emb: Float[np.ndarray, "q d"],
    query_labels: Int[np.ndarray, " q"],
    gallery_emb: Float[np.ndarray, "g d"],
    gallery_labels: Int[np.ndarray, " g"],
    *,
    query_photo: Int[np.ndarray, " q"] | None = None,
    gallery_photo: Int[np.ndarray, " g"] | None = None,
    sizes: tuple[Size, ...] = ((1, 1), (1, None), (None, None)),
    ks: tuple[int, ...] = (1, 2, 3, 4),
    draws: int = 20,
    seed: int,
    replicates: int = 1000,
    permutations: int = 999,
    level: float = 0.95,
    product: Product = FLOAT32,
) -> Templates:
    """R = share of people i with t_i among the K templates nearest to p_i; p_i, t_i = Σ e / ‖Σ e‖ over their images.

    One probe template a person against one template for each identity of the gallery, whose images the release's person
    numbers hold together. Unit rows; ties to the lower label. Which n images are averaged is drawn ``draws`` times,
    the same for all sizes (a smaller template holds part of a larger one's images), and the rate is the mean.

    ``query_photo`` and ``gallery_photo`` number the original photo behind every image, alike on both sides. With them,
    whatever was made from a photo in any probe template stays out of all gallery templates, and nobody spends more than
    half of their photos on the probe; without them the same photo may be on both sides.

    Interval: bootstrap over people with the gallery fixed. Chance: K / identities. Control and p-values: identities
    permuted among people with (nearly) as many gallery images, maximum over all sizes and K. Raises ``DataError``
    without sizes, K or anybody to find, and for a photo of two people.
    """
    smallest = min((n for size in sizes for n in (*size, *ks) if n is not None), default=0)
    if not sizes or not ks or smallest < 1 or draws < 1:
        raise DataError("no template to compare", got=f"sizes {sizes}, K {ks}, {draws} draws", needed="some, 1 or more")
    sides = Sides.of(query_emb, query_labels, query_photo, gallery_emb, gallery_labels, gallery_photo)
    asked = np.unique(sides.probe.person)
    searches = sides.searches(sizes, max(ks), draws, seed, product)
    points: list[TemplatePoint] = []
    permuted, resampled = [], []
    for size, search in zip(sizes, searches, strict=True):
        tally = PeopleTally.of(search.person, search.hits(search.person, ks), people=asked)
        resampled.append(tally.replicates(replicates=replicates, seed=seed))
        everybody, moved = search.permuted(ks, permutations=permutations, seed=seed)
        permuted.append(everybody)
        rates = tally.rates(resampled[-1], level=level)
        points += [_point(search, sides.people, size, k, rates[i], moved[:, i]) for i, k in enumerate(ks)]
    observed, under = np.array([point.rate.value - point.chance for point in points]), np.concatenate(permuted, axis=1)
    p_values = max_statistic(observed, under).tolist()
    return Templates(
        at=tuple(replace(point, p_value=p) for point, p in zip(points, p_values, strict=True)),
        people=len(asked),
        unmated=len(asked) - len(np.unique(searches[0].person)),
        observed=observed,
        permuted=under,
        replicates=np.concatenate(resampled, axis=1),
    )


def _point(search: Search, people: np.ndarray, size: Size, k: int, rate: Rate, moved: np.ndarray) -> TemplatePoint:
    """One size at one K; its p-value is set when all of them are known."""
    blind = search.chance(k)
    expected = float(blind.mean())
    means = search.images.mean(axis=0).tolist()
    return TemplatePoint(
        k=k,
        probe_images=size[0],
        gallery_images=size[1],
        probe_mean=means[0],
        gallery_mean=means[1],
        identities=int(search.identities.max()),
        rate=replace(rate, method=f"{rate.method}, mean of {search.draws} draws of images"),
        chance=expected,
        control=control_of(moved, expected),
        p_value=1.0,
        outcome=Outcome.of(people[search.person], search.hits(search.person, (k,))[:, 0], blind),
    )
