"""`people.json`, one name at a time: ``{"identities": [name of person i, …], "files": [source of record i, …]}``."""

import json
import mmap
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType

import numpy as np

from facemae.errors import Damaged

_ENCODING, _ERRORS = "utf-8", "backslashreplace"
"""What is no UTF-8 in a file name (a lone surrogate) comes out as JSON's own escape of it."""

_encode = json.JSONEncoder(ensure_ascii=False).encode
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]]')


class PeopleWriter:
    """Takes the source file of each record as it comes; `finish` adds the names and makes ``people.json``."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "people.json"
        # The names come last and stand first. Until then the files wait in an unnamed file, on the disk of the result.
        self._files = tempfile.TemporaryFile("w+", dir=directory, encoding=_ENCODING, errors=_ERRORS)  # noqa: SIM115
        self._before = ""

    def add(self, file: str) -> None:
        """The source file of the next record."""
        self._files.write(self._before + _encode(file))
        self._before = ", "

    def finish(self, identities: Iterable[str]) -> None:
        """Write ``people.json``; ``identities``: name of person number i."""
        self._files.seek(0)
        with self._path.open("w", encoding=_ENCODING, errors=_ERRORS) as stream:
            stream.write(f'{{"identities": [{", ".join(map(_encode, identities))}], "files": [')
            shutil.copyfileobj(self._files, stream, 1 << 16)
            stream.write("]}")
            stream.flush()
            os.fsync(stream.fileno())

    def close(self) -> None:
        """Release the temporary file."""
        self._files.close()

    def __enter__(self) -> "PeopleWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class SourceFiles:
    """Source file of record i, read where it stands in ``people.json``: 8 bytes a record in memory.

    Raises:
        Damaged: not ``records`` of them.
    """

    def __init__(self, path: Path, records: int) -> None:
        self._path = path
        try:
            with path.open("rb") as stream:
                self._text = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as error:  # an empty file
            raise self._damaged(error, "names and source files") from None
        found = sum(1 for _ in self._find())
        if found != records:
            raise self._damaged(f"{found} source files", f"{records}, one a record")
        # Of a length that is told: an array that has to grow is twice in memory while it does.
        self._starts = np.fromiter(self._find(), np.int64, records)

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, i: int) -> str:
        token = _TOKEN.match(self._text, int(self._starts[i]))
        assert token is not None
        try:
            return str(json.loads(token.group()))
        except ValueError as error:
            raise self._damaged(error, "JSON") from None

    def _find(self) -> Iterator[int]:
        """Where each string of the list "files" begins."""
        name, inside = b"", False
        for token in _TOKEN.finditer(self._text):
            text = token.group()
            if text in (b"[", b"]"):
                inside = text == b"["
            elif not inside:
                name = text
            elif name == b'"files"':
                yield token.start()

    def _damaged(self, got: object, needed: str) -> Damaged:
        return Damaged(f"{self._path} is damaged", got=got, needed=needed, remedy="make the set again from its source")
