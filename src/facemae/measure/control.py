"""Blind guessing and the permutation control: what the same attack finds when it looks for the wrong people."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

FEWEST = 5
"""People in a block of the permutations. With 40 people of 3 to 62 images, random vectors were called distinguishable
in 4 % of simulated audits with blocks of 5, in 7.5 % with blocks of 10; fewer leave too little to permute."""

FAMILY_WISE = 0.05
"""A finding is told from chance where its family-wise p-value is at most this."""

_PERMUTATIONS = 0x9E47


@dataclass(frozen=True)
class Control:
    """The attack asked for somebody else with about as many images: mean over permutations and their central 95 %.

    Only probes whose person was moved count, so nothing that the attack truly finds is in it. Where it finds nobody,
    its mean at K = 1 is the chance. It lies below where the right person takes the nearest places, and for larger K,
    because near neighbours are often of one person and K images then name fewer than K people.
    """

    value: float
    low: float
    high: float
    permutations: int

    def to_dict(self) -> dict[str, Any]:
        """Keys ``control control_low control_high``."""
        return {"control": self.value, "control_low": self.low, "control_high": self.high}


@dataclass(frozen=True)
class Trials:
    """One attack's probes as the control needs them: people are gallery identities 0 … M-1, −1 is no image.

    ``place`` is that of each image in ``nearest`` among those of its person, ``spent`` the places of what a probe may
    not find of its own person. ``behind``: photos of each person behind the ``images``, which may be means of several.
    """

    nearest: Int[np.ndarray, "q k"]
    place: Int[np.ndarray, "q k"]
    person: Int[np.ndarray, " q"]
    images: Int[np.ndarray, " people"]
    spent: Int[np.ndarray, "q m"]
    behind: Int[np.ndarray, " people"]

    def hits(self, wanted: Int[np.ndarray, " q"], ks: tuple[int, ...]) -> Bool[np.ndarray, "q ks"]:
        """Whether the K nearest of each probe hold one image that counts of the person it is asked for."""
        match = self.nearest == wanted[:, None]
        for spent in self._spent_at(wanted).T:
            match &= self.place != spent[:, None]
        return np.logical_or.accumulate(match, axis=1)[:, [k - 1 for k in ks]]

    def counting(self, wanted: Int[np.ndarray, " q"]) -> Int[np.ndarray, " q"]:
        """How many images of the person it is asked for count as a hit of each probe."""
        return self.images[wanted] - distinct(self._spent_at(wanted))

    def only(self, kept: Bool[np.ndarray, " q"]) -> "Trials":
        """Some of the probes against the same gallery."""
        parts = {name: getattr(self, name)[kept] for name in ("nearest", "place", "person", "spent")}
        return replace(self, **parts)

    def dispersion(self) -> float:
        """φ = Σ N² / Σ N at K = 1, N calls of one person by another's probes: how many hits come at once.

        It is the same whoever is asked for: 1 where calls are scattered, m where m calls of a person are always of one.
        """
        probe, place = np.nonzero(self.nearest >= 0)
        pairs = np.stack([self.person[probe], self.nearest[probe, place]])
        calls = np.unique(pairs, axis=1, return_counts=True)[1]
        return float((calls**2).sum() / calls.sum()) if len(calls) else 1.0

    def _spent_at(self, wanted: Int[np.ndarray, " q"]) -> Int[np.ndarray, "q m"]:
        # n − 1 images to find at home and n at somebody else's would spread the permutations wider than the attack.
        return np.where(self.spent >= 0, self.spent % self.images[wanted][:, None], -1)

    @property
    def gone(self) -> Int[np.ndarray, " q"]:
        """Images that each probe may not find."""
        return distinct(self.spent)

    @property
    def left(self) -> Int[np.ndarray, " q"]:
        """Images that each probe may find."""
        return int(self.images.sum()) - self.gone

    def chance(self, k: int) -> Float[np.ndarray, " q"]:
        """Chance of each probe's own person; the images it may not find are all of that person."""
        return chance(self.left, self.images[self.person] - self.gone, k)


def chance(images: np.ndarray, own: np.ndarray, k: int) -> np.ndarray:
    """1 − C(N−n, K) / C(N, K): K images drawn blindly from N hold one of the person's n (hypergeometric), n ≤ N.

    With the probe's own photo excluded, N−1 and n−1 go in.
    """
    missed = np.ones(np.broadcast_shapes(np.shape(images), np.shape(own)))
    for drawn in range(k):
        missed = missed * np.maximum(images - own - drawn, 0) / np.maximum(images - drawn, 1)
    return np.where(own > 0, 1 - missed, 0.0)


def distinct(rows: Int[np.ndarray, "q m"]) -> Int[np.ndarray, " q"]:
    """How many different numbers each row holds, −1 aside."""
    ordered = np.sort(rows, axis=1)
    return ((ordered >= 0) & (np.diff(ordered, axis=1, prepend=-1) != 0)).sum(axis=1)


def ranks(key: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """The rank of each row by ``key`` among those of its owner (0 … M-1), from 0."""
    photos, rank = np.bincount(owner), np.empty(len(key), np.int64)
    rank[np.lexsort((key, owner))] = np.arange(len(key)) - np.repeat(np.cumsum(photos) - photos, photos)
    return rank


def blocks(images: Int[np.ndarray, " people"]) -> Int[np.ndarray, " people"]:
    """The block of each person: equal numbers of images together, neighbouring numbers joined to ``FEWEST`` people.

    Identities are exchangeable only among people with as many images: whoever has many is met often by blind guessing,
    so moving identities across unequal people would break "many photos to ask with, many images to find".
    """
    numbers, people = np.unique(images, return_counts=True)
    block, last, filled = np.zeros(len(numbers), np.int64), 0, 0
    for i, count in enumerate(people.tolist()):
        block[i] = last
        filled += count
        if filled >= FEWEST:
            last, filled = last + 1, 0
    if filled and last:  # too few are left over for a block of their own
        block[block == last] = last - 1
    return block[np.searchsorted(numbers, images)]


def shuffles(
    images: Int[np.ndarray, " people"], *, permutations: int, seed: int
) -> Iterator[Int[np.ndarray, " people"]]:
    """For whom each person's probes ask in every permutation: whole people move, within ``blocks``.

    Row r is the same permutation for all attacks on the same numbers of images.
    """
    random = np.random.default_rng([seed, _PERMUTATIONS])
    block = blocks(images)
    places = np.argsort(block, kind="stable")
    for _ in range(permutations):
        goal = np.empty(len(block), np.int64)
        goal[places] = np.lexsort((random.random(len(block)), block))
        yield goal


def permute(
    trials: Trials, ks: tuple[int, ...], *, permutations: int, seed: int
) -> tuple[Float[np.ndarray, "p ks"], Float[np.ndarray, "p ks"]]:
    """Mean excess over chance, hit − chance of the person asked for, after each permutation of the gallery's people.

    The first array is over all probes, for ``max_statistic``; the second over the probes whose person was moved, for
    the control (NaN where none was). Whole people move, within ``blocks`` by the photos behind their images (means of
    many lie closer to everybody); where unequal numbers share a block, the excess takes out what is left of the
    difference in images, not in photos behind one: for means of unequal numbers the test is approximate. As many images
    as a probe may not find at home count for nothing at whoever it is sent to. Row r is the same permutation for every
    attack on the same numbers of photos.
    """
    excluded, gone = np.unique(trials.gone, return_inverse=True)
    left, numbers = int(trials.images.sum()) - excluded[:, None], np.arange(int(trials.images.max()) + 1)
    blind = np.stack([chance(left, numbers[None], k) for k in ks], axis=-1)
    everybody, moved_only = (np.full((permutations, len(ks)), np.nan) for _ in range(2))
    for p, goal in enumerate(shuffles(trials.behind, permutations=permutations, seed=seed)):
        wanted = goal[trials.person]
        moved = wanted != trials.person
        excess = trials.hits(wanted, ks) - blind[gone, trials.counting(wanted)]
        everybody[p] = excess.mean(axis=0)
        if moved.any():
            moved_only[p] = excess[moved].mean(axis=0)
    return everybody, moved_only


def control_of(moved: Float[np.ndarray, " p"], expected: float) -> Control:
    """The control beside an attack whose chance is ``expected``, from its column of ``permute``'s second array."""
    # Rounded, for chance less chance is not always 0 where no permutation finds anybody.
    rates = np.clip(np.round(moved[~np.isnan(moved)] + expected, 12), 0, 1)
    if not len(rates):  # a gallery of one person: there is nobody else to ask for
        return Control(expected, expected, expected, len(moved))
    low, high = np.quantile(rates, [0.025, 0.975])
    mean = float(rates.mean())
    # Where few permutations find anybody the mean may lie beyond the quantiles.
    return Control(mean, min(float(low), mean), max(float(high), mean), len(moved))


def told_from_chance(told: bool, otherwise: str) -> str:
    """The finding in words; what is not told from chance never stands without ``otherwise``, what still fits."""
    return "distinguishable from chance" if told else f"not distinguishable from chance; {otherwise}"


class Statistics(NamedTuple):
    """m statistics less what luck gives, under each permutation too, and what ``max_statistic`` divides by at least.

    ``least``: 1 for statistics that are standardised already (``deviance_residual``), else 0.
    """

    observed: Float[np.ndarray, " m"]
    permuted: Float[np.ndarray, "p m"]
    least: Float[np.ndarray, " m"] | float = 0.0


def max_statistic(
    observed: Float[np.ndarray, " m"],
    permuted: Float[np.ndarray, "p m"],
    least: Float[np.ndarray, " m"] | float = 0.0,
) -> Float[np.ndarray, " m"]:
    """Family-wise p-values of m statistics: (1 + #{permutations: max_j z_j ≥ z_m}) / (1 + permutations).

    z standardises each statistic by its mean and deviation over the permutations and the observed one, which is one of
    them if nothing is there to be found; by no smaller deviation than ``least`` (``Statistics``). The columns may come
    from several attacks as long as the same row is the same permutation. What a permutation leaves undefined (NaN)
    counts as reached. Source: Westfall and Young 1993, single step.
    """
    permuted = np.where(np.isnan(permuted), observed, permuted)
    every = np.concatenate([observed[None], permuted])
    z = (every - every.mean(axis=0)) / np.maximum(every.std(axis=0), np.maximum(least, 1e-12))
    # The slack keeps a permutation that ties with the observed statistic on its side in spite of rounding.
    reached = z[1:].max(axis=1)[:, None] >= z[:1] - 1e-9
    return (1 + reached.sum(axis=0)) / (1 + len(permuted))


def deviance_residual(
    hits: Float[np.ndarray, " n"], expected: float, trials: int, *, dispersion: float = 1.0
) -> Float[np.ndarray, " n"]:
    """sign(x − λ) √(2 [x ln(x / λ) + (n − x) ln((n − x) / (n − λ))] / φ): a rare count on the scale of a normal value.

    x ``hits`` of n ``trials`` (0 ≤ λ < n), λ ``expected`` by luck, φ ``dispersion``: how many hits come at once (1
    where they are independent). A deviation of counts knows no tail: with λ = 0.05, two hits are 9 deviations above the
    mean and happen once in 800, as does a normal value above 3.0; this says 3.3. Source: McCullagh and Nelder 1989,
    § 2.4.
    """
    from scipy.special import rel_entr

    deviance = 2 * (rel_entr(hits, expected) + rel_entr(trials - hits, trials - expected))
    return np.sign(hits - expected) * np.sqrt(np.maximum(deviance, 0) / dispersion)
