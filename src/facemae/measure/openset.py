"""Open-set control: are members found while people who are not in the release stay silent?"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from facemae.errors import DataError
from facemae.measure.intervals import cluster_bootstrap, rate_from_replicates
from facemae.measure.mated import Divide, mated_attack, undivided
from facemae.measure.rates import Rate, measurable, smallest_measurable
from facemae.measure.retrieval import FLOAT32, Exclude, Product, topk

_ROUNDING = 1e-9


@dataclass(frozen=True)
class OpenSetPoint:
    """Members identified at a target rate of false alarms; ``rate`` is None where that is not measurable here."""

    target: float
    rate: Rate | None
    fpir: float | None
    threshold: float | None

    def to_dict(self) -> dict[str, Any]:
        """Keys ``target fpir threshold measurable`` and, where measurable, those of the rate."""
        head = {"target": self.target, "fpir": self.fpir, "threshold": self.threshold}
        return head | {"measurable": self.rate is not None} | (self.rate.to_dict() if self.rate else {})


@dataclass(frozen=True)
class OpenSet:
    """Open-set control: members against people who are not in the release.

    ``smallest_measurable`` is the smallest false alarm rate that may be reported, None where none may. The quantiles
    (5, 50, 95 %) are those of each probe's best score in the gallery.
    """

    k: int
    points: tuple[OpenSetPoint, ...]
    nonmember_trials: int
    nonmember_people: int
    smallest_measurable: float | None
    member_scores: tuple[float, float, float]
    nonmember_scores: tuple[float, float, float]

    def to_dict(self) -> dict[str, Any]:
        """The fields, ``points`` as dictionaries."""
        return asdict(self) | {"points": [point.to_dict() for point in self.points]}


def nonmember_control(
    member_emb: Float[np.ndarray, "q d"],
    member_labels: Int[np.ndarray, " q"],
    nonmember_emb: Float[np.ndarray, "n d"],
    nonmember_labels: Int[np.ndarray, " n"],
    gallery_emb: Float[np.ndarray, "g d"],
    gallery_labels: Int[np.ndarray, " g"],
    *,
    k: int = 1,
    fpirs: tuple[float, ...] = (0.1, 0.01),
    exclude: Exclude = None,
    seed: int,
    replicates: int = 1000,
    level: float = 0.95,
    divide: Divide = undivided,
    product: Product = FLOAT32,
) -> OpenSet:
    """TPIR(x) = share of members with a mate among their K nearest that scores above t, where FPIR(t) ≤ x.

    FPIR(t) is the share of non-members whose nearest scores above t, and t the smallest such observed score.

    A target x is reported only with at least 10/x non-member probes from at least 50 people. Members without an
    eligible mate are left out, ``exclude`` is for members. Interval: bootstrap over members and over non-members, the
    threshold refitted. ``divide`` and ``product`` as in ``leakage``.

    Raises ``DataError`` when a non-member is in the gallery. Source: ISO/IEC 19795-1.
    """
    shared = np.intersect1d(nonmember_labels, gallery_labels)
    if len(shared):
        raise DataError("non-members are in the gallery", got=f"{len(shared)} people", needed="none")
    attack = mated_attack(member_emb, member_labels, gallery_emb, gallery_labels, exclude)
    found, scores = attack.nearest(k, divide, product)
    own = (found >= 0) & (attack.identity[found] == attack.person[:, None])
    mate = np.where(own.any(axis=1), scores[np.arange(len(own)), own.argmax(axis=1)], -np.inf)
    _, nearest = divide(lambda rows: topk(nonmember_emb[rows], gallery_emb, 1, product=product), len(nonmember_emb))
    alarm = nearest[:, 0]
    people = len(np.unique(nonmember_labels))
    points = []
    for target in fpirs:
        if measurable(target, len(alarm), people):
            points.append(
                _open_set_point(target, mate, attack.person, alarm, nonmember_labels, seed, replicates, level)
            )
        else:
            points.append(OpenSetPoint(target, None, None, None))
    member_scores, nonmember_scores = (
        tuple(np.quantile(best, [0.05, 0.5, 0.95]).tolist()) for best in (scores[:, 0], alarm)
    )
    smallest = smallest_measurable(len(alarm), people)
    return OpenSet(k, tuple(points), len(alarm), people, smallest, member_scores, nonmember_scores)


def _open_set_point(
    target: float,
    mate: np.ndarray,
    person: np.ndarray,
    alarm: np.ndarray,
    stranger: np.ndarray,
    seed: int,
    replicates: int,
    level: float,
) -> OpenSetPoint:
    members, member = np.unique(person, return_inverse=True)
    strangers, nonmember = np.unique(stranger, return_inverse=True)
    falling = np.argsort(-alarm, kind="stable")
    rising = np.argsort(mate, kind="stable")
    thresholds = alarm[falling]
    # Members at or below each candidate threshold, so that a threshold's index reads off the members above it.
    at_or_below = np.searchsorted(mate[rising], thresholds, side="right")

    def tpir(weights: np.ndarray) -> np.ndarray:
        alarms = np.cumsum(weights[:, len(members) :][:, nonmember[falling]], axis=1)
        # The threshold is the score at which the alarms first exceed the allowed weight: that score itself is rejected.
        index = (alarms <= target * alarms[:, -1:] + _ROUNDING).sum(axis=1)
        below = np.cumsum(weights[:, : len(members)][:, member[rising]], axis=1)
        below = np.concatenate([np.zeros((len(below), 1)), below], axis=1)
        return 1 - np.take_along_axis(below, at_or_below[index][:, None], axis=1)[:, 0] / below[:, -1]

    strata = np.repeat([0, 1], [len(members), len(strangers)])
    index = int(np.floor(target * len(alarm) + _ROUNDING))
    threshold = float(thresholds[index])
    accepted = mate > threshold
    hits = int(accepted.sum())
    hitting = len(np.unique(member[accepted]))
    missing = len(np.unique(member[~accepted]))
    rate = rate_from_replicates(
        cluster_bootstrap(tpir, strata, replicates=replicates, seed=seed, width=len(alarm) + len(mate)),
        value=hits / len(mate),
        hits=hits,
        trials=len(mate),
        clusters=len(members),
        rare=min(hitting, missing),
        method=f"bootstrap over {len(members)} members and {len(strangers)} non-members, threshold refitted",
        level=level,
    )
    return OpenSetPoint(target, rate, float((alarm > threshold).mean()), threshold)
