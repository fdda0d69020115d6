"""Products of low precision: within their stated error, and the same faces found."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facemae.measure import Product, topk
from facemae.measure.retrieval import FLOAT32
from facemae.train import products
from facemae.train.products import BFLOAT16, bfloat16_error, fastest_product


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("dimension", [2, 37, 512])
@pytest.mark.parametrize("spread", [0.0, 0.01, 100.0])
def test_error_of_bfloat16(dimension: int, spread: float) -> None:
    random = np.random.default_rng(dimension)
    x, y = (unit(1 + spread * random.normal(size=(300, dimension))) for _ in range(2))
    error = np.abs(BFLOAT16.multiply(x, y) - x.astype(np.float64) @ y.T.astype(np.float64)).max()
    assert 0 < error < bfloat16_error(dimension) < 0.0125


def test_error_of_bfloat16_is_no_gross_overestimate() -> None:
    # Both values lie half a step above one that bf16 has, 1 + 2⁻⁷ and 1: rounding is as bad as it can be.
    worst = np.full((1, 2), 1 + 2.0**-8 + 2.0**-12, np.float64)
    x = (worst / np.sqrt(2)).astype(np.float32)
    scaled = x / np.float32(np.linalg.norm(x))
    assert abs(float(BFLOAT16.multiply(scaled, scaled)[0, 0]) - 1) < bfloat16_error(2) < 4 * 2.0**-8


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.0, 1e-7, 1e-4, 1e-2, 1.0]),
    st.integers(1, 8),
    st.tuples(st.integers(3, 9), st.integers(40, 400)),
)
def test_the_same_faces_as_in_float32(seed: int, scale: float, k: int, block: tuple[int, int]) -> None:
    random = np.random.default_rng(seed)
    prototypes = random.normal(size=(5, 24))
    gallery = unit(prototypes[random.integers(5, size=400)] + scale * random.normal(size=(400, 24)))
    queries = unit(prototypes[random.integers(5, size=9)] + 0.3 * random.normal(size=(9, 24)))
    banned = random.integers(-1, 400, size=(9, 3))
    expected, scores = topk(queries, gallery, k, exclude=banned)
    found, found_scores = topk(queries, gallery, k, exclude=banned, product=BFLOAT16, block=block)
    assert np.array_equal(found, expected)
    assert np.array_equal(found_scores, scores)


def test_many_near_ties_go_to_the_finer_product() -> None:
    random = np.random.default_rng(3)
    gallery = unit(1 + 1e-3 * random.normal(size=(3000, 64)))
    calls: list[str] = []

    def counted(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        calls.append("coarse")
        return BFLOAT16.multiply(x, y)

    found, _ = topk(gallery[:20], gallery, 2, product=Product(counted, bfloat16_error))
    assert calls == ["coarse"]
    assert np.array_equal(found, topk(gallery[:20], gallery, 2)[0])
    assert np.array_equal(found[:, 0], np.arange(20))


def test_the_processor_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "resolve", lambda precision, device: "bf16")
    assert fastest_product() is BFLOAT16
    monkeypatch.setattr(products, "resolve", lambda precision, device: "fp32")
    assert fastest_product() is FLOAT32
