import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from facemae.nn import patches as P


def _ids(batch: int, length: int, keep: int) -> torch.Tensor:
    return torch.rand(batch, length).argsort(dim=1)[:, :keep]


def test_patch_order_is_row_column_channel() -> None:
    # Channel c of pixel (r, q) holds 100·c + 10·r + q.
    r, q = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
    image = torch.stack([100 * c + 10 * r + q for c in range(3)])[None]
    cut = P.patchify(image, patch_size=2)
    assert cut.shape == (1, 4, 12)
    assert cut[0, 0].tolist() == [0, 100, 200, 1, 101, 201, 10, 110, 210, 11, 111, 211]
    assert cut[0, 1, :3].tolist() == [2, 102, 202]
    assert cut[0, 2, :3].tolist() == [20, 120, 220]


def test_patchify_agrees_with_unfold() -> None:
    image = torch.rand(2, 3, 12, 18)
    unfolded = F.unfold(image, 6, stride=6).view(2, 3, 36, 6).permute(0, 3, 2, 1).reshape(2, 6, 108)
    assert torch.equal(P.patchify(image, patch_size=6), unfolded)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.integers(1, 4))
def test_unpatchify_inverts_patchify(grid: int, patch_size: int) -> None:
    image = torch.rand(2, 3, grid * patch_size, grid * patch_size)
    assert torch.equal(P.unpatchify(P.patchify(image, patch_size=patch_size), patch_size=patch_size), image)


def test_gather_and_paste_by_hand() -> None:
    rows = torch.arange(24.0).view(2, 4, 3)
    ids = torch.tensor([[3, 0], [1, 2]])
    taken = P.gather_patches(rows, ids)
    assert taken.tolist() == [[[9, 10, 11], [0, 1, 2]], [[15, 16, 17], [18, 19, 20]]]
    pasted = P.paste_patches(torch.zeros(2, 4, 3), taken, ids)
    assert pasted[0].tolist() == [[0, 1, 2], [0, 0, 0], [0, 0, 0], [9, 10, 11]]
    assert pasted[1].tolist() == [[0, 0, 0], [15, 16, 17], [18, 19, 20], [0, 0, 0]]
    assert P.masked_positions(ids, 4).tolist() == [[False, True, True, False], [True, False, False, True]]


def test_paste_leaves_its_arguments_alone_and_passes_gradients() -> None:
    base, visible = torch.zeros(1, 3, 3, requires_grad=True), torch.ones(1, 1, 3, requires_grad=True)
    out = P.paste_patches(base, visible, torch.tensor([[1]]))
    (out * torch.arange(9.0).view(1, 3, 3)).sum().backward()
    assert base.sum() == 0
    assert visible.grad is not None
    assert visible.grad.flatten().tolist() == [3, 4, 5]
    assert base.grad is not None
    assert base.grad.flatten().tolist() == [0, 1, 2, 0, 0, 0, 6, 7, 8]


def test_normalize_uses_imagenet_statistics_per_channel() -> None:
    patch = torch.tensor([[[0.485, 0.456, 0.406, 0.714, 0.68, 0.631]]])
    assert torch.allclose(P.normalize(patch), torch.tensor([0.0, 0, 0, 1, 1, 1]), atol=1e-6)
    assert torch.allclose(P.denormalize(P.normalize(patch)), patch, atol=1e-7)
    assert P.denormalize(patch.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize(("n", "factor"), [(8, 2), (4, 4), (8, 1), (5, 3)])
def test_enlarged_cell_is_bicubic_of_that_cell_alone(n: int, factor: int) -> None:
    cells = torch.rand(2, 3, n * n * 3)
    images = P.unpatchify(cells.flatten(0, 1)[:, None], patch_size=n)
    whole = F.interpolate(images, scale_factor=factor, mode="bicubic", align_corners=False)
    expected = P.patchify(whole, patch_size=n * factor).view(2, 3, -1)
    assert torch.allclose(P.enlarge_cells(cells, factor=factor), expected, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(P.enlarge_cells(cells, factor=factor), expected, atol=1e-5)


def test_a_cell_does_not_reach_its_neighbours() -> None:
    image = torch.rand(1, 3, 16, 16)
    cells = P.patchify(image, patch_size=8)
    before = P.enlarge_cells(cells, factor=2)
    cells[:, 1:] = torch.rand_like(cells[:, 1:]) * 1e6
    after = P.enlarge_cells(cells, factor=2)
    assert torch.equal(before[:, 0], after[:, 0])
    assert not torch.allclose(before[:, 1], after[:, 1])


def test_flat_cells_stay_flat() -> None:
    flat = torch.full((1, 1, 192), 0.3)
    assert torch.allclose(P.enlarge_cells(flat, factor=2), torch.tensor(0.3), atol=1e-6)


def test_golden_position_table() -> None:
    table = P.position_table(768, 14)
    assert table.shape == (197, 768)
    assert table.dtype == torch.float64
    # facebookresearch/mae, patch (row 2, column 5): sin 5, cos 5, sin 2, cos 2.
    golden = torch.tensor([-0.95892427, 0.28366219, 0.90929743, -0.41614684], dtype=torch.float64)
    assert torch.allclose(table[1 + 2 * 14 + 5, [0, 192, 384, 576]], golden, atol=1e-8)
    assert table.sum().item() == pytest.approx(69594.493859, abs=1e-5)
    assert not table[0].any()


def test_position_table_against_a_scalar_loop() -> None:
    table = P.position_table(16, 3).numpy()
    for row in range(3):
        for column in range(3):
            for j in range(4):
                omega = 10000 ** (-j / 4)
                waves = [np.sin(column * omega), np.cos(column * omega), np.sin(row * omega), np.cos(row * omega)]
                assert table[1 + 3 * row + column, [j, 4 + j, 8 + j, 12 + j]] == pytest.approx(waves, abs=1e-12)


def test_constants_made_under_inference_mode_still_train() -> None:
    P._cubic_weights.cache_clear()
    with torch.inference_mode():
        P.enlarge_cells(torch.rand(1, 1, 48), factor=2)
    cells = torch.rand(1, 1, 48, requires_grad=True)
    P.normalize(P.enlarge_cells(cells, factor=2)).sum().backward()
    assert cells.grad is not None
