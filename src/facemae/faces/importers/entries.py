"""Paths and photos in tables on disk: as they come, or in the order (person, path)."""

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from facemae.spec.scratch import Scratch, packed, unpacked


class Entry(NamedTuple):
    """One photo, not yet read: path below the people's directory, the name of its person, what the name tells."""

    path: str
    person: str
    extras: dict[str, Any] | None = None


class Paths:
    """Paths in the order in which they came; sized, and to be run through any number of times."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._table = Scratch("CREATE TABLE paths (path BLOB)")
        self._table.fill("INSERT INTO paths VALUES (?)", ((packed(path),) for path in paths))
        self._length = next(self._table.rows("SELECT count(*) FROM paths"))[0]

    def __len__(self) -> int:
        return int(self._length)

    def __iter__(self) -> Iterator[str]:
        for (path,) in self._table.rows("SELECT path FROM paths ORDER BY rowid"):
            yield unpacked(path)

    def close(self) -> None:
        """Give back memory and disk."""
        self._table.close()


class Entries:
    """Photos in the order (person, path), by code point; sized, and to be run through any number of times."""

    def __init__(self) -> None:
        self._table = Scratch(
            "CREATE TABLE entries (person BLOB, path BLOB, extras TEXT, PRIMARY KEY (person, path)) WITHOUT ROWID"
        )

    def add(self, entries: Iterable[Entry]) -> None:
        """Take in photos in any order; the same photo twice is one."""
        self._table.fill("INSERT OR IGNORE INTO entries VALUES (?, ?, ?)", map(_row, entries))

    def clear(self) -> None:
        """Forget all."""
        self._table.change("DELETE FROM entries")

    def people(self) -> Iterator[tuple[str, int]]:
        """Names in order, each with the number of its photos."""
        for person, photos in self._table.rows("SELECT person, count(*) FROM entries GROUP BY person ORDER BY person"):
            yield unpacked(person), photos

    def __len__(self) -> int:
        return int(next(self._table.rows("SELECT count(*) FROM entries"))[0])

    def __iter__(self) -> Iterator[Entry]:
        rows = self._table.rows("SELECT path, person, extras FROM entries ORDER BY entries.person, entries.path")
        for path, person, extras in rows:
            yield Entry(unpacked(path), unpacked(person), extras and json.loads(extras))

    def close(self) -> None:
        """Give back memory and disk."""
        self._table.close()


def _row(entry: Entry) -> tuple[bytes, bytes, str | None]:
    return packed(entry.person), packed(entry.path), None if entry.extras is None else json.dumps(entry.extras)
