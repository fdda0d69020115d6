"""Ten folds: golden numbers, double loops as an oracle, and the bootstrap against resampled pairs."""

import json

import numpy as np
import pytest
from sklearn.model_selection import KFold

from facemae.errors import DataError
from facemae.measure import accuracy_replicates, bootstrap_weights, flip_sum, ten_fold, xnorm
from facemae.measure.verification import fold_of


def golden(n: int, d: int, noise: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Closed-form embeddings: image i, dimension j, pair p = i // 2, same where p % 3."""
    i, j = np.arange(2 * n)[:, None], np.arange(d)[None]
    pair = i // 2
    base, other = np.sin(0.7 * (pair + 1) * (j + 1)), np.cos(1.3 * (pair + 2) * (j + 1))
    rows = np.where((i % 2 == 1) & (pair % 3 == 0), other, base) + noise * np.sin(2.1 * (i + 1) * (j + 2))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows[::2], rows[1::2], np.arange(n) % 3 != 0


def simulated(
    people: int = 12, per_fold: int = 20, folds: int = 10, noise: float = 1.2
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pairs in folds of their own people: embeddings, same, and both people."""
    random = np.random.default_rng(11)
    fold = np.repeat(np.arange(folds), per_fold)
    same = np.tile(np.arange(per_fold) % 2 == 0, folds)
    first = random.integers(people, size=len(same))
    second = np.where(same, first, (first + random.integers(1, people, size=len(same))) % people)
    first, second = first + people * fold, second + people * fold
    centre = random.normal(size=(people * folds, 16))
    rows = [centre[who] + noise * random.normal(size=(len(same), 16)) for who in (first, second)]
    a, b = (row / np.linalg.norm(row, axis=1, keepdims=True) for row in rows)
    return a, b, same, first, second


@pytest.mark.parametrize(
    ("n", "d", "noise", "accuracy", "std"),
    [
        (60, 8, 0.9, 0.8666666667, 0.1247219129),
        (60, 16, 1.0, 0.8666666667, 0.1452966315),
        (600, 32, 1.6, 0.9016666667, 0.0397562015),
    ],
)
def test_golden(n: int, d: int, noise: float, accuracy: float, std: float) -> None:
    found = ten_fold(*golden(n, d, noise), replicates=5)
    assert found.accuracy.value == pytest.approx(accuracy, abs=1e-10)
    assert found.std == pytest.approx(std, abs=1e-10)


def test_golden_folds() -> None:
    found = ten_fold(*golden(60, 8, 0.9), replicates=5)
    expected = [1, 4 / 6, 5 / 6, 1, 5 / 6, 5 / 6, 1, 1, 4 / 6, 5 / 6]
    assert found.fold_accuracies == pytest.approx(expected, abs=1e-15)
    assert (found.accuracy.hits, found.accuracy.trials, found.pairs) == (52, 60, 60)


@pytest.mark.parametrize("n", [40, 57, 60])
def test_folds_are_scikit_learns(n: int) -> None:
    fold = fold_of(n, 10)
    for number, (_, test) in enumerate(KFold(10).split(np.zeros(n))):
        assert np.array_equal(np.flatnonzero(fold == number), test)


def test_threshold_is_strict_and_the_first_best() -> None:
    # Genuine pairs lie at exactly 2.0, a threshold of the grid, and the others at 4: the first that accepts is 2.01.
    a, same = np.tile([[1.0, 0.0]], (20, 1)), np.arange(20) % 2 == 0
    found = ten_fold(a, np.where(same[:, None], [[0.0, 1.0]], -a), same, replicates=5)
    assert found.fold_thresholds == pytest.approx([2.01] * 10)
    assert found.accuracy.value == 1


def oracle(a: np.ndarray, b: np.ndarray, same: np.ndarray, fold: np.ndarray, weight: np.ndarray) -> float:
    """Accuracy by plain loops over folds and thresholds, each pair counted ``weight`` times."""
    distance = np.sum(np.square(a - b), axis=1)
    accuracies = []
    for number in np.unique(fold):
        train, test = fold != number, fold == number
        scores = [float(weight[train] @ ((distance[train] < t) == same[train])) for t in np.arange(0, 4, 0.01)]
        right = (distance[test] < np.arange(0, 4, 0.01)[int(np.argmax(scores))]) == same[test]
        if weight[test].sum():
            accuracies.append(weight[test] @ right / weight[test].sum())
    return float(np.mean(accuracies))


def test_uneven_folds_match_plain_loops() -> None:
    a, b, same = golden(57, 8, 0.9)
    assert ten_fold(a, b, same, replicates=2).accuracy.value == oracle(a, b, same, fold_of(57, 10), np.ones(57))


def test_given_folds_are_kept_whatever_their_size_and_order() -> None:
    a, b, same = golden(60, 8, 0.9)
    fold = np.repeat([7, 2, 9], [10, 35, 15])
    found = ten_fold(a, b, same, fold=fold, replicates=2)
    assert len(found.fold_accuracies) == 3
    assert found.accuracy.value == pytest.approx(oracle(a, b, same, fold, np.ones(60)), abs=1e-15)
    order = np.random.default_rng(0).permutation(60)
    mixed = ten_fold(a[order], b[order], same[order], fold=fold[order], replicates=2)
    assert mixed.fold_accuracies == found.fold_accuracies
    assert mixed.fold_thresholds == found.fold_thresholds
    assert ten_fold(a, b, same, fold=fold_of(60, 10), replicates=5) == ten_fold(a, b, same, replicates=5)


def test_people_are_drawn_within_the_folds_given() -> None:
    a, b, same, first, second = simulated()
    people = np.unique(np.concatenate([first, second]))
    # The ten folds in two: people 0 … 35 in the first three of them, the others in the last seven.
    fold = (fold_of(200, 10) >= 3).astype(int)
    found = ten_fold(a, b, same, fold=fold, people_a=first, people_b=second, replicates=4, seed=4)
    assert "within folds" in found.accuracy.method
    [weights] = bootstrap_weights((people // 12 >= 3).astype(int), replicates=4, seed=4)
    for replicate, drawn in zip(found.replicates, weights, strict=True):
        of = dict(zip(people.tolist(), drawn.tolist(), strict=True))
        weight = np.array([of[p] if p == q else of[p] * of[q] for p, q in zip(first, second, strict=True)])
        assert replicate == pytest.approx(oracle(a, b, same, fold, weight), abs=1e-12)


def test_bootstrap_draws_people_within_folds_and_refits() -> None:
    a, b, same, first, second = simulated()
    found = accuracy_replicates(a, b, same, people_a=first, people_b=second, replicates=8, seed=4)
    people, fold = np.unique(np.concatenate([first, second])), fold_of(200, 10)
    [weights] = bootstrap_weights(people // 12, replicates=8, seed=4)
    for replicate, drawn in zip(found, weights, strict=True):
        of = dict(zip(people.tolist(), drawn.tolist(), strict=True))
        weight = np.array([of[p] if p == q else of[p] * of[q] for p, q in zip(first, second, strict=True)])
        assert replicate == pytest.approx(oracle(a, b, same, fold, weight), abs=1e-12)


def test_rows_share_their_draws() -> None:
    a, b, same, first, second = simulated()
    kwargs = {"people_a": first, "people_b": second, "replicates": 50, "seed": 9}
    found = ten_fold(a, b, same, **kwargs)
    assert np.array_equal(found.replicates, accuracy_replicates(a, b, same, **kwargs))
    assert "within folds" in found.accuracy.method
    assert found.accuracy.low < found.accuracy.value < found.accuracy.high


def test_a_person_across_folds_is_drawn_once() -> None:
    a, b, same, first, _ = simulated()
    method = ten_fold(a, b, same, people_a=first % 30, people_b=np.where(same, first % 30, 40), replicates=3).accuracy
    assert "people" in method.method
    assert "within folds" not in method.method


def test_tar_at_the_largest_threshold_allowed() -> None:
    a, b, same, first, second = simulated(people=20, per_fold=40)
    found = ten_fold(a, b, same, people_a=first, people_b=second, fars=(0.1, 0.06, 0.01), replicates=30)
    distance, fold = np.sum(np.square(a - b), axis=1), fold_of(400, 10)
    tars, fars = [], []
    for number in range(10):
        train, test = fold != number, fold == number
        allowed = [t for t in np.arange(0, 4, 0.001) if (distance[train & ~same] < t).mean() <= 0.1]
        tars.append((distance[test & same] < allowed[-1]).mean())
        fars.append((distance[test & ~same] < allowed[-1]).mean())
    at_tenth, at_six, at_hundredth = found.tar
    assert at_tenth.rate is not None
    assert at_tenth.rate.value == pytest.approx(np.mean(tars), abs=1e-12)
    assert at_tenth.far == pytest.approx(np.mean(fars), abs=1e-12)
    assert at_tenth.rate.trials == 200
    assert at_six.rate is not None
    assert at_six.rate.value <= at_tenth.rate.value
    assert at_hundredth.rate is None
    assert at_hundredth.smallest_measurable == pytest.approx(0.05)
    assert json.loads(json.dumps(found.to_dict()))["tar"][2]["measurable"] is False


def test_flip_sum_and_xnorm_by_hand() -> None:
    view, flipped = np.array([[3.0, 0.0], [1.0, 0.0]]), np.array([[0.0, 4.0], [-1.0, 0.0]])
    assert flip_sum(view, flipped) == pytest.approx(np.array([[0.6, 0.8], [0, 0]]))
    assert xnorm(view, flipped) == pytest.approx((3 + 1 + 4 + 1) / 4)


def test_mistakes_are_named() -> None:
    a, b, same, first, second = simulated()
    with pytest.raises(DataError, match="too few pairs"):
        ten_fold(a[:9], b[:9], same[:9])
    with pytest.raises(DataError, match="too few pairs to fold: got 200 pairs, 1 folds"):
        ten_fold(a, b, same, fold=np.zeros(200, int))
    with pytest.raises(DataError, match="one kind"):
        ten_fold(a, b, np.ones_like(same))
    with pytest.raises(DataError, match="unit rows"):
        ten_fold(np.full_like(a, np.nan), b, same)
    with pytest.raises(DataError, match="people contradict the pairs: got 1 pairs"):
        ten_fold(a, b, same, people_a=first, people_b=np.where(np.arange(200) == 0, first + 1, second))
