"""Open-set identification against plain loops, and the rule on what is measurable."""

import json
from typing import Any

import numpy as np
import pytest
from scipy import stats

from facemae.errors import DataError
from facemae.measure import bootstrap_weights, nonmember_control
from facemae.measure.control import Trials, deviance_residual


def faces(centre: np.ndarray, labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    rows = centre[labels] + 0.9 * random.normal(size=(len(labels), 16))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def three_sets(strangers: int) -> tuple[np.ndarray, ...]:
    """Members' probes, strangers' probes and the gallery, each followed by its labels."""
    random = np.random.default_rng(8)
    centre = random.normal(size=(20 + strangers, 16))
    members, others = np.repeat(np.arange(20), 4), np.repeat(np.arange(20, 20 + strangers), 2)
    return (
        faces(centre, members, random),
        members,
        faces(centre, others, random),
        others,
        faces(centre, members, random),
    )


def oracle(sets: tuple[np.ndarray, ...], target: float, member_weight: np.ndarray, other_weight: np.ndarray) -> float:
    """TPIR with every probe counted as often as its person was drawn."""
    probes, members, others, strangers, gallery = (part.astype(np.float64) for part in sets)
    nearest = np.sort((others @ gallery.T).max(axis=1))[::-1]
    order = np.argsort(-(others @ gallery.T).max(axis=1), kind="stable")
    weights = other_weight[strangers.astype(int)[order] - 20]
    spent, threshold = 0.0, -np.inf
    for score, weight in zip(nearest, weights, strict=True):
        spent += weight
        if spent > target * weights.sum() + 1e-9:
            threshold = score
            break
    scores = probes @ gallery.T
    right = members[scores.argmax(axis=1)] == members
    hit = right & (scores.max(axis=1) > threshold)
    weight = member_weight[members.astype(int)]
    return float((weight * hit).sum() / weight.sum())


def test_rate_and_interval_match_plain_loops() -> None:
    sets = three_sets(60)
    found = nonmember_control(*sets, sets[1], fpirs=(0.1, 0.05), seed=5, replicates=40)
    [point, missing] = found.points
    assert point.rate is not None
    assert point.rate.value == pytest.approx(oracle(sets, 0.1, np.ones(20), np.ones(60)), abs=1e-12)
    assert 0 < point.rate.value < 1
    assert point.fpir == pytest.approx(0.1)
    [weights] = bootstrap_weights(np.repeat([0, 1], [20, 60]), replicates=40, seed=5)
    draws = [oracle(sets, 0.1, drawn[:20], drawn[20:]) for drawn in weights]
    assert point.rate.low <= np.quantile(draws, 0.025) + 1e-12
    assert point.rate.high >= np.quantile(draws, 0.975) - 1e-12
    assert missing.rate is None
    assert found.smallest_measurable == pytest.approx(10 / 120)
    assert (found.nonmember_trials, found.nonmember_people) == (120, 60)
    assert json.loads(json.dumps(found.to_dict()))["points"][1]["measurable"] is False


def test_too_few_people_measure_nothing() -> None:
    sets = three_sets(49)
    found = nonmember_control(*sets, sets[1], fpirs=(0.5,), seed=0, replicates=5)
    assert found.points[0].rate is None
    assert found.smallest_measurable is None


def test_a_stranger_whose_photos_all_alarm_is_one_witness() -> None:
    probes, members, others, strangers, gallery = three_sets(60)
    quiet = nonmember_control(probes, members, others, strangers, gallery, members, fpirs=(0.1,), seed=0, replicates=5)
    assert quiet.points[0].rate is not None
    # Eight more photos of one stranger, copies of a member's: of twelve alarms at 10 % few would be other people's.
    loud = np.append(strangers, np.repeat(strangers[0], 8))
    copies = np.concatenate([others, np.repeat(gallery[:1], 8, axis=0)])
    found = nonmember_control(probes, members, copies, loud, gallery, members, fpirs=(0.1,), seed=0, replicates=5)
    assert found.points[0].rate is None
    assert found.smallest_measurable is not None
    assert found.smallest_measurable > 0.1


def test_members_score_higher_than_strangers() -> None:
    sets = three_sets(60)
    found = nonmember_control(*sets, sets[1], seed=0, replicates=5)
    assert found.member_scores[1] > found.nonmember_scores[1]
    assert list(found.member_scores) == sorted(found.member_scores)


def test_a_member_among_the_nonmembers_is_refused() -> None:
    sets = three_sets(60)
    with pytest.raises(DataError, match="non-members are in the gallery: got 1 people"):
        nonmember_control(sets[0], sets[1], sets[2], np.where(sets[3] == 20, 0, sets[3]), sets[4], sets[1], seed=0)


def test_best_scores_tell_members_from_strangers_as_scikit_learn_says() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    sets = three_sets(60)
    assert nonmember_control(*sets, sets[1], seed=5, replicates=40).auc is None
    found = nonmember_control(*sets, sets[1], tested=True, seed=5, replicates=400)
    assert found.auc is not None
    best = [(sets[side] @ sets[4].T).max(axis=1) for side in (0, 2)]
    truth = np.repeat([1, 0], [len(part) for part in best])
    area = found.auc.rate
    assert area.value == pytest.approx(metrics.roc_auc_score(truth, np.concatenate(best)), abs=1e-6)
    assert area.low < area.value < area.high
    assert found.auc.p_value <= 0.05
    assert found.auc.verdict == "distinguishable from chance"
    assert found.to_dict()["auc"]["trials"] == len(best[0]) * len(best[1])
    json.dumps(found.to_dict())


def test_a_curve_begins_where_the_sample_ends_and_never_falls() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    sets = three_sets(60)
    found = nonmember_control(*sets, sets[1], fpirs=(0.1, 0.05), tested=True, seed=5, replicates=40, permutations=19)
    assert found.smallest is not None
    assert found.smallest.target == found.smallest_measurable == pytest.approx(10 / 120)
    assert [point.rate is None for point in found.points] == [False, True]
    curve = np.array(found.to_dict()["curve"])
    assert curve[0].tolist()[:2] == [found.smallest.fpir, found.smallest.rate.value]  # type: ignore[union-attr]
    assert (np.diff(curve, axis=0) >= 0).all()
    assert (curve[:, 2] <= curve[:, 1]).all()
    assert (curve[:, 1] <= curve[:, 3]).all()
    # Members whose nearest is their own, at each share of strangers above the threshold.
    scores = sets[0] @ sets[4].T
    mate = np.where(sets[1][scores.argmax(axis=1)] == sets[1], scores.max(axis=1), -2.0)
    other = (sets[2] @ sets[4].T).max(axis=1)
    truth = np.repeat([1, 0], [len(mate), len(other)])
    fpr, tpr, _ = metrics.roc_curve(truth, np.concatenate([mate, other]), drop_intermediate=False)
    for false, true, *_ in curve:
        assert tpr[fpr <= false + 1e-12].max() == pytest.approx(true)


def test_who_names_at_random_names_rightly_as_often_as_chance_says() -> None:
    """Ten members with two photos each, galleries of two images a person, all of the same score: by hand."""
    rows = np.ones((20, 1), np.float32)
    members, strangers = np.repeat(np.arange(10), 2), np.repeat(np.arange(10, 70), 2)
    # Every probe's nearest is row 0, which shows person 0; every second stranger stays below.
    others = np.where(np.arange(120) % 20 < 19, -1, 1).astype(np.float32)[:, None]
    found = nonmember_control(
        rows, members, others, strangers, rows, members, fpirs=(0.1,), tested=True, seed=0, replicates=40
    )
    [point] = found.points
    # Six strangers of 120 score 1, so only scores above -1 call: all members do, and two of twenty name themselves.
    assert (point.threshold, point.rate.hits if point.rate else None) == (-1.0, 2)
    assert point.chance == pytest.approx(2 / 20)
    assert point.control is not None
    assert point.control.value < 0.12
    assert point.p_value is not None
    assert point.p_value > 0.2
    assert point.verdict.startswith("not distinguishable from chance; this attack names at most ")


def test_deviance_residual_is_the_deviance_and_near_the_normal_value_of_the_tail() -> None:
    # 2 hits of 10 where 1 is expected: 2 (2 ln 2 + 8 ln(8 / 9)) = 0.88804; none: 20 ln(10 / 9) = 2.10721.
    roots = deviance_residual(np.array([0.0, 1.0, 2.0]), 1.0, 10)
    assert roots == pytest.approx([-(2.10721**0.5), 0.0, 0.88804**0.5], abs=1e-4)
    assert deviance_residual(np.array([0.0, 1.0, 2.0]), 1.0, 10, dispersion=4.0) == pytest.approx(roots / 2)
    assert deviance_residual(np.zeros(2), 0.0, 10).tolist() == [0, 0]
    for expected in (0.05, 0.5, 5.0, 200.0):
        luck = stats.binom(1000, expected / 1000)
        for z in (2.0, 3.0, 4.0):
            hits = luck.isf(stats.norm.sf(z))
            # Between the normal values of "this many or more" and of "more than this many".
            often, seldom = stats.norm.isf(luck.sf([hits - 1, hits]))
            assert often <= deviance_residual(np.array([hits]), expected, 1000)[0] <= seldom


def test_hits_that_come_together_count_as_one() -> None:
    """Three probes of person 0 who all call person 2, one of person 1 who calls 0, one of nobody."""
    calls = np.array([[2], [2], [2], [0], [-1]])
    alike = np.zeros_like(calls)
    trials = Trials(calls, alike, np.array([0, 0, 0, 1, 1]), np.ones(3, int), np.full_like(calls, -1), np.ones(3, int))
    assert trials.dispersion() == (9 + 1) / (3 + 1)
    assert trials.only(np.arange(5) == 4).dispersion() == 1.0


def test_means_of_many_photos_change_places_with_means_of_as_many() -> None:
    """Ten people, one row each, whose nearest is the next of five with as many photos: by luck 2 of 10 hit, not 1."""
    next_one = np.concatenate([np.roll(np.arange(5), -1), 5 + np.roll(np.arange(5), -1)])
    rows, people = np.eye(11, dtype=np.float32), np.arange(10)
    angle = np.linspace(0.01, 0.3, 120, dtype=np.float32)[:, None]
    strangers = np.sin(angle) * rows[0] + np.cos(angle) * rows[10]
    sets = rows[next_one], people, strangers, 10 + np.repeat(np.arange(60), 2), rows[:10], people
    # No stranger scores as much as a member, whose nearest is the same row: all members call.
    how: dict[str, Any] = {"fpirs": (0.1,), "tested": True, "seed": 0, "replicates": 40}
    for behind, expected in ((np.repeat([1, 9], 5), 0.2), (None, 0.1)):
        [point] = nonmember_control(*sets, behind=behind, **how).points
        assert point.control is not None
        # The control is of those who moved: in blocks of five four of five move, of whom a quarter hit.
        assert point.control.value == pytest.approx({0.2: 1 / 4, 0.1: 1 / 9}[expected], abs=0.02)


def test_right_names_are_told_from_luck() -> None:
    sets = three_sets(60)
    found = nonmember_control(*sets, sets[1], fpirs=(0.1, 0.05), tested=True, seed=5, replicates=40)
    [point, missing] = found.points
    assert (point.p_value, missing.p_value) == (pytest.approx(0.001), None)
    assert point.verdict == "distinguishable from chance"
    assert found.tests.observed.shape == (3,)  # AUC, 10 %, and the smallest measurable
    assert found.tests.permuted.shape == (999, 3)
    blind = found.adjusted([0.4, 0.3, 0.2])
    assert blind.auc is not None
    assert blind.smallest is not None
    assert (blind.auc.p_value, blind.points[0].p_value, blind.smallest.p_value) == (0.4, 0.3, 0.2)
