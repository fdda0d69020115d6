"""Top-K against float64 brute force and faiss, with ties, exclusions and any block size."""

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facemae.errors import DataError
from facemae.measure import best_mates, count_ahead, topk
from facemae.measure.retrieval import error_bound


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def brute(queries: np.ndarray, gallery: np.ndarray, k: int, banned: list[list[int]]) -> np.ndarray:
    """Sorted by exact rational score, then index: products and sums of float32 integers over 2^m are exact here."""
    found = np.full((len(queries), k), -1)
    for i, query in enumerate(queries):
        scores = (query.astype(np.float64) * gallery.astype(np.float64)).sum(axis=1)
        order = [j for j in np.lexsort((np.arange(len(gallery)), -scores)) if j not in banned[i]][:k]
        found[i, : len(order)] = order
    return found


@st.composite
def crowded_sets(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, list[list[int]]]:
    """Few distinct directions, some nearly equal, so that ties and near ties abound."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    d, images, queries = draw(st.integers(2, 40)), draw(st.integers(1, 60)), draw(st.integers(1, 9))
    prototypes = random.normal(size=(draw(st.integers(1, 6)), d))
    scale = draw(st.sampled_from([0.0, 1e-7, 1e-3, 1.0]))
    rows = prototypes[random.integers(len(prototypes), size=images)] + scale * random.normal(size=(images, d))
    probes = prototypes[random.integers(len(prototypes), size=queries)] + 0.5 * random.normal(size=(queries, d))
    banned = [random.integers(images, size=random.integers(0, 4)).tolist() for _ in range(queries)]
    return unit(probes), unit(rows), banned


@settings(max_examples=150, deadline=None)
@given(crowded_sets(), st.integers(1, 8), st.integers(1, 70), st.integers(1, 10))
@pytest.mark.slow
def test_topk_is_exact_at_any_block_size(
    sets: tuple[np.ndarray, np.ndarray, list[list[int]]], k: int, width: int, height: int
) -> None:
    queries, gallery, banned = sets
    indices, scores = topk(queries, gallery, k, exclude=banned, block=(height, width))
    whole, whole_scores = topk(queries, gallery, k, exclude=banned)
    assert np.array_equal(indices, whole)
    assert np.array_equal(scores, whole_scores)
    assert np.array_equal(indices, brute(queries, gallery, k, banned))


@settings(max_examples=60, deadline=None)
@given(crowded_sets(), st.integers(1, 70), st.integers(1, 10))
@pytest.mark.slow
def test_mates_and_counts_are_exact(
    sets: tuple[np.ndarray, np.ndarray, list[list[int]]], width: int, height: int
) -> None:
    queries, gallery, banned = sets
    labels, own = np.arange(len(gallery)) % 4, np.arange(len(queries)) % 5
    order = brute(queries, gallery, len(gallery), banned)
    mate, _ = best_mates(queries, own, gallery, labels, exclude=banned, block=height)
    expected = [next((j for j in row if j >= 0 and labels[j] == who), -1) for row, who in zip(order, own, strict=True)]
    assert mate.tolist() == expected
    kept = mate >= 0
    left = [row for row, keep in zip(banned, kept, strict=True) if keep]
    members = np.stack([np.ones(len(gallery), bool), np.arange(len(gallery)) % 3 == 0], axis=1)
    blocks = count_ahead(queries[kept], gallery, mate[kept], members, exclude=left, block=(height, width))
    counts = np.concatenate([counts for _, counts in blocks] or [np.zeros((0, 2), np.int64)])
    for found, row, best in zip(counts, order[kept], mate[kept], strict=True):
        ahead = row[: row.tolist().index(best)]
        assert found.tolist() == [len(ahead), int((ahead % 3 == 0).sum())]


def test_duplicates_go_to_the_lower_index() -> None:
    gallery = np.tile(unit(np.random.default_rng(0).normal(size=(50, 64))), (20, 1))
    indices, scores = topk(gallery[7:8], gallery, 20, block=(1, 37))
    assert indices[0].tolist() == list(range(7, 1000, 50))
    assert len(set(scores[0].tolist())) == 1


def test_faiss_agrees_without_ties() -> None:
    random = np.random.default_rng(1)
    queries, gallery = unit(random.normal(size=(60, 96))), unit(random.normal(size=(900, 96)))
    index = faiss.IndexFlatIP(96)
    index.add(gallery)
    theirs, places = index.search(queries, 10)
    indices, scores = topk(queries, gallery, 10, block=(17, 128))
    assert np.abs(scores - theirs).max() < 1e-6
    assert (indices == places).mean() > 0.995


def test_bound_holds_where_float32_errs() -> None:
    random = np.random.default_rng(2)
    x, y = unit(1 + 0.01 * random.normal(size=(200, 512))), unit(1 + 0.01 * random.normal(size=(200, 512)))
    error = np.abs((x @ y.T).astype(np.float64) - x.astype(np.float64) @ y.T.astype(np.float64)).max()
    assert 0 < error < error_bound(512) < 4e-5


def test_exclusions_in_every_form() -> None:
    gallery = np.eye(4, dtype=np.float32)
    assert topk(gallery, gallery, 1)[0][:, 0].tolist() == [0, 1, 2, 3]
    single, _ = topk(gallery, gallery, 1, exclude=np.array([0, -1, 2, -1]))
    assert single[:, 0].tolist() == [1, 1, 0, 3]
    several, _ = topk(gallery, gallery, 2, exclude=np.array([[0, 1], [-1, 0], [3, 2], [-1, -1]]))
    assert several.tolist() == [[2, 3], [1, 2], [0, 1], [3, 0]]
    short, scores = topk(gallery, gallery, 4, exclude=[[0], [], [1, 2, 3], []])
    assert short[2].tolist() == [0, -1, -1, -1]
    assert scores[2, 1] == -np.inf


def test_mistakes_are_named() -> None:
    gallery = np.eye(4, dtype=np.float32)
    with pytest.raises(DataError, match="queries are not unit rows"):
        topk(2 * gallery, gallery, 1)
    with pytest.raises(DataError, match="gallery are not unit rows"):
        topk(gallery, gallery * np.float32(np.nan), 1)
    with pytest.raises(DataError, match="excluded photos do not fit"):
        topk(gallery, gallery, 1, exclude=[[4], [], [], []])
    with pytest.raises(DataError, match="K = 0"):
        topk(gallery, gallery, 0)
