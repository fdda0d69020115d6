"""Linking by verification: are a photo and a released image of one person? TAR at FAR, and the equal error rate."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from facemae.measure.control import FAMILY_WISE, Control, control_of, max_statistic, told_from_chance
from facemae.measure.intervals import cluster_bootstrap, rate_from_replicates
from facemae.measure.pairs import CELLS, PairScores, cell_score
from facemae.measure.rates import Rate, measurable, smallest_measurable
from facemae.measure.worst import Outcome

_ROUNDING = 1e-12


@dataclass(frozen=True)
class LinkAtFar:
    """Mated pairs accepted at a target share of accepted non-mated ones; ``rate`` is None where not measurable.

    The chance is ``far``, the share of non-mated pairs truly accepted (score of ``threshold`` or more).
    """

    target: float
    rate: Rate | None
    far: float | None = None
    threshold: float | None = None
    control: Control | None = None
    p_value: float | None = None
    outcome: Outcome | None = field(default=None, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Keys ``target measurable`` and, where measurable, the rate's, ``far threshold p_value``, the control's."""
        if self.rate is None or self.control is None:
            return {"target": self.target, "measurable": False}
        found = {"far": self.far, "threshold": self.threshold, "p_value": self.p_value}
        return {"target": self.target, "measurable": True} | self.rate.to_dict() | found | self.control.to_dict()


@dataclass(frozen=True)
class Linking:
    """Linking of two sets, pair by pair; p-values are adjusted for the EER and all targets together.

    ``observed`` and ``permuted`` (½ − EER first, then TAR − FAR) are what ``family_wise`` takes, ``replicates`` (EER
    first) what differences between rows are made from. ``pairs`` counts people and pairs.
    """

    tar: tuple[LinkAtFar, ...]
    eer: Rate
    eer_control: Control
    eer_p_value: float
    smallest_measurable: float | None
    pairs: dict[str, Any]
    observed: Float[np.ndarray, " tests"] = field(repr=False, compare=False)
    permuted: Float[np.ndarray, "permutations tests"] = field(repr=False, compare=False)
    replicates: Float[np.ndarray, "r tests"] = field(repr=False, compare=False)

    @property
    def distinguishable(self) -> bool:
        """Whether pairs of one person are told from others by any of the tests, at 5 % for all of them together."""
        p_values = [point.p_value for point in self.tar if point.p_value is not None]
        return min([self.eer_p_value, *p_values]) <= FAMILY_WISE

    @property
    def verdict(self) -> str:
        """The finding in words, with the bound on the side of the attacker where nothing is told from chance."""
        return told_from_chance(self.distinguishable, f"equal error rate at least {self.eer.low:.2%} (chance 50 %)")

    def to_dict(self) -> dict[str, Any]:
        """Keys ``tar eer smallest_measurable verdict``, and ``people mated nonmated pairs``."""
        eer = self.eer.to_dict() | self.eer_control.to_dict() | {"p_value": self.eer_p_value}
        found: dict[str, Any] = {"tar": [point.to_dict() for point in self.tar], "eer": eer}
        return found | {"smallest_measurable": self.smallest_measurable, "verdict": self.verdict} | self.pairs


def linking(
    scores: PairScores,
    *,
    fars: tuple[float, ...] = (1e-1, 1e-2, 1e-3),
    seed: int,
    replicates: int = 1000,
    level: float = 0.95,
) -> Linking:
    """TAR(x) = share of mated pairs with s ≥ t, FAR(t) ≤ x; EER = FAR(t) where FAR(t) = 1 − TAR(t).

    t is the smallest edge of a cell (``pair_scores``) above which FAR keeps to x; the EER is interpolated between two
    edges. A target x is reported only with at least 10/x non-mated pairs, and 50 people on either side. Every pair
    counts once, so people with many photos count more.

    Interval: bootstrap over people, who bring their photos of both sides along; the threshold is refitted. Chance:
    TAR = FAR, EER = ½. Control and p-values: identities permuted as in ``leakage``; the control counts only pairs of
    people who were moved. Source: ISO/IEC 19795-1; paper section 4 (TAR@FAR).
    """
    mated, nonmated = scores.mated.sum(axis=0)[None], scores.nonmated[None]
    smallest = smallest_measurable(int(nonmated.sum()), scores.impostors)
    seen = tuple(far for far in fars if measurable(far, smallest))
    [values], [chances], [cells] = _operate(mated, nonmated, seen)
    draws = cluster_bootstrap(
        lambda weights: _operate(*scores.weighted(weights), seen)[0],
        np.zeros(len(scores.people), np.int64),
        replicates=replicates,
        seed=seed,
        width=4 * CELLS,
    )
    observed = _found(values, chances)
    permuted = np.concatenate([_found(*_operate(*counts, seen)[:2]) for counts in scores.permuted()])
    p_values = max_statistic(observed, permuted).tolist()
    controls = _controls(scores, nonmated, cells, chances)
    points = {}
    for i, far in enumerate(seen, start=1):
        cell, truly = int(cells[i]), float(chances[i])
        rate = _rate(scores, draws[:, i], float(values[i]), cell, level)
        found = _outcome(scores, cell, truly)
        points[far] = LinkAtFar(far, rate, truly, cell_score(cell), controls[i], p_values[i], found)
    return Linking(
        tar=tuple(points.get(far, LinkAtFar(far, None)) for far in fars),
        eer=_rate(scores, draws[:, 0], float(values[0]), int(cells[0]), level, refused=True),
        eer_control=controls[0],
        eer_p_value=p_values[0],
        smallest_measurable=smallest,
        pairs=scores.counts(),
        observed=observed,
        permuted=permuted,
        replicates=draws,
    )


def _operate(
    mated: np.ndarray, nonmated: np.ndarray, fars: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """EER, then TAR at each target; the chance of each; the lowest accepted cell of each: three times (b, 1 + fars)."""
    tar, far = _from_above(mated), _from_above(nonmated)
    ahead = far - (1 - tar)
    # Resampled counts may not fall everywhere: the crossing that is met first from above decides.
    crossing = _first_from_above(ahead > 0) - 1
    above, below = (np.take_along_axis(ahead, (crossing + i)[:, None], axis=1)[:, 0] for i in range(2))
    share = above / (above - below)
    edges = [np.take_along_axis(far, (crossing + i)[:, None], axis=1)[:, 0] for i in range(2)]
    values, chances = [(1 - share) * edges[0] + share * edges[1]], [np.full(len(far), 0.5)]
    cells = [crossing + 1]
    for target in fars:
        cell = _first_from_above(far > target + _ROUNDING)
        values.append(np.take_along_axis(tar, cell[:, None], axis=1)[:, 0])
        chances.append(np.take_along_axis(far, cell[:, None], axis=1)[:, 0])
        cells.append(cell)
    return np.stack(values, axis=1), np.stack(chances, axis=1), np.stack(cells, axis=1)


def _from_above(counts: np.ndarray) -> np.ndarray:
    """Share of the counts in each cell or above, and 0 behind the last: (b, cells + 1)."""
    sums = np.flip(np.cumsum(np.flip(counts, axis=1), axis=1, dtype=np.float64), axis=1)
    with np.errstate(invalid="ignore"):  # nobody with a pair was drawn: undefined, left out by the interval
        return np.concatenate([sums, np.zeros((len(sums), 1))], axis=1) / sums[:, :1]


def _first_from_above(failing: np.ndarray) -> np.ndarray:
    """Of each row, the cell behind the last that fails; never the last of all, which is known not to fail."""
    return np.minimum(failing.shape[1] - np.argmax(np.flip(failing, axis=1), axis=1), failing.shape[1] - 1)


def _found(values: np.ndarray, chances: np.ndarray) -> np.ndarray:
    """What is found beyond chance: values less their chances, with the sign of the EER turned."""
    found = values - chances
    found[..., 0] *= -1
    return found


def _rate(
    scores: PairScores, draws: np.ndarray, value: float, cell: int, level: float, *, refused: bool = False
) -> Rate:
    """Rate of one test; its hits are the mated pairs accepted at the threshold, or those refused."""
    trials = scores.mated.sum(axis=1)
    hits = scores.mated[:, :cell].sum(axis=1) if refused else scores.mated[:, cell:].sum(axis=1)
    method = f"bootstrap over {len(scores.people)} people, both sides, threshold refitted, {len(draws)} replicates"
    return rate_from_replicates(
        np.clip(draws, 0, 1),
        value=value,
        hits=int(hits.sum()),
        trials=int(trials.sum()),
        clusters=scores.mated_people,
        rare=min(int((hits > 0).sum()), int((hits < trials).sum())),
        method=method,
        level=level,
    )


def _controls(scores: PairScores, nonmated: np.ndarray, cells: np.ndarray, chances: np.ndarray) -> list[Control]:
    """What those who were moved give: their EER, and their acceptance at the thresholds of the attack."""
    moved = scores.moved[scores.moved.any(axis=1)]
    eer = _operate(moved, np.broadcast_to(nonmated, moved.shape), ())[0]
    found = np.concatenate([eer, _from_above(moved)[:, cells[1:]]], axis=1) - chances
    return [control_of(found[:, i], float(chance)) for i, chance in enumerate(chances.tolist())]


def _outcome(scores: PairScores, cell: int, far: float) -> Outcome:
    trials = scores.mated.sum(axis=1)
    asked = trials > 0
    hits = scores.mated[asked, cell:].sum(axis=1)
    return Outcome(scores.people[asked], hits.astype(np.float64), trials[asked].astype(np.float64), far * trials[asked])
