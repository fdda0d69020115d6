"""What is written can be read, and the verdicts follow from the numbers."""

from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest

from facemae.bench.page import page, summary
from facemae.bench.pairs import Lap, Spread
from facemae.bench.result import Peak, Reached, Result, Row, read_result, write_result
from facemae.bench.targets import Found, Target, growth, memory_targets, ratio, share_of

FULL = Row(
    group="embed mbf",
    name="ours",
    unit="views/s",
    dtype="bf16",
    rate=Spread(400.0, 390.0, 410.0),
    processor=Spread(0.0025, 0.0024, 0.0026),
    wall=Spread(0.005, 0.004, 0.006),
    operations=442_323_968,
    of_matrix_rate=Spread(0.39, 0.38, 0.4),
    rounds=5,
)
PEER = replace(FULL, name="theirs", of_matrix_rate=None, ahead=Spread(2.0, 1.9, 2.1), check="smallest cosine 0.9999")
MISSING = Row("embed mbf", "OpenVINO", "views/s", absent="openvino is not installed")


@pytest.fixture
def result() -> Result:
    return Result(
        command="facemae bench results",
        digest="ab" * 32,
        name="cpu",
        basis="processor",
        threads=1,
        seed=0,
        hardware={"processor": "a processor", "threads": 1},
        versions={"numpy": "2.0"},
        sizes={"phis": [["base", "mbf"]], "rounds": 5},
        rows=(FULL, PEER, MISSING),
        memory=(Peak("mask", (1000, 5000), (200 << 20, 300 << 20), (100 << 20, (100 << 20) + 400_000)),),
        reached=(
            Reached("mask", 1.1, True, Spread(1.004, 1.004, 1.004), True),
            Reached("embed", 4.0, False, Spread(2.0, 1.9, 2.1), False),
            Reached("top-4", 0.6, False, None, None),
        ),
    )


def test_round_trip(tmp_path: Path, result: Result) -> None:
    data, text = write_result(tmp_path / "results", result)
    assert (data.name, text.name) == ("bench-cpu.json", "bench-cpu.md")
    assert read_result(data) == result
    assert sorted(path.name for path in data.parent.iterdir()) == [data.name, text.name]


def test_what_follows_from_the_peaks_stands_beside_them(result: Result) -> None:
    (entry,) = result.to_dict()["memory"]
    assert entry["bytes_per_record"] == 100.0  # 400,000 bytes over 4,000 records
    assert entry["growth"] == pytest.approx(1.00381, abs=1e-5)


def test_the_page_says_it_all(result: Result) -> None:
    text = page(result)
    rows = {line.split(" | ")[0].strip("| "): line for line in text.splitlines() if line.startswith("| ")}
    assert "400 [390, 410]" in rows["ours"]
    assert "39% [38%, 40%]" in rows["ours"]
    assert "442,323,968" in rows["ours"]
    assert "2 [1.9, 2.1]" in rows["theirs"]
    assert "smallest cosine 0.9999" in rows["theirs"]
    assert rows["OpenVINO"].endswith("openvino is not installed |")
    assert "≤ 1.1 | 1 [1, 1] | yes" in text
    assert "≥ 4 | 2 [1.9, 2.1] | no" in text
    assert "≥ 0.6 | – | not measured" in text
    assert "100.0 |" in text
    assert "facemae bench results" in text


def test_the_terminal_counts_what_was_judged(result: Result) -> None:
    assert summary(result).endswith("1 of 2 figures reached")
    assert "openvino is not installed" in summary(result)


def test_frozen(result: Result) -> None:
    with pytest.raises(FrozenInstanceError):
        FULL.rounds = 2  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        result.threads = 2  # type: ignore[misc]


def test_targets_take_the_median_and_know_what_is_missing() -> None:
    laps = {"g": {"ours": [Lap(1, 1.0, 1), Lap(1, 1.0, 1)], "peer": [Lap(1, 4.0, 1), Lap(1, 6.0, 1)]}}
    found = Found("processor", laps, [FULL], [Peak("mask", (10, 20), (5000, 9000), (1000, 1200))])
    assert Target("ratio", 5.0, ratio("g", "ours", "peer")).judge(found).met is True
    assert Target("ratio", 5.1, ratio("g", "ours", "peer")).judge(found).met is False
    assert Target("ratio", 5.0, ratio("g", "ours", "nobody")).judge(found).met is None
    assert Target("ratio", 5.0, ratio("other", "ours", "peer")).judge(found).met is None
    assert Target("share", 0.39, share_of("embed mbf", "ours", "bf16")).judge(found).met is True
    assert Target("share", 0.39, share_of("embed mbf", "ours", "fp32")).judge(found).met is None
    assert growth("mask")(found) == Spread(1.2, 1.2, 1.2)
    assert [target.judge(found).met for target in memory_targets(["mask", "embed"])] == [False, None]
