"""Interleaved timing of contenders that do the same work.

Every round visits every contender, in the order of their list and then in the reverse of it, so that a machine that
slows down meets them alike. Whatever is compared is compared within a round:

    ahead = median over the rounds r of (seconds a unit of the peer in r / seconds a unit of ours in r)
"""

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch

Basis = Literal["processor", "wall"]
"""What a second is: of the processor (all threads and finished children of this process) or of wall time."""


class Instant(NamedTuple):
    """Both clocks, in seconds from an arbitrary start."""

    processor: float
    wall: float


Clock = Callable[[], Instant]


def clock_of(device: torch.device) -> Clock:
    """The clocks of this process, read when ``device`` has done all that it was given."""

    def read() -> Instant:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        spent = os.times()
        return Instant(time.process_time() + spent.children_user + spent.children_system, time.perf_counter())

    return read


class Lap(NamedTuple):
    """Units of work done, and the seconds they took."""

    units: float
    processor: float
    wall: float

    def seconds(self, basis: Basis) -> float:
        """Seconds a unit."""
        return (self.processor if basis == "processor" else self.wall) / self.units


def lap_between(before: Instant, after: Instant, units: float) -> Lap:
    """The lap from one reading of the clocks to another."""
    return Lap(units, after.processor - before.processor, after.wall - before.wall)


class Repeated:
    """A call on its own, of ``units`` units: repeated until it fills ``seconds`` of wall time.

    The first visit, which is not counted, allocates, lets libraries pick their kernels, and finds the number of calls.
    """

    def __init__(self, call: Callable[[], object], units: float, *, clock: Clock, seconds: float) -> None:
        self._call, self._units, self._clock, self._seconds = call, units, clock, seconds
        self._calls = 0

    def __call__(self) -> Lap:
        if self._calls:
            return self._lap(self._calls)
        self._lap(1)
        lap = self._lap(1)
        self._calls = max(1, round(self._seconds / lap.wall)) if lap.wall > 0 else 1
        return lap

    def _lap(self, calls: int) -> Lap:
        before = self._clock()
        for _ in range(calls):
            self._call()
        return lap_between(before, self._clock(), calls * self._units)


@dataclass(frozen=True)
class Contender:
    """Somebody who does the work of a group: each call of ``run`` is one lap.

    ``operations``: floating-point operations a unit, 0 where none are counted. ``check``: what was seen of the result.
    """

    name: str
    dtype: str
    run: Callable[[], Lap]
    operations: float = 0.0
    check: str = ""


@dataclass(frozen=True)
class Absent:
    """A peer that cannot take part, and why."""

    name: str
    why: str


@dataclass(frozen=True)
class Spread:
    """The median of the rounds, and the lowest and highest of them."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """The spread of at least one value."""
        return cls(statistics.median(values), min(values), max(values))


def race(contenders: Sequence[Contender], *, rounds: int) -> dict[str, list[Lap]]:
    """The laps of every contender, by name, round by round; one visit before the first round warms up."""
    assert len({contender.name for contender in contenders}) == len(contenders), "two contenders of one name"
    for contender in contenders:
        contender.run()
    laps: dict[str, list[Lap]] = {contender.name: [] for contender in contenders}
    for number in range(rounds):
        for contender in contenders if number % 2 == 0 else reversed(contenders):
            laps[contender.name].append(contender.run())
    return laps


def seconds(laps: Sequence[Lap], basis: Basis) -> Spread:
    """Seconds a unit."""
    return Spread.of([lap.seconds(basis) for lap in laps])


def rate(laps: Sequence[Lap], basis: Basis) -> Spread:
    """Units a second."""
    return Spread.of([1 / lap.seconds(basis) for lap in laps])


def ahead(ours: Sequence[Lap], peer: Sequence[Lap], basis: Basis) -> Spread:
    """How many times as fast as ``peer`` ours is, round by round."""
    return Spread.of([theirs.seconds(basis) / own.seconds(basis) for own, theirs in zip(ours, peer, strict=True)])


def share(laps: Sequence[Lap], operations: float, matrix: Sequence[Lap], basis: Basis) -> Spread:
    """Operations a second over those of the matrix product, round by round; a unit of the product is 1e9 of them."""
    pairs = zip(laps, matrix, strict=True)
    return Spread.of([operations / 1e9 * product.seconds(basis) / lap.seconds(basis) for lap, product in pairs])
