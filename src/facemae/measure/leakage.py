"""Leakage of identities by retrieval (paper section 3.4, eq. 3): closed set, its chance and its control."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from facemae.errors import DataError
from facemae.measure.intervals import PeopleTally
from facemae.measure.rates import Rate
from facemae.measure.retrieval import Exclude, best_mates, count_ahead, excluded_rows, topk

FAMILY_WISE = 0.05
FEWEST_DRAWS = 20
_DRAWS, _PERMUTATIONS = 0xD4A3, 0x9E47


@dataclass(frozen=True)
class Control:
    """The same attack on permuted identities: the mean over permutations and their central 95 %.

    At K = 1 its mean is the chance; for larger K it lies below, because near neighbours are often of one person and the
    K images then name fewer than K people.
    """

    value: float
    low: float
    high: float
    permutations: int


@dataclass(frozen=True)
class LeakageAtK:
    """Leakage at one K, beside its chance and control; ``p_value`` is adjusted for all K of the attack."""

    k: int
    identities: int
    rate: Rate
    chance: float
    control: Control
    p_value: float

    @property
    def distinguishable(self) -> bool:
        """Whether the attack beats permuted identities at 5 %, family-wise over the attack's K."""
        return self.p_value <= FAMILY_WISE

    @property
    def verdict(self) -> str:
        """The finding in words, with the upper bound where the attack is not told from chance."""
        if self.distinguishable:
            return "distinguishable from chance"
        return f"not distinguishable from chance; leakage at most {self.rate.high:.2%} (chance {self.chance:.2%})"

    def to_dict(self) -> dict[str, Any]:
        """Keys ``k identities``, the rate's, ``chance control control_low control_high p_value verdict``."""
        control = {"control": self.control.value, "control_low": self.control.low, "control_high": self.control.high}
        found = {"p_value": self.p_value, "verdict": self.verdict}
        head: dict[str, Any] = {"k": self.k, "identities": self.identities}
        return head | self.rate.to_dict() | {"chance": self.chance} | control | found


@dataclass(frozen=True)
class CurvePoint:
    """Mean leakage over nested draws of so many identities; the rate's interval is the band over the draws."""

    k: int
    identities: int
    rate: Rate
    chance: float

    def to_dict(self) -> dict[str, Any]:
        """Keys ``k identities``, the rate's, and ``chance``."""
        head: dict[str, Any] = {"k": self.k, "identities": self.identities}
        return head | self.rate.to_dict() | {"chance": self.chance}


@dataclass(frozen=True)
class Leakage:
    """One attack's leakage; ``unmated`` probes had nothing of their person to find and are no trials.

    ``permuted`` and ``replicates`` (one column for each K) let a caller take the maximum over several attacks and
    compare rows in pairs: with the same probes, gallery identities and seed they are matched row by row.
    """

    at: tuple[LeakageAtK, ...]
    curve: tuple[CurvePoint, ...]
    probes: int
    unmated: int
    permuted: Float[np.ndarray, "permutations ks"] = field(repr=False, compare=False)
    replicates: Float[np.ndarray, "r ks"] = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Keys ``at curve probes unmated``."""
        parts = {"at": [point.to_dict() for point in self.at], "curve": [point.to_dict() for point in self.curve]}
        return parts | {"probes": self.probes, "unmated": self.unmated}


@dataclass(frozen=True)
class Attack:
    """Mated probes against a gallery; labels are indices of the gallery's identities, ascending by label."""

    probes: np.ndarray
    person: np.ndarray
    gallery: np.ndarray
    identity: np.ndarray
    mate: np.ndarray
    banned: np.ndarray
    identities: int

    @property
    def mates(self) -> np.ndarray:
        """Eligible gallery images of each probe's own person."""
        return np.bincount(self.identity, minlength=self.identities)[self.person] - self.gone

    @property
    def gone(self) -> np.ndarray:
        """Gallery images excluded for each probe (all of its own person)."""
        ordered = np.sort(self.banned, axis=1)
        repeated = np.diff(ordered, axis=1, prepend=-1) == 0
        return ((ordered >= 0) & ~repeated).sum(axis=1)


def leakage(
    query_emb: Float[np.ndarray, "q d"],
    query_labels: Int[np.ndarray, " q"],
    gallery_emb: Float[np.ndarray, "g d"],
    gallery_labels: Int[np.ndarray, " g"],
    *,
    ks: tuple[int, ...] = (1, 2, 3, 4),
    identities: tuple[int, ...] | None = None,
    draws: int = FEWEST_DRAWS,
    exclude: Exclude = None,
    seed: int,
    replicates: int = 1000,
    permutations: int = 999,
    level: float = 0.95,
) -> Leakage:
    """R(A, S, K) = 1/|A| Σ_i [z_i ∈ T(a_i, S, K)]: probes whose K nearest gallery images hold one of their own person.

    All members' photos are probes; cosine of unit rows, ties to the lower gallery index. ``exclude`` names gallery
    images a probe may not find (its own photo, as in ``topk``). Probes without an eligible image of their person can
    never hit, have chance 0, and are counted in ``unmated`` instead of among the trials.

    Interval: bootstrap over probe people with the gallery fixed. Chance: the mean of 1 − C(N−n_i, K) / C(N, K) over
    probes, N eligible images and n_i of the person. Control: identities of the gallery permuted as whole groups, the
    verdict by the maximum over K of the standardised rate under these permutations. ``identities`` asks for the curve
    over M people: probes and gallery cut to the first M of a random order of the gallery's people, nested in M, the
    mean of at least 20 such draws with the 2.5 to 97.5 % band over draws.

    Raises ``DataError`` without a mated probe, where more identities are asked for than the gallery has, for fewer
    than 20 draws, and for an excluded image that carries another person's label. Source: paper section 3.4, eq. 3.
    """
    attack = mated_attack(query_emb, query_labels, gallery_emb, gallery_labels, exclude)
    found, _ = topk(attack.probes, attack.gallery, max(ks), exclude=attack.banned)
    nearest = np.where(found >= 0, attack.identity[found], -1)
    hit = np.stack([(nearest[:, :k] == attack.person[:, None]).any(axis=1) for k in ks], axis=1)

    tally = PeopleTally.of(attack.person, hit)
    resampled = tally.replicates(replicates=replicates, seed=seed)
    rates = tally.rates(resampled, level=level)
    permuted = _permuted(nearest, attack, ks, permutations=permutations, seed=seed)
    p_values = max_statistic(np.array([rate.value for rate in rates]), permuted)
    left = len(attack.gallery) - attack.gone
    at = []
    for i, k in enumerate(ks):
        low, high = np.quantile(permuted[:, i], [0.025, 0.975])
        control = Control(float(permuted[:, i].mean()), float(low), float(high), permutations)
        expected = float(chance(left, attack.mates, k).mean())
        at.append(LeakageAtK(k, attack.identities, rates[i], expected, control, float(p_values[i])))
    curve = _curve(attack, ks, identities, draws=draws, seed=seed) if identities else ()
    return Leakage(tuple(at), curve, len(query_labels), len(query_labels) - len(hit), permuted, resampled)


def chance(images: np.ndarray, own: np.ndarray, k: int) -> np.ndarray:
    """1 − C(N−n, K) / C(N, K): K images drawn blindly from N hold one of the person's n (hypergeometric), n ≤ N.

    With the probe's own photo excluded, N−1 and n−1 go in.
    """
    missed = np.ones(np.broadcast_shapes(np.shape(images), np.shape(own)))
    for drawn in range(k):
        missed = missed * np.maximum(images - own - drawn, 0) / np.maximum(images - drawn, 1)
    return np.where(own > 0, 1 - missed, 0.0)


def max_statistic(observed: Float[np.ndarray, " m"], permuted: Float[np.ndarray, "p m"]) -> Float[np.ndarray, " m"]:
    """Family-wise p-values of m rates: (1 + #{permutations: max_j z_j ≥ z_m}) / (1 + permutations).

    z standardises each rate by its mean and deviation under the permutations. The columns may come from several attacks
    as long as the same row is the same permutation. Source: Westfall and Young 1993, single step.
    """
    mean, deviation = permuted.mean(axis=0), permuted.std(axis=0)
    scale = np.maximum(deviation, 1e-12)
    largest = ((permuted - mean) / scale).max(axis=1)
    # The slack keeps a permutation that ties with the observed rate on its side in spite of rounding.
    reached = largest[:, None] >= ((observed - mean) / scale)[None] - 1e-9
    return (1 + reached.sum(axis=0)) / (1 + len(permuted))


def mated_attack(
    query_emb: np.ndarray,
    query_labels: np.ndarray,
    gallery_emb: np.ndarray,
    gallery_labels: np.ndarray,
    exclude: Exclude,
) -> Attack:
    banned = excluded_rows(exclude, len(query_labels), len(gallery_labels))
    row, place = np.nonzero(banned >= 0)
    if (gallery_labels[banned[row, place]] != query_labels[row]).any():
        raise DataError("an excluded image carries another person's label", remedy="exclude only a probe's own photo")
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
        probes=query_emb[mated],
        person=np.searchsorted(people, query_labels[mated]),
        gallery=gallery_emb,
        identity=identity,
        mate=mate[mated],
        banned=banned[mated],
        identities=len(people),
    )


def _permuted(
    nearest: np.ndarray, attack: Attack, ks: tuple[int, ...], *, permutations: int, seed: int
) -> Float[np.ndarray, "p ks"]:
    """Rate at each K after each permutation of the gallery's identities (whole groups, the identity map included)."""
    random = np.random.default_rng([seed, _PERMUTATIONS])
    rates = np.empty((permutations, len(ks)))
    for p in range(permutations):
        wanted = random.permutation(attack.identities)[attack.person]
        match = np.logical_or.accumulate(nearest == wanted[:, None], axis=1)
        rates[p] = match[:, [k - 1 for k in ks]].mean(axis=0)
    return rates


def _curve(
    attack: Attack, ks: tuple[int, ...], sizes: tuple[int, ...], *, draws: int, seed: int
) -> tuple[CurvePoint, ...]:
    """Leakage over the number of identities: a probe hits at K when fewer than K images precede its best mate."""
    if draws < FEWEST_DRAWS:
        raise DataError("too few nested draws for a curve", got=draws, needed=f"at least {FEWEST_DRAWS}")
    if not 1 <= min(sizes) <= max(sizes) <= attack.identities:
        raise DataError("identities of the curve", got=sizes, needed=f"numbers from 1 to {attack.identities}")
    random = np.random.default_rng([seed, _DRAWS])
    position = np.stack([random.permutation(attack.identities) for _ in range(draws)])
    within = position[:, None, :] < np.array(sizes)[None, :, None]
    cells = within.reshape(draws * len(sizes), attack.identities)
    members = np.ascontiguousarray(cells.T)[attack.identity]
    images = members.sum(axis=0)
    trials, hits = np.zeros(len(cells)), np.zeros((len(ks), len(cells)))
    expected = np.zeros((len(ks), len(cells)))
    gone, mates = attack.gone, attack.mates
    for rows, ahead in count_ahead(attack.probes, attack.gallery, attack.mate, members, exclude=attack.banned):
        active = cells.T[attack.person[rows]]
        trials += active.sum(axis=0)
        for i, k in enumerate(ks):
            hits[i] += (active & (ahead < k)).sum(axis=0)
            blind = chance(images[None] - gone[rows, None], mates[rows, None], k)
            expected[i] += np.where(active, blind, 0).sum(axis=0)
    shape = (draws, len(sizes))
    return tuple(
        _curve_point(k, size, *(sums.reshape(shape)[:, j] for sums in (hits[i], trials, expected[i])))
        for i, k in enumerate(ks)
        for j, size in enumerate(sizes)
    )


def _curve_point(k: int, size: int, hits: np.ndarray, trials: np.ndarray, expected: np.ndarray) -> CurvePoint:
    probed = trials > 0
    if not probed.any():
        raise DataError(
            "no draw of the curve holds a probe", got=f"{size} identities", remedy="ask for more identities"
        )
    rates = hits[probed] / trials[probed]
    value = float(rates.mean())
    low, high = (float(edge) for edge in np.quantile(rates, [0.025, 0.975]))
    method = f"mean of {int(probed.sum())} nested draws, 2.5 to 97.5 % band over draws"
    rate = Rate(value, min(low, value), max(high, value), int(hits.sum()), int(trials.sum()), method)
    return CurvePoint(k, size, rate, float((expected[probed] / trials[probed]).mean()))
