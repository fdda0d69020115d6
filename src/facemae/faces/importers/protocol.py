"""What every pair list comes down to before its photos are looked up."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

FOLDS = 10


class ListedPair(NamedTuple):
    """Two photos as a list names them.

    Each side is one or more spellings (relative paths, suffix optional), tried in order.
    """

    left: tuple[str, ...]
    right: tuple[str, ...]
    same: bool
    fold: int


def write_pair_rows(path: Path, rows: Iterable[tuple[str, str, bool, int]]) -> None:
    """Write ``left,right,same,fold``, the form of a list that `facemae.faces.pairs` reads back."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("left", "right", "same", "fold"))
        for left, right, same, fold in rows:
            writer.writerow((left, right, int(same), int(fold)))
