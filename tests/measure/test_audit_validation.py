"""The test bench of the audit: what counts as held, and that finished pieces are never done again."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import numpy as np
import pytest

from facemae.attacks import Released
from facemae.faces.faceset import FaceSet
from facemae.faces.planted import PLANTS, Attack
from facemae.faces.traces import Instrument
from helpers import benchmark_module, smooth_photos, write_set


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = benchmark_module(monkeypatch, "audit_validation")
    coverage: Any = module.simulated
    coverage.REPLICATES, coverage.PERMUTATIONS, coverage.SIMULATIONS = 50, 39, 4
    return module


def found(name: str, *, watchers: tuple[str, ...], copies: int = 0) -> dict[str, Any]:
    rate = {"value": 0.5, "low": 0.4, "high": 0.6, "chance": 0.01, "hits": 250, "trials": 500}
    pixels = {watcher: {"found": watcher in watchers, "value": 0.5} for watcher in get_args(Attack)}
    pixels |= {"retrieval": {"found": "retrieval" in watchers, "value": 0.5, "exclude": [rate], "include": [rate]}}
    pixels["inverter"] |= {"exclude": [rate], "include": [rate], "chosen": "linear", "seconds": 21.2}
    beside = {"found": [watcher for watcher in watchers if watcher in get_args(Instrument)], "copies": copies}
    return pixels | {"unprotected": [0.5], "beside": beside, "records": 500}


def test_every_expectation_has_somebody_who_can_tell(bench: ModuleType) -> None:
    watched = {watcher for plant in PLANTS.values() for watcher in plant.expects}
    assert watched <= bench.BESIDE | bench.JUDGED | {*bench.ATTACKERS}
    # Everybody who can tell has something that they must find.
    must = {watcher for plant in PLANTS.values() for watcher, what in plant.expects.items() if what == "found"}
    assert watched - must == {"archive"}


def test_what_is_quick_and_must_find_is_asked_more_often(bench: ModuleType) -> None:
    sizes = bench.Sizes(repetitions=3, often=10)
    plant = PLANTS["scrambled"]
    assert {*plant.expects} | bench.JUDGED == {*bench.watchers(plant, sizes, 2)}
    assert bench.watchers(plant, sizes, 3) == ["imitator"]
    assert bench.watchers(PLANTS["planted-1"], sizes, 9) == ["duplicates"]
    assert bench.watchers(PLANTS["planted-1"], sizes, 10) == []
    assert bench.watchers(PLANTS["replaced"], sizes, 3) == []


def test_who_was_not_asked_does_not_count(bench: ModuleType) -> None:
    one = found("x", watchers=("duplicates", "retrieval"), copies=100)
    few = {"beside": one["beside"], "records": 500}
    row = bench._row(PLANTS["planted-20"], [one, few])
    assert [row["expects"][name]["of"] for name in ("duplicates", "retrieval", "names")] == [2, 1, 2]
    claims = {one["claim"]: (one["held"], one["of"]) for one in bench.answers([row])}
    assert claims["planted 20 %: the duplicate check names every planted record and no other"] == (2, 2)
    assert claims["planted 20 %: who holds the photos finds at least that share at K = 1"] == (1, 1)


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
    judge: Any = importlib.import_module("audit_simulated").judged_row
    judged = judge({"measure": "retrieval", "leak": 0.5, "coverage": rate, "accused": half})
    assert judged["verdicts"] == {"coverage": verdict, "power": "below 95 %"}
    quiet = judge({"measure": "retrieval", "leak": 0.0, "coverage": None, "accused": half})
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
    rows = [bench._row(PLANTS[name], [found("x", watchers=("retrieval",))]) for name in ("copied", "scrambled")]
    text = bench.page(done | {"plants": rows})
    assert "| copied |" in text
    assert "open_set missed in 1 of 1" in text
    assert "| scrambled | inverter | 1 | 50.0 % | 50.0 % | linear (1) | 21 |" in text


@pytest.mark.slow
def test_a_release_with_a_known_answer_is_written_measured_and_taken_away(bench: ModuleType, tmp_path: Path) -> None:
    few = {"people": 12, "photos": 4, "strangers": 50, "public": 8, "steps": 2, "replicates": 20}
    sizes = bench.Sizes(**few, repetitions=1, often=1)
    names = ["copied", "decoded", "scrambled"]
    attackers: Any = importlib.import_module("audit_attackers")
    attackers.STEPS.clear()
    rows = bench.end_to_end(bench.Pieces(tmp_path / "pieces", None), tmp_path / "work", sizes, names)
    copied, scrambled, decoded = (row["found"][0] for row in rows)
    retrieved = [at["value"] for at in copied["retrieval"]["exclude"]]
    assert retrieved == copied["unprotected"]  # a copy leaks what the originals leak of each other
    assert copied["retrieval"]["include"][0]["value"] == 1.0  # and who holds the photo itself finds it
    assert copied["beside"]["copies"] == copied["retrieval"]["include"][0]["trials"]
    assert set(scrambled["inverter"]) >= {"found", "value", "chosen", "tried"}
    for one in (scrambled["imitator"], scrambled["imitating_parrot"]):
        assert one["include"][0]["value"] == 1.0  # the same photo through the same process is the same picture
    assert decoded["visible"]["chosen"] in ("as stored", "mean", "smooth")
    assert decoded["visible"]["value"] > decoded["retrieval"]["value"]
    assert not [*(tmp_path / "work").rglob("release-*"), *(tmp_path / "work").rglob("attack-*")]


def test_pieces_behind_a_decoder_are_put_in_the_order_of_what_is_visible(bench: ModuleType, tmp_path: Path) -> None:
    attackers: Any = importlib.import_module("audit_attackers")
    plants: Any = importlib.import_module("audit_plants")
    people = np.repeat(np.arange(5), 2)
    town = plants.Town(tmp_path, 0, plants.Sizes())
    process = attackers.Process(town, PLANTS["decoded"], tmp_path)
    photos = FaceSet.open(write_set(tmp_path / "photos", smooth_photos(5, 2, size=16), people))
    shown = FaceSet.open(write_set(tmp_path / "shown", smooth_photos(5, 2, size=16, seed=9), people))
    photo = np.array([3, 1, 0, 9, 8, 2, 5, 4, 7, 6])
    released = process.behind(Released(shown, photos, photo), 4)
    assert released.masked is not None
    for row, number in enumerate(released.photo):
        # The picture released for this photo, and some true pixels of the photo itself.
        assert np.array_equal(released.faces.image(row), shown.image(int(np.flatnonzero(photo == number)[0])))
        _, cells = released.masked.visible([row])
        seen = released.masked.image(row).reshape(2, 8, 2, 8, 3).transpose(0, 2, 1, 3, 4).reshape(4, 8, 8, 3)
        true = photos.image(int(number)).reshape(2, 8, 2, 8, 3).transpose(0, 2, 1, 3, 4).reshape(4, 8, 8, 3)
        assert np.array_equal(seen[cells[0]], true[cells[0]])
        assert len(cells[0]) == 1
