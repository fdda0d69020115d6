"""Tables that may be longer than memory: a private temporary database on disk.

SQLite holds `CACHE` bytes of a table in memory and the rest in an unnamed file, in the directory that ``TMPDIR`` names.
File names go in as `packed` bytes: these sort as Python sorts the names, and one that is no UTF-8 comes back as it was.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from facemae.errors import DiskFull

CACHE = 1 << 16
"""Bytes of a table in memory; a larger cache saves no time where rows come and go in nearly sorted order."""

_NO_ROOM = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)


def packed(name: str) -> bytes:
    """``name`` as bytes whose order is that of the names (by code point), lone surrogates included."""
    return name.encode("utf-8", "surrogatepass")


def unpacked(data: bytes) -> str:
    """The name that `packed` made ``data`` of."""
    return data.decode("utf-8", "surrogatepass")


class Scratch:
    """The tables of ``schema`` (one or more SQL statements), empty; gone when closed.

    Raises, from every method:
        DiskFull: no room for the temporary file.
    """

    def __init__(self, *schema: str) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        # Nobody else reads the file and nothing of it outlives the process: no journal, and one transaction for ever.
        for line in ("PRAGMA journal_mode = OFF", f"PRAGMA cache_size = -{CACHE >> 10}", *schema, "BEGIN"):
            self.change(line)

    def change(self, statement: str, *values: object) -> int:
        """Run one statement; how many rows it changed."""
        with _naming_no_room():
            return self._database.execute(statement, values).rowcount

    def fill(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        """Run one statement for each of ``rows``, which may read other tables meanwhile."""
        with _naming_no_room():
            self._database.executemany(statement, rows)

    def rows(self, query: str, *values: object) -> Iterator[tuple[Any, ...]]:
        """The rows of a query, one at a time."""
        with _naming_no_room():
            # No `yield from`: an iterator left half-way would close its cursor, maybe after the database.
            for row in self._database.execute(query, values):  # noqa: UP028
                yield row

    def close(self) -> None:
        """Give back memory and disk."""
        self._database.close()

    def __del__(self) -> None:
        self.close()


@contextmanager
def _naming_no_room() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        # The low byte is the kind of failure, the others say where it came from.
        if error.sqlite_errorcode & 0xFF not in _NO_ROOM:
            raise
        raise DiskFull("no room for temporary tables", got=error, remedy="set TMPDIR to a larger disk") from None
