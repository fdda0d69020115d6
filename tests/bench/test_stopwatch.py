"""A stage is timed from its first report to its last, and nothing else of it."""

from typing import Any

import pytest

from facemae.bench.pairs import Lap
from facemae.bench.stopwatch import Stopwatch


def stage(watch: Stopwatch, hand: Any) -> None:
    hand.spend(50, 50)  # loading
    with watch.task("other", 7, "images") as task:
        hand.spend(3, 3)
        task.advance(7)
    with watch.task("train", 30, "images", 5) as task:
        for _ in range(5):
            hand.spend(1, 2)
            task.advance(5)
        hand.spend(20, 20)  # a checkpoint


def test_from_the_first_report_to_the_last(hand: Any) -> None:
    watch = Stopwatch("train", hand)
    stage(watch, hand)
    # 25 units in five reports; the first is the warm-up.
    assert watch.lap() == Lap(20, 4, 8)
    assert watch.lap(scale=2) == Lap(40, 4, 8)
    assert watch.units == {"other": 7, "train": 25}


def test_the_clock_is_read_twice(hand: Any) -> None:
    stage(Stopwatch("train", hand), hand)
    assert hand.readings == 2


def test_one_report_is_no_lap(hand: Any) -> None:
    watch = Stopwatch("embed", hand)
    with watch.task("embed", 4, "images") as task:
        task.advance(4)
    with pytest.raises(AssertionError, match="less than twice"):
        watch.lap()
