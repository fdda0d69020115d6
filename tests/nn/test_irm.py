"""Instance and relation matching against hand-worked numbers, a double loop and a split batch."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from facemae.nn.irm import match


def test_two_faces_by_hand() -> None:
    # Unit rows: F = [(1,0), (0,1)], F̂ = [(0.6,0.8), (0,1)]. IM = (√(0.16+0.64) + 0)/2.
    # F Fᵀ = I, F̂ F̂ᵀ = [[1,0.8],[0.8,1]]: each row differs by 0.8. RM = √(256/2)·0.8.
    real = torch.tensor([[2.0, 0.0], [0.0, 5.0]])
    fake = torch.tensor([[3.0, 4.0], [0.0, 1.0]])
    terms = match(real, fake)
    assert terms.instance.item() == pytest.approx(math.sqrt(0.8) / 2, rel=1e-5)
    assert terms.relation.item() == pytest.approx(math.sqrt(128) * 0.8, rel=1e-5)


def _double_loop(real: np.ndarray, fake: np.ndarray) -> tuple[float, float]:
    unit = [[row / np.linalg.norm(row) for row in rows] for rows in (real, fake)]
    n = len(real)
    instance = sum(math.dist(unit[0][i], unit[1][i]) for i in range(n)) / n
    relation = 0.0
    for i in range(n):
        squares = [(unit[0][i] @ unit[0][j] - unit[1][i] @ unit[1][j]) ** 2 for j in range(n)]
        relation += math.sqrt(sum(squares)) / n
    return instance, relation * math.sqrt(256 / n)


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 7), d=st.integers(2, 6), seed=st.integers(0, 2**31))
def test_equals_a_double_loop(n: int, d: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    real, fake = rng.normal(size=(2, n, d))
    terms = match(torch.from_numpy(real), torch.from_numpy(fake))
    assert terms == pytest.approx(_double_loop(real, fake), rel=1e-5, abs=2e-5)


def _pair(n: int, d: int = 16) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    real = torch.randn(n, d, generator=generator, dtype=torch.double)
    return real, real + torch.randn(n, d, generator=generator, dtype=torch.double)


def test_two_ranks_equal_one_process_in_value_and_gradient() -> None:
    real, fake = _pair(6)
    whole = fake.clone().requires_grad_()
    terms = match(real, whole)
    (terms.instance + terms.relation).backward()
    split = fake.clone().requires_grad_()
    halves = [match(real[rows], split[rows], columns=(real, split)) for rows in (slice(0, 3), slice(3, 6))]
    means = [(a + b) / 2 for a, b in zip(*halves, strict=True)]
    (means[0] + means[1]).backward()
    assert means[0].item() == pytest.approx(terms.instance.item(), rel=1e-12)
    assert means[1].item() == pytest.approx(terms.relation.item(), rel=1e-12)
    torch.testing.assert_close(split.grad, whole.grad)


def test_relation_keeps_its_size_when_the_batch_grows() -> None:
    small, large = (match(*_pair(n, 128)).relation.item() for n in (32, 512))
    assert small == pytest.approx(large, rel=0.1)


def test_identical_rows_have_a_zero_gradient() -> None:
    real = torch.randn(4, 8)
    fake = real.clone().requires_grad_()
    terms = match(real, fake)
    (terms.instance + terms.relation).backward()
    assert terms.instance.item() < 1e-5
    assert fake.grad is not None
    assert fake.grad.abs().max().item() == 0.0


def test_the_length_of_a_vector_does_not_matter() -> None:
    real, fake = _pair(5)
    torch.testing.assert_close(match(22 * real, fake / 7), match(real, fake))


def test_autocast_and_bfloat16_inputs_still_compute_in_float32() -> None:
    real, fake = (rows.bfloat16() for rows in _pair(8))
    with torch.autocast("cpu", torch.bfloat16):
        inside = match(real, fake)
    assert inside.relation.dtype == torch.float32
    torch.testing.assert_close(inside, match(real.float(), fake.float()), rtol=0, atol=0)
