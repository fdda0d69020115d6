"""Finished work, kept piece by piece, so that a bench of half an hour can be interrupted."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from facemae.spec.manifest import write_json


class Pieces:
    """Finished work by name, each a JSON file; what is not there is done unless the time is over."""

    def __init__(self, directory: Path, minutes: float | None) -> None:
        self._directory, self._end = directory, time.monotonic() + 60 * minutes if minutes is not None else None
        self.missing = 0
        directory.mkdir(parents=True, exist_ok=True)

    def get(self, name: str, work: Callable[[], Any]) -> Any:
        """What ``work`` gave, now or earlier; None where there is no time left for it."""
        path = self._directory / f"{name}.json"
        if not path.exists():
            if self._end is not None and time.monotonic() > self._end:
                self.missing += 1
                return None
            started = time.monotonic()
            write_json(path, work())
            print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
        return json.loads(path.read_bytes())
