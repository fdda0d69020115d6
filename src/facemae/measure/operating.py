"""Two samples of scores with people behind them: true positives at a rate of false alarms, and the area under ROC."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from facemae.measure.intervals import cluster_bootstrap, rate_from_replicates
from facemae.measure.rates import Rate, smallest_measurable

ALARM_PEOPLE = 5
PEOPLE_PER_UNIT = 2
_ROUNDING = 1e-9


@dataclass(frozen=True)
class TwoSamples:
    """Scores of positives and of negatives, higher is more positive; people are numbered 0 … n-1 in each sample.

    Weights have one column for each person: those of the positives, then those of the negatives.
    """

    positive: Float[np.ndarray, " p"]
    positive_person: Int[np.ndarray, " p"]
    negative: Float[np.ndarray, " n"]
    negative_person: Int[np.ndarray, " n"]

    @classmethod
    def of(
        cls,
        positive: Float[np.ndarray, " p"],
        positive_labels: Int[np.ndarray, " p"],
        negative: Float[np.ndarray, " n"],
        negative_labels: Int[np.ndarray, " n"],
    ) -> "TwoSamples":
        """The samples with their people numbered ascending by label."""
        persons = (np.unique(labels, return_inverse=True)[1] for labels in (positive_labels, negative_labels))
        return cls(positive, next(persons), negative, next(persons))

    @cached_property
    def strata(self) -> Int[np.ndarray, " people"]:
        """0 for each person of the positives, 1 for each of the negatives: what ``cluster_bootstrap`` wants."""
        return np.repeat([0, 1], [int(self.positive_person.max()) + 1, int(self.negative_person.max()) + 1])

    @property
    def width(self) -> int:
        """Values that one replicate makes."""
        return len(self.positive) + len(self.negative)

    @cached_property
    def smallest_measurable(self) -> float | None:
        """Smallest rate of false alarms that may be reported: 10 / n photos, 2 / people, alarms by 5 of them.

        The largest of 10 / n (``rates.smallest_measurable``), of 2 / people of the negatives, and of the share of the n
        negatives that score at least as high as the fifth of their people, in the order of each one's highest score;
        None with fewer than 50 people. Photos of one loud stranger are not ten witnesses: with fewer people the
        bootstrap over them sees too little of how few they are. Simulated coverage of the 95 % interval at half as many
        was 84 to 93 % (docs/log.md), at 2 / people and above 92 to 97 % (at 1 %: ``loud strangers`` in
        benchmarks/audit_coverage.py).
        """
        people = int((self.strata == 1).sum())
        smallest = smallest_measurable(len(self.negative), people)
        if smallest is None:
            return None
        highest = np.full(int(self.negative_person.max()) + 1, -np.inf)
        np.maximum.at(highest, self.negative_person, self.negative)
        fifth = np.sort(highest)[-ALARM_PEOPLE]
        return max(smallest, PEOPLE_PER_UNIT / people, float((self.negative >= fifth).mean()))

    def threshold(self, target: float) -> float:
        """Smallest observed score of a negative above which at most the share ``target`` of them lies."""
        index = int(np.floor(target * len(self.negative) + _ROUNDING))
        return float(self.negative[self._falling][index])

    def tpr(self, weights: Float[np.ndarray, "b people"], targets: Sequence[float]) -> Float[np.ndarray, "b t"]:
        """Weighted share of the positives above each target's threshold, which is refitted in every row of weights."""
        positives = self._positives(weights)[:, self.positive_person[self._rising]]
        alarms = np.cumsum(self._negatives(weights)[:, self.negative_person[self._falling]], axis=1)
        # The threshold is the score at which the alarms first exceed the allowed weight: that score itself is rejected.
        allowed = np.outer(alarms[:, -1], targets) + _ROUNDING
        index = np.stack([np.searchsorted(row, most, side="right") for row, most in zip(alarms, allowed, strict=True)])
        below = _from_zero(np.cumsum(positives, axis=1))
        return 1 - np.take_along_axis(below, self._at_or_below[index], axis=1) / below[:, -1:]

    def auc(self, weights: Float[np.ndarray, "b people"]) -> Float[np.ndarray, " b"]:
        """P(positive > negative) + ½ P(equal), weighted: the Mann-Whitney statistic."""
        positives = self._positives(weights)[:, self.positive_person]
        negatives = self._negatives(weights)[:, self.negative_person[self._falling[::-1]]]
        below = _from_zero(np.cumsum(negatives, axis=1))
        ordered = self.negative[self._falling[::-1]]
        left, right = (np.searchsorted(ordered, self.positive, side=side) for side in ("left", "right"))
        beaten = (below[:, left] + below[:, right]) / 2
        return (positives * beaten).sum(axis=1) / (positives.sum(axis=1) * below[:, -1])

    def rates_at(
        self, targets: Sequence[float], *, method: str, seed: int, replicates: int, level: float
    ) -> list[tuple[Rate, float, float]]:
        """True positives at each target share of false alarms, the share of alarms itself, and the threshold.

        Interval: bootstrap over the people of both samples, the threshold refitted.
        """
        if not targets:
            return []
        drawn = cluster_bootstrap(
            lambda weights: self.tpr(weights, targets),
            self.strata,
            replicates=replicates,
            seed=seed,
            width=self.width,
        )
        found = []
        for target, column in zip(targets, drawn.T, strict=True):
            threshold = self.threshold(target)
            accepted = self.positive > threshold
            rate = rate_from_replicates(
                column,
                value=float(accepted.mean()),
                hits=int(accepted.sum()),
                trials=len(accepted),
                clusters=int((self.strata == 0).sum()),
                rare=min(len(np.unique(self.positive_person[side])) for side in (accepted, ~accepted)),
                method=method,
                level=level,
            )
            found.append((rate, float((self.negative > threshold).mean()), threshold))
        return found

    def auc_rate(self, *, method: str, seed: int, replicates: int, level: float) -> Rate:
        """``auc`` with its interval: bootstrap over the people of both samples."""
        value = float(self.auc(np.ones((1, len(self.strata))))[0])
        pairs = len(self.positive) * len(self.negative)
        # People who take part in a comparison of either outcome: with few on one side the bootstrap sees no spread.
        high, low = self.positive > self.negative.min(), self.positive < self.negative.max()
        above, below = self.negative > self.positive.min(), self.negative < self.positive.max()
        rare = min(
            len(np.unique(person[some]))
            for person, both in ((self.positive_person, (high, low)), (self.negative_person, (above, below)))
            for some in both
        )
        return rate_from_replicates(
            cluster_bootstrap(self.auc, self.strata, replicates=replicates, seed=seed, width=self.width),
            value=value,
            hits=min(pairs, round(value * pairs)),
            trials=pairs,
            clusters=int(np.bincount(self.strata).min()),
            rare=rare,
            method=method,
            level=level,
        )

    @cached_property
    def _falling(self) -> np.ndarray:
        return np.argsort(-self.negative, kind="stable")

    @cached_property
    def _rising(self) -> np.ndarray:
        return np.argsort(self.positive, kind="stable")

    @cached_property
    def _at_or_below(self) -> np.ndarray:
        # Positives at or below each candidate threshold, so that a threshold's index reads off those above it.
        return np.searchsorted(self.positive[self._rising], self.negative[self._falling], side="right")

    def _positives(self, weights: np.ndarray) -> np.ndarray:
        return weights[:, : int((self.strata == 0).sum())]

    def _negatives(self, weights: np.ndarray) -> np.ndarray:
        return weights[:, int((self.strata == 0).sum()) :]


def _from_zero(sums: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros((len(sums), 1)), sums], axis=1)
