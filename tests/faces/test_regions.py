"""Regions of the template: the cells that the notes on the paper work out, and pixels counted one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facemae.faces.align import ARCFACE_TEMPLATE
from facemae.faces.regions import Region, region_boxes, region_cells, window_pixels

REGIONS: list[Region] = ["eyes", "mouth"]
LANDMARKS = {"eyes": (0, 1), "mouth": (3, 4)}


def around(row: int, column: int) -> set[tuple[int, int]]:
    return {(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)}


@pytest.mark.parametrize(("size", "cell"), [(112, 8), (224, 16)])
def test_cells_of_the_papers_grid(size: int, cell: int) -> None:
    # The landmarks lie in (6, 4), (6, 9) and (11, 5), (11, 8); a square of two cells about each touches 3 x 3.
    found = {region: {divmod(i, 14) for i in region_cells(region, size=size, cell=cell).tolist()} for region in REGIONS}
    assert found["eyes"] == around(6, 4) | around(6, 9)
    assert found["mouth"] == around(11, 5) | around(11, 8)


def test_boxes_by_hand() -> None:
    # Left eye at x = 38.29: of 16 pixels the first is round(38.29 - 7.5) = 31.
    assert region_boxes("eyes", 112).tolist() == [[31, 44, 47, 60], [66, 44, 82, 60]]
    # Corners at 41.55 and 70.73: the first begins at 34, the second ends at 63 + 16; rows 85 (both) to 101.
    assert region_boxes("mouth", 112).tolist() == [[34, 85, 79, 101]]


@pytest.mark.parametrize("size", [32, 48, 112, 160, 224])
@pytest.mark.parametrize("region", REGIONS)
def test_boxes_hold_their_landmarks(region: Region, size: int) -> None:
    for x, y in ARCFACE_TEMPLATE[list(LANDMARKS[region])] * size / 112:
        assert any(left <= x < right and top <= y < bottom for left, top, right, bottom in region_boxes(region, size))


@given(region=st.sampled_from(REGIONS), cell=st.integers(1, 24), grid=st.integers(1, 20))
def test_cells_are_those_with_a_pixel_in_a_box(region: Region, cell: int, grid: int) -> None:
    size = cell * grid
    inside = np.zeros((size, size), bool)
    for left, top, right, bottom in region_boxes(region, size).tolist():
        for row in range(top, bottom):
            inside[row, left:right] = True
    expected = [
        row * grid + column
        for row in range(grid)
        for column in range(grid)
        if inside[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell].any()
    ]
    assert region_cells(region, size=size, cell=cell).tolist() == expected
    assert expected or size < 8


@pytest.mark.parametrize("side", [1, 8, 15])
def test_windows_are_four_squares_that_do_not_meet(side: int) -> None:
    inside = window_pixels(112, side)
    assert inside.sum() == 4 * side * side
    for x, y in ARCFACE_TEMPLATE[[0, 1, 3, 4]]:
        assert inside[round(y), round(x)]
    assert not inside[72, 56]  # the nose


def test_windows_end_at_the_border() -> None:
    assert window_pixels(112, 112).any(axis=0).all()
    assert window_pixels(112, 60).shape == (112, 112)
