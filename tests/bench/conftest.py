"""A clock that only moves when work is done on it."""

from collections.abc import Callable

import pytest

from facemae.bench.pairs import Instant


class Hand:
    """``work`` makes a call that takes so many seconds of the processor and of the wall."""

    def __init__(self) -> None:
        self.processor, self.wall = 100.0, 1000.0
        self.readings = 0

    def __call__(self) -> Instant:
        self.readings += 1
        return Instant(self.processor, self.wall)

    def spend(self, processor: float, wall: float) -> None:
        self.processor += processor
        self.wall += wall

    def work(self, processor: float, wall: float) -> Callable[[], None]:
        return lambda: self.spend(processor, wall)


@pytest.fixture
def hand() -> Hand:
    return Hand()
