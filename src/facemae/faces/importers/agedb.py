"""AgeDB: names of its photos, and the pairs of AgeDB-30 from ``04_FINAL_protocol_30_years.mat``."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from facemae.errors import DataError
from facemae.faces.importers.protocol import ListedPair

_CLASSIC = re.compile(r"\d+_(?P<person>.+)_(?P<age>\d+)_(?P<gender>[mf])")
_PROTOCOL_FOLDER = "03_Protocol_Images"


def photo(path: str) -> tuple[str, str, dict[str, Any] | None] | None:
    """(file name, person, extras) of ``9_MariaCallas_35_f.jpg``: number, name, age, gender.

    In ``03_Protocol_Images`` the name stands first instead, and what follows it tells nothing certain. None for any
    other name.
    """
    folder, _, name = path.rpartition("/")
    stem = name.rpartition(".")[0]
    match = _CLASSIC.fullmatch(stem)
    if match:
        return name, match["person"], {"age": int(match["age"]), "gender": match["gender"]}
    person, underscore, _ = stem.partition("_")
    if folder.rpartition("/")[2] == _PROTOCOL_FOLDER and underscore and not person.isdigit():
        return name, person, None
    return None


def read_protocol(path: Path) -> list[ListedPair]:
    """Pairs of the protocol file: ten folds of 600, names in a 2×600 cell, labels 1 (same) and −1.

    Raises:
        DataError: not a MATLAB file, or not of this structure.
    """
    from scipy.io import loadmat

    try:
        splits = loadmat(path)["splits"]
        pairs = []
        for fold in range(len(splits)):
            photos, labels = splits[fold][0][0][0]
            for column, label in enumerate(np.ravel(labels)):
                left, right = _text(photos[0][column]), _text(photos[1][column])
                pairs.append(ListedPair((left,), (right,), bool(label > 0), fold))
    except Exception as error:  # loadmat and deep indexing fail in a dozen ways; all mean the same
        raise DataError(
            f"{path} is no protocol of AgeDB",
            got=" ".join(str(error).split()),
            needed="04_FINAL_protocol_30_years.mat",
        ) from None
    return pairs


def _text(cell: Any) -> str:
    """The first string inside MATLAB's nesting of cells and structures."""
    while not isinstance(cell, str):
        cell = cell[0]
    return str(cell)
