"""The picture grid of a table (the paper's figure 4)."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from facemae.errors import RecipeError
from facemae.faces.codec import encode_png
from facemae.faces.faceset import FaceSet
from facemae.faces.regions import region_boxes
from facemae.report import Box, PictureGrid
from facemae.spec.table import Table
from facemae.stages.linkage import read_linkage

SHOWN = 8
"""Faces in the picture grid."""


def picture_grid(table: Table, path: Callable[[str], Path]) -> PictureGrid | None:
    """The same photos in every set: linkage brings the shuffled ones back into the order of the first column."""
    if not table.pictures:
        return None
    original = FaceSet.open(path(table.pictures[0].faces))
    shown = np.linspace(0, len(original) - 1, SHOWN).astype(int).tolist()
    columns: list[list[bytes]] = []
    boxes: list[tuple[Box, ...]] = []
    for picture in table.pictures:
        faces, linkage = FaceSet.open(path(picture.faces)), table.linkage_of(picture.faces)
        place = {i: i for i in shown}
        if linkage:
            linked = read_linkage(path(linkage), original, faces).tolist()
            place = {original_row: row for row, original_row in enumerate(linked)}
        columns.append([encode_png(faces.image(place[i])) for i in shown])
        boxes.append(_boxes(faces) if picture.boxes else ())
    labels = tuple(picture.label for picture in table.pictures)
    return PictureGrid(labels=labels, rows=tuple(zip(*columns, strict=True)), boxes=tuple(boxes))


def _boxes(faces: FaceSet) -> tuple[Box, ...]:
    """Eyes and mouth, as `mask.region` takes them, in shares of the side."""
    height, width = faces.size
    if height != width:
        raise RecipeError("pictures.boxes", got=f"{faces.directory} of {height}x{width} pixels", needed="square faces")
    found = np.concatenate([region_boxes("eyes", height), region_boxes("mouth", height)]) / height
    return tuple((left, top, right - left, bottom - top) for left, top, right, bottom in found.tolist())
