"""From paths to people: which photo shows whom, told from names alone.

A layout works on paths alone, so each serves a directory and a tar alike. Paths come out relative to the directory
that holds the people (a wrapper such as ``lfw/`` goes). The paths lie in temporary tables on disk: what is kept in
memory does not grow with the number of photos.
"""

import csv
import io
import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal

from facemae.errors import DataError
from facemae.faces.importers import agedb, cfp, mixed, webface
from facemae.faces.importers.entries import Entries, Entry, Paths
from facemae.faces.importers.storage import Skipped, Storage
from facemae.spec.scratch import Scratch, packed, unpacked

Layout = Literal["auto", "folder", "flat", "cfp", "agedb", "mixed", "webface", "webdataset"]

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})
IDENTITIES = "identities.csv"
LABELS = ("label", "labels", "identity", "person", "class", "cls", "name", "id")
"""What the field with the person is called in labelled sets, the first that is there."""

_COUNTED_STEM = re.compile(r"(.+)[_-]\d+")


@dataclass(slots=True)
class Listing:
    """What a layout found. ``root`` (empty or ending in a slash) + ``Entry.path`` is the path in the storage."""

    root: str
    entries: Entries = field(default_factory=Entries)
    skipped: list[Skipped] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)


class LabelledStorage(Storage):
    """Photos that are stored with their people: no layout has to guess them from names."""

    def listing(self, *, label: str | None = None) -> Listing:
        """Every photo with its person; ``label`` names the field that holds the person, where there are several."""
        raise NotImplementedError


def person_of(label: object) -> str | None:
    """The name of a person from a label: text as it is, a number in eight digits that sort as numbers do, else None."""
    if isinstance(label, int) and not isinstance(label, bool) and label >= 0:
        return f"{label:08d}"
    return label.strip() or None if isinstance(label, str) else None


def list_photos(storage: Storage, *, layout: Layout = "auto") -> Listing:
    """Sort the files of a storage into photos with their people, sorted by (person, path), and files left out.

    ``auto`` takes, in this order: an ``identities.csv`` (columns path, identity), the layout of CFP, that of AgeDB, a
    WebFace in several parts, a folder per identity where sub-directories hold images, a flat folder. ``mixed`` has to
    be asked for.

    Raises:
        DataError: no image at all, folders nested so that the person is unclear, or a bad table.
    """
    skipped: list[Skipped] = []
    images, table = _images(storage, skipped, mixed.TABLE if layout == "mixed" else IDENTITIES)
    if not images and not storage.directories:
        raise DataError(f"{storage.name} holds no photos", needed="images " + " ".join(sorted(IMAGE_SUFFIXES)))
    chosen = _detect(images, table) if layout == "auto" else layout
    if chosen == "cfp":
        listing = _by_pattern(images, cfp.photo)
    elif chosen == "agedb":
        listing = _by_pattern(images, agedb.photo)
    elif chosen == "webface":
        listing = _by_pattern(images, webface.photo)
    elif chosen in ("flat", "mixed") and table is not None:
        rows = _mixed_rows if chosen == "mixed" else _identity_rows
        listing = _by_table(images, table, rows(table, storage.read(table)))
        skipped = [entry for entry in skipped if entry.path != table]
    elif chosen == "flat":
        listing = _flat(images)
    elif chosen == "mixed":
        listing = _by_parts(images)
    else:
        listing = _folder(images, storage.directories, strict=layout == "auto")
    images.close()
    listing.skipped = sorted([*storage.skipped, *skipped, *listing.skipped])
    return listing


def _images(storage: Storage, skipped: list[Skipped], name: str) -> tuple[Paths, str | None]:
    """The images, and the shortest path of a table called ``name``; other files go to ``skipped``."""
    tables: list[str] = []

    def images() -> Iterator[str]:
        for path in storage.files():
            if path.endswith(name) and posixpath.basename(path) == name:
                tables.append(path)
            if hidden(path):
                skipped.append(Skipped(path, "hidden file"))
            elif posixpath.splitext(path)[1].lower() not in IMAGE_SUFFIXES:
                skipped.append(Skipped(path, "not an image by its suffix"))
            else:
                yield path

    return Paths(images()), min(tables, key=len, default=None)


def hidden(path: str) -> bool:
    """Whether a file or one of its directories is none that a person put there."""
    return any(part.startswith(".") or part == "__MACOSX" for part in path.split("/"))


def _detect(images: Paths, table: str | None) -> Layout:
    if table is not None:
        return "flat"
    for layout, photo in (("cfp", cfp.photo), ("agedb", agedb.photo)):
        if images and all(photo(path) for path in images):
            return layout  # type: ignore[return-value]
    if webface.in_parts(images):
        return "webface"
    return "folder" if not images or any("/" in path for path in images) else "flat"


def _folder(images: Paths, directories: list[str], *, strict: bool) -> Listing:
    """The first directory below the common one is the person; ``strict`` wants nothing deeper."""
    common = _common_directory(images)
    if common and all(path.count("/") == common.count("/") for path in images):
        common = common[: common[:-1].rfind("/") + 1]  # all photos in one directory: that is the person
    listing = Listing(common)

    def entries() -> Iterator[Entry]:
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
                    remedy="point at the directory of the people, "
                    "or choose layout folder: its first level is the person",
                )
            yield Entry(path[len(common) :], person)

    listing.entries.add(entries())
    below = (path[len(common) :] for path in directories if path.startswith(common) and not hidden(path))
    empty = {path for path in below if path and "/" not in path}
    empty.difference_update(person for person, _ in listing.entries.people())
    listing.empty = sorted(empty)
    return listing


def _flat(images: Paths) -> Listing:
    """The person is the file name up to the last ``_`` or ``-`` before a number ("Ann_Lee_0002").

    Only where every name has the form, there are at least two people and someone has two photos; otherwise each photo
    is a person of their own: IMG_0001 … IMG_0900 and 000001 … 202599.
    """
    listing = Listing(_common_directory(images))
    start = len(listing.root)
    if all(_counted(path) for path in images):
        listing.entries.add(Entry(path[start:], _counted(path) or "") for path in images)
        people = largest = 0
        for _, photos in listing.entries.people():
            people, largest = people + 1, max(largest, photos)
        if people >= 2 and largest >= 2:
            return listing
        listing.entries.clear()
    listing.entries.add(Entry(path[start:], path[start:]) for path in images)
    return listing


def _counted(path: str) -> str | None:
    """What stands before ``_`` or ``-`` and a number in the name of a file."""
    match = _COUNTED_STEM.fullmatch(PurePosixPath(path).stem)
    return match.group(1) if match else None


def _by_table(images: Paths, table: str, rows: Iterator[Entry]) -> Listing:
    listing = Listing(table[: table.rfind("/") + 1])
    missing: list[str] = []
    absent = 0
    known = Scratch("CREATE TABLE known (path BLOB PRIMARY KEY) WITHOUT ROWID")
    known.fill("INSERT INTO known VALUES (?)", ((packed(path),) for path in images))

    def entries() -> Iterator[Entry]:
        nonlocal absent
        for entry in rows:
            if known.change("DELETE FROM known WHERE path = ?", packed(listing.root + entry.path)):
                yield entry
            else:
                absent += 1
                missing[len(missing) :] = [entry.path] if len(missing) < 3 else []

    listing.entries.add(entries())
    if absent:
        raise DataError(
            f"{table} names photos that are not there, or twice", got=f"{absent}, first {', '.join(missing)}"
        )
    unlisted = known.rows("SELECT path FROM known")
    listing.skipped = [Skipped(unpacked(path), f"not in {table}") for (path,) in unlisted]
    known.close()
    return listing


def _identity_rows(table: str, content: bytes) -> Iterator[Entry]:
    """The photo of each line. That the file can be read at all is looked at before any of its lines."""
    incomplete = None
    for number, (path, person) in enumerate(_csv_rows(table, content), 2):
        if incomplete is None and not (path and person):
            incomplete = number
    if incomplete is not None:
        raise DataError(f"{table} line {incomplete} is incomplete", needed="columns path, identity")
    return (Entry(path, person) for path, person in _csv_rows(table, content) if path and person)


def _mixed_rows(table: str, content: bytes) -> Iterator[Entry]:
    for number, (path, *columns) in enumerate(_csv_rows(table, content, mixed.COLUMNS), 2):
        if not path:
            raise DataError(f"{table} line {number} is incomplete", needed=f"columns {', '.join(mixed.COLUMNS)}")
        yield mixed.mixed_entry(path, tuple(columns), where=f"{table} line {number}")


def _by_parts(images: Paths) -> Listing:
    """Pictures whose names tell of which two people they are, in whatever folders."""
    listing = Listing(_common_directory(images))

    def entries() -> Iterator[Entry]:
        for path in images:
            columns = mixed.parts(path)
            if columns is None:
                listing.skipped.append(Skipped(path, "not named as this layout names photos"))
            else:
                yield mixed.mixed_entry(path[len(listing.root) :], columns, where=path)

    listing.entries.add(entries())
    return listing


def _csv_rows(
    table: str, content: bytes, columns: tuple[str, ...] = ("path", "identity")
) -> Iterator[tuple[str | None, ...]]:
    try:
        text = io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", newline="\n")
        for row in csv.DictReader(text, strict=True):
            yield tuple(row.get(column) for column in columns)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table} cannot be read", got=error, needed="CSV in UTF-8") from None


def _by_pattern(images: Paths, photo: Callable[[str], tuple[str, str, dict[str, Any] | None] | None]) -> Listing:
    listing = Listing("")
    roots = set()

    def entries() -> Iterator[Entry]:
        for path in images:
            found = photo(path)
            if found is None:
                listing.skipped.append(Skipped(path, "not named as this layout names photos"))
                continue
            tail, person, extras = found
            roots.add(path[: len(path) - len(tail)])
            yield Entry(tail, person, extras)

    listing.entries.add(entries())
    if len(roots) > 1:
        raise DataError(
            "photos of this layout lie in several places", got=", ".join(sorted(roots)[:3]), remedy="import one of them"
        )
    listing.root = roots.pop() if roots else ""
    return listing


def _common_directory(paths: Paths) -> str:
    """The longest directory that holds all paths, with its slash; empty where there is none."""
    if not paths:
        return ""
    low, high = min(paths), max(paths)
    length = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    return low[: low[:length].rfind("/") + 1]
