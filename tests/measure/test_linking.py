"""Linking against scikit-learn's ROC curve, by hand, and on people whose release shows nobody."""

import json

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from facemae.measure import Linking, PairScores, bootstrap_weights, linking, pair_scores, unlinkability
from facemae.measure.pairs import CELLS, cell_score


def people(count: int, leak: float, seed: int = 0) -> PairScores:
    """Three photos a person and their release, which has so much of the person's vector."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(count), 3)
    centre = random.normal(size=(count, 16))[labels]
    rows = [share * centre + random.normal(size=centre.shape) for share in (1.0, leak)]
    x, y = ((row / np.linalg.norm(row, axis=1, keepdims=True)).astype(np.float32) for row in rows)
    return pair_scores(x, labels, y, labels, exclude=np.arange(3 * count), seed=seed, permutations=99)


def by_hand(mated: dict[int, int], nonmated: dict[int, int]) -> PairScores:
    """Sixty people: the first has the mated pairs, all share each of the others (cell → pairs)."""
    own, beside = np.zeros((60, CELLS), np.int32), np.zeros((60, CELLS), np.int32)
    for cell, number in mated.items():
        own[0, cell] = number
    for cell, number in nonmated.items():
        beside[:2, cell] = number
    moved = np.zeros((3, CELLS), np.int64)
    moved[:, 5] = 1
    return PairScores(np.arange(60), own, beside, moved, np.zeros((3, 60), bool), 60, 60)


def test_four_thresholds_by_hand() -> None:
    # 200 non-mated pairs: 10 in cell 30, 30 in cell 20, 160 in cell 10. Mated: 5 in 40, 3 in 30, 1 in 20, 1 in 10.
    found = linking(by_hand({40: 5, 30: 3, 20: 1, 10: 1}, {30: 10, 20: 30, 10: 160}), fars=(0.1, 0.05), seed=0)
    # FAR from cell 30 on is 10/200 = 5 %, from 20 on 20 %: both targets accept 8 of 10.
    assert [at.rate.value for at in found.tar if at.rate] == [0.8, 0.8]
    assert [at.far for at in found.tar] == [0.05, 0.05]
    # Every edge in 21 … 30 accepts the same, and the smallest of them is the threshold.
    assert found.tar[0].threshold == cell_score(21)
    # FAR − FRR is 0.05 − 0.2 < 0 at edge 21 and 0.2 − 0.1 > 0 at edge 20: they cross at 0.4 of the way, at 14 %.
    assert found.eer.value == pytest.approx(0.14)
    assert (found.tar[0].rate.hits, found.tar[0].rate.trials) == (8, 10)
    assert (found.eer.hits, found.eer.trials) == (2, 10)


def test_a_target_needs_ten_pairs_and_fifty_people() -> None:
    scores = by_hand({40: 5, 10: 5}, {30: 10, 10: 190})
    found = linking(scores, fars=(0.05, 0.049), seed=0, replicates=10)
    assert [at.rate is None for at in found.tar] == [False, True]
    assert found.smallest_measurable == 0.05
    assert found.tar[1].to_dict() == {"target": 0.049, "measurable": False}
    few = PairScores(scores.people, scores.mated, scores.beside, scores.moved, scores.stayed, 49, 60)
    assert linking(few, fars=(0.5,), seed=0, replicates=10).tar[0].rate is None


def oracle(mated: np.ndarray, nonmated: np.ndarray, target: float) -> float:
    """TAR at the largest share of false acceptances within the target, from scikit-learn's curve."""
    cell = np.arange(CELLS)
    truth, score = np.repeat([1, 0], CELLS), np.tile(cell, 2)
    far, tar, _ = roc_curve(truth, score, sample_weight=np.concatenate([mated, nonmated]), drop_intermediate=False)
    return float(tar[far <= target + 1e-12].max())


def from_above(mated: np.ndarray, nonmated: np.ndarray, target: float) -> float:
    """The same by a walk down the cells, up to the first that lets too many in; resampled counts may be negative."""
    accepted = alarms = 0.0
    for own, other in zip(mated[::-1].tolist(), nonmated[::-1].tolist(), strict=True):
        if alarms + other > target * nonmated.sum() + 1e-9:
            break
        accepted, alarms = accepted + own, alarms + other
    return float(accepted / mated.sum())


def test_rates_and_replicates_match_scikit_learn() -> None:
    scores = people(60, 0.6)
    found = linking(scores, fars=(0.1, 0.01), seed=7, replicates=12)
    mated, nonmated = scores.mated.sum(axis=0), scores.nonmated
    for at in found.tar:
        assert at.rate is not None
        assert at.rate.value == pytest.approx(oracle(mated, nonmated, at.target), abs=1e-12)
        assert at.rate.low <= at.rate.value <= at.rate.high
    [weights] = bootstrap_weights(np.zeros(60, np.int64), replicates=12, seed=7)
    drawn = [from_above(*(part[0] for part in scores.weighted(row[None])), 0.1) for row in weights]
    assert found.replicates[:, 1] == pytest.approx(drawn, abs=1e-9)


def test_equal_error_rate_is_where_the_errors_meet() -> None:
    scores = people(60, 0.6)
    mated, nonmated = scores.mated.sum(axis=0), scores.nonmated
    value = linking(scores, seed=0, replicates=5).eer.value
    refused = np.cumsum(mated) / mated.sum()
    accepted = 1 - np.cumsum(nonmated) / nonmated.sum()
    crossing = int(np.argmax(refused >= accepted))
    assert min(accepted[crossing], refused[crossing - 1]) - 1e-9 <= value
    assert value <= max(refused[crossing], accepted[crossing - 1]) + 1e-9


def test_a_release_of_nobody_is_not_accused_and_a_leak_is() -> None:
    nobody, leak = (linking(people(60, share), fars=(0.1,), seed=0, replicates=100) for share in (0.0, 0.8))
    assert nobody.verdict.startswith("not distinguishable from chance; equal error rate at least")
    assert nobody.eer.low < 0.5 < nobody.eer.high
    assert leak.verdict == "distinguishable from chance"
    assert leak.eer_control.low < 0.5 < leak.eer_control.high
    assert leak.tar[0].control is not None
    assert leak.tar[0].control.low < 0.1 < leak.tar[0].control.high


def alone() -> PairScores:
    """Only person 0 is asked for, with both images left out wherever there is but one: no permutation has a pair."""
    rows = np.random.default_rng(0).normal(size=(8, 8))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    asked, shown = np.array([0, 0]), np.array([0, 0, 1, 2, 3, 4])
    return pair_scores(rows[:2], asked, rows[2:], shown, exclude=np.array([0, 1]), seed=0, permutations=99)


def test_who_cannot_be_compared_with_anybody_is_not_accused() -> None:
    scores = alone()
    assert not scores.moved.any()
    found, share = linking(scores, seed=0, replicates=20), unlinkability(scores, seed=0, replicates=20)
    assert not found.distinguishable
    assert not share.distinguishable
    json.dumps(share.to_dict(), allow_nan=False)
    assert (share.control.permutations, share.low) == (0, 0)


def test_hits_of_each_person_add_up() -> None:
    found = linking(people(60, 0.5), fars=(0.1,), seed=0, replicates=5)
    [at] = found.tar
    assert at.outcome is not None
    assert at.rate is not None
    assert (at.outcome.hits.sum(), at.outcome.trials.sum()) == (at.rate.hits, at.rate.trials)
    assert at.outcome.expected.sum() == pytest.approx(at.far * at.rate.trials)


def test_dictionary_is_plain_json() -> None:
    found: Linking = linking(people(60, 0.5), seed=0, replicates=5)
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["tar"][0]["measurable"] is True
    assert plain["pairs"] == "all pairs of 60 people"
    assert {"value", "control", "p_value"} <= plain["eer"].keys()
