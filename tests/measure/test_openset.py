"""Open-set identification against plain loops, and the rule on what is measurable."""

import json

import numpy as np
import pytest

from facemae.errors import DataError
from facemae.measure import bootstrap_weights, nonmember_control


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
    found = nonmember_control(*sets, sets[1], auc=True, seed=5, replicates=400)
    assert found.auc is not None
    best = [(sets[side] @ sets[4].T).max(axis=1) for side in (0, 2)]
    truth = np.repeat([1, 0], [len(part) for part in best])
    assert found.auc.value == pytest.approx(metrics.roc_auc_score(truth, np.concatenate(best)), abs=1e-6)
    assert found.auc.low < found.auc.value < found.auc.high
    assert found.to_dict()["auc"]["trials"] == len(best[0]) * len(best[1])
    json.dumps(found.to_dict())
