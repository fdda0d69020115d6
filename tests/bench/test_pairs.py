"""The arithmetic of interleaved timing, by hand, on a clock that only moves when told."""

from dataclasses import astuple
from typing import Any

import pytest

from facemae.bench.pairs import Contender, Lap, Repeated, Spread, ahead, race, rate, seconds, share


def test_a_call_fills_its_time_and_the_warm_up_is_not_repeated(hand: Any) -> None:
    made = []

    def call() -> None:
        made.append(1)
        hand.spend(0.25, 0.5)

    run = Repeated(call, 3, clock=hand, seconds=2.0)
    assert run() == Lap(3, 0.25, 0.5)
    assert len(made) == 2  # once to warm up, once to see how long it takes
    assert run() == Lap(12, 1.0, 2.0)  # 2.0 / 0.5 calls of 3 units
    assert run().seconds("processor") == 0.25 / 3
    assert run().seconds("wall") == 0.5 / 3


def test_a_call_longer_than_its_time_is_made_once(hand: Any) -> None:
    run = Repeated(hand.work(5.0, 7.0), 2, clock=hand, seconds=0.1)
    run()
    assert run() == Lap(2, 5.0, 7.0)


def test_rounds_visit_everybody_in_alternating_order() -> None:
    visits: list[str] = []

    def contender(name: str) -> Contender:
        def run() -> Lap:
            visits.append(name)
            return Lap(1, len(visits), 1)

        return Contender(name, "fp32", run)

    laps = race([contender(name) for name in "abc"], rounds=3)
    assert "".join(visits) == "abc" + "abc" + "cba" + "abc"
    assert [lap.processor for lap in laps["a"]] == [4, 9, 10]
    assert [lap.processor for lap in laps["b"]] == [5, 8, 11]


def test_a_name_is_taken_once() -> None:
    twice = Contender("a", "fp32", lambda: Lap(1, 1, 1))
    with pytest.raises(AssertionError, match="two contenders"):
        race([twice, twice], rounds=1)


def test_ratios_are_medians_of_rounds_not_ratios_of_medians() -> None:
    # The machine slows down tenfold in the middle round: the ratio of that round does not notice.
    ours = [Lap(10, 1.0, 9), Lap(10, 10.0, 9), Lap(10, 1.0, 9)]
    peer = [Lap(5, 1.0, 9), Lap(5, 15.0, 9), Lap(5, 1.5, 9)]
    # Seconds a unit: 0.1, 1.0, 0.1 against 0.2, 3.0, 0.3.
    assert astuple(ahead(ours, peer, "processor")) == pytest.approx((3.0, 2.0, 3.0))
    assert astuple(ahead(ours, peer, "wall")) == pytest.approx((2.0, 2.0, 2.0))
    assert astuple(seconds(ours, "processor")) == pytest.approx((0.1, 0.1, 1.0))
    assert astuple(rate(ours, "processor")) == pytest.approx((10.0, 1.0, 10.0))


def test_share_of_the_matrix_rate() -> None:
    # 4e9 operations a unit at 20 units a second are 80 GFLOP/s; the product runs at 100, then at 160 GFLOP/s.
    laps = [Lap(20, 1.0, 1.0), Lap(40, 2.0, 2.0)]
    matrix = [Lap(100, 1.0, 1.0), Lap(320, 2.0, 2.0)]
    assert astuple(share(laps, 4e9, matrix, "wall")) == pytest.approx((0.65, 0.5, 0.8))


def test_a_product_is_all_of_its_own_rate() -> None:
    laps = [Lap(3, 2.0, 2.0)]
    assert share(laps, 1e9, laps, "processor") == Spread(1.0, 1.0, 1.0)
