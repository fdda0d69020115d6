"""Work on the records of a set, dealt to several ranks in parts that do not depend on how many ranks there are.

The ranks meet on disk: on more than one machine the stage's directory has to lie on storage that all of them see.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facemae.errors import StageError
from facemae.train.world import World, of_all, share_of, wait_for_all

Arrays = tuple[np.ndarray, ...]

APPEARS = 120.0
"""Seconds until a machine sees what another one wrote: shared storage answers from its cache for about a minute."""

LARGEST, MOST = 64, 256
"""Chunks in a part at most, and parts that a set is cut into at least, where it has so many chunks."""


@dataclass(frozen=True)
class Parts:
    """Parts of a stage's result under ``directory``, each named by its records; *a part of that name is complete*.

    ``records``: how many the set holds; ``chunk``: how many are computed at once, so a part is made of whole chunks.
    An interrupted run, on however many ranks, leaves parts that any other number of ranks goes on from.
    """

    directory: Path
    records: int
    chunk: int

    def spans(self) -> list[range]:
        """The records of each part; consecutive, together all records."""
        chunks = -(-self.records // self.chunk)
        length = self.chunk * min(LARGEST, max(1, chunks // MOST))
        return [range(first, min(first + length, self.records)) for first in range(0, self.records, length)]

    def path(self, span: range) -> Path:
        """Where the part of these records is once it is complete."""
        return self.directory / f"{span.start:010d}-{span.stop:010d}"

    def made(self) -> list[range]:
        """The parts that are complete, in order."""
        # Listing asks the server: a look-up of single names may answer what this machine of several knew before.
        there = {path.name for path in self.directory.iterdir()} if self.directory.is_dir() else set()
        return [span for span in self.spans() if self.path(span).name in there]

    def deal(self, done: int, world: World) -> list[range]:
        """This rank's share of the parts that are to be made, where the main rank has the first ``done`` records."""
        made = set(self.made())
        wanted = [span for span in self.spans() if span.stop > done and span not in made]
        # What is there may change while others still look, so all go by what the main rank saw.
        return of_all(wanted, world)[0][world.rank :: world.size]

    @contextmanager
    def making(self, span: range) -> Iterator[Path]:
        """Where to write a part, or to go on with it; it is complete when the block ends."""
        partial = self.path(span).with_suffix(".partial")
        self.directory.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.rename(self.path(span))

    def drop(self) -> None:
        """Remove what is left of the parts."""
        shutil.rmtree(self.directory, ignore_errors=True)


def by_ranks(work: Callable[[slice], Arrays], rows: int, *, world: World) -> Arrays:
    """``work`` on consecutive slices of 0 … rows, one a rank, its results joined row by row on every rank."""
    own = share_of(rows, world.rank, world.size)
    results = of_all(work(slice(own.start, own.stop)), world)
    return tuple(np.concatenate(column) for column in zip(*results, strict=True))


def meet(made: Path, world: World) -> None:
    """Return when every rank has come here and sees what the main rank has made.

    Raises:
        StageError: it does not appear, so it was not written to storage that all ranks see.
    """
    wait_for_all(world)
    given_up = time.monotonic() + APPEARS
    while not made.exists():
        if world.main or time.monotonic() > given_up:
            raise StageError(
                f"{made} is not seen by process {world.rank}",
                needed="storage that all machines of the run share",
            )
        time.sleep(0.5)
