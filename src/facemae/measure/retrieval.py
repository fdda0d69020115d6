"""Exact nearest faces by cosine, in blocks, with results that do not depend on the block size.

Matrix products of low precision only nominate: whatever lies within their error bound of the decision is rescored in
float64, row by row in a fixed order, and ties go to the lower gallery index. For unit rows of d values the bound of a
float32 product is |fl(x·y) − x·y| ≤ γ_d ‖x‖ ‖y‖ with γ_d = d u / (1 − d u), u = 2⁻²⁴, whatever the order of the sum
(Higham, Accuracy and Stability of Numerical Algorithms, section 3.1).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int

from facemae.errors import DataError

BLOCK = (512, 8192)
_PAIRS_ELEMENTS = 1 << 21
_NOBODY = -2.0
_CROWD = 16
_STRIDE = 32


@dataclass(frozen=True)
class Product:
    """How scores of unit rows are approximated: ``multiply(x, y)`` to within ``error(d)``, in float32.

    Results do not depend on it, for it only nominates; a coarse one leaves more pairs to be rescored.
    """

    multiply: Callable[[Float32[np.ndarray, "q d"], Float32[np.ndarray, "g d"]], Float32[np.ndarray, "q g"]]
    error: Callable[[int], float]


def error_bound(dimension: int) -> float:
    """Largest error of a float32 dot product of two unit rows (norms up to 1 + 1e-4), with room for rounding."""
    unit = dimension * 2.0**-24
    assert unit < 0.5, "rows too long for a float32 product"
    return 1.001 * unit / (1 - unit) + 2.0**-40


FLOAT32 = Product(lambda x, y: x @ y.T, error_bound)

Exclude = Int[np.ndarray, " q"] | Int[np.ndarray, "q m"] | Sequence[Sequence[int]] | None


def topk(
    queries: Float[np.ndarray, "q d"],
    gallery: Float[np.ndarray, "g d"],
    k: int,
    *,
    exclude: Exclude = None,
    block: tuple[int, int] = BLOCK,
    product: Product = FLOAT32,
) -> tuple[Int[np.ndarray, "q k"], Float64[np.ndarray, "q k"]]:
    """Indices and scores of the k gallery rows with the largest ⟨query, row⟩, best first, ties to the lower index.

    Unit rows, taken as float32; a score is the float64 sum of their exact products. ``exclude`` names gallery rows
    that a query may not find (its own photo): one index a query with −1 for none, several padded with −1, or lists.
    Where fewer than k rows are left, the tail holds index −1 and score −inf. Memory is bounded by ``block``
    (queries, gallery rows) beside the result. Neither ``block`` nor ``product`` changes the result.

    Raises ``DataError`` for rows that are not finite unit rows and for excluded indices outside of the gallery.
    """
    if k < 1:
        raise DataError("nothing to retrieve", got=f"K = {k}", needed="K ≥ 1")
    x, y = unit_rows(queries, "queries"), unit_rows(gallery, "gallery")
    banned = excluded_rows(exclude, len(x), len(y))
    indices, scores = np.full((len(x), k), -1, np.int64), np.full((len(x), k), -np.inf)
    for rows, columns in _blocks(len(x), len(y), block):
        best, found = scores[rows], indices[rows]
        # Among many near ties a coarse product nominates so many that the finer one is faster.
        for nominator in (product, FLOAT32):
            approximate = _similarities(x[rows], y[columns], banned[rows], columns.start, nominator)
            row, column = _nominees(approximate, best[:, -1], k, nominator.error(x.shape[1]))
            if nominator is FLOAT32 or len(row) <= _CROWD * k * len(best):
                break
        exact = exact_scores(x[rows], y[columns], row, column)
        _merge(best, found, row, column + columns.start, exact)
    return indices, scores


def best_mates(
    queries: Float[np.ndarray, "q d"],
    query_labels: Int[np.ndarray, " q"],
    gallery: Float[np.ndarray, "g d"],
    gallery_labels: Int[np.ndarray, " g"],
    *,
    exclude: Exclude = None,
    block: int = BLOCK[0],
) -> tuple[Int[np.ndarray, " q"], Float64[np.ndarray, " q"]]:
    """Index and score of each query's best gallery row of its own label (−1 and −inf without one), as in ``topk``."""
    x, y = unit_rows(queries, "queries"), unit_rows(gallery, "gallery")
    banned = excluded_rows(exclude, len(x), len(y))
    order = np.argsort(gallery_labels, kind="stable")
    first, last = (np.searchsorted(gallery_labels[order], query_labels, side=side) for side in ("left", "right"))
    indices, scores = np.full((len(x), 1), -1, np.int64), np.full((len(x), 1), -np.inf)
    for start in range(0, len(x), block):
        rows = slice(start, min(start + block, len(x)))
        counts = last[rows] - first[rows]
        row = np.repeat(np.arange(len(counts)), counts)
        offset = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
        column = order[first[rows][row] + offset]
        eligible = ~(banned[rows][row] == column[:, None]).any(axis=1)
        row, column = row[eligible], column[eligible]
        _merge(scores[rows], indices[rows], row, column, exact_scores(x[rows], y, row, column))
    return indices[:, 0], scores[:, 0]


def count_ahead(
    queries: Float[np.ndarray, "q d"],
    gallery: Float[np.ndarray, "g d"],
    reference: Int[np.ndarray, " q"],
    members: Bool[np.ndarray, "g c"],
    *,
    exclude: Exclude = None,
    block: tuple[int, int] = BLOCK,
) -> Iterator[tuple[slice, Int[np.ndarray, "b c"]]]:
    """How many rows of each of c subsets of the gallery come before a reference row in a query's ranking, exactly.

    ``reference[i]`` is a gallery index (query i's best mate); ``members[:, c]`` marks subset c. A hit among the K
    nearest of a subset that holds the reference is a count below K. Yields blocks of queries with their counts.
    """
    x, y = unit_rows(queries, "queries"), unit_rows(gallery, "gallery")
    banned, bound = excluded_rows(exclude, len(x), len(y)), error_bound(x.shape[1])
    target = exact_scores(x, y, np.arange(len(x)), reference)
    above = np.nextafter((target + bound).astype(np.float32), np.float32(np.inf))[:, None]
    below = np.nextafter((target - bound).astype(np.float32), np.float32(-np.inf))[:, None]
    counts = np.zeros((0, members.shape[1]), np.int64)
    for rows, columns in _blocks(len(x), len(y), block):
        approximate = _similarities(x[rows], y[columns], banned[rows], columns.start, FLOAT32)
        if columns.start == 0:
            counts = np.zeros((len(approximate), members.shape[1]), np.int64)
        ahead = approximate > above[rows]
        row, column = _places((approximate >= below[rows]) ^ ahead)
        exact, wanted = exact_scores(x[rows], y[columns], row, column), target[rows][row]
        earlier = column + columns.start < reference[rows][row]
        ahead[row, column] = (exact > wanted) | ((exact == wanted) & earlier)
        # Counts up to the block's width are exact in float32, where the product is a fast matrix product.
        counts += (ahead.astype(np.float32) @ members[columns].astype(np.float32)).astype(np.int64)
        if columns.stop == len(y):
            yield rows, counts


def unit_rows(rows: Float[np.ndarray, "n d"], name: str) -> Float32[np.ndarray, "n d"]:
    """The rows as contiguous float32; zero rows (a dead embedder) pass, anything else must have norm 1."""
    norms = np.sqrt(np.einsum("nd,nd->n", rows, rows))  # linalg.norm would make a copy of all rows
    if not np.all((np.abs(norms - 1) < 1e-4) | (norms == 0)):
        remedy = "an embedder whose training broke gives NaN; raw embeddings must be normalised"
        raise DataError(f"embeddings of the {name} are not unit rows", needed="finite rows of norm 1", remedy=remedy)
    return np.ascontiguousarray(rows, dtype=np.float32)


def excluded_rows(exclude: Exclude, queries: int, gallery: int) -> Int[np.ndarray, "q m"]:
    """Excluded gallery indices as one array padded with −1."""
    if exclude is None:
        return np.full((queries, 0), -1, np.int64)
    if isinstance(exclude, np.ndarray):
        padded = exclude.astype(np.int64)
        padded = padded[:, None] if padded.ndim == 1 else padded
    else:
        padded = np.full((len(exclude), max((len(row) for row in exclude), default=0)), -1, np.int64)
        for i, row in enumerate(exclude):
            padded[i, : len(row)] = row
    if len(padded) != queries or (padded.size and (padded.min() < -1 or padded.max() >= gallery)):
        needed = f"{queries} entries, each −1 or a gallery index below {gallery}"
        raise DataError("excluded photos do not fit", got=f"{len(padded)} entries", needed=needed)
    return padded


def exact_scores(
    x: Float32[np.ndarray, "q d"],
    y: Float32[np.ndarray, "g d"],
    row: Int[np.ndarray, " pairs"],
    column: Int[np.ndarray, " pairs"],
) -> Float64[np.ndarray, " pairs"]:
    """⟨x[row], y[column]⟩ in float64: exact products, each row summed alone in the same order."""
    scores = np.empty(len(row))
    step = max(1, _PAIRS_ELEMENTS // max(1, x.shape[1]))
    for start in range(0, len(row), step):
        part = slice(start, start + step)
        scores[part] = np.multiply(x[row[part]], y[column[part]], dtype=np.float64).sum(axis=1)
    return scores


def _blocks(queries: int, gallery: int, block: tuple[int, int]) -> Iterator[tuple[slice, slice]]:
    """All blocks of the gallery for the first block of queries, then for the next."""
    for top in range(0, queries, block[0]):
        for left in range(0, gallery, block[1]):
            yield slice(top, min(top + block[0], queries)), slice(left, min(left + block[1], gallery))


def _similarities(x: np.ndarray, y: np.ndarray, banned: np.ndarray, first: int, product: Product) -> np.ndarray:
    """Approximate scores of queries against the gallery rows from ``first`` on; excluded pairs are −inf."""
    approximate = product.multiply(x, y)
    row, place = np.nonzero((banned >= first) & (banned < first + len(y)))
    approximate[row, banned[row, place] - first] = -np.inf
    return approximate


def _nominees(approximate: np.ndarray, kth: np.ndarray, k: int, bound: float) -> tuple[np.ndarray, np.ndarray]:
    """(row, column) of every entry of a block that may enter a query's k best, given its present k-th exact score."""
    # An entry enters only above the present k-th score, so its approximate score is at least that less the bound.
    lowest = _below(kth - bound)
    mask = approximate >= lowest[:, None]
    if k < approximate.shape[1] and np.count_nonzero(mask) > 4 * k * len(mask):
        crowded = np.flatnonzero(mask.sum(axis=1) > 4 * k)
        # k entries reach this approximate score, so truly it less the bound; twice it admits all rivals.
        reached = _kth_largest(approximate[crowded], k).astype(np.float64)
        lowest[crowded] = np.maximum(lowest[crowded], _below(reached - 2 * bound))
        mask[crowded] = approximate[crowded] >= lowest[crowded, None]
    return _places(mask)


def _kth_largest(rows: np.ndarray, k: int) -> np.ndarray:
    """At most the k-th largest entry of each row, and close below it: that of the maxima of many small groups."""
    groups = rows.shape[1] // _STRIDE
    if groups >= 4 * k:
        rows = rows[:, : groups * _STRIDE].reshape(len(rows), _STRIDE, groups).max(axis=1)
    return np.partition(rows, rows.shape[1] - k, axis=1)[:, -k]


def _places(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``np.nonzero`` of a sparse mask, ten times as fast."""
    row, column = np.divmod(np.flatnonzero(mask), mask.shape[1])
    return row, column


def _below(threshold: np.ndarray) -> np.ndarray:
    """Float32 at or below a float64 threshold, never so low that an excluded pair (−inf) passes."""
    return np.nextafter(np.maximum(threshold, _NOBODY).astype(np.float32), np.float32(-np.inf))


def _merge(scores: np.ndarray, indices: np.ndarray, row: np.ndarray, column: np.ndarray, exact: np.ndarray) -> None:
    """Merge candidates into the running k best of each row, in place: score descending, then index ascending."""
    k = scores.shape[1]
    held_row, held = np.nonzero(indices >= 0)
    row = np.concatenate([held_row, row])
    column = np.concatenate([indices[held_row, held], column])
    exact = np.concatenate([scores[held_row, held], exact])
    order = np.lexsort((column, -exact, row))
    row = row[order]
    rank = np.arange(len(row)) - np.searchsorted(row, row, side="left")
    kept = rank < k
    indices[row[kept], rank[kept]] = column[order][kept]
    scores[row[kept], rank[kept]] = exact[order][kept]
