"""Unlinkability D_sys: how far scores tell whether two protected images (or a photo and an image) are of one person."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Real

from facemae.errors import DataError
from facemae.measure.control import FAMILY_WISE, Control, max_statistic, told_from_chance
from facemae.measure.intervals import cluster_bootstrap
from facemae.measure.pairs import CELLS, PairScores, cell_score

FEWEST_BINS = 10


@dataclass(frozen=True)
class LinkabilityAt:
    """One bin of scores from ``score`` on: its share of the mated and of the non-mated pairs, and D there."""

    score: float
    mated: float
    nonmated: float
    linkability: float


@dataclass(frozen=True)
class Unlinkability:
    """Global linkability in [0, 1]: 0 is fully unlinkable, 1 fully linkable.

    ``value`` is above 0 even where nothing can be linked, because densities are estimated. How much shows in
    ``control`` (the same for wrong people: mean, central 95 %), and in ``bound``, the 95 % point under permuted
    identities: what is below it is noise.
    """

    value: float
    low: float
    high: float
    control: Control
    bound: float
    p_value: float
    bins: tuple[LinkabilityAt, ...]
    pairs: dict[str, Any]
    method: str
    permuted: Float[np.ndarray, "permutations 1"] = field(repr=False, compare=False)
    replicates: Float[np.ndarray, " r"] = field(repr=False, compare=False)

    @property
    def observed(self) -> Float[np.ndarray, " 1"]:
        """The statistic that belongs to ``permuted``, as ``family_wise`` takes it."""
        return np.array([self.value])

    @property
    def distinguishable(self) -> bool:
        """Whether the value is beyond what wrong people give, at 5 %."""
        return self.p_value <= FAMILY_WISE

    @property
    def verdict(self) -> str:
        """The finding in words, with the upper bound where it is not told from chance."""
        return told_from_chance(self.distinguishable, f"D_sys at most {self.high:.3f} (noise up to {self.bound:.3f})")

    def to_dict(self) -> dict[str, Any]:
        """Keys ``value low high``, the control's, ``bound p_value verdict bins method``, ``people mated nonmated``."""
        head = {"value": self.value, "low": self.low, "high": self.high} | self.control.to_dict()
        found = {"bound": self.bound, "p_value": self.p_value, "verdict": self.verdict, "method": self.method}
        return head | found | {"bins": [vars(one) for one in self.bins]} | self.pairs


def bins_for(people: int) -> int:
    """4 ∛n bins, an even number, 10 at least: it grows with people, for pairs of one person are no independent trials.

    Of two Gaussians one deviation apart 10 bins lose 0.3 % of D_sys, four deviations apart 0.7 %; 20 bins 0 and 0.4 %.
    """
    return max(FEWEST_BINS, 2 * round(2 * people ** (1 / 3)))


def d_sys(mated: Real[np.ndarray, " m"], nonmated: Real[np.ndarray, " n"], *, bins: int) -> float:
    """D_sys = ∫ p(s | mated) D(s) ds, D(s) = 2 LR / (1 + LR) − 1 where LR(s) > 1, else 0.

    LR(s) = p(s | mated) / p(s | non-mated), from scores. Densities by bins of equal mass under the mean of both, so
    that a monotone transform of the scores changes nothing. Any binning can only lower the true value (D_sys is an
    f-divergence), and the noise of few scores can only raise it.
    ω = P(mated) / P(non-mated) is 1. Raises ``DataError`` for scores that are missing or not numbers.
    Source: Gomez-Barrero, Galbally, Rathgeb and Busch 2018, General Framework to Evaluate
    Unlinkability in Biometric Template Protection Systems.
    """
    if not len(mated) or not len(nonmated) or not (np.isfinite(mated).all() and np.isfinite(nonmated).all()):
        got = f"{len(mated)} mated and {len(nonmated)} non-mated scores"
        raise DataError("linkability cannot be estimated", got=got, needed="some of either kind, all finite")
    seen, cell = np.unique(np.concatenate([mated, nonmated]), return_inverse=True)
    counts = [np.bincount(part, minlength=len(seen))[None] for part in (cell[: len(mated)], cell[len(mated) :])]
    return float(_global(*_shares(counts[0], counts[1], bins)[:2])[0])


def unlinkability(
    scores: PairScores, *, bins: int | None = None, seed: int, replicates: int = 1000, level: float = 0.95
) -> Unlinkability:
    """D_sys = ∫ p(s | mated) D(s) ds (``d_sys``) over all pairs of two sets: two releases, or originals and a release.

    ``bins``: of equal mass, refitted wherever counts change; without it ``bins_for`` the people with a mated pair.

    Interval: bootstrap over people, who bring their photos of both sides along. Resampling adds once more the noise
    that is in the value, so the lower end is reflected, 2v − q₉₇.₅; the upper end, q₉₇.₅, keeps that noise, because
    near 0 a reflected one would promise too much. Both are widened to hold the value, and the lower end is 0 wherever
    the permutations do not rule 0 out at this level. Control and p-value: identities permuted as in ``leakage``.
    """
    number = bins_for(scores.mated_people) if bins is None else bins
    mated, nonmated, lowest = _shares(scores.mated.sum(axis=0)[None], scores.nonmated[None], number)
    value = float(_global(mated, nonmated)[0])
    draws = cluster_bootstrap(
        lambda weights: _global(*_shares(*scores.weighted(weights), number)[:2]),
        np.zeros(len(scores.people), np.int64),
        replicates=replicates,
        seed=seed,
        width=4 * CELLS,
    )
    permuted = np.concatenate([_global(*_shares(*counts, number)[:2]) for counts in scores.permuted()])[:, None]
    p_value = float(max_statistic(np.array([value]), permuted)[0])
    known = permuted[~np.isnan(permuted)]  # a permutation may leave nobody with a pair
    low, high = _interval(draws, value, level)
    at = zip(lowest[0].tolist(), mated[0].tolist(), nonmated[0].tolist(), _d(mated, nonmated)[0].tolist(), strict=True)
    return Unlinkability(
        value=value,
        low=low if p_value <= 1 - level else 0.0,
        high=high,
        control=_control(scores, number, value),
        bound=float(np.quantile(known, 0.95)) if len(known) else 1.0,
        p_value=p_value,
        bins=tuple(LinkabilityAt(cell_score(cell), *rest) for cell, *rest in at),
        pairs=scores.counts(),
        method=f"bootstrap over {len(scores.people)} people, lower end reflected, {number} equal bins, {level:.0%}",
        permuted=permuted,
        replicates=draws,
    )


def _shares(mated: np.ndarray, nonmated: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shares of both kinds of pairs in bins of equal mass, and the first cell of each: three times (b, bins)."""
    rows = len(mated)
    with np.errstate(invalid="ignore"):  # nobody with a pair was drawn: undefined, left out by the interval
        parts = [counts / counts.sum(axis=1, keepdims=True) for counts in (mated, nonmated)]
    mass = np.nan_to_num(np.maximum(parts[0], 0) + np.maximum(parts[1], 0))
    # Cells go by the middle of their mass: an edge of a bin never falls within a cell.
    middle = (np.cumsum(mass, axis=1) - mass / 2) / np.maximum(mass.sum(axis=1, keepdims=True), 1e-300)
    group = np.minimum((middle * bins).astype(np.int64), bins - 1)
    flat = (group + bins * np.arange(rows)[:, None]).ravel()
    grouped = [np.bincount(flat, weights=part.ravel(), minlength=rows * bins) for part in parts]
    lowest = np.stack([np.searchsorted(row, np.arange(bins)) for row in group])
    shape = rows, bins
    # Resampled counts of non-mated pairs may be negative where there are hardly any.
    return grouped[0].reshape(shape), np.maximum(grouped[1].reshape(shape), 0), lowest


def _d(mated: np.ndarray, nonmated: np.ndarray) -> np.ndarray:
    """D = (p − q) / (p + q) where p > q, else 0: the same as 2 LR / (1 + LR) − 1, defined where q is 0."""
    with np.errstate(invalid="ignore"):
        return np.where(mated > nonmated, (mated - nonmated) / (mated + nonmated), 0.0 * mated)


def _global(mated: np.ndarray, nonmated: np.ndarray) -> np.ndarray:
    return (mated * _d(mated, nonmated)).sum(axis=1)


def _interval(draws: np.ndarray, value: float, level: float) -> tuple[float, float]:
    defined = draws[~np.isnan(draws)]
    if not len(defined):
        return 0.0, 1.0
    above = float(np.quantile(defined, 0.5 + level / 2))
    return max(0.0, min(2 * value - above, value)), min(1.0, max(above, value))


def _control(scores: PairScores, bins: int, value: float) -> Control:
    """D_sys of those who were moved against the non-mated pairs of the attack."""
    moved = scores.moved[scores.moved.any(axis=1)]
    if not len(moved):  # nobody can be moved: there is no other person with images
        return Control(value, value, value, 0)
    found = _global(*_shares(moved, np.broadcast_to(scores.nonmated, moved.shape), bins)[:2])
    low, high = np.quantile(found, [0.025, 0.975])
    return Control(float(found.mean()), float(low), float(high), len(scores.moved))
