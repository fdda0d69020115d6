"""Open-set control: are members found while people who are not in the release stay silent?"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from facemae.errors import DataError
from facemae.measure.control import (
    FAMILY_WISE,
    Control,
    Statistics,
    Trials,
    control_of,
    deviance_residual,
    max_statistic,
    permute,
    told_from_chance,
)
from facemae.measure.mated import Attack, Divide, mated_attack, undivided
from facemae.measure.membership import membership_permuted
from facemae.measure.operating import TwoSamples
from facemae.measure.rates import Rate, measurable
from facemae.measure.retrieval import FLOAT32, Exclude, Product, topk

CURVE_POINTS = 16
"""Rates of false alarms of a curve, from the smallest that may be reported to a half, equally far in the logarithm."""


@dataclass(frozen=True)
class OpenSetPoint:
    """Members identified at a target rate of false alarms; ``rate`` is None where that is not measurable here.

    ``chance``: members named rightly by luck, the same names called with the gallery's identities drawn blindly;
    ``control`` and ``p_value`` from permuted identities. None of the three where nobody asked for the test.
    """

    target: float
    rate: Rate | None
    fpir: float | None
    threshold: float | None
    chance: float | None = None
    control: Control | None = None
    p_value: float | None = None

    @property
    def verdict(self) -> str:
        """The finding in words, with the upper bound where the naming is not told from luck."""
        if self.rate is None or self.p_value is None:
            return ""
        return told_from_chance(self.p_value <= FAMILY_WISE, f"this attack names at most {self.rate.high:.2%}")

    def to_dict(self) -> dict[str, Any]:
        """Keys ``target fpir threshold measurable`` and, where measurable, those of the rate and of the test."""
        head = {"target": self.target, "fpir": self.fpir, "threshold": self.threshold}
        told = head | {"measurable": self.rate is not None} | (self.rate.to_dict() if self.rate else {})
        if self.control is None:
            return told
        return told | {"chance": self.chance, "p_value": self.p_value, "verdict": self.verdict} | self.control.to_dict()


@dataclass(frozen=True)
class Area:
    """How well best scores tell members from non-members, whomever they find: AUC, chance ½.

    Control and p-value: who is a member permuted over all people.
    """

    rate: Rate
    control: Control
    p_value: float

    @property
    def verdict(self) -> str:
        """The finding in words, with the upper bound where members are not told from non-members."""
        return told_from_chance(self.p_value <= FAMILY_WISE, f"AUC at most {self.rate.high:.3f} (chance 0.500)")

    def to_dict(self) -> dict[str, Any]:
        """Keys of the rate and of the control, ``p_value`` and ``verdict``."""
        return self.rate.to_dict() | self.control.to_dict() | {"p_value": self.p_value, "verdict": self.verdict}


@dataclass(frozen=True)
class OpenSet:
    """Open-set control: members against people who are not in the release.

    ``smallest_measurable`` is the smallest false alarm rate that may be reported, None where none may, and ``smallest``
    what is found there. The quantiles (5, 50, 95 %) are those of each probe's best score in the gallery. ``curve``:
    false alarms and members identified, with the interval at each rate alone. What nobody asked for is None or empty.

    ``tests`` (AUC − ½ first, then ``deviance_residual`` of the members identified at each measurable point,
    ``smallest`` last) is what ``family_wise`` takes; without columns where no test was asked for.
    """

    k: int
    points: tuple[OpenSetPoint, ...]
    nonmember_trials: int
    nonmember_people: int
    smallest_measurable: float | None
    member_scores: tuple[float, float, float]
    nonmember_scores: tuple[float, float, float]
    auc: Area | None = None
    smallest: OpenSetPoint | None = None
    curve: tuple[OpenSetPoint, ...] = ()
    tests: Statistics = field(default=Statistics(np.empty(0), np.empty((0, 0))), repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers of the fields, ``curve`` as [FPIR, TPIR, low, high]; what nobody asked for is left out."""
        names = ("k", "nonmember_trials", "nonmember_people", "smallest_measurable")
        told = {name: getattr(self, name) for name in (*names, "member_scores", "nonmember_scores")}
        told |= {"points": [point.to_dict() for point in self.points]}
        told |= {"auc": self.auc.to_dict()} if self.auc else {}
        told |= {"smallest": self.smallest.to_dict()} if self.smallest else {}
        drawn = [(at.fpir, at.rate.value, at.rate.low, at.rate.high) for at in self.curve if at.rate]
        return told | ({"curve": drawn} if drawn else {})

    def adjusted(self, p_values: Sequence[float]) -> "OpenSet":
        """The same with these p-values, in the order of ``tests``."""
        if self.auc is None:
            return self
        left = iter(p_values)
        auc = replace(self.auc, p_value=next(left))
        points = tuple(replace(at, p_value=next(left)) if at.rate else at for at in self.points)
        last = replace(self.smallest, p_value=next(left)) if self.smallest else None
        return replace(self, auc=auc, points=points, smallest=last)


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
    behind: Int[np.ndarray, " g"] | None = None,
    tested: bool = False,
    seed: int,
    replicates: int = 1000,
    permutations: int = 999,
    level: float = 0.95,
    divide: Divide = undivided,
    product: Product = FLOAT32,
) -> OpenSet:
    """TPIR(x) = share of members with a mate among their K nearest that scores above t, where FPIR(t) ≤ x.

    FPIR(t) is the share of non-members whose nearest scores above t, and t the smallest such observed score.

    A target x is reported only with at least 10/x non-member probes from at least 50 and 2/x people, and alarms by at
    least 5 of them (``TwoSamples.smallest_measurable``). Members without an eligible mate are left out, ``exclude`` is
    for members. Interval: bootstrap over members and over non-members, the threshold refitted.

    ``tested`` adds three things: the point at the smallest measurable rate; the curve; and tests. Chance of TPIR: the
    same names called above t, the gallery's identities drawn blindly; its control and p-value permute the identities of
    the gallery among people with (nearly) as many photos, the threshold kept (``deviance_residual``, for these are rare
    events that come several at once). AUC of the best scores, members against non-members, whomever they find: chance
    ½, who is a member permuted over all people with all of their photos; so strangers have to be drawn from the
    population of the members. p-values are for all these tests together.
    ``behind``, ``divide`` and ``product`` as in ``leakage``.

    Raises ``DataError`` when a non-member is in the gallery. Source: ISO/IEC 19795-1.
    """
    shared = np.intersect1d(nonmember_labels, gallery_labels)
    if len(shared):
        raise DataError("non-members are in the gallery", got=f"{len(shared)} people", needed="none")
    attack = mated_attack(member_emb, member_labels, gallery_emb, gallery_labels, exclude, behind)
    found, scores = attack.nearest(k, divide, product)
    own = (found >= 0) & (attack.identity[found] == attack.person[:, None])
    mate = np.where(own.any(axis=1), scores[np.arange(len(own)), own.argmax(axis=1)], -np.inf)
    _, nearest = divide(lambda rows: topk(nonmember_emb[rows], gallery_emb, 1, product=product), len(nonmember_emb))
    alarm, best = nearest[:, 0], scores[:, 0]
    how = _Bootstrap(seed, replicates, level)
    told = _measured(TwoSamples.of(mate, attack.person, alarm, nonmember_labels), best, k, fpirs, how, curve=tested)
    if not tested:
        return told
    area = how.area(TwoSamples.of(best, attack.person, alarm, nonmember_labels))
    return _tested(told, attack, found, scores, area, permutations=permutations)


class _Bootstrap(NamedTuple):
    """How intervals are made: over members and over non-members."""

    seed: int
    replicates: int
    level: float

    def named(self, samples: TwoSamples) -> str:
        people = int((samples.strata == 1).sum())
        return f"bootstrap over {len(samples.strata) - people} members and {people} non-members"

    def points(self, samples: TwoSamples, targets: Sequence[float]) -> list[OpenSetPoint]:
        method = f"{self.named(samples)}, threshold refitted"
        rates = samples.rates_at(targets, method=method, **self._asdict())
        return [OpenSetPoint(target, *rate) for target, rate in zip(targets, rates, strict=True)]

    def area(self, samples: TwoSamples) -> "_Best":
        return _Best(samples, samples.auc_rate(method=self.named(samples), **self._asdict()), self.seed)


class _Best(NamedTuple):
    """Each probe's best score, whomever it shows, and how well it tells members from non-members."""

    samples: TwoSamples
    rate: Rate
    seed: int


def _measured(
    samples: TwoSamples, best: np.ndarray, k: int, fpirs: tuple[float, ...], how: _Bootstrap, *, curve: bool
) -> OpenSet:
    """Every target that may be reported and, with the curve, the smallest rate that may; in one bootstrap."""
    smallest = samples.smallest_measurable
    asked = [target for target in fpirs if measurable(target, smallest)]
    last = [smallest] if curve and smallest is not None and smallest < 1 else []
    line = np.geomspace(last[0], 0.5, CURVE_POINTS).tolist() if last and last[0] < 0.5 else []
    at = how.points(samples, [*asked, *last, *line])
    known = {point.target: point for point in at[: len(asked)]}
    return OpenSet(
        k=k,
        points=tuple(known.get(target, OpenSetPoint(target, None, None, None)) for target in fpirs),
        nonmember_trials=len(samples.negative),
        nonmember_people=int((samples.strata == 1).sum()),
        smallest_measurable=smallest,
        member_scores=_spread(best),
        nonmember_scores=_spread(samples.negative),
        smallest=at[len(asked)] if last else None,
        curve=tuple(at[len(asked) + len(last) :]),
    )


def _spread(best: np.ndarray) -> tuple[float, float, float]:
    low, middle, high = np.quantile(best, [0.05, 0.5, 0.95]).tolist()
    return low, middle, high


def _tested(
    told: OpenSet,
    attack: Attack,
    found: np.ndarray,
    scores: np.ndarray,
    best: _Best,
    *,
    permutations: int,
) -> OpenSet:
    """AUC and every measurable point against chance, p-values for all of them together."""
    nobody = membership_permuted(best.samples, (), permutations=permutations, seed=best.seed)[:, 0] - 0.5
    observed, permuted, least = [best.rate.value - 0.5], [nobody], [0.0]
    points = []
    for point in (*told.points, *([told.smallest] if told.smallest else [])):
        if point.rate is None or point.threshold is None:
            points.append(point)
            continue
        trials = attack.trials(np.where(scores > point.threshold, found, -1))
        chance, everybody, moved = _by_luck(trials, told.k, permutations=permutations, seed=best.seed)
        points.append(replace(point, chance=chance, control=control_of(moved, chance)))
        excess = np.append(everybody, point.rate.value - chance)
        residuals = _residuals(trials, excess, chance)
        observed.append(residuals[-1])
        permuted.append(residuals[:-1])
        least.append(1.0)
    told = replace(
        told,
        points=tuple(points[: len(told.points)]),
        smallest=points[-1] if told.smallest else None,
        auc=Area(best.rate, control_of(nobody, 0.5), 1.0),
        tests=Statistics(np.array(observed), np.stack(permuted, axis=1), np.array(least)),
    )
    return told.adjusted(max_statistic(*told.tests).tolist())


def _residuals(trials: Trials, excess: np.ndarray, chance: float) -> np.ndarray:
    """Rates less chance as residuals of the hits; less than no hits, where luck differs by person, is none."""
    probes = len(trials.person)
    hits = np.clip(probes * (excess + chance), 0, probes)
    return deviance_residual(hits, probes * chance, probes, dispersion=trials.dispersion())


def _by_luck(trials: Trials, k: int, *, permutations: int, seed: int) -> tuple[float, np.ndarray, np.ndarray]:
    """Chance that probes who call a name call their own, and its excess under permuted identities; over all probes.

    Of the probes that call nobody none can hit, whatever the identities: they only count among the trials.
    """
    calling = trials.nearest[:, 0] >= 0
    share = float(calling.mean())
    if not share:
        nothing = np.zeros(permutations)
        return 0.0, nothing, nothing
    some = trials.only(calling)
    everybody, moved = (share * each[:, 0] for each in permute(some, (k,), permutations=permutations, seed=seed))
    return share * float(some.chance(k).mean()), everybody, moved
