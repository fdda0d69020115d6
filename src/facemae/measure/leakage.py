"""Leakage of identities by retrieval (paper section 3.4, eq. 3): closed set, its chance and its control."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from facemae.errors import DataError
from facemae.measure.control import (
    FAMILY_WISE,
    Control,
    Trials,
    chance,
    control_of,
    max_statistic,
    permute,
    told_from_chance,
)
from facemae.measure.intervals import PeopleTally
from facemae.measure.mated import Attack, Divide, mated_attack, undivided
from facemae.measure.rates import Rate
from facemae.measure.retrieval import FLOAT32, Exclude, Product, count_ahead

FEWEST_DRAWS = 20
_ROWS, _WINDOW = 512, 1 << 14
_DRAWS, _HALVES = 0xD4A3, 0x4A1F


@dataclass(frozen=True)
class HalfRate:
    """The rate of the probes of one half of the people, and their chance."""

    rate: Rate
    chance: float

    def to_dict(self) -> dict[str, Any]:
        """The rate's keys and ``chance``."""
        return self.rate.to_dict() | {"chance": self.chance}


@dataclass(frozen=True)
class LeakageAtK:
    """Leakage at one K, beside its chance and control; ``p_value`` is adjusted for all K of the attack.

    ``halves``: the same for the first and the second half of the people, so that whoever picks the worst of several
    attacks on one half can report it on the other. Empty where no halves were asked for, or one has no trial.
    """

    k: int
    identities: int
    rate: Rate
    chance: float
    control: Control
    p_value: float
    halves: tuple[HalfRate, ...] = ()

    @property
    def excess(self) -> float:
        """What the attack finds beyond blind guessing: the statistic of the test."""
        return self.rate.value - self.chance

    @property
    def distinguishable(self) -> bool:
        """Whether the attack beats permuted identities at 5 %, family-wise over the attack's K."""
        return self.p_value <= FAMILY_WISE

    @property
    def verdict(self) -> str:
        """The finding in words, with the upper bound where the attack is not told from chance."""
        most, blind = f"{self.rate.high:.2%}", f"{self.chance:.2%}"
        return told_from_chance(self.distinguishable, f"this attack finds at most {most} (chance {blind})")

    def to_dict(self) -> dict[str, Any]:
        """Keys ``k identities``, the rate's, ``chance control control_low control_high p_value verdict halves``."""
        found = {"p_value": self.p_value, "verdict": self.verdict, "halves": [half.to_dict() for half in self.halves]}
        head: dict[str, Any] = {"k": self.k, "identities": self.identities}
        return head | self.rate.to_dict() | {"chance": self.chance} | self.control.to_dict() | found


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

    ``permuted`` (excess over chance) and ``replicates``, one column for each K, let a caller take the maximum over
    several attacks and compare rows in pairs: with the same probe people and seed they are matched row by row.
    ``second`` are the replicates of the second half of the people, without rows where there are no halves. ``parts``:
    the same attack by some of the probes only, without a curve.
    """

    at: tuple[LeakageAtK, ...]
    curve: tuple[CurvePoint, ...]
    probes: int
    unmated: int
    permuted: Float[np.ndarray, "permutations ks"] = field(repr=False, compare=False)
    replicates: Float[np.ndarray, "r ks"] = field(repr=False, compare=False)
    second: Float[np.ndarray, "s ks"] = field(repr=False, compare=False)
    parts: dict[str, "Leakage"] = field(default_factory=dict)

    @property
    def observed(self) -> Float[np.ndarray, " ks"]:
        """The statistics that belong to ``permuted``, as ``family_wise`` takes them."""
        return np.array([point.excess for point in self.at])

    def to_dict(self) -> dict[str, Any]:
        """Keys ``at curve probes unmated``."""
        parts = {"at": [point.to_dict() for point in self.at], "curve": [point.to_dict() for point in self.curve]}
        return parts | {"probes": self.probes, "unmated": self.unmated}


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
    behind: Int[np.ndarray, " g"] | None = None,
    first: Bool[np.ndarray, " q"] | None = None,
    parts: Mapping[str, Bool[np.ndarray, " q"]] | None = None,
    seed: int,
    replicates: int = 1000,
    permutations: int = 999,
    level: float = 0.95,
    divide: Divide = undivided,
    product: Product = FLOAT32,
) -> Leakage:
    """R(A, S, K) = 1/|A| Σ_i [z_i ∈ T(a_i, S, K)]: probes whose K nearest gallery images hold one of their own person.

    All members' photos are probes; cosine of unit rows, ties to the lower gallery index. ``exclude`` names gallery
    images a probe may not find (its own photo, as in ``topk``). Probes without an eligible image of their person can
    never hit, have chance 0, and are counted in ``unmated`` instead of among the trials. ``behind``: of how many photos
    each gallery row is the mean, where they are means.

    Interval: bootstrap over probe people with the gallery fixed. Chance: the mean of 1 − C(N−n_i, K) / C(N, K) over
    probes, N eligible images and n_i of the person. Control: identities permuted as whole groups among people with
    (nearly) as many photos behind their images, as many images left out as at home; the verdict by the maximum over K
    of the standardised excess over chance under these permutations. ``identities`` asks for the curve over M people:
    probes and gallery cut to the first M of a random order of the gallery's people, nested in M, the mean of at least
    20 such draws with the 2.5 to 97.5 % band.

    ``first`` marks the probes of the first half of the people (``first_half``); each K then carries the rate of either
    half. ``parts`` names groups of probes that are also measured alone, against the same gallery; one without a mated
    probe is left out. ``divide`` may spread the search over several processes, ``product`` nominates what it
    finds; the result depends on neither.

    Raises ``DataError`` without a K or a mated probe, where more identities are asked for than the gallery has, for
    fewer than 20 draws, and for an excluded image that carries another person's label. Source: paper, eq. 3.
    """
    if not ks:
        raise DataError("nothing to measure", got="no K", needed="at least one number of nearest images, K ≥ 1")
    attack = mated_attack(query_emb, query_labels, gallery_emb, gallery_labels, exclude, behind)
    found, _ = attack.nearest(max(ks), divide, product)
    search = _Search(attack.trials(found), attack.rows, query_labels, first, ks, seed, replicates, permutations, level)
    whole = search.by(np.ones(len(query_labels), np.bool_))
    assert whole is not None, "an attack has a mated probe"
    named = {name: search.by(asked) for name, asked in (parts or {}).items()}
    curve = _curve(attack, ks, identities, draws=draws, seed=seed, divide=divide) if identities else ()
    return replace(whole, curve=curve, parts={name: part for name, part in named.items() if part is not None})


def first_half(people: int, seed: int) -> Bool[np.ndarray, " people"]:
    """A random half of the people 0 … n-1 (the smaller one of an odd number): worst cases are chosen on it."""
    return np.random.default_rng([seed, _HALVES]).permutation(people) < people // 2


@dataclass(frozen=True)
class _Search:
    """What the mated queries (``rows`` among all) found, to be measured for all of them or for some."""

    trials: Trials
    rows: np.ndarray
    labels: np.ndarray
    first: np.ndarray | None
    ks: tuple[int, ...]
    seed: int
    replicates: int
    permutations: int
    level: float

    def by(self, asked: np.ndarray) -> Leakage | None:
        """Leakage of the queries ``asked`` (a mask over all of them); None where none of them is mated."""
        kept = asked[self.rows]
        if not kept.any():
            return None
        trials = self.trials.only(kept)
        rates, expected, resampled = self._rates(asked)
        everybody, moved = permute(trials, self.ks, permutations=self.permutations, seed=self.seed)
        excess = np.array([rate.value for rate in rates]) - expected
        p_values = max_statistic(excess, everybody)
        halves, second = self._halves(asked)
        at = tuple(
            LeakageAtK(
                k=k,
                identities=len(trials.images),
                rate=rates[i],
                chance=float(expected[i]),
                control=control_of(moved[:, i], float(expected[i])),
                p_value=float(p_values[i]),
                halves=tuple(half[i] for half in halves),
            )
            for i, k in enumerate(self.ks)
        )
        probes = int(asked.sum())
        return Leakage(at, (), probes, probes - int(kept.sum()), everybody, resampled, second)

    def _halves(self, asked: np.ndarray) -> tuple[list[list[HalfRate]], np.ndarray]:
        """Both halves, each by K, and the replicates of the second."""
        sides = [] if self.first is None else [asked & self.first, asked & ~self.first]
        if not sides or not all(side[self.rows].any() for side in sides):
            return [], np.empty((0, len(self.ks)))
        measured = [self._rates(side) for side in sides]
        halves = [
            [HalfRate(rate, float(blind)) for rate, blind in zip(rates, expected, strict=True)]
            for rates, expected, _ in measured
        ]
        return halves, measured[1][2]

    def _rates(self, asked: np.ndarray) -> tuple[tuple[Rate, ...], np.ndarray, np.ndarray]:
        """Rate and chance at each K of the queries ``asked``, and the replicates under the bootstrap over people."""
        kept = asked[self.rows]
        trials = self.trials.only(kept)
        # People without a trial are drawn as well: all attacks by the same people are resampled alike.
        people = np.unique(self.labels[asked])
        tally = PeopleTally.of(self.labels[self.rows[kept]], trials.hits(trials.person, self.ks), people=people)
        resampled = tally.replicates(replicates=self.replicates, seed=self.seed)
        expected = np.array([trials.chance(k).mean() for k in self.ks])
        return tally.rates(resampled, level=self.level), expected, resampled


def _curve(
    attack: Attack, ks: tuple[int, ...], sizes: tuple[int, ...], *, draws: int, seed: int, divide: Divide
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
    for rows, ahead in _ahead(attack, members, divide):
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


def _ahead(attack: Attack, members: np.ndarray, divide: Divide) -> Iterator[tuple[slice, np.ndarray]]:
    """`count_ahead` in blocks of probes that no division changes: sums over them are added up in the same order."""
    probes = len(attack.probes)
    for top in range(0, probes, _WINDOW):
        window = slice(top, min(top + _WINDOW, probes))
        (counts,) = divide(partial(_counts, attack, members, window), window.stop - window.start)
        for start in range(0, len(counts), _ROWS):
            block = counts[start : start + _ROWS]
            yield slice(top + start, top + start + len(block)), block


def _counts(attack: Attack, members: np.ndarray, window: slice, rows: slice) -> tuple[np.ndarray]:
    own = slice(window.start + rows.start, window.start + rows.stop)
    counted = count_ahead(attack.probes[own], attack.gallery, attack.mate[own], members, exclude=attack.banned[own])
    return (np.concatenate([np.empty((0, members.shape[1]), np.int64), *(counts for _, counts in counted)]),)


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
