"""Verification pairs: which records to compare, whether they show one person, and in which fold they count."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64

from facemae.errors import DataError, MissingPairs
from facemae.faces.importers import agedb, cfp, lfw
from facemae.faces.importers.layouts import IMAGE_SUFFIXES
from facemae.faces.importers.protocol import FOLDS, ListedPair, write_pair_rows
from facemae.faces.record import People

_AMBIGUOUS = -2
_TRUTH = {"1": True, "true": True, "0": False, "-1": False, "false": False}


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pair i compares records ``left[i]`` and ``right[i]``; ``same[i]``: one person; ``fold[i]`` counts from 0."""

    left: Int64[np.ndarray, " n"]
    right: Int64[np.ndarray, " n"]
    same: Bool[np.ndarray, " n"]
    fold: Int64[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.left)


def read_pairs(path: Path, people: People | None) -> Pairs:
    """Read a pair list and look its photos up among the source files of a set.

    Forms: ``pairs.txt``, ``pairsDevTrain.txt`` and ``pairsDevTest.txt`` of LFW; a ``.csv`` with columns left, right,
    same and, if wanted, fold (relative paths); the ``.mat`` of AgeDB-30; the ``Protocol`` directory of CFP (its
    Frontal-Profile pairs). A list without folds, or an LFW list of one fold, is cut into ten: each class in order.

    A photo is found by its relative path or the end of it, suffix aside: sources are re-encoded and moved.

    Raises:
        DataError: the list is malformed, or one of its names fits several photos.
        MissingPairs: photos that the set does not hold, or a set without names.
    """
    listed = _listed(path)
    if people is None:
        raise MissingPairs(
            f"{path} names photos", got="a set without names", needed="a set of originals with its people.json"
        )
    lookup = _Lookup(people.files)
    left = [lookup.find(pair.left) for pair in listed]
    right = [lookup.find(pair.right) for pair in listed]
    _check_missing(path, listed, left, right)
    return Pairs(
        np.array(left, np.int64),
        np.array(right, np.int64),
        np.array([pair.same for pair in listed], np.bool_),
        np.array([pair.fold for pair in listed], np.int64),
    )


def write_pairs_csv(path: Path, pairs: Pairs, people: People) -> None:
    """Write ``left,right,same,fold`` with relative paths, as ``read_pairs`` takes it."""
    columns = zip(pairs.left, pairs.right, pairs.same, pairs.fold, strict=True)
    write_pair_rows(path, ((people.files[i], people.files[j], bool(same), int(fold)) for i, j, same, fold in columns))


def _listed(path: Path) -> list[ListedPair]:
    if path.is_dir():
        return cfp.read_protocol(path)
    suffix = path.suffix.lower()
    if suffix == ".mat":
        return agedb.read_protocol(path)
    if suffix == ".csv":
        return _read_csv(path)
    pairs = lfw.read_pairs_txt(path)
    return pairs if pairs[-1].fold > 0 else _fold_each_class(pairs)


def _read_csv(path: Path) -> list[ListedPair]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            folded = "fold" in (reader.fieldnames or ())
            pairs = [
                ListedPair(
                    (row["left"],), (row["right"],), _TRUTH[row["same"].lower()], int(row["fold"]) if folded else 0
                )
                for row in reader
            ]
    except OSError as error:
        raise DataError(f"{path} cannot be read", got=error.strerror) from None
    except (ValueError, KeyError, AttributeError, csv.Error) as error:
        raise DataError(
            f"{path}, line {reader.line_num} is malformed",
            got=repr(error),
            needed="columns left, right, same (0 or 1) and, if wanted, fold (a number)",
        ) from None
    return pairs if folded else _fold_each_class(pairs)


def _fold_each_class(pairs: list[ListedPair]) -> list[ListedPair]:
    totals = {same: sum(pair.same == same for pair in pairs) for same in (True, False)}
    seen = {True: 0, False: 0}
    folded = []
    for pair in pairs:
        folded.append(pair._replace(fold=seen[pair.same] * FOLDS // totals[pair.same]))
        seen[pair.same] += 1
    return folded


class _Lookup:
    """Record number by the last k parts of a path without its suffix; one table per k, made when first needed."""

    def __init__(self, files: Sequence[str]) -> None:
        self._parts = [_bare(file).split("/") for file in files]
        self._tables: dict[int, dict[str, int]] = {}

    def find(self, spellings: Sequence[str]) -> int:
        """-1 where no spelling fits."""
        for spelling in spellings:
            key = _bare(spelling)
            found = self._table(key.count("/") + 1).get(key)
            if found == _AMBIGUOUS:
                raise DataError(
                    f"{spelling} in the pair list fits several photos",
                    remedy="name photos by their whole relative path",
                )
            if found is not None:
                return found
        return -1

    def _table(self, parts: int) -> dict[str, int]:
        if parts not in self._tables:
            whole: dict[str, int] = {}
            ends: dict[str, int] = {}
            for i, path in enumerate(self._parts):
                if len(path) >= parts:
                    table = whole if len(path) == parts else ends
                    key = "/".join(path[-parts:])
                    table[key] = _AMBIGUOUS if key in table else i
            self._tables[parts] = ends | whole  # a whole path wins over the ends of longer ones
        return self._tables[parts]


def _bare(path: str) -> str:
    """Without ``./`` and without an image's suffix; other dots belong to the name."""
    path = path.replace("\\", "/").removeprefix("./")
    stem, dot, suffix = path.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in IMAGE_SUFFIXES else path


def _check_missing(path: Path, listed: list[ListedPair], left: list[int], right: list[int]) -> None:
    broken = [k for k, (i, j) in enumerate(zip(left, right, strict=True)) if i < 0 or j < 0]
    if not broken:
        return
    absent = {(listed[k].left if left[k] < 0 else listed[k].right)[0]: True for k in broken}
    raise MissingPairs(
        f"{path} names photos that the set does not hold",
        got=f"{len(broken)} of {len(listed)} pairs incomplete, first {', '.join(list(absent)[:3])}",
        needed="every photo of the list",
        remedy="import the photos of the list, or give a list that names only photos of the set",
    )
