"""The log of a training run: one JSON object a line, consistent with the checkpoint it is resumed from."""

import json
from pathlib import Path
from typing import Any


class Journal:
    """Appends rows that carry a ``step``; reopening at ``step`` drops what an interrupted run wrote beyond it."""

    def __init__(self, path: Path, step: int = 0) -> None:
        kept = [row for row in read_journal(path) if row["step"] <= step] if path.exists() else []
        path.write_text("".join(json.dumps(row) + "\n" for row in kept))
        self._stream = path.open("a", encoding="utf-8")

    def write(self, step: int, **values: float) -> None:
        """Append one row; it is on disk at the next checkpoint at the latest."""
        self._stream.write(json.dumps({"step": step, **values}) + "\n")

    def flush(self) -> None:
        """Hand the rows to the operating system."""
        self._stream.flush()

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
