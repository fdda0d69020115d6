"""Verification of pairs: ten folds, accuracy and TAR at FAR, as the field's tools measure them.

Protocol: InsightFace's arcface_torch (recognition/arcface_torch/eval/verification.py), bit for bit for the accuracy.
Differences on purpose: the threshold of TAR@FAR is defined for step functions, and every rate has an interval.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from facemae.errors import DataError
from facemae.measure.intervals import cluster_bootstrap, rate_from_replicates
from facemae.measure.rates import Rate, measurable, smallest_measurable

ACCURACY_GRID = (4.0, 0.01)
FAR_GRID = (4.0, 0.001)
_ROUNDING = 1e-9


@dataclass(frozen=True)
class TarAtFar:
    """True acceptance at a target false acceptance rate; ``rate`` is None where that target is not measurable here.

    ``far`` is the rate measured on the held-out folds. ``smallest_measurable`` is None where no target is.
    """

    target: float
    rate: Rate | None
    far: float | None
    smallest_measurable: float | None

    def to_dict(self) -> dict[str, Any]:
        """Keys ``target far measurable smallest_measurable`` and, where measurable, those of the rate."""
        head = {"target": self.target, "far": self.far, "measurable": self.rate is not None}
        return head | {"smallest_measurable": self.smallest_measurable} | (self.rate.to_dict() if self.rate else {})


@dataclass(frozen=True)
class Verification:
    """Accuracy over folds: the mean (in ``accuracy``), the population standard deviation, and each fold."""

    accuracy: Rate
    std: float
    fold_accuracies: tuple[float, ...]
    fold_thresholds: tuple[float, ...]
    tar: tuple[TarAtFar, ...]
    pairs: int
    replicates: Float[np.ndarray, " r"] = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Keys ``accuracy std folds thresholds tar pairs``; the bootstrap replicates are left out."""
        folds = {"folds": list(self.fold_accuracies), "thresholds": list(self.fold_thresholds)}
        tar = [point.to_dict() for point in self.tar]
        return {"accuracy": self.accuracy.to_dict(), "std": self.std, **folds, "tar": tar, "pairs": self.pairs}


def flip_sum(view: Float[np.ndarray, "n d"], flipped: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """(e(x) + e(flip x)) / ‖e(x) + e(flip x)‖ in float64, from raw embeddings; a zero sum stays zero."""
    total = view.astype(np.float64) + flipped.astype(np.float64)
    norm = np.sqrt(np.einsum("ij,ij->i", total, total))
    return total / np.where(norm == 0, 1, norm)[:, None]


def xnorm(*views: Float[np.ndarray, "n d"]) -> float:
    """Mean L2 norm of the raw embeddings of all views, before any normalisation (arcface_torch's XNorm)."""
    return float(np.mean([np.linalg.norm(view.astype(np.float64), axis=1) for view in views]))


def fold_of(pairs: int, folds: int) -> Int[np.ndarray, " n"]:
    """Fold of each pair by scikit-learn's KFold rule: contiguous, the first pairs % folds are one larger."""
    sizes = np.full(folds, pairs // folds)
    sizes[: pairs % folds] += 1
    return np.repeat(np.arange(folds), sizes)


@dataclass(frozen=True)
class _Pairs:
    """Checked pairs; the first person equals the second in genuine pairs, and everywhere if people are unknown."""

    distance: Float[np.ndarray, " n"]
    same: Bool[np.ndarray, " n"]
    fold: Int[np.ndarray, " n"]
    first: Int[np.ndarray, " n"]
    second: Int[np.ndarray, " n"]
    strata: Int[np.ndarray, " people"]
    people_known: bool

    @property
    def folds(self) -> int:
        return int(self.fold.max()) + 1

    def bins(self, grid: tuple[float, float]) -> np.ndarray:
        """Index of the first threshold that accepts each pair (distance < threshold, strict)."""
        return np.searchsorted(np.arange(0, *grid), self.distance, side="right")

    def weights(self, people: np.ndarray) -> np.ndarray:
        """Weight of each pair from people's: both people's product in a pair of different people."""
        single = people[:, self.first]
        return np.where(self.first == self.second, single, single * people[:, self.second])

    @property
    def impostor_people(self) -> int | None:
        if not self.people_known:
            return None
        return len(np.unique(np.concatenate([self.first[~self.same], self.second[~self.same]])))

    @property
    def method(self) -> str:
        if not self.people_known:
            return "bootstrap over pairs within folds (people unknown: too narrow)"
        return f"bootstrap over {len(self.strata)} people" + (" within folds" if self.strata.any() else "")


def ten_fold(
    embeddings_a: Float[np.ndarray, "n d"],
    embeddings_b: Float[np.ndarray, "n d"],
    same: Bool[np.ndarray, " n"],
    *,
    folds: int = 10,
    fold: Int[np.ndarray, " n"] | None = None,
    people_a: Int[np.ndarray, " n"] | None = None,
    people_b: Int[np.ndarray, " n"] | None = None,
    fars: tuple[float, ...] = (1e-1, 1e-2, 1e-3),
    replicates: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Verification:
    """Accuracy = mean over folds f of [same ⇔ Σ(a − b)² < t_f], with t_f the first best threshold on the other folds.

    Embeddings are flip-summed unit rows (``flip_sum``). Thresholds are arange(0, 4, 0.01) for accuracy and
    arange(0, 4, 0.001) for TAR@FAR, whose threshold is the largest with a false acceptance rate on the other folds of
    at most the target. A target x is reported only with at least 10/x pairs of different people, from at least 50.
    ``fold`` numbers the fold of each pair, in any order and of any size; without it the pairs are cut into ``folds``
    contiguous runs, as scikit-learn's KFold does.

    Intervals: bootstrap over people within each fold, pairs of different people weighted by both, thresholds refitted
    in each replicate. Where a person spans folds, people are drawn over all folds at once; where people are not given,
    pairs are drawn, which is too narrow, and the method says so.

    Raises ``DataError`` for fewer pairs than folds, pairs of one kind only, rows that are not finite unit rows, and
    people that contradict ``same``. Source: InsightFace arcface_torch; paper section 4 (LFW, CFP-FP, AgeDB).
    """
    pairs = _checked(embeddings_a, embeddings_b, same, folds, fold, people_a, people_b)
    counts = _signed_histogram(pairs, np.ones((1, len(same))))
    correct, best = (part[0] for part in _correct_at_best(pairs, counts, np.ones((1, len(same)))))
    accuracies = correct / np.bincount(pairs.fold)
    impostors = int((~same).sum())
    smallest = smallest_measurable(impostors, pairs.impostor_people)
    seen = tuple(far for far in fars if measurable(far, smallest))
    accuracy_draws, tar_draws = _replicates(pairs, seen, replicates=replicates, seed=seed)
    tar = {far: _tar(pairs, far, tar_draws[:, i], smallest, level) for i, far in enumerate(seen)}
    hits = int(correct.sum())
    accuracy = rate_from_replicates(
        accuracy_draws,
        value=float(np.mean(accuracies)),
        hits=hits,
        trials=len(same),
        clusters=min(len(same), len(pairs.strata)),
        rare=len(same) - hits,
        method=f"{pairs.method}, thresholds refitted, {replicates} replicates",
        level=level,
    )
    return Verification(
        accuracy=accuracy,
        std=float(np.std(accuracies)),
        fold_accuracies=tuple(accuracies.tolist()),
        fold_thresholds=tuple(np.arange(0, *ACCURACY_GRID)[best].tolist()),
        tar=tuple(tar.get(far, TarAtFar(far, None, None, smallest)) for far in fars),
        pairs=len(same),
        replicates=accuracy_draws,
    )


def accuracy_replicates(
    embeddings_a: Float[np.ndarray, "n d"],
    embeddings_b: Float[np.ndarray, "n d"],
    same: Bool[np.ndarray, " n"],
    *,
    folds: int = 10,
    fold: Int[np.ndarray, " n"] | None = None,
    people_a: Int[np.ndarray, " n"] | None = None,
    people_b: Int[np.ndarray, " n"] | None = None,
    replicates: int = 1000,
    seed: int = 0,
) -> Float[np.ndarray, " r"]:
    """Bootstrap replicates of the accuracy of ``ten_fold``: the same people are drawn for every row and every seed."""
    pairs = _checked(embeddings_a, embeddings_b, same, folds, fold, people_a, people_b)
    return _replicates(pairs, (), replicates=replicates, seed=seed)[0]


def _checked(
    a: np.ndarray,
    b: np.ndarray,
    same: np.ndarray,
    folds: int,
    numbers: np.ndarray | None,
    people_a: np.ndarray | None,
    people_b: np.ndarray | None,
) -> _Pairs:
    count = folds if numbers is None else len(np.unique(numbers))
    if not 2 <= count <= len(same):
        raise DataError("too few pairs to fold", got=f"{len(same)} pairs, {count} folds", needed="2 ≤ folds ≤ pairs")
    fold = fold_of(len(same), folds) if numbers is None else np.unique(numbers, return_inverse=True)[1]
    if same.all() or not same.any():
        raise DataError("pairs of one kind only", needed="pairs of the same person and of different people")
    for rows in (a, b):
        norms = np.linalg.norm(rows, axis=1)
        if not np.all((np.abs(norms - 1) < 1e-4) | (norms == 0)):
            remedy = "a recogniser whose training broke gives NaN; raw embeddings go through flip_sum"
            raise DataError("embeddings are not unit rows", needed="finite rows of norm 1", remedy=remedy)
    difference = np.subtract(a.astype(np.float64), b.astype(np.float64))
    distance = np.sum(np.square(difference), 1)
    if people_a is None or people_b is None:
        own = np.arange(len(same))
        return _Pairs(distance, same, fold, own, own, fold, people_known=False)
    wrong = int(((people_a == people_b) != same).sum())
    if wrong:
        raise DataError("people contradict the pairs", got=f"{wrong} pairs", needed="equal people exactly where same")
    people, index = np.unique(np.concatenate([people_a, people_b]), return_inverse=True)
    lowest, highest = np.full(len(people), count), np.full(len(people), -1)
    np.minimum.at(lowest, index, np.tile(fold, 2))
    np.maximum.at(highest, index, np.tile(fold, 2))
    strata = lowest if np.array_equal(lowest, highest) else np.zeros(len(people), np.int64)
    return _Pairs(distance, same, fold, index[: len(same)], index[len(same) :], strata, people_known=True)


def _histogram(cell: np.ndarray, weights: np.ndarray, cells: int) -> np.ndarray:
    """Σ of the weights (b, n) in each cell: (b, cells)."""
    rows = len(weights)
    flat = (cell + cells * np.arange(rows)[:, None]).ravel()
    return np.bincount(flat, weights=weights.ravel(), minlength=rows * cells).reshape(rows, cells)


def _signed_histogram(pairs: _Pairs, weights: np.ndarray) -> np.ndarray:
    """Correct decisions at each threshold, less those at none: (b, folds, thresholds).

    A genuine pair turns right, and a pair of different people wrong, at the first threshold that accepts it.
    """
    bins = len(np.arange(0, *ACCURACY_GRID)) + 1
    cell = pairs.fold * bins + pairs.bins(ACCURACY_GRID)
    signed = _histogram(cell, np.where(pairs.same, weights, -weights), pairs.folds * bins)
    return np.cumsum(signed.reshape(len(weights), pairs.folds, bins), axis=2)[:, :, :-1]


def _correct_at_best(pairs: _Pairs, gained: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weight of the correct pairs of each fold at the first best threshold of the others: (b, folds), and its index."""
    impostors = _histogram(pairs.fold, np.where(pairs.same, 0.0, weights), pairs.folds)
    # Integer weights make these sums exact, so the first argmax is the tools' own; a constant does not move it.
    best = np.argmax(gained.sum(axis=1, keepdims=True) - gained, axis=2)
    return np.take_along_axis(gained, best[:, :, None], axis=2)[:, :, 0] + impostors, best


def _replicates(pairs: _Pairs, fars: tuple[float, ...], *, replicates: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy (replicates,) and TAR at each target (replicates, fars) under the bootstrap, thresholds refitted."""

    def statistic(people: np.ndarray) -> np.ndarray:
        weights = pairs.weights(people)
        correct, _ = _correct_at_best(pairs, _signed_histogram(pairs, weights), weights)
        accuracy = _mean_ratio(correct, _histogram(pairs.fold, weights, pairs.folds))
        return np.stack([accuracy, *(tar for tar, _, _ in _acceptance(pairs, weights, fars))], axis=1)

    width = len(pairs.same) + pairs.folds * len(np.arange(0, *(FAR_GRID if fars else ACCURACY_GRID)))
    rates = cluster_bootstrap(statistic, pairs.strata, replicates=replicates, seed=seed, width=width)
    return rates[:, 0], rates[:, 1:]


def _mean_ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Mean over folds of part / whole, without the folds of no weight (NaN where no fold has any)."""
    ratio = np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
    with np.errstate(invalid="ignore"):
        return ratio.sum(axis=1) / (whole > 0).sum(axis=1)


def _acceptance(
    pairs: _Pairs, weights: np.ndarray, fars: tuple[float, ...]
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(TAR, FAR, accepted genuine weight), each (b,), for each target, at the largest t with FAR_train ≤ target."""
    if not fars:
        return []
    bins = len(np.arange(0, *FAR_GRID)) + 1
    cell, shape = pairs.bins(FAR_GRID), (len(weights), pairs.folds, bins)
    accepted = {}
    for kind in (True, False):
        chosen = pairs.same == kind
        cells = pairs.fold[chosen] * bins + cell[chosen]
        accepted[kind] = np.cumsum(_histogram(cells, weights[:, chosen], pairs.folds * bins).reshape(shape), axis=2)
    train = accepted[False].sum(axis=1, keepdims=True) - accepted[False]
    results = []
    for far in fars:
        # Rows ascend, and threshold 0 accepts nobody, so the count of passing thresholds gives the last of them.
        last = (train[:, :, :-1] <= far * train[:, :, -1:] + _ROUNDING).sum(axis=2, keepdims=True) - 1
        at = {kind: np.take_along_axis(accepted[kind], last, axis=2)[:, :, 0] for kind in accepted}
        tar, measured = (_mean_ratio(at[kind], accepted[kind][:, :, -1]) for kind in (True, False))
        results.append((tar, measured, at[True].sum(axis=1)))
    return results


def _tar(pairs: _Pairs, far: float, draws: np.ndarray, smallest: float | None, level: float) -> TarAtFar:
    [(tar, measured, accepted)] = _acceptance(pairs, np.ones((1, len(pairs.same))), (far,))
    trials, hits = int(pairs.same.sum()), int(accepted[0])
    rate = rate_from_replicates(
        draws,
        value=float(tar[0]),
        hits=hits,
        trials=trials,
        clusters=len(np.unique(pairs.first[pairs.same])),
        rare=min(hits, trials - hits),
        method=f"{pairs.method}, thresholds refitted, {len(draws)} replicates",
        level=level,
    )
    return TarAtFar(far, rate, float(measured[0]), smallest)
