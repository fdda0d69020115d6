"""A whole stage with a watch in its hand: `Execution.progress` hears of every unit, and that is when to look."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from facemae.bench.pairs import Clock, Instant, Lap, lap_between


class Stopwatch:
    """Progress that times the task ``name`` from its first report to its last.

    Opening, loading and the first batch (allocations, choice of kernels) come before the first report and
    checkpoints, manifests and fsync of the whole after the last, so that the rate is that of a long run.
    """

    def __init__(self, name: str, clock: Clock) -> None:
        self._name, self._clock = name, clock
        self._watched: _Watched | None = None
        self.units: dict[str, int] = {}
        """Units that every task reported, by its name."""

    @contextmanager
    def task(self, name: str, total: int, unit: str, done: int = 0) -> Iterator["_Watched"]:
        """Watch one task, count the others."""
        watched = _Watched(self._clock if name == self._name else None, total - done)
        if name == self._name:
            self._watched = watched
        try:
            yield watched
        finally:
            self.units[name] = self.units.get(name, 0) + watched.units

    def lap(self, *, scale: float = 1.0) -> Lap:
        """The time between the reports; ``scale`` units of ours are one that was reported."""
        watched = self._watched
        assert watched is not None, f"{self._name} was not run"
        assert watched.first is not None, f"{self._name} reported nothing"
        assert watched.last is not None, f"{self._name} reported less than twice"
        return lap_between(watched.first, watched.last, scale * (watched.units - watched.before))


class _Watched:
    """The clocks are read at the first and the last report only: a reading waits for the device."""

    def __init__(self, clock: Callable[[], Instant] | None, total: int) -> None:
        self._clock, self._total = clock, total
        self.units, self.before = 0, 0
        self.first: Instant | None = None
        self.last: Instant | None = None

    def advance(self, amount: int = 1, note: str = "") -> None:
        """``amount`` more units are done."""
        self.units += amount
        if self._clock is None:
            return
        if self.first is None:
            self.first, self.before = self._clock(), self.units
        elif self.units == self._total:
            self.last = self._clock()
