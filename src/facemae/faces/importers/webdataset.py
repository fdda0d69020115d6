"""WebDataset: tars in which the members of a sample stand together, ``<key>.jpg`` beside ``<key>.cls`` or ``.json``."""

import json
import os
import posixpath
import re
from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from facemae.errors import DataError
from facemae.faces.importers.entries import Entry
from facemae.faces.importers.layouts import IMAGE_SUFFIXES, LABELS, Listing, hidden, person_of
from facemae.faces.importers.storage import Skipped, Storage, TarStorage, check_bytes
from facemae.spec.scratch import Scratch, packed, unpacked

OPEN_SHARDS = 64
_LONGEST_LABEL = 1 << 20
_DIGITS = 20
"""Text of so many digits is a name: no number of 64 bits is as long."""
_WHOLE = re.compile(r"[+-]?\d+")


class TarShards(Storage):
    """The members of several tars as one storage, each below the name of its shard."""

    def __init__(self, name: str, paths: Sequence[Path]) -> None:
        super().__init__(name)
        self._paths = paths
        self._descriptors: dict[int, int] = {}
        self._places = Scratch(
            "CREATE TABLE places (number INTEGER PRIMARY KEY, path BLOB UNIQUE, shard INTEGER, offset INTEGER,"
            " size INTEGER)"
        )
        stems = [path.stem for path in paths]
        if twice := next((path for path in paths if stems.count(path.stem) > 1), None):
            raise DataError(
                f"two shards of {name} are called {twice.stem}", got=twice.name, remedy="rename one of them"
            )
        try:
            for shard, path in enumerate(paths):
                self._index(shard, path)
        except BaseException:
            self.close()
            raise

    def files(self) -> Iterator[str]:
        for (path,) in self._places.rows("SELECT path FROM places ORDER BY number"):
            yield unpacked(path)

    def read(self, path: str) -> bytes:
        query = "SELECT shard, offset, size FROM places WHERE path = ?"
        shard, offset, size = next(self._places.rows(query, packed(path)))
        check_bytes(size)
        if shard not in self._descriptors:
            if len(self._descriptors) == OPEN_SHARDS:
                os.close(self._descriptors.pop(next(iter(self._descriptors))))
            self._descriptors[shard] = os.open(self._paths[shard], os.O_RDONLY)
        return os.pread(self._descriptors[shard], size, offset)

    def close(self) -> None:
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()
        self._places.close()

    def _index(self, shard: int, path: Path) -> None:
        with path.open("rb") as stream:
            if stream.read(2) == b"\x1f\x8b":
                raise DataError(f"{path} is gzipped", needed="plain tars as shards", remedy="unpack it with gunzip")
        tar = TarStorage(path)
        with tar:
            rows = ((packed(f"{path.stem}/{name}"), shard, start, size) for name, start, size in tar.places())
            self._places.fill("INSERT INTO places (path, shard, offset, size) VALUES (?, ?, ?, ?)", rows)
            self.skipped += [Skipped(f"{path.stem}/{skip.path}", skip.reason) for skip in tar.skipped]


def is_webdataset(storage: Storage, label: str | None = None) -> bool:
    """Whether a storage is several shards, or a tar of which a label is asked or that has a ``.cls`` near its start."""
    if isinstance(storage, TarStorage):
        return label is not None or any(path.endswith(".cls") for path in islice(storage.files(), 1000))
    return isinstance(storage, TarShards)


def list_samples(storage: Storage, *, label: str | None = None) -> Listing:
    """Every sample that has an image and says whose it is, and what was left out.

    The person is what ``<key>.cls`` holds; with ``label``, or where there is no ``.cls``, the value of ``label`` (or of
    one of the usual names) in ``<key>.json``. The key ends at the first dot of the file name.

    Raises:
        DataError: no tar, no sample that says whose it is, or a label that is none.
    """
    if not isinstance(storage, TarStorage | TarShards):
        raise DataError(f"{storage.name} is no WebDataset", needed="a tar, or a folder of tars")
    listing = Listing("")
    unlabelled = Skipped("", "")

    def entries() -> Iterator[Entry]:
        nonlocal unlabelled
        for key, members in groupby(storage.files(), _key):
            if hidden(key) or not posixpath.basename(key):
                continue
            sample = {path[len(key) + 1 :].lower(): path for path in members}
            images = [path for suffix, path in sample.items() if f".{suffix}" in IMAGE_SUFFIXES]
            person, reason = _person(storage, sample, label)
            if images and person is not None:
                listing.skipped += [Skipped(other, "a second image of its sample") for other in images[1:]]
                yield Entry(images[0], person)
            else:
                unlabelled = Skipped(images[0], reason) if images else Skipped(key, "a sample without an image")
                listing.skipped.append(unlabelled)

    listing.entries.add(entries())
    if not len(listing.entries):
        raise DataError(
            f"{storage.name} holds no sample that says whose it is",
            got=f"{unlabelled.path}: {unlabelled.reason}" if unlabelled.path else "no sample",
            needed="an image with .cls, or with .json that holds a label",
            remedy="name the key of the .json with --set label=KEY, or choose layout folder or flat",
        )
    listing.skipped = sorted([*storage.skipped, *listing.skipped])
    return listing


def _key(path: str) -> str:
    directory, name = posixpath.split(path)
    return posixpath.join(directory, name.partition(".")[0])


def _person(storage: Storage, sample: dict[str, str], label: str | None) -> tuple[str | None, str]:
    """The person of a sample, or why there is none."""
    if label is None and "cls" in sample:
        text = _read(storage, sample["cls"]).decode("utf-8", "replace").strip()
        return person_of(_number(text)), "a .cls that is empty or below 0"
    if "json" not in sample:
        return None, "no .cls" if label is None else "no .json"
    try:
        content: Any = json.loads(_read(storage, sample["json"]))
    except (ValueError, RecursionError):
        return None, "a .json that is none"
    if not isinstance(content, dict):
        return None, "a .json that is no object"
    key = label if label is not None else next((name for name in LABELS if name in content), None)
    if key not in content:
        return None, f"a .json of {', '.join(list(content)[:8]) or 'nothing'}"
    return person_of(_number(content[key])), f"a .json whose {key} is neither a number from 0 nor a name"


def _number(label: object) -> object:
    """Text of digits as the number that it is, so that 7 and "7" are one person; anything else as it stands."""
    if isinstance(label, str) and len(label) < _DIGITS and _WHOLE.fullmatch(label.strip()):
        return int(label)
    return label


def _read(storage: Storage, path: str) -> bytes:
    data = storage.read(path)
    if len(data) > _LONGEST_LABEL:
        raise DataError(f"{path} is too long for a label", got=f"{len(data)} bytes", needed=f"at most {_LONGEST_LABEL}")
    return data
