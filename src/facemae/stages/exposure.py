"""Which released records leak most, and what masking them again or leaving them out has bought."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int64

from facemae.measure import PeopleTally, paired_difference, topk
from facemae.measure.control import ranks

CHOSE, APART = "chose", "no part in the choice"
"""Whether a judge or a photo had a part in choosing the records."""

_BLOCK, _HALF = 512, 0x6A7E


@dataclass(frozen=True)
class Seen:
    """Originals and released records through the eyes of one judge: unit rows; ``photo``: the original behind each."""

    photos: Float[np.ndarray, "n d"]
    released: Float[np.ndarray, "m d"]
    photo: Int64[np.ndarray, " m"]
    labels: Int64[np.ndarray, " n"]

    @property
    def person(self) -> Int64[np.ndarray, " m"]:
        """Whom each record shows."""
        return self.labels[self.photo]


def choosing_photos(labels: Int64[np.ndarray, " n"], seed: int) -> Bool[np.ndarray, " n"]:
    """Half of the photos of everybody (rounded down), drawn by ``seed``: those that may choose records."""
    place = ranks(np.random.default_rng([seed, _HALF]).random(len(labels)), labels)
    return place < np.bincount(labels)[labels] // 2


def exposure(seen: Seen, asking: Bool[np.ndarray, " n"], *, own_photo: bool) -> Float[np.ndarray, " m"]:
    """e(r) = max over photos p of r's person of ⟨p, r⟩ − max ⟨p, r'⟩ over records r' of other people.

    Above 0 where some photo finds r before everybody else. Photos ``asking`` only, and of these the other ones of the
    person, or, with ``own_photo``, the very one behind r; −inf where there is none.
    """
    exposed = np.full(len(seen.released), -np.inf)
    for rows in np.split(np.flatnonzero(asking), range(_BLOCK, int(asking.sum()), _BLOCK)):
        scores = seen.photos[rows] @ seen.released.T
        mates = seen.labels[rows, None] == seen.person
        others = np.where(mates, -np.inf, scores).max(axis=1, initial=-1.0)
        same = rows[:, None] == seen.photo
        asked = mates & (same if own_photo else ~same)
        exposed = np.maximum(exposed, np.where(asked, scores - others[:, None], -np.inf).max(axis=0, initial=-np.inf))
    return exposed


def most_exposed(exposed: Float[np.ndarray, " m"], share: float) -> Int64[np.ndarray, " w"]:
    """The ⌈share · m⌉ records of the largest exposure, ascending; ties to the lower number; never one that is −inf."""
    wanted = int(np.ceil(share * len(exposed) - 1e-9))
    order = np.argsort(-exposed, kind="stable")[:wanted]
    return np.sort(order[np.isfinite(exposed[order])])


def found_first(seen: Seen, *, own_photo: bool) -> tuple[Bool[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Of every photo: whether its nearest record shows its person, and whether there is such a record to find."""
    own = _own_records(seen)
    banned = np.full_like(own, -1) if own_photo else own
    nearest, _ = topk(seen.photos, seen.released, 1, exclude=banned)
    hit = (nearest[:, 0] >= 0) & (seen.person[nearest[:, 0]] == seen.labels)
    mates = np.bincount(seen.person, minlength=int(seen.labels.max()) + 1)[seen.labels]
    return hit, mates > (banned >= 0).sum(axis=1)


def bought(
    before: Mapping[str, Seen],
    after: Mapping[str, Seen],
    *,
    chooser: str,
    chose: Bool[np.ndarray, " n"],
    own_photo: bool,
    seed: int,
    replicates: int,
) -> list[dict[str, Any]]:
    """Rates of photos whose nearest record shows their person, before and after, with the paired difference.

    The same photos on both sides: those with something to find before; who has nothing left to find is not found. One
    row for every judge and for the photos that chose and those that did not, so that nobody takes the gain in the eyes
    that chose for the gain. Interval: bootstrap over people.
    """
    rows = []
    for judge, seen in before.items():
        hits, mated = found_first(seen, own_photo=own_photo)
        hits_after, _ = found_first(after[judge], own_photo=own_photo)
        for photos, half in ((APART, ~chose), (CHOSE, chose)):
            asked = mated & half
            if asked.any():
                columns = np.stack([hits[asked], hits_after[asked]], axis=1)
                told = _compared(seen.labels[asked], columns, seed, replicates)
                part = CHOSE if judge == chooser else APART
                rows.append({"embedder": judge, "embedder_had": part, "photos_had": photos} | told)
    return rows


def _compared(labels: np.ndarray, hits: np.ndarray, seed: int, replicates: int) -> dict[str, Any]:
    tally = PeopleTally.of(labels, hits)
    draws = tally.replicates(replicates=replicates, seed=seed)
    rates = tally.rates(draws)
    values = np.array([rate.value for rate in rates])
    found = paired_difference(values[1:], values[:1], draws[None, :, 1], draws[None, :, 0], people=len(tally.trials))
    named = {key: getattr(found, key) for key in ("value", "low", "high", "method")}
    return {"before": rates[0].to_dict(), "after": rates[1].to_dict(), "difference": named}


def _own_records(seen: Seen) -> np.ndarray:
    """Records made from each photo, padded with −1."""
    order = np.argsort(seen.photo, kind="stable")
    first, last = (
        np.searchsorted(seen.photo[order], np.arange(len(seen.labels)), side=side) for side in ("left", "right")
    )
    place = first[:, None] + np.arange(max(1, int((last - first).max(initial=0))))
    return np.where(place < last[:, None], order[np.minimum(place, len(order) - 1)], -1)
