"""How a stage is run, as against what it makes: nothing here enters a digest."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable


@runtime_checkable
class Task(Protocol):
    """One running bar."""

    def advance(self, amount: int = 1, note: str = "") -> None:
        """``amount`` more units are done; ``note`` is a short text such as the current loss."""


class Progress(Protocol):
    """Where stages report how far they are; only the command line draws anything."""

    def task(self, name: str, total: int, unit: str, done: int = 0) -> AbstractContextManager[Task]:
        """Open a bar of ``total`` units of which ``done`` were finished by an earlier run."""


class Silent:
    """Progress that nobody watches."""

    @contextmanager
    def task(self, name: str, total: int, unit: str, done: int = 0) -> Iterator["Silent"]:
        yield self

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Nothing to draw."""


@dataclass(frozen=True)
class Execution:
    """Device, helpers and reporting of one run.

    ``device``: "auto" (CUDA when there is one), "cpu" or "cuda". ``workers``: processes that decode and augment; 0 does
    it in the main process. ``checkpoint_seconds``: time between two checkpoints of a training stage. ``batch``: images
    that `reconstruct` reads at a time; it changes speed and memory, never a byte of the result.
    """

    device: str = "auto"
    workers: int = 0
    batch: int = 64
    checkpoint_seconds: float = 120.0
    progress: Progress = field(default_factory=Silent)
