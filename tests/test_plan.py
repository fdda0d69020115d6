"""A table as jobs: which are run, what is said of them, and what the digest of a published table covers."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from facemae.errors import FaceMAEError, RecipeError
from facemae.plan import Job, Plan, find_data
from facemae.plan import jobs as module
from facemae.spec.execution import Execution, Silent
from facemae.spec.manifest import Manifest, write_manifest
from facemae.spec.table import Table
from facemae.spec.validation import build


def table(**changes: Any) -> Table:
    content: dict[str, Any] = {
        "title": "One row",
        "seeds": [0],
        "protocols": [{"name": "LFW", "faces": "people", "pairs": "people/pairs/lfw.csv"}],
        "judges": [{"name": "phi", "source": "data:phi.onnx", "normalize": "imagenet"}],
        "rows": [{"label": "75 % masked", "train": "masked"}],
        "stages": {
            "masked": {"verb": "mask", "inputs": ["people"]},
            "people": {"verb": "import", "inputs": ["synthetic"]},
        },
    }
    return build(Table, content | changes, "mine")


@dataclass
class Watched(Silent):
    """Progress that remembers what the bar said when."""

    told: list[tuple[int, str]] = field(default_factory=list)

    @contextmanager
    def task(self, name: str, total: int, unit: str, done: int = 0) -> Iterator["Watched"]:
        yield self

    def advance(self, amount: int = 1, note: str = "") -> None:
        self.told.append((amount, note))


def planned(runs: Path, **execution: Any) -> Plan:
    return Plan(table(), runs, runs / "data", Execution(**execution))


def finish(directory: Path, digest: str) -> None:
    directory.mkdir(parents=True)
    write_manifest(
        directory,
        Manifest(stage="test", kind="original", digest=digest, spec={}, parents={}, facts={}, facemae="0"),
    )


JOBS = ["people", "masked", "recognize-masked-s0", "judge-phi-LFW", "audit-masked"]


def test_jobs_come_after_what_they_need(tmp_path: Path) -> None:
    assert [job.name for job in planned(tmp_path).jobs()] == JOBS


def test_a_set_is_audited_where_any_of_its_rows_asks_for_it(tmp_path: Path) -> None:
    rows = [{"label": "A", "train": "masked", "audit": False}, {"label": "B", "train": "masked"}]
    plan = Plan(table(rows=rows), tmp_path, tmp_path, Execution())
    assert [job.name for job in plan.jobs()][-1] == "audit-masked"
    plan = Plan(table(rows=rows[:1]), tmp_path, tmp_path, Execution())
    assert [job.name for job in plan.jobs()][-1] == "judge-phi-LFW"


@pytest.mark.parametrize(
    ("only", "run"),
    [((), JOBS), (("masked",), ["masked"]), (("*masked", "people"), ["people", "masked", "audit-masked"])],
)
def test_only_takes_exact_names_and_patterns_and_the_bar_names_the_running_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, only: tuple[str, ...], run: list[str]
) -> None:
    watched = Watched()
    plan = planned(tmp_path / "runs", progress=watched)
    named = {name: (lambda name=name: watched.told.append((-1, name))) for name in JOBS}
    monkeypatch.setattr(Plan, "jobs", lambda self: [Job(name, make) for name, make in named.items()])
    assert plan.run(only) == run
    assert watched.told == [step for name in run for step in ((0, name), (-1, name), (1, ""))]


def test_an_only_that_is_nothing_is_named_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"--only: got maskd, audit-x\*; needed one of people, masked, recognize-"):
        planned(tmp_path / "runs").run(["people", "maskd", "audit-x*"])
    assert not (tmp_path / "runs").exists()


def test_leftovers_lie_beside_finished_directories(tmp_path: Path) -> None:
    finish(tmp_path / "masked", "ab" * 32)
    for name in (".masked.0123456789ab.partial", ".people.0123456789ab.partial", ".masked.x.partial", ".masked.lock"):
        (tmp_path / name).mkdir()
    assert [path.name for path in planned(tmp_path).leftovers()] == [".masked.0123456789ab.partial"]


def test_the_published_digest_covers_the_table_and_everything_it_rests_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "tabulate", lambda *_: ((), (), (), ()))
    monkeypatch.setattr(module, "write_report", lambda *_, **__: None)
    names = [*JOBS, "verify-masked-s0-LFW"]

    def published(runs: Path, changed: str | None = None, **changes: Any) -> str:
        for name in names:
            finish(runs / name, ("cd" if name == changed else "ab") * 32)
        plan = Plan(table(**changes), runs, tmp_path, Execution())
        results = plan.publish(tmp_path / "report", "facemae reproduce mine --device cpu")
        assert results.command == "facemae reproduce mine --device cpu"
        return results.digest

    first = published(tmp_path / "first")
    assert published(tmp_path / "same") == first
    others = {published(tmp_path / name, name) for name in names} | {published(tmp_path / "t", title="Another")}
    assert len({first, *others}) == len(names) + 2


def test_a_judge_brings_its_normalisation_to_verification_and_audit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(module, "verify", lambda *given, **_: asked.update({given[3].name: given[4].normalize}))
    monkeypatch.setattr(module, "audit", lambda inputs, *_, **__: asked.update(inputs.normalize))
    monkeypatch.setattr(module, "recognize", lambda *_, **__: None)
    planned(tmp_path).run(["recognize-*", "judge-*", "audit-*"])
    assert asked == {"verify-masked-s0-LFW": None, "judge-phi-LFW": "imagenet", "phi": "imagenet"}


def test_data_lies_where_the_table_says_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FaceMAEError, match=r"got no phi\.onnx in sets; name the folder"):
        find_data(table(data="sets"), None, "mine")
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets/phi.onnx").touch()
    assert find_data(table(data="sets"), None, "mine") == Path("sets")
