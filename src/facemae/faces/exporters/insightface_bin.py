"""The pair lists of a set as InsightFace's verification files: ``lfw.bin``."""

import pickle
from pathlib import Path

import numpy as np

from facemae.errors import DataError, MissingPairs
from facemae.faces.exporters.place import start_empty
from facemae.faces.faceset import FaceSet
from facemae.faces.importers.protocol import FOLDS
from facemae.faces.pairs import Pairs, read_pairs

PROTOCOL = 4
"""Read by every Python since 3.4; fixed, so that the same set gives the same bytes."""


def export_bin(faces: FaceSet, directory: Path, *, pairs: str | None = None) -> list[Path]:
    """Write ``NAME.bin`` for the list ``pairs`` of the set's own ``pairs/NAME.csv``, or for every list there is.

    A file is a pickle of (pictures as bytes, list of bool): pictures 2i and 2i + 1 are pair i. Its readers cut the
    pairs into ten equal runs, so they are sorted by their fold. Bytes are as stored.

    Raises:
        MissingPairs: the set has no such list.
        DataError: a list whose folds are not ten of equal size.
        OutputExists: the directory holds something.
    """
    lists = {path.stem: path for path in sorted((faces.directory / "pairs").glob("*.csv"))}
    chosen = list(lists) if pairs is None else [pairs]
    if not chosen or chosen[0] not in lists:
        raise MissingPairs(
            f"{faces.directory} has no pair list{'' if pairs is None else f' {pairs}'}",
            got=", ".join(lists) or "no list",
            needed="the name of a list in pairs/",
            remedy=None
            if lists
            else "a synthetic import writes lists where its photos allow them, that of a .bin always",
        )
    start_empty(directory)
    return [_write(faces, read_pairs(lists[name], faces.people), directory / f"{name}.bin") for name in chosen]


def _write(faces: FaceSet, pairs: Pairs, path: Path) -> Path:
    order = np.argsort(pairs.fold, kind="stable")
    runs = np.repeat(np.arange(FOLDS), [len(part) for part in np.array_split(order, FOLDS)])
    if not np.array_equal(np.unique(pairs.fold[order], return_inverse=True)[1], runs):
        sizes = np.unique(pairs.fold, return_counts=True)[1].tolist()
        raise DataError(
            f"the list {path.stem} has other folds than its readers would cut",
            got=f"{len(sizes)} folds of {', '.join(map(str, sizes[:12]))} pairs",
            needed=f"{FOLDS} folds of equal size",
        )
    # A picture of several pairs is one object: the pickle then holds it once.
    numbers = np.stack([pairs.left[order], pairs.right[order]], axis=1).ravel().tolist()
    images = {i: faces.record(i).image for i in dict.fromkeys(numbers)}
    content = ([images[i] for i in numbers], pairs.same[order].tolist())
    with path.open("xb") as stream:
        pickle.dump(content, stream, protocol=PROTOCOL)
    return path
