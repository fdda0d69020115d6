"""Celebrities in Frontal-Profile (CFP): names of its photos, and its Frontal-Profile pairs."""

import re
from pathlib import Path
from typing import Any

from facemae.errors import DataError
from facemae.faces.importers.protocol import ListedPair

_PHOTO = re.compile(r"(?:.*/)?((\d{3})/(frontal|profile)/\d{2}\.\w+)")


def photo(path: str) -> tuple[str, str, dict[str, Any] | None] | None:
    """(path below ``Data/Images``, person, extras) of ``…/001/frontal/01.jpg``; None for any other name."""
    match = _PHOTO.fullmatch(path)
    return (match.group(1), match.group(2), {"view": match.group(3)}) if match else None


def read_protocol(directory: Path) -> list[ListedPair]:
    """Frontal-Profile pairs of CFP's ``Protocol`` directory: ten folds, each of ``same.txt`` and then ``diff.txt``.

    ``Pair_list_F.txt`` and ``Pair_list_P.txt`` number the photos from 1; a line ``i,j`` pairs photo i of F
    with photo j of P.

    Raises:
        DataError: a file is absent, or a line is malformed or names a number that is not listed.
    """
    left = _numbered(directory / "Pair_list_F.txt")
    right = _numbered(directory / "Pair_list_P.txt")
    pairs = []
    folds = sorted(path for path in (directory / "Split" / "FP").glob("*") if path.is_dir())
    if not folds:
        raise DataError(f"{directory} is no protocol of CFP", needed="Split/FP/01 … 10")
    for fold, folder in enumerate(folds):
        for name, same in (("same.txt", True), ("diff.txt", False)):
            for number, line in enumerate(_lines(folder / name), 1):
                i, _, j = line.partition(",")
                try:
                    pairs.append(ListedPair((left[i.strip()],), (right[j.strip()],), same, fold))
                except KeyError:
                    raise DataError(
                        f"{folder / name}, line {number} cannot be resolved",
                        got=repr(line),
                        needed="i,j from the lists",
                    ) from None
    return pairs


def _numbered(path: Path) -> dict[str, str]:
    photos = {}
    for line in _lines(path):
        number, _, listed = line.partition(" ")
        found = photo(listed.strip().replace("\\", "/"))
        if found is None:
            raise DataError(f"{path} holds a line of another form", got=repr(line), needed="1 …/001/frontal/01.jpg")
        photos[number] = found[0]
    return photos


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read", got=error, needed="the Protocol directory of CFP") from None
