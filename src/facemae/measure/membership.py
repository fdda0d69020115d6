"""Membership in a training set: who was in it, told from the score of each photo."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from facemae.errors import DataError
from facemae.measure.control import FAMILY_WISE, Control, control_of, max_statistic, told_from_chance
from facemae.measure.operating import TwoSamples
from facemae.measure.rates import Rate, measurable
from facemae.measure.worst import Outcome

_PERMUTATIONS, _BLOCK_ELEMENTS = 0x3E3B, 1 << 21


@dataclass(frozen=True)
class MembershipPoint:
    """Members found at a target rate of accused non-members; ``rate`` is None where that is not measurable here.

    The chance is ``fpr`` itself, the share of non-members truly accused.
    """

    target: float
    rate: Rate | None
    fpr: float | None = None
    threshold: float | None = None
    control: Control | None = None
    p_value: float | None = None
    outcome: Outcome | None = field(default=None, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Keys ``target measurable`` and, where measurable, the rate's, ``fpr threshold``, control's, ``p_value``."""
        if self.rate is None or self.control is None:
            return {"target": self.target, "measurable": False}
        found = {"fpr": self.fpr, "threshold": self.threshold, "p_value": self.p_value}
        return {"target": self.target, "measurable": True} | self.rate.to_dict() | found | self.control.to_dict()


@dataclass(frozen=True)
class Membership:
    """Members against non-members: area under ROC (chance ½), and the rate of members found at few accusations.

    ``smallest``: what is found at ``smallest_measurable``; None where that is none. p-values are adjusted for the AUC
    and all points together. ``observed`` and ``permuted`` (statistic less chance; AUC first, ``smallest`` last) are
    what ``family_wise`` takes.
    """

    auc: Rate
    auc_control: Control
    auc_p_value: float
    points: tuple[MembershipPoint, ...]
    members: int
    nonmembers: int
    smallest_measurable: float | None
    observed: Float[np.ndarray, " tests"] = field(repr=False, compare=False)
    permuted: Float[np.ndarray, "permutations tests"] = field(repr=False, compare=False)
    smallest: MembershipPoint | None = None

    @property
    def distinguishable(self) -> bool:
        """Whether members are told from non-members by any of the tests, at 5 % for all of them together."""
        p_values = [at.p_value for at in (*self.points, self.smallest) if at is not None and at.p_value is not None]
        return min([self.auc_p_value, *p_values]) <= FAMILY_WISE

    @property
    def verdict(self) -> str:
        """The finding in words, with the upper bound where members are not told from non-members."""
        return told_from_chance(self.distinguishable, f"AUC at most {self.auc.high:.3f} (chance 0.500)")

    def to_dict(self) -> dict[str, Any]:
        """Keys ``auc points smallest members nonmembers smallest_measurable verdict``; members are people."""
        auc = self.auc.to_dict() | self.auc_control.to_dict() | {"p_value": self.auc_p_value}
        people = {"members": self.members, "nonmembers": self.nonmembers}
        tail = {"smallest_measurable": self.smallest_measurable, "verdict": self.verdict}
        points = [point.to_dict() for point in self.points]
        last = self.smallest.to_dict() if self.smallest else None
        return {"auc": auc, "points": points, "smallest": last} | people | tail


def calibrated(scores: Float[np.ndarray, " n"], references: Float[np.ndarray, "models n"]) -> Float[np.ndarray, " n"]:
    """s'(x) = s(x) − mean over reference models r of s_r(x): how much more the target knows x than others do.

    References never saw any of these photos. Raises ``DataError`` without one, or for scores that are not numbers.
    Source: Watson, Guo, Cormode and Sablayrolles 2022, difficulty calibration.
    """
    if not len(references) or not np.isfinite(references).all() or not np.isfinite(scores).all():
        raise DataError("scores cannot be calibrated", got=f"{len(references)} references", needed="finite scores")
    return scores - references.mean(axis=0)


def membership(
    member_scores: Float[np.ndarray, " m"],
    member_labels: Int[np.ndarray, " m"],
    nonmember_scores: Float[np.ndarray, " n"],
    nonmember_labels: Int[np.ndarray, " n"],
    *,
    fprs: tuple[float, ...] = (0.1, 0.01, 0.001),
    seed: int,
    replicates: int = 1000,
    permutations: int = 999,
    level: float = 0.95,
) -> Membership:
    """TPR(x) = share of members' photos with a score above t, FPR(t) ≤ x; AUC = P(s > s') + ½ P(s = s').

    Scores are per photo, higher is more like a member; t is the smallest score of a non-member's photo that keeps to x.
    A target x is reported only with at least 10/x photos of non-members from at least 50 and 2/x people, and
    accusations of at least 5 of them (``TwoSamples.smallest_measurable``). Interval: bootstrap over members and over
    non-members, the threshold refitted. Chance: ½, and the FPR. Control and p-values: who is a
    member permuted over all people, each with all of their photos; so members and non-members have to be drawn from
    one population, or the test finds what sets the populations apart. Which targets are tested depends on who accuses
    among the non-members, which permutations do not repeat: the joint level holds exactly only for the AUC and targets
    that any such draw would report.

    Raises ``DataError`` for somebody on both sides, and for scores that are missing or not numbers.
    Source: Carlini et al. 2022, Membership Inference Attacks From First Principles.
    """
    _checked(member_scores, member_labels, nonmember_scores, nonmember_labels)
    samples = TwoSamples.of(member_scores, member_labels, nonmember_scores, nonmember_labels)
    members, strangers = (int((samples.strata == side).sum()) for side in (0, 1))
    smallest = samples.smallest_measurable
    seen = tuple(fpr for fpr in fprs if measurable(fpr, smallest))
    # What the sample supports at the least, whatever was asked for.
    last = (smallest,) if smallest is not None and smallest < 1 else ()
    how = f"bootstrap over {members} members and {strangers} non-members"
    rates = samples.rates_at(
        (*seen, *last), method=f"{how}, threshold refitted", seed=seed, replicates=replicates, level=level
    )
    auc = samples.auc_rate(method=how, seed=seed, replicates=replicates, level=level)
    chance = np.array([0.5, *(alarms for _, alarms, _ in rates)])
    observed = np.array([auc.value, *(rate.value for rate, _, _ in rates)]) - chance
    permuted = membership_permuted(samples, (*seen, *last), permutations=permutations, seed=seed) - chance
    p_values = max_statistic(observed, permuted).tolist()
    points = []
    for i, (fpr, (rate, alarms, threshold)) in enumerate(zip((*seen, *last), rates, strict=True), start=1):
        found = Outcome.of(member_labels, member_scores > threshold, np.full(len(member_scores), alarms))
        luck = control_of(permuted[:, i], alarms)
        points.append(MembershipPoint(fpr, rate, alarms, threshold, luck, p_values[i], found))
    known = {point.target: point for point in points[: len(seen)]}
    return Membership(
        auc=auc,
        auc_control=control_of(permuted[:, 0], 0.5),
        auc_p_value=p_values[0],
        points=tuple(known.get(fpr, MembershipPoint(fpr, None)) for fpr in fprs),
        members=members,
        nonmembers=strangers,
        smallest_measurable=smallest,
        observed=observed,
        permuted=permuted,
        smallest=points[-1] if last else None,
    )


def _checked(member: np.ndarray, member_labels: np.ndarray, other: np.ndarray, other_labels: np.ndarray) -> None:
    shared = np.intersect1d(member_labels, other_labels)
    if len(shared):
        raise DataError("somebody is a member and a non-member", got=f"{len(shared)} people", needed="none")
    if not len(member) or not len(other) or not (np.isfinite(member).all() and np.isfinite(other).all()):
        got = f"{len(member)} photos of members, {len(other)} of non-members"
        raise DataError("membership cannot be scored", got=got, needed="a finite score for some photos of either kind")


def membership_permuted(
    samples: TwoSamples, fprs: tuple[float, ...], *, permutations: int, seed: int
) -> Float[np.ndarray, "permutations tests"]:
    """AUC and TPR at each target when so many people, drawn from all, are called the members: (permutations, tests)."""
    members, everybody = int((samples.strata == 0).sum()), len(samples.strata)
    score = np.concatenate([samples.positive, samples.negative])
    person = np.concatenate([samples.positive_person, samples.negative_person + members])
    # Everybody stands in both samples; weights of one in the first or the second say where they are counted.
    pooled = TwoSamples(score, person, score, person)
    random = np.random.default_rng([seed, _PERMUTATIONS])
    step = max(1, _BLOCK_ELEMENTS // pooled.width)
    rows = []
    for start in range(0, permutations, step):
        called = np.zeros((min(step, permutations - start), everybody))
        for row in called:
            row[random.permutation(everybody)[:members]] = 1
        weights = np.concatenate([called, 1 - called], axis=1)
        rows.append(np.column_stack([pooled.auc(weights), pooled.tpr(weights, fprs)]))
    return np.concatenate(rows)
