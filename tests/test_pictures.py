"""The picture grid of a table: the same photos in every column, and boxes where the mask's own regions lie."""

from pathlib import Path

import numpy as np
import pytest

from facemae.errors import RecipeError
from facemae.faces.codec import decode
from facemae.faces.regions import region_boxes
from facemae.plan.pictures import SHOWN, picture_grid
from facemae.spec.execution import Execution
from facemae.spec.recipe import MaskSpec
from facemae.spec.table import Table
from facemae.spec.table_parts import Picture, StageCall
from facemae.stages.mask import mask
from folders import noise, originals

SIZE = 56


def table(*pictures: Picture) -> Table:
    stages = {
        "people": StageCall(verb="import", inputs=("synthetic",)),
        "masked": StageCall(verb="mask", inputs=("people",)),
    }
    return Table.model_construct(pictures=pictures, stages=stages)


def test_columns_show_the_same_photos_with_boxes_where_asked(tmp_path: Path) -> None:
    images = [noise(i, SIZE) for i in range(20)]
    originals(tmp_path / "people", images, [i // 4 for i in range(20)])
    mask(tmp_path / "people", tmp_path / "masked", MaskSpec(seed=0, ratio=0.1), Execution())
    asked = table(Picture(label="as it is", faces="people"), Picture(label="hidden", faces="masked", boxes=True))
    grid = picture_grid(asked, lambda name: tmp_path / name)
    assert grid is not None
    assert (grid.labels, len(grid.rows)) == (("as it is", "hidden"), SHOWN)
    for plain, hidden in (map(decode, row) for row in grid.rows):
        assert (plain == hidden).mean() > 0.8
    nothing, boxes = grid.boxes
    assert nothing == ()
    found = np.array([[left, top, left + width, top + height] for left, top, width, height in boxes]) * SIZE
    wanted = np.concatenate([region_boxes("eyes", SIZE), region_boxes("mouth", SIZE)])
    np.testing.assert_allclose(found, wanted, atol=1e-9)


def test_faces_that_are_not_square_have_no_template(tmp_path: Path) -> None:
    originals(tmp_path / "people", [noise(i, SIZE)[:40] for i in range(8)], list(range(8)))
    with pytest.raises(RecipeError, match=r"pictures\.boxes: got .*people of 40x56 pixels; needed square faces"):
        picture_grid(table(Picture(label="a", faces="people", boxes=True)), lambda name: tmp_path / name)
