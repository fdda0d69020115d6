"""Linear ways back: against scikit-learn, and on scrambles whose key is known here and nowhere else."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from facemae.nn.inverse import Pairs, block_sources, fit_blocks, fit_whole
from facemae.nn.patches import patchify, unpatchify


def pictures(count: int, seed: int, *, factors: int = 12) -> torch.Tensor:
    """Pictures of 16 pixels that are combinations of a few patterns, the same ones for every seed."""
    patterns = torch.randn(factors, 3 * 16 * 16, generator=torch.Generator().manual_seed(0))
    weights = torch.randn(count, factors, generator=torch.Generator().manual_seed(seed))
    return (0.5 + 0.05 * weights @ patterns).reshape(count, 3, 16, 16)


def mixed(images: torch.Tensor) -> torch.Tensor:
    """All pixels mixed by one random orthogonal matrix."""
    turn = torch.linalg.qr(torch.randn(768, 768, generator=torch.Generator().manual_seed(7)))[0]
    return (images.flatten(1) @ turn).reshape(images.shape)


def test_a_scramble_of_all_pixels_is_undone_for_pictures_never_seen() -> None:
    fit, held, new = (pictures(count, seed) for count, seed in ((60, 1), (20, 2), (9, 3)))
    back = fit_whole(Pairs(mixed(fit), fit), Pairs(mixed(held), held))
    assert (mixed(new) - new).abs().mean() > 0.1
    torch.testing.assert_close(back(mixed(new)), new, atol=2e-3, rtol=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(back(mixed(new)), new, atol=2e-3, rtol=0)


def test_the_dual_form_is_ridge_regression() -> None:
    fit, new = pictures(30, 1, factors=40), pictures(5, 3, factors=40)
    x, y = fit.flatten(1).double().numpy(), mixed(fit).flatten(1).double().numpy()
    centred = x - x.mean(0)
    alpha = 0.1 * np.trace(centred @ centred.T) / len(x)
    oracle = Ridge(alpha=alpha).fit(x, y).predict(new.flatten(1).double().numpy())
    found = fit_whole(Pairs(fit, mixed(fit)), Pairs(new, mixed(new)), penalties=(0.1,))(new)
    np.testing.assert_allclose(found.flatten(1).numpy(), oracle, atol=1e-4)


@pytest.mark.parametrize("cell", [4, 8])
def test_blocks_in_another_order_and_mixed_inside_are_found_and_undone(cell: int) -> None:
    random = np.random.default_rng(cell)
    blocks = (16 // cell) ** 2
    order = random.permutation(blocks)
    turns = np.linalg.qr(random.normal(size=(blocks, 3 * cell * cell, 3 * cell * cell)))[0]

    def scrambled(images: torch.Tensor) -> torch.Tensor:
        cut = patchify(images, patch_size=cell)[:, order]
        return unpatchify(torch.einsum("bgd,gde->bge", cut, torch.from_numpy(turns).float()), patch_size=cell)

    fit, held, new = (pictures(count, seed, factors=60) for count, seed in ((400, 1), (40, 2), (9, 3)))
    cut = [patchify(side, patch_size=cell).double() for side in (scrambled(fit), fit)]
    assert order[block_sources(*cut).numpy()].tolist() == list(range(blocks))
    back = fit_blocks(Pairs(scrambled(fit), fit), Pairs(scrambled(held), held), cell=cell)
    torch.testing.assert_close(back(scrambled(new)), new, atol=2e-3, rtol=0)
    wrecked = scrambled(new)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(back(wrecked), new, atol=2e-3, rtol=0)
