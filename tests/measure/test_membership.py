"""Membership against scikit-learn, by hand, and where members are like everybody else."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_auc_score, roc_curve

from facemae.errors import DataError
from facemae.measure import bootstrap_weights, calibrated, membership

Sides = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def sides(people: int, gap: float, seed: int = 0, photos: int = 3, ties: bool = False) -> Sides:
    """So many members and as many others; scores of one person go together."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(2 * people), photos)
    score = np.sqrt(0.5) * (random.normal(size=2 * people)[labels] + random.normal(size=len(labels)))
    score = score + gap * (labels < people)
    score = np.round(score * 2) / 2 if ties else score
    half = people * photos
    return score[:half], labels[:half], score[half:], labels[half:]


def tpr(sets: Sides, target: float, weights: np.ndarray | None = None) -> float:
    truth, score = np.repeat([1, 0], [len(sets[0]), len(sets[2])]), np.concatenate([sets[0], sets[2]])
    fpr, found, _ = roc_curve(truth, score, sample_weight=weights, drop_intermediate=False)
    return float(found[fpr <= target + 1e-9].max())


def auc(sets: Sides, weights: np.ndarray | None = None) -> float:
    truth = np.repeat([1, 0], [len(sets[0]), len(sets[2])])
    return float(roc_auc_score(truth, np.concatenate([sets[0], sets[2]]), sample_weight=weights))


def test_by_hand() -> None:
    # Fifty others score 1 … 50. Members 46, 45.5, 10: t = 45 leaves 5 of 50 above it, and two of three members.
    member, others = np.array([46, 45.5, 10]), np.arange(1.0, 51)
    found = membership(member, np.array([900, 901, 901]), others, np.arange(50), fprs=(0.2, 0.1), seed=0, replicates=9)
    assert found.points[0].rate is not None
    # FPR 20 % is measurable with 50 photos (10/50), 10 % is not.
    assert (found.points[0].rate.hits, found.points[0].fpr, found.points[0].threshold) == (2, 0.2, 40.0)
    assert found.points[1].rate is None
    # 46 beats 45 and ties one; 45.5 beats 45; 10 beats 9 and ties one: (45.5 + 45 + 9.5) / 150.
    assert found.auc.value == pytest.approx(100 / 150)
    assert (found.members, found.nonmembers, found.smallest_measurable) == (2, 50, 0.2)


def test_one_outsider_who_is_always_accused_is_no_ten_of_them() -> None:
    member, labels, other, outsiders = sides(60, 0.8)
    assert membership(member, labels, other, outsiders, fprs=(0.1,), seed=0, replicates=5).points[0].rate is not None
    accused = np.append(other, np.full(16, 99.0)), np.append(outsiders, np.full(16, outsiders[0]))
    found = membership(member, labels, *accused, fprs=(0.1,), seed=0, replicates=5)
    assert found.points[0].rate is None
    assert found.to_dict()["points"][0] == {"target": 0.1, "measurable": False} | {
        key: None for key in found.to_dict()["points"][0] if key not in ("target", "measurable")
    }


@pytest.mark.parametrize("ties", [False, True])
def test_rates_and_replicates_match_scikit_learn(ties: bool) -> None:
    sets = sides(60, 0.8, ties=ties)
    found = membership(*sets, fprs=(0.1, 0.06), seed=3, replicates=15, permutations=9)
    assert found.auc.value == pytest.approx(auc(sets), abs=1e-12)
    for point in found.points:
        assert point.rate is not None
        assert point.rate.value == pytest.approx(tpr(sets, point.target), abs=1e-12)
        assert point.fpr is not None
        assert point.fpr <= point.target
    [weights] = bootstrap_weights(np.repeat([0, 1], 60), replicates=15, seed=3)
    photos = [row[np.concatenate([sets[1], sets[3]])] for row in weights]
    drawn = np.array([[auc(sets, row), tpr(sets, 0.1, row)] for row in photos])
    for column, rate in enumerate((found.auc, found.points[0].rate)):
        assert rate is not None
        assert rate.low == pytest.approx(min(rate.value, np.quantile(drawn[:, column], 0.025)), abs=1e-9)
        assert rate.high == pytest.approx(max(rate.value, np.quantile(drawn[:, column], 0.975)), abs=1e-9)


def test_permuted_members_match_scikit_learn() -> None:
    sets = sides(60, 0.8)
    found = membership(*sets, fprs=(0.1,), seed=1, replicates=5, permutations=4)
    random = np.random.default_rng([1, 0x3E3B])
    score, person = np.concatenate([sets[0], sets[2]]), np.concatenate([sets[1], sets[3]])
    for row in found.permuted:
        called = np.isin(person, random.permutation(120)[:60])
        again = score[called], person[called], score[~called], person[~called]
        last = found.smallest
        assert last is not None
        assert last.target == found.smallest_measurable
        points = [tpr(again, point.target) - point.fpr for point in (found.points[0], last)]  # type: ignore[operator]
        assert row == pytest.approx([auc(again) - 0.5, *points], abs=1e-9)


@given(st.integers(0, 30), st.sampled_from([np.exp, np.arctan, lambda s: s**3]))
@settings(max_examples=15, deadline=None)
def test_monotone_transforms_and_order_change_nothing(seed: int, transform: np.ufunc) -> None:
    sets = sides(50, 0.5, seed)
    mixed = np.random.default_rng(seed).permutation(len(sets[0]))
    other = transform(sets[0])[mixed], sets[1][mixed], transform(sets[2]), sets[3]
    found = [membership(*one, fprs=(0.1,), seed=0, replicates=20, permutations=9).to_dict() for one in (sets, other)]
    for one in found:
        one["points"][0].pop("threshold")
    for key in ("value", "low", "high", "p_value", "control"):
        assert found[0]["auc"][key] == pytest.approx(found[1]["auc"][key], abs=1e-12)
        assert found[0]["points"][0][key] == pytest.approx(found[1]["points"][0][key], abs=1e-12)


def test_members_like_everybody_are_not_told_and_others_are() -> None:
    nobody, leak = (membership(*sides(80, gap), seed=0, replicates=200) for gap in (0.0, 1.0))
    assert nobody.verdict.startswith("not distinguishable from chance; AUC at most")
    assert nobody.auc.low < 0.5 < nobody.auc.high
    assert leak.verdict == "distinguishable from chance"
    assert leak.auc_control.low < 0.5 < leak.auc_control.high
    assert leak.auc.low < norm.cdf(1 / np.sqrt(2)) < leak.auc.high
    assert [point.rate is None for point in leak.points] == [False, True, True]


def test_complete_separation_still_has_a_width() -> None:
    found = membership(*sides(60, 100.0), fprs=(0.1,), seed=0, replicates=20, permutations=99)
    assert found.auc.value == 1
    assert found.auc.low < 1
    assert "Wilson" in found.auc.method


def test_calibration_takes_out_what_makes_a_photo_easy() -> None:
    easy = np.array([0.0, 5.0, 10.0])
    told = calibrated(easy + np.array([1.0, 0.0, 2.0]), np.stack([easy - 0.5, easy + 0.5]))
    assert told.tolist() == [1, 0, 2]
    with pytest.raises(DataError, match="0 references"):
        calibrated(easy, np.empty((0, 3)))


def test_wrong_people_and_scores_are_refused() -> None:
    member, who, others, strangers = sides(50, 0.0)
    with pytest.raises(DataError, match="a member and a non-member: got 1 people"):
        membership(member, who, others, np.where(strangers == 50, 0, strangers), seed=0)
    with pytest.raises(DataError, match="cannot be scored"):
        membership(np.where(who == 0, np.nan, member), who, others, strangers, seed=0)


def test_dictionary_is_plain_json() -> None:
    found = membership(*sides(50, 0.5), seed=0, replicates=5, permutations=9)
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["points"][1] == {"target": 0.01, "measurable": False}
    assert {"value", "fpr", "control", "p_value"} <= plain["points"][0].keys()
    assert (plain["members"], plain["nonmembers"]) == (50, 50)
