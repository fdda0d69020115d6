"""From paths to people: which photo shows whom, told from names alone.

A layout works on a list of paths, so each serves a directory and a tar alike. Paths come out relative to the directory
that holds the people (a wrapper such as ``lfw/`` goes).
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal, NamedTuple

from facemae.errors import DataError
from facemae.faces.importers import agedb, cfp
from facemae.faces.importers.storage import Skipped, Storage

Layout = Literal["auto", "folder", "flat", "cfp", "agedb"]

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})
IDENTITIES = "identities.csv"

_COUNTED_STEM = re.compile(r"(.+)[_-]\d+")


class Entry(NamedTuple):
    """One photo, not yet read: path below the people's directory, the name of its person, what the name tells."""

    path: str
    person: str
    extras: dict[str, Any] | None = None


@dataclass(slots=True)
class Listing:
    """What a layout found. ``root`` (empty or ending in a slash) + ``Entry.path`` is the path in the storage."""

    root: str
    entries: list[Entry] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)


def list_photos(storage: Storage, *, layout: Layout = "auto") -> Listing:
    """Sort the files of a storage into photos with their people, sorted by (person, path), and files left out.

    ``auto`` takes, in this order: an ``identities.csv`` (columns path, identity), the layout of CFP, that of AgeDB, a
    folder per identity where sub-directories hold images, a flat folder.

    Raises:
        DataError: no image at all, folders nested so that the person is unclear, or a bad ``identities.csv``.
    """
    images, skipped = _images(storage)
    if not images and not storage.directories:
        raise DataError(f"{storage.name} holds no photos", needed="images " + " ".join(sorted(IMAGE_SUFFIXES)))
    table = min((path for path in storage.files if PurePosixPath(path).name == IDENTITIES), key=len, default=None)
    chosen = _detect(images, table) if layout == "auto" else layout
    if chosen == "cfp":
        listing = _by_pattern(images, cfp.photo)
    elif chosen == "agedb":
        listing = _by_pattern(images, agedb.photo)
    elif chosen == "flat":
        if table is not None:
            listing = _by_table(images, table, storage.read(table))
            skipped = [entry for entry in skipped if entry.path != table]
        else:
            listing = _flat(images)
    else:
        listing = _folder(images, storage.directories, strict=layout == "auto")
    listing.entries.sort(key=lambda entry: (entry.person, entry.path))
    listing.skipped = sorted([*storage.skipped, *skipped, *listing.skipped])
    return listing


def _images(storage: Storage) -> tuple[list[str], list[Skipped]]:
    images, skipped = [], []
    for path in storage.files:
        if _hidden(path):
            skipped.append(Skipped(path, "hidden file"))
        elif PurePosixPath(path).suffix.lower() not in IMAGE_SUFFIXES:
            skipped.append(Skipped(path, "not an image by its suffix"))
        else:
            images.append(path)
    return images, skipped


def _hidden(path: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in path.split("/"))


def _detect(images: list[str], table: str | None) -> Layout:
    if table is not None:
        return "flat"
    for layout, photo in (("cfp", cfp.photo), ("agedb", agedb.photo)):
        if images and all(photo(path) for path in images):
            return layout  # type: ignore[return-value]
    return "folder" if not images or any("/" in path for path in images) else "flat"


def _folder(images: list[str], directories: list[str], *, strict: bool) -> Listing:
    """The first directory below the common one is the person; ``strict`` wants nothing deeper."""
    common = _common_directory(images)
    if common and all(path.count("/") == common.count("/") for path in images):
        common = common[: common[:-1].rfind("/") + 1]  # all photos in one directory: that is the person
    listing = Listing(common)
    people = {}
    for path in images:
        person, slash, rest = path[len(common) :].partition("/")
        if not slash:
            listing.skipped.append(Skipped(path, "lies beside the people's folders"))
            continue
        if strict and "/" in rest:
            raise DataError(
                "it is unclear which directory is the person",
                got=path,
                needed="photos right in their person's folder",
                remedy="point at the directory of the people, or choose layout folder: its first level is the person",
            )
        people[person] = True
        listing.entries.append(Entry(path[len(common) :], person))
    below = (path[len(common) :] for path in directories if path.startswith(common) and not _hidden(path))
    listing.empty = sorted({path for path in below if path and "/" not in path} - people.keys())
    return listing


def _flat(images: list[str]) -> Listing:
    """The person is the file name up to the last ``_`` or ``-`` before a number ("Ann_Lee_0002").

    Only where every name has the form, there are at least two people and someone has two photos; otherwise each photo
    is a person of their own: IMG_0001 … IMG_0900 and 000001 … 202599.
    """
    common = _common_directory(images)
    paths = [path[len(common) :] for path in images]
    people = [match.group(1) for path in paths if (match := _COUNTED_STEM.fullmatch(PurePosixPath(path).stem))]
    counts = Counter(people)
    clear = len(people) == len(paths) and len(counts) >= 2 and max(counts.values()) >= 2
    return Listing(
        common, [Entry(path, person) for path, person in zip(paths, people if clear else paths, strict=True)]
    )


def _by_table(images: list[str], table: str, content: bytes) -> Listing:
    root = table[: -len(IDENTITIES)]
    known = set(images)
    listing = Listing(root)
    missing = []
    for path, person in _identity_rows(table, content):
        if root + path in known:
            known.remove(root + path)
            listing.entries.append(Entry(path, person))
        else:
            missing.append(path)
    if missing:
        raise DataError(
            f"{table} names photos that are not there, or twice", got=f"{len(missing)}, first {', '.join(missing[:3])}"
        )
    listing.skipped = [Skipped(path, f"not in {table}") for path in known]
    return listing


def _identity_rows(table: str, content: bytes) -> list[tuple[str, str]]:
    try:
        reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig")), strict=True)
        rows = [(row.get("path"), row.get("identity")) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table} cannot be read", got=error, needed="CSV in UTF-8") from None
    for number, (path, person) in enumerate(rows, 2):
        if not path or not person:
            raise DataError(f"{table} line {number} is incomplete", needed="columns path, identity")
    return [(path, person) for path, person in rows if path and person]


def _by_pattern(images: list[str], photo: Callable[[str], tuple[str, str, dict[str, Any] | None] | None]) -> Listing:
    listing = Listing("")
    roots = set()
    for path in images:
        found = photo(path)
        if found is None:
            listing.skipped.append(Skipped(path, "not named as this layout names photos"))
            continue
        tail, person, extras = found
        roots.add(path[: len(path) - len(tail)])
        listing.entries.append(Entry(tail, person, extras))
    if len(roots) > 1:
        raise DataError(
            "photos of this layout lie in several places", got=", ".join(sorted(roots)[:3]), remedy="import one of them"
        )
    listing.root = roots.pop() if roots else ""
    return listing


def _common_directory(paths: list[str]) -> str:
    """The longest directory that holds all paths, with its slash; empty where there is none."""
    if not paths:
        return ""
    low, high = min(paths), max(paths)
    length = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    return low[: low[:length].rfind("/") + 1]
