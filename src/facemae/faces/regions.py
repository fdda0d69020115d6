"""Eyes and mouth of an aligned face, from the ArcFace template alone: which pixels, and which cells of a grid.

A region is a few boxes: an eye's is a square about its landmark, the mouth's holds a square about either corner and all
that lies between them. A square's side is ``SIDE`` pixels at 112, two cells of the paper's mask. On its grid of 14 x 14
the eyes are the 3 x 3 cells about (6, 4) and about (6, 9), the mouth those about (11, 5) and (11, 8): 18 cells each.
"""

from typing import Literal

import numpy as np
from jaxtyping import Bool, Int64

from facemae.faces.align import ARCFACE_TEMPLATE

Region = Literal["eyes", "mouth"]

SIDE = 16
"""Pixels at 112."""

_FACES_SIZE = 112
_EYES, _MOUTH = (0, 1), (3, 4)


def region_boxes(region: Region, size: int) -> Int64[np.ndarray, "n 4"]:
    """(left, top, right, bottom) of each box in an aligned image of ``size`` pixels; right and bottom lie outside."""
    squares = _squares(_EYES if region == "eyes" else _MOUTH, size, max(1, round(SIDE * size / _FACES_SIZE)))
    if region == "eyes":
        return squares
    return np.concatenate([squares[:, :2].min(0), squares[:, 2:].max(0)])[None]


def region_cells(region: Region, *, size: int, cell: int) -> Int64[np.ndarray, " m"]:
    """Every cell that a box of the region touches: positions on the grid of size/cell a side, along rows, ascending."""
    grid = size // cell
    touched = np.zeros((grid, grid), bool)
    for left, top, right, bottom in region_boxes(region, size):
        touched[top // cell : (bottom - 1) // cell + 1, left // cell : (right - 1) // cell + 1] = True
    return np.flatnonzero(touched).astype(np.int64)


def window_pixels(size: int, side: int) -> Bool[np.ndarray, "{size} {size}"]:
    """True inside the squares of ``side`` pixels about both eyes and both corners of the mouth."""
    inside = np.zeros((size, size), bool)
    for left, top, right, bottom in _squares(_EYES + _MOUTH, size, side):
        inside[top:bottom, left:right] = True
    return inside


def _squares(landmarks: tuple[int, ...], size: int, side: int) -> Int64[np.ndarray, "n 4"]:
    """As many whole pixels as ``side`` says, as evenly about the landmark as they can lie; cut at the border."""
    centres = ARCFACE_TEMPLATE[list(landmarks)] * (size / _FACES_SIZE)
    first = np.rint(centres - (side - 1) / 2).astype(np.int64)
    return np.concatenate([first, first + side], axis=1).clip(0, size)
