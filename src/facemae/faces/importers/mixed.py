"""Pictures that a generator made of two people: who they are and how much of each, told by names or by a table.

    001_00012x0.350_(00087)x0.650.jpg      as SynFace's own generator writes them
    Ann_0.35_Bob_0.65.jpg                  id_a, w_a, id_b, w_b, and a counter where there are several (…_0.65_0002)
    mixed.csv                              columns path, id_a, w_a, id_b, w_b beside the pictures

The heavier person is the picture's own, and comes first; of two alike, the one named first.
"""

import math
import re
from pathlib import PurePosixPath

from facemae.errors import DataError
from facemae.faces.importers.entries import Entry

TABLE = "mixed.csv"
COLUMNS = ("path", "id_a", "w_a", "id_b", "w_b")

_SYNFACE = re.compile(r"\d+_(\d+)x([01](?:\.\d+)?)_\((\d+)\)x([01](?:\.\d+)?)")
_PLAIN = re.compile(r"(.+)_([01]\.\d+)_(.+)_([01]\.\d+)(?:_\d+)?")
_ROUNDING = 0.011
"""Weights with two decimals may miss 1 by a hundredth."""


def parts(path: str) -> tuple[str, ...] | None:
    """(id_a, w_a, id_b, w_b) as a picture's name tells them; None for any other name."""
    stem = PurePosixPath(path).stem
    match = _SYNFACE.fullmatch(stem) or _PLAIN.fullmatch(stem)
    return match.groups() if match else None


def mixed_entry(path: str, columns: tuple[str | None, ...], *, where: str) -> Entry:
    """The entry of a picture: its extras hold ``{"mix": [[name, weight], [name, weight]]}``, with weights of sum 1.

    Raises:
        DataError: a name is missing, or the weights are no shares of one; ``where`` says of which line or picture.
    """
    first, weight, second, rest = columns
    shares = [_share(weight), _share(rest)]
    if not (first and second and abs(sum(shares) - 1) < _ROUNDING):
        raise DataError(
            f"{where} does not tell two people and their weights",
            got=", ".join(str(column) for column in columns),
            needed="id_a, w_a, id_b, w_b with weights from 0 to 1 that add up to 1",
        )
    own = round(shares[0] / sum(shares), 6)
    mix = sorted([(first, own), (second, round(1 - own, 6))], key=lambda part: -part[1])
    return Entry(path, mix[0][0], {"mix": mix})


def _share(text: str | None) -> float:
    try:
        value = float(text or "")
    except ValueError:
        return math.inf
    return value if 0 <= value <= 1 else math.inf
