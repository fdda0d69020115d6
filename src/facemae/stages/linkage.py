"""Which original each released record was made from; only the owner, and the auditor they trust, know."""

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np

from facemae.errors import DataError
from facemae.faces.faceset import FaceSet
from facemae.faces.record import People, key_of

_OURS = ("released_key", "original_key")
_FOREIGN = ("original_path", "released_path")


MAP, REQUEST = "map.csv", "request.json"
"""What `mask` keeps in OUT.private: the way back, and which set it is the way back of."""


def private_folder(path: Path) -> Path | None:
    """The `.private` folder that ``path`` is, or whose map it is; None for another tool's list."""
    path = Path(path)
    if path.is_dir():
        return path
    return path.parent if path.name == MAP and (path.parent / REQUEST).is_file() else None


def read_linkage(path: Path, original: FaceSet, released: FaceSet) -> np.ndarray:
    """int64: record number in ``original`` of every record of ``released``.

    ``path``: the `OUT.private` folder that `mask` kept (or its `map.csv`, in that folder), or, for another tool's
    release, a CSV with the columns ``original_path,released_path``, relative to the two imported folders.

    Raises:
        DataError: no such file, not a CSV, other columns, records that one side does not hold, released records that
            the list leaves out or names twice, or a private folder of another masked set.
    """
    folder = private_folder(path)
    path = folder / MAP if folder else Path(path)
    if not path.is_file():
        raise DataError(
            f"no linkage at {path}",
            needed="the .private folder beside the masked set, or a CSV original_path,released_path",
        )
    if folder:
        _demand_own(folder, released)
    columns, listed = _rows(path)
    if set(_OURS) <= set(columns):
        if not folder:
            raise DataError(f"{path} does not say which set it belongs to", needed="the whole .private folder")
        original_names = {key_of(i): i for i in range(len(original))}
        released_names = {key_of(i): i for i in range(len(released))}
        pairs = [(row["original_key"], row["released_key"]) for row in listed]
    elif set(_FOREIGN) <= set(columns):
        original_names, released_names = _files(original), _files(released)
        pairs = [(row["original_path"], row["released_path"]) for row in listed]
    else:
        raise DataError(
            f"{path} is not a linkage file", got=f"columns {', '.join(columns) or '(none)'}", needed=", ".join(_FOREIGN)
        )
    return _resolve(pairs, original_names, released_names, path)


def _demand_own(folder: Path, released: FaceSet) -> None:
    """The folder is left out of an audit's digest, so a wrong one must never get as far as a result."""
    path = folder / REQUEST
    try:
        known = json.loads(path.read_bytes())["released"]
    except FileNotFoundError:
        raise DataError(f"{folder} is no .private folder of `facemae mask`", got=f"no {REQUEST}") from None
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{path} is damaged", remedy="restore the .private folder from a copy") from None
    masked = released.manifest.parents.get("masked", released.digest)
    if known != masked:
        raise DataError(
            f"{folder} is not the linkage of {released.directory}",
            got=f"the map of masked set {str(known)[:12]}",
            needed=f"that of {masked[:12]}",
        )


def _rows(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    # In what we wrote a file name that is not UTF-8 stands with its own bytes; another tool's list has to be UTF-8.
    errors = "surrogateescape" if (path.parent / REQUEST).is_file() else "strict"
    try:
        with path.open(newline="", encoding="utf-8-sig", errors=errors) as stream:  # spreadsheets put a mark in front
            rows = csv.DictReader(stream)
            return list(rows.fieldnames or ()), list(rows)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read", got=error, needed="CSV in UTF-8") from None


def _resolve(
    pairs: list[tuple[str, str]], originals: dict[str, int], released: dict[str, int], path: Path
) -> np.ndarray:
    linked = np.full(len(released), -1, np.int64)
    unknown = [
        name for pair in pairs for name, known in zip(pair, (originals, released), strict=True) if name not in known
    ]
    if unknown:
        raise DataError(f"{path} names photos that the sets do not hold", got=f"{len(unknown)}, first {unknown[0]!r}")
    twice = [name for name, count in Counter(name for _, name in pairs).items() if count > 1]
    if twice:
        raise DataError(
            f"{path} names released photos twice", got=f"{len(twice)}, first {twice[0]!r}", needed="one line each"
        )
    for original_name, released_name in pairs:
        linked[released[released_name]] = originals[original_name]
    missing = int((linked < 0).sum())
    if missing:
        raise DataError(f"{path} leaves out released photos", got=f"{missing} of {len(linked)}", needed="all of them")
    return linked


def _files(faces: FaceSet) -> dict[str, int]:
    people: People | None = faces.people
    if people is None:
        raise DataError(f"{faces.directory} has no file names", needed="a set made by `facemae import`")
    return {name: i for i, name in enumerate(people.files)}
