"""Progress bars with rate and time left, on standard error, for whatever takes longer than two seconds."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

DELAY = 2.0
"""Seconds before a bar appears."""

PLAIN_EVERY = 30.0
"""Seconds between two lines where the output is a file and no bar can be redrawn."""


class Bars:
    """Draws nested tasks on one live display; in a pipe or a log it prints a line now and then instead."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._live = console.is_terminal
        self._progress = Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:>9.0f}/{task.total:.0f} {task.fields[unit]}"),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            transient=True,
        )
        self._open: list[_Bar] = []

    @contextmanager
    def task(self, name: str, total: int, unit: str, done: int = 0) -> Iterator["_Bar"]:
        """One bar, alive within the block."""
        bar = _Bar(self._progress if self._live else None, self._open, name, total, unit, done)
        if self._live and not self._open:
            self._progress.start()
        self._open.append(bar)
        try:
            yield bar
        finally:
            bar.close()
            self._open.remove(bar)
            if self._live and not self._open:
                self._progress.stop()


class _Bar:
    def __init__(
        self, progress: Progress | None, around: list["_Bar"], name: str, total: int, unit: str, done: int
    ) -> None:
        self._progress, self._name, self._total, self._unit = progress, name, total, unit
        self._around = around
        self._done, self._began_with, self._note = done, done, ""
        self._began = self._told = time.monotonic()
        self._id: TaskID | None = None

    def advance(self, amount: int = 1, note: str = "") -> None:
        """``amount`` more units are done; none (0) only changes the note."""
        self._done += amount
        self._note = note or self._note
        # Bars around this one may wait for an hour for their next unit: they are shown and told with it.
        for bar in self._around:
            bar.show()

    def show(self) -> None:
        """Draw the bar, or print its line where one is due."""
        now = time.monotonic()
        if now - self._began < DELAY:
            return
        speed = (self._done - self._began_with) / (now - self._began)
        if self._progress is not None:
            self._draw(f"{speed:.1f}/s")
        elif now - self._told > PLAIN_EVERY:
            self._told = now
            pace = f", {speed:.1f}/s, {(self._total - self._done) / speed:.0f} s left" if speed else ""
            line = f"{self._name}: {self._done}/{self._total} {self._unit}{pace} {self._note}"
            print(line.rstrip(), file=sys.stderr, flush=True)

    def close(self) -> None:
        """Take the bar off the screen."""
        if self._progress is not None and self._id is not None:
            self._progress.remove_task(self._id)

    def _draw(self, speed: str) -> None:
        assert self._progress is not None
        if self._id is None:
            self._id = self._progress.add_task(
                self._name, total=self._total, completed=self._began_with, unit=self._unit, speed=speed, note=""
            )
        self._progress.update(self._id, completed=self._done, speed=speed, note=self._note)
