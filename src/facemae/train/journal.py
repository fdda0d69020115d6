"""The log of a training run: one JSON object a line, consistent with the checkpoint it is resumed from."""

import json
import os
from pathlib import Path
from typing import Any

from facemae.train.checkpoint import write_bytes


class Journal:
    """Appends rows that carry a ``step``; reopening at ``step`` drops what an interrupted run wrote beyond it."""

    def __init__(self, path: Path, step: int = 0) -> None:
        kept = [row for row in read_journal(path) if row["step"] <= step] if path.exists() else []
        write_bytes(path, "".join(json.dumps(row) + "\n" for row in kept).encode())
        # Line by line: a run that dies in this process must not leave rows in a buffer that is written out later.
        self._stream = path.open("a", buffering=1, encoding="utf-8")

    def write(self, step: int, **values: float) -> None:
        """Append one row; it is on disk at the next `flush` at the latest."""
        self._stream.write(json.dumps({"step": step, **values}) + "\n")

    def flush(self) -> None:
        """Put the rows on disk; done before every checkpoint, which must not know of more than they tell."""
        os.fsync(self._stream.fileno())

    def close(self) -> None:
        """No more rows."""
        self._stream.close()


def read_journal(path: Path) -> list[dict[str, Any]]:
    """Every whole row of a journal; a last line that an interruption cut short is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows
