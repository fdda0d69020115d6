"""Operations of a step, from those of a forward pass."""

import pytest

from facemae.bench.counts import Work, embedder_work, head_work, mae_work, topk_work
from facemae.nn.mae import SIZES


def test_a_step_is_three_passes_without_the_gradient_of_the_pixels() -> None:
    assert Work(forward=100, first=10).step == 290
    assert Work(forward=100, first=10).frozen_step == 200


@pytest.mark.slow
def test_base_by_hand() -> None:
    def blocks(tokens: int, width: int, depth: int) -> int:
        return depth * (12 * tokens * width**2 + 2 * tokens**2 * width)

    patches = 49 * 768 * 768
    encoder = patches + blocks(50, 768, 12)
    decoder = 50 * 768 * 512 + blocks(197, 512, 8) + 196 * 512 * 768
    work = mae_work("base")
    assert (work.forward, work.first) == (2 * (encoder + decoder), 2 * patches)
    assert SIZES["base"].image_size == 224


@pytest.mark.slow
def test_a_mask_of_half_costs_more() -> None:
    assert mae_work("tiny", ratio=0.5).forward > mae_work("tiny").forward


def test_first_convolution_of_a_backbone() -> None:
    work = embedder_work("mbf")
    assert work.first == 2 * 56 * 56 * 64 * 3 * 9
    assert 2 * 221.1e6 < work.forward < 2 * 221.3e6


def test_head_and_retrieval() -> None:
    assert head_work(8, 32) == 3 * 2 * 8 * 32
    assert topk_work(1000, 512) == 1_024_000
