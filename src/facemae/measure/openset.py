"""Open-set control: are members found while people who are not in the release stay silent?"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from facemae.errors import DataError
from facemae.measure.mated import Divide, mated_attack, undivided
from facemae.measure.operating import TwoSamples
from facemae.measure.rates import Rate, measurable
from facemae.measure.retrieval import FLOAT32, Exclude, Product, topk


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
    (5, 50, 95 %) are those of each probe's best score in the gallery. ``auc``: how well those scores tell members from
    non-members, whomever they find (chance ½); None where nobody asked.
    """

    k: int
    points: tuple[OpenSetPoint, ...]
    nonmember_trials: int
    nonmember_people: int
    smallest_measurable: float | None
    member_scores: tuple[float, float, float]
    nonmember_scores: tuple[float, float, float]
    auc: Rate | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fields, ``points`` and ``auc`` as dictionaries; no ``auc`` where there is none."""
        found = asdict(self) | {"points": [point.to_dict() for point in self.points]}
        del found["auc"]
        return found | ({"auc": self.auc.to_dict()} if self.auc else {})


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
    auc: bool = False,
    seed: int,
    replicates: int = 1000,
    level: float = 0.95,
    divide: Divide = undivided,
    product: Product = FLOAT32,
) -> OpenSet:
    """TPIR(x) = share of members with a mate among their K nearest that scores above t, where FPIR(t) ≤ x.

    FPIR(t) is the share of non-members whose nearest scores above t, and t the smallest such observed score.

    A target x is reported only with at least 10/x non-member probes from at least 50 and 2/x people, and alarms by at
    least 5 of them (``TwoSamples.smallest_measurable``). Members without an eligible mate are left out, ``exclude`` is
    for members. Interval: bootstrap over members and over non-members, the threshold refitted. ``auc`` asks how well
    the best scores tell members from non-members. ``divide`` and ``product`` as in ``leakage``.

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
    samples = TwoSamples.of(mate, attack.person, alarm, nonmember_labels)
    method = f"bootstrap over {len(samples.strata) - people} members and {people} non-members, threshold refitted"
    points = []
    for target in fpirs:
        found_at: tuple[Rate, float, float] | tuple[None, None, None] = (None, None, None)
        if measurable(target, samples.smallest_measurable):
            found_at = samples.rate_at(target, method=method, seed=seed, replicates=replicates, level=level)
        points.append(OpenSetPoint(target, *found_at))
    member_scores, nonmember_scores = (
        tuple(np.quantile(best, [0.05, 0.5, 0.95]).tolist()) for best in (scores[:, 0], alarm)
    )
    area = None
    if auc:
        best = TwoSamples.of(scores[:, 0], attack.person, alarm, nonmember_labels)
        how = method.removesuffix(", threshold refitted")
        area = best.auc_rate(method=how, seed=seed, replicates=replicates, level=level)
    return OpenSet(
        k, tuple(points), len(alarm), people, samples.smallest_measurable, member_scores, nonmember_scores, area
    )
