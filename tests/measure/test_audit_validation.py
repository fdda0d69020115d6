"""The test bench of the audit: what counts as held, and that finished pieces are never done again."""

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest

from facemae.faces.planted import PLANTS
from facemae.faces.traces import Instrument

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for name in ("audit_validation", "audit_coverage", "audit_page"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    module = importlib.import_module("audit_validation")
    coverage: Any = module.simulated
    coverage.REPLICATES, coverage.PERMUTATIONS, coverage.SIMULATIONS = 50, 39, 4
    return module


def found(name: str, *, watchers: tuple[str, ...], copies: int = 0) -> dict[str, Any]:
    rate = {"value": 0.5, "low": 0.4, "high": 0.6, "chance": 0.01, "hits": 250, "trials": 500}
    pixels = {watcher: {"found": watcher in watchers, "value": 0.5} for watcher in ("templates", "open_set")}
    pixels |= {watcher: {"found": watcher in watchers, "value": 0.5} for watcher in ("verification", "inverter")}
    retrieval = {"found": "retrieval" in watchers, "value": 0.5, "exclude": [rate], "include": [rate]}
    beside = {"found": [watcher for watcher in watchers if watcher in get_args(Instrument)], "copies": copies}
    return pixels | {"retrieval": retrieval, "unprotected": [0.5], "beside": beside}


def test_every_expectation_has_somebody_who_can_tell(bench: ModuleType) -> None:
    watched = {watcher for plant in PLANTS.values() for watcher in plant.expects}
    assert watched <= {*found("x", watchers=()), *get_args(Instrument)} - {"unprotected", "beside"}


def test_a_plant_that_is_missed_or_accused_says_so(bench: ModuleType) -> None:
    plant = PLANTS["planted-20"]
    runs = [found("x", watchers=("retrieval", "duplicates"), copies=100), found("x", watchers=("duplicates", "names"))]
    row = bench._row(plant, runs)
    verdicts = {name: one["verdict"] for name, one in row["expects"].items()}
    assert verdicts["duplicates"] == "held"
    assert verdicts["retrieval"] == "missed in 1 of 2"
    assert verdicts["names"] == "accused in 1 of 2"
    told = bench.silence([row])
    assert (told["accused"]["hits"], told["accused"]["trials"]) == (1, 12)
    assert told["p_value"] == pytest.approx(1 - 0.95**12)  # one or more of twelve at 5 %
    assert told["verdict"] == "no more accusations than stated"
    claims = {one["claim"]: (one["held"], one["of"]) for one in bench.answers([row])}
    assert claims["planted 20 %: the duplicate check names every planted record and no other"] == (1, 2)
    assert bench._row(plant, [])["expects"]["names"]["verdict"] == "not run"


@pytest.mark.parametrize(
    ("held", "of", "verdict"),
    [
        (380, 400, "92 to 98 %"),
        (395, 400, "92 to 98 % (by its interval)"),
        (400, 400, "too wide"),
        (330, 400, "too narrow"),
    ],
)
def test_coverage_is_judged_by_its_interval(bench: ModuleType, held: int, of: int, verdict: str) -> None:
    rate, half = bench.wilson(held, of).to_dict(), bench.wilson(of // 2, of).to_dict()
    judged = bench._judged({"measure": "retrieval", "leak": 0.5, "coverage": rate, "accused": half})
    assert judged["verdicts"] == {"coverage": verdict, "power": "below 95 %"}
    quiet = bench._judged({"measure": "retrieval", "leak": 0.0, "coverage": None, "accused": half})
    assert quiet["verdicts"] == {"accused": "more than stated"}


def test_finished_pieces_are_not_done_again_and_time_ends(bench: ModuleType, tmp_path: Path) -> None:
    def simulate(minutes: float | None) -> dict[str, Any]:
        result: dict[str, Any] = bench.validate(
            tmp_path, bench.Sizes(), repetitions=3, minutes=minutes, only=["planted", "membership"]
        )
        return result

    assert simulate(0)["unfinished"] > 0
    done = simulate(None)
    assert done["unfinished"] == 0
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    assert simulate(0) == done
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")} == times
    shares = [row["mean"] for row in done["simulated"] if (row["measure"], row["quantity"]) == ("planted", "K = 1")]
    assert shares == sorted(shares)
    assert shares[0] < 0.03
    text = bench.page(done | {"plants": [bench._row(PLANTS["copied"], [found("x", watchers=("retrieval",))])]})
    assert "| copied |" in text
    assert "open_set missed in 1 of 1" in text


@pytest.mark.slow
def test_a_release_with_a_known_answer_is_written_measured_and_taken_away(bench: ModuleType, tmp_path: Path) -> None:
    sizes = bench.Sizes(people=12, photos=4, strangers=50, public=8, size=64, steps=2, replicates=20, repetitions=1)
    names = ["copied", "scrambled"]
    rows = bench.end_to_end(bench.Pieces(tmp_path / "pieces", None), tmp_path / "work", sizes, names)
    copied, scrambled = (row["found"][0] for row in rows)
    retrieved = [at["value"] for at in copied["retrieval"]["exclude"]]
    assert retrieved == copied["unprotected"]  # a copy leaks what the originals leak of each other
    assert copied["retrieval"]["include"][0]["value"] == 1.0  # and who holds the photo itself finds it
    assert copied["beside"]["copies"] == copied["retrieval"]["include"][0]["trials"]
    assert set(scrambled["inverter"]) >= {"found", "value", "chosen", "tried"}
    assert not list((tmp_path / "work").rglob("release-*"))
