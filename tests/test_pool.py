"""Stages of several tables side by side: the same directories as one after another, and nothing before its time."""

from pathlib import Path
from typing import Any

import pytest

from facemae.plan import Plan, run_side_by_side
from facemae.plan.pool import _Queue
from facemae.spec.execution import Execution
from facemae.spec.manifest import read_manifest
from facemae.spec.table import Table
from facemae.spec.validation import build

PEOPLE = {"size": 32, "synthetic": {"identities": 2, "photos": 2}}
TINY = {"backbone": "iresnet18", "width": 16, "input_size": 16, "embedding": 8, "iterations": 2, "batch": 4}


def table(**stages: Any) -> Table:
    """A row trained on "masked", and whatever else its pictures need."""
    content = {
        "title": "One row",
        "seeds": [0],
        "recognize": TINY,
        "protocols": [{"name": "LFW", "faces": "people", "pairs": "people/pairs/lfw.csv"}],
        "judges": [{"name": "phi", "source": "package:phi-synthetic"}],
        "rows": [{"label": "75 % masked", "train": "masked"}],
        "pictures": [{"label": name, "faces": name} for name in stages],
        "stages": {
            "people": {"verb": "import", "inputs": ["synthetic"], "settings": PEOPLE},
            "masked": {"verb": "mask", "inputs": ["people"], "settings": {"seed": 0}},
            **stages,
        },
    }
    return build(Table, content, "mine")


def plan(runs: Path, **stages: Any) -> Plan:
    return Plan(table(**stages), runs, runs / "data", Execution(device="cpu"))


def test_every_job_knows_what_comes_before_it(tmp_path: Path) -> None:
    jobs = plan(tmp_path).jobs()
    assert {job.name: set(job.needs) for job in jobs} == {
        "people": set(),
        "masked": {"people"},
        "recognize-masked-s0": {"masked", "people"},
        "judge-phi-LFW": {"people"},
        "audit-masked": {"masked", "people"},
    }


def test_a_job_waits_for_those_it_needs_and_for_no_others(tmp_path: Path) -> None:
    plans = [plan(tmp_path), plan(tmp_path)]
    every = [job.name for job in plans[0].jobs()]
    queue = _Queue.of(plans, {0: every, 1: every})
    # What two tables share is there once, and is made by the first.
    assert [(place.plan, place.name) for place in queue.waiting] == [(0, name) for name in every]
    assert [place.name for place in queue.ready(5)] == ["people"]
    assert queue.ready(5) == []
    queue.blocking.discard("people")
    assert [place.name for place in queue.ready(1)] == ["masked"]
    assert [place.name for place in queue.ready(5)] == ["judge-phi-LFW"]
    queue.blocking.discard("masked")
    assert {place.name for place in queue.ready(5)} == {"recognize-masked-s0", "audit-masked"}


@pytest.mark.slow
def test_two_processes_make_the_directories_of_one(tmp_path: Path) -> None:
    others = {"verb": "import", "inputs": ["synthetic"], "settings": PEOPLE}
    alone, together = plan(tmp_path / "alone", others=others), plan(tmp_path / "together", others=others)
    names = ["people", "masked", "others"]
    alone.run(names)
    run_side_by_side([together], {0: names}, 2, Execution(device="cpu"))
    for name in names:
        assert read_manifest(tmp_path / "together" / name) == read_manifest(tmp_path / "alone" / name)
    assert together.run(names) == ["people", "masked", "others"]


@pytest.mark.slow
def test_what_needs_a_failed_job_is_left_and_everything_else_is_made(tmp_path: Path) -> None:
    broken = {"verb": "import", "inputs": ["data:nowhere.tar"]}
    hidden = {"verb": "mask", "inputs": ["broken"], "settings": {"seed": 0}}
    run_side_by_side(
        [plan(tmp_path, broken=broken, hidden=hidden)],
        {0: ["broken", "hidden", "people", "masked"]},
        2,
        Execution(device="cpu"),
    )
    assert (tmp_path / "masked" / "manifest.json").exists()
    assert not (tmp_path / "broken").exists()
    assert not (tmp_path / "hidden").exists()
