"""The command line: quick to start, one line for a person's mistake, JSON where it is asked for."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from facemae.cli.app import app
from facemae.cli.common import execution, networks
from facemae.cli.reproduce import command_line
from facemae.errors import DataError, RecipeError
from facemae.spec.execution import Silent
from facemae.spec.normalisation import Statistics
from facemae.spec.recipe import RecognizeSpec
from facemae.spec.results import Results
from facemae.spec.table import Table
from folders import demand_one_line, facemae, jpeg, noise, originals, plant, png

VERBS = [command.name for command in app.registered_commands]
HEAVY = ("torch", "numpy", "scipy", "pydantic", "matplotlib", "onnx", "PIL")


def python(script: str, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, words)], capture_output=True, text=True, check=False, timeout=60
    )


def loaded(*modules: str) -> str:
    """Python that prints which of these modules are loaded."""
    return f"import sys; print([name for name in {modules!r} if name in sys.modules])"


# ---- help and start ------------------------------------------------------------------------------------------------


def test_all_verbs_are_there() -> None:
    assert {
        "import", "export", "mask", "pretrain", "reconstruct", "recognize", "embed", "verify", "audit", "reproduce",
        "demo", "show", "bench", "protect",
    } <= set(VERBS)  # fmt: skip


def test_help_names_every_verb() -> None:
    shown = CliRunner().invoke(app, ["--help"])
    assert shown.exit_code == 0
    assert all(f" {verb} " in shown.output for verb in VERBS if verb)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_of_a_verb(verb: str, flag: str) -> None:
    shown = CliRunner().invoke(app, [verb, flag])
    assert shown.exit_code == 0
    assert "Usage" in shown.output
    assert "--help" in shown.output


def test_nothing_heavy_is_loaded_before_a_verb_runs() -> None:
    ended = python("import facemae.cli\n" + loaded(*HEAVY))
    assert (ended.stdout, ended.stderr) == ("[]\n", "")


@pytest.mark.slow
def test_verbs_on_faces_run_without_torch(tmp_path: Path) -> None:
    plant(tmp_path / "photos", {"a/1.jpg": jpeg(0), "b/1.png": png(1)})
    plan = [
        ["import", "photos", "set"],
        ["mask", "set", "masked"],
        ["show", "masked"],
        ["export", "masked", "out"],
    ]
    script = f"""
import os, sys
from facemae.cli import main
os.chdir(sys.argv[1])
for words in {plan!r}:
    sys.argv = ["facemae", *words]
    try:
        main()
    except SystemExit as end:
        assert not end.code, words
"""
    ended = python(script + loaded("torch", "matplotlib"), tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == "[]"
    assert ended.stderr == ""


def test_python_dash_m(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "facemae", "show", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"facemae: {tmp_path} is not a finished facemae directory")


# ---- mistakes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show", "{here}"], "is not a finished facemae directory: got no manifest.json; name the OUT of an"),
        (["show", "{here}/file"], "is not a finished facemae directory"),
        (["mask", "{here}", "{here}/out"], "is not a finished facemae directory"),
        (["mask", "{here}/set", "{here}/out", "--set", "ratio"], "--set: got 'ratio'; needed key=value"),
        (["mask", "{here}/set", "{here}/out", "--set", "ratio=2", "--set", "cel=3"],
         "settings of mask: ratio: input should be less than 1 (got 2); cel: unknown key; keys here are block, cell,"),
        (["mask", "{here}/set", "{here}/out", "--recipe", "nothing"], "no such recipe: got 'nothing'"),
        (["mask", "{here}/set", "{here}/out", "--recipe", "{here}/file"], "is not TOML"),
        (["export", "{here}/set", "{here}/file"], "exists: name another OUT"),
        (["import", "{here}/nowhere", "{here}/out"], "nothing at"),
        (["import", "synthetic"], "import: got synthetic; needed one or more sources and then OUT"),
        (["mask", "{here}/set", "{here}/file/out"], "/file: "),
    ],
)  # fmt: skip
def test_mistakes_end_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, words: list[str], said: str
) -> None:
    originals(tmp_path / "set", [noise(0)], [0])
    (tmp_path / "file").write_text("[mine")
    assert said in demand_one_line(facemae(capsys, *(word.format(here=tmp_path) for word in words)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "set"]


@pytest.mark.parametrize(
    "words",
    [
        ["erase"],
        ["show"],
        ["show", "/nowhere/at/all"],
        ["show", ".", "--loud"],
        ["import", ".", "out", "--seed", "x"],
        [],
    ],
)
def test_wrong_usage_is_typers_affair(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    ended = facemae(capsys, *words)
    assert ended.code == 2
    assert "Usage" in ended.err + ended.out
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (DataError("photos\nare wrong", got="x"), 2, "facemae: photos\\nare wrong: got x\n"),
        (PermissionError(13, "Permission denied", "/a/b"), 2, "facemae: /a/b: Permission denied\n"),
        (OSError("odd"), 2, "facemae: input or output: odd\n"),
        (KeyboardInterrupt(), 130, "facemae: interrupted; the same command goes on from the last checkpoint\n"),
    ],
)
def test_how_errors_are_said(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    error: BaseException,
    code: int,
    line: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("facemae.stages.export.export_faces", fail)
    ended = facemae(capsys, "export", tmp_path, tmp_path / "out")
    assert (ended.code, ended.out, ended.err) == (code, "", line)


def test_our_own_mistakes_keep_their_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("ours")

    monkeypatch.setattr("facemae.stages.export.export_faces", fail)
    with pytest.raises(AssertionError, match="ours"):
        facemae(capsys, "export", tmp_path, tmp_path / "out")


# ---- results -------------------------------------------------------------------------------------------------------


def test_json_is_the_manifest(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    plant(tmp_path / "photos", {"Zoë/1.jpg": jpeg(0), "b/1.png": png(1), "b/notes.txt": b"x"})
    words = (["import", tmp_path / "photos", tmp_path / "set"], ["mask", tmp_path / "set", tmp_path / "masked"])
    for verb in words:
        ended = facemae(capsys, *verb, "--json")
        assert (ended.code, ended.err) == (0, "")
        assert json.loads(ended.out) == json.loads((verb[-1] / "manifest.json").read_text("utf-8"))  # type: ignore[attr-defined]
        assert facemae(capsys, "show", verb[-1], "--json").out == ended.out
    exported = facemae(capsys, "export", tmp_path / "set", tmp_path / "out", "--json")
    assert json.loads(exported.out) == {"out": str(tmp_path / "out"), "records": 2}


def test_show(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    plant(tmp_path / "photos", {"a/1.jpg": jpeg(0), "b/1.png": png(1), "b/notes.txt": b"x"})
    facemae(capsys, "import", tmp_path / "photos", tmp_path / "set")
    digest = json.loads((tmp_path / "set/manifest.json").read_text())["digest"]
    shown = facemae(capsys, "show", tmp_path / "set")
    assert shown.out.splitlines() == [
        f"original made by import, digest {digest[:12]}",
        "identities: 2",
        "records: 2",
        "size: [32, 32]",
        "unreadable: 0",
        "skipped b/notes.txt: not an image by its suffix",
    ]


def test_seed_is_one_more_setting(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    originals(tmp_path / "set", [noise(0), noise(1)], [0, 1])
    digests = set()
    for name, words in (("a", ["--seed", "3"]), ("b", ["--set", "seed=3"]), ("c", ["--set", "seed=9", "--seed", "3"])):
        ended = facemae(capsys, "mask", tmp_path / "set", tmp_path / name, *words, "--json")
        digests.add(json.loads(ended.out)["digest"])
    assert len(digests) == 1


# ---- networks of an audit ------------------------------------------------------------------------------------------


def test_networks_have_a_name_a_path_and_perhaps_a_normalisation(tmp_path: Path) -> None:
    for name in ("phi.onnx", "odd=x@imagenet.pth"):
        (tmp_path / name).touch()
    (tmp_path / "ours").mkdir()
    numbers = "{mean=[0.5,0.5,0.5],deviation=[0.25,0.25,0.25]}"
    paths, normalize = networks(
        [
            f"{tmp_path}/phi.onnx@imagenet",
            f"again={tmp_path}/phi.onnx",
            f"by numbers={tmp_path}/phi.onnx@{numbers}",
            f"{tmp_path}/ours",
            f"{tmp_path}/odd=x@imagenet.pth",
        ]
    )
    phi = tmp_path / "phi.onnx"
    odd = {"ours": tmp_path / "ours", "odd=x@imagenet": tmp_path / "odd=x@imagenet.pth"}
    assert paths == {"phi": phi, "again": phi, "by numbers": phi} | odd
    given = Statistics(mean=(0.5, 0.5, 0.5), deviation=(0.25, 0.25, 0.25))
    assert normalize == {"phi": "imagenet", "by numbers": given}


def test_two_networks_of_one_name_and_a_normalisation_that_is_none(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        plant(tmp_path / folder, {"phi.onnx": b"x"})
    with pytest.raises(
        RecipeError, match=r"two networks are called phi: got .*a/phi\.onnx and .*b/phi\.onnx; .*NAME=.*b/phi"
    ):
        networks([f"{tmp_path}/a/phi.onnx", f"{tmp_path}/b/phi.onnx"])
    with pytest.raises(
        RecipeError, match=r"--embedder .*phi\.onnx@rgb: normalize: input should be insightface, imagenet"
    ):
        networks([f"{tmp_path}/a/phi.onnx@rgb"])


# ---- what a table says of itself -----------------------------------------------------------------------------------


def test_the_command_is_as_given_without_the_paths_of_a_machine(tmp_path: Path) -> None:
    words = ["reproduce", "real-small", "--data", "../shared/data", "--device=cpu", "--runs", str(tmp_path / "my runs")]
    assert command_line(words) == "facemae reproduce real-small --data ../shared/data --device=cpu --runs …/my runs"
    assert command_line([f"--data={tmp_path}/sets", "a b"]) == "facemae --data=…/sets 'a b'"


class Finished:
    """A plan of which everything is there, and something more."""

    def __init__(self, table: Table, runs: Path, *_: object) -> None:
        self.table, self.runs = table, runs

    def run(self, only: list[str]) -> list[str]:
        return only or ["people", "masked"]

    def publish(self, out: Path, command: str, *, name: str | None = None) -> Results:
        nothing: dict[str, tuple[()]] = dict.fromkeys(("rows", "judges", "paired", "claims"), ())
        return Results(title=name or "T", command=command, digest="0", hardware={}, **nothing)  # type: ignore[arg-type]

    def leftovers(self) -> list[Path]:
        return [self.runs / f".masked.{i:012d}.partial" for i in range(2)]


def test_reproduce_as_json_and_what_is_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facemae.plan.Plan", Finished)
    ended = facemae(capsys, "reproduce", "demo", "--runs", "runs/mine", "--json")
    assert json.loads(ended.out)["command"] == "facemae reproduce demo --runs runs/mine --json"
    left = "2 unfinished directories of earlier settings left; to remove: rm -r runs/mine/.masked.*.partial"
    assert (ended.code, ended.err) == (0, f"facemae: {left}\n")
    ended = facemae(capsys, "reproduce", "demo", "--only", "masked", "--json")
    assert json.loads(ended.out) == {"jobs": ["masked"]}
    assert facemae(capsys, "reproduce", "demo", "--only", "masked").out == "finished: masked\n"


def test_all_tables_are_published_side_by_side(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facemae.plan.Plan", Finished)
    ended = facemae(capsys, "reproduce", "all", "results", "--scale", "synthetic")
    named = [f"table{i}-synthetic" for i in range(1, 9)] + [f"figure{i}-synthetic" for i in (3, 4, 5)]
    assert [line for line in ended.out.splitlines() if line.startswith("report: ")] == [
        f"report: results/{name}.html" for name in named
    ]
    assert "runs/synthetic/.masked.*.partial" in ended.err


def test_one_table_that_fails_keeps_no_other_from_being_made(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(Finished):
        def run(self, only: list[str]) -> list[str]:
            if "Table 3" in self.table.title or "Figure 4" in self.table.title:
                raise DataError("nobody to be seen")
            return super().run(only)

    monkeypatch.setattr("facemae.plan.Plan", Failing)
    ended = facemae(capsys, "reproduce", "all", "results", "--scale", "synthetic")
    assert ended.code == 2
    assert ended.out.count("report: ") == 9
    assert "facemae: table3 is not finished: nobody to be seen\n" in ended.err
    last = ended.err.splitlines()[-1]
    assert last.startswith("facemae: 2 of 11 tables are not finished: got table3, figure4; all others are published,")
    assert facemae(capsys, "reproduce", "table3").err == "facemae: nobody to be seen\n"


def test_only_of_all_tables_takes_what_each_has(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from facemae.plan import Plan

    asked: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(Plan, "run", lambda self, only: asked.append((self.table.title[:8], only)) or only)
    ended = facemae(capsys, "reproduce", "all", "--only", "facemae-beta-*", "--only", "din")
    assert ended.code == 0
    assert ("Table 6:", ["facemae-beta-*", "din"]) in asked
    assert ("Table 1:", ["din"]) in asked
    said = demand_one_line(facemae(capsys, "reproduce", "all", "--only", "din", "--only", "facemea"))
    assert "--only: got facemea; needed names of jobs" in said


def test_a_file_of_ones_own_is_kept_apart_under_its_own_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("facemae.plan.Plan", Finished)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text('extends = "table2"\n')
    out = facemae(capsys, "reproduce", tmp_path / "mine.toml").out
    assert out.splitlines()[-1] == "report: runs/mine/report/mine-synthetic.html"


@pytest.mark.slow
def test_missing_sets_are_told_with_their_origin_and_the_cost(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    ended = facemae(capsys, "reproduce", "table2", "--scale", "paper", "--data", tmp_path)
    assert (ended.code, ended.out) == (2, "")
    lines = ended.err.splitlines()
    assert lines[1].startswith(f"facemae: missing {tmp_path}/casia: the folder with train.rec")
    assert lines[-2].startswith("facemae: all ")
    assert "days on 8 A100 at 40 %" in lines[-2]
    assert lines[-1].startswith("facemae: table2 needs data that is not here: got no agedb_30.bin, casia, cfp_fp.bin")


@pytest.mark.slow
def test_an_estimate_runs_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    runs = ("--runs", str(tmp_path / "runs"))
    ended = facemae(capsys, "reproduce", "table2", "--scale", "paper", "--estimate", "--json", *runs)
    found = json.loads(ended.out)
    assert found["operations"] == pytest.approx(sum(job["operations"] for job in found["jobs"] if job["operations"]))
    # Eight A100 at 40 %: the formula of docs/scaling.md.
    assert found["days_on_8_a100"] == pytest.approx(found["operations"] / (8 * 0.4 * 312e12) / 86400)
    assert not (tmp_path / "runs").exists()
    lines = facemae(capsys, "reproduce", "table2", "--scale", "paper", "--estimate").out.splitlines()
    assert len(lines) == len(found["jobs"]) + 1
    assert lines[0].startswith("mae ")
    assert "847,048,400 images" in lines[0]


# ---- several processes ---------------------------------------------------------------------------------------------


def test_torchrun_is_for_training(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    originals(tmp_path / "set", [noise(0)], [0])
    monkeypatch.setenv("WORLD_SIZE", "2")
    words = ["mask", tmp_path / "set", tmp_path / "out"]
    monkeypatch.setenv("RANK", "0")
    said = demand_one_line(facemae(capsys, *words))
    assert said.startswith(
        "facemae: mask under torchrun: got 2 processes; needed one (pretrain, recognize, reconstruct,"
    )
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr("facemae.cli.entry.GRACE", 0.0)
    assert facemae(capsys, *words) == (2, "", "")
    assert not (tmp_path / "out").exists()
    # Training gets past that door: what stops it is the missing set.
    assert "not a finished facemae directory" in facemae(capsys, "recognize", tmp_path, tmp_path / "out").err


def raising(error: Exception) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail


def test_what_all_processes_meet_is_said_by_the_first(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("facemae.cli.entry.time.sleep", waited.append)
    monkeypatch.setenv("WORLD_SIZE", "2")
    lost = RuntimeError("[third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer")
    for rank, error, said in (
        ("0", DataError("no photos"), "facemae: no photos"),
        ("1", DataError("no photos"), "facemae: no photos"),
        ("0", lost, "facemae: another process of this run has ended; its own message says why"),
    ):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setattr("facemae.stages.export.export_faces", raising(error))
        monkeypatch.setattr("facemae.cli.common.ON_MANY", ("export", "embed"))
        ended = facemae(capsys, "export", tmp_path, tmp_path / "out")
        assert (ended.code, ended.err) == (2, said + "\n")
    # Whoever is not the first, or has only lost another one, leaves time to be ended in silence.
    assert waited == [2.0, 2.0]
    monkeypatch.setattr("facemae.stages.export.export_faces", raising(RuntimeError("a mistake of ours")))
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        facemae(capsys, "export", tmp_path, tmp_path / "out")


def test_several_processes_need_a_place_to_meet(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    words = ["verify", tmp_path, tmp_path, "--pairs", tmp_path]
    needed = "needed a directory that all processes see"
    assert demand_one_line(facemae(capsys, *words)) == f"facemae: OUT: got nothing; {needed}\n"


def test_only_the_first_process_prints(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    originals(tmp_path / "set", [noise(0)], [0])
    monkeypatch.setattr("facemae.stages.recognize.recognize", lambda faces, *_, **__: faces)
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, printed in (("0", True), ("1", False)):
        monkeypatch.setenv("RANK", rank)
        ended = facemae(capsys, "recognize", tmp_path / "set", tmp_path / "out")
        assert (ended.code, bool(ended.out), ended.err) == (0, printed, "")
        assert isinstance(execution().progress, Silent) != printed


def test_real_photos_reach_the_recogniser(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def noting(faces: Path, out: Path, spec: RecognizeSpec, execution: object, *, real: Path | None) -> Path:
        asked.extend([spec.mixup, spec.domain_mix, real])
        return faces

    monkeypatch.setattr("facemae.stages.recognize.recognize", noting)
    monkeypatch.setattr("facemae.cli.app.report_stage", lambda *_: None)
    set_ = tmp_path / "set"
    originals(set_, [noise(0)], [0])
    facemae(capsys, "recognize", set_, tmp_path / "out", "--recipe", "synface", "--real", set_, "--set", "domain_mix=1")
    assert asked == ["identity", 1.0, set_]


# ---- bars ----------------------------------------------------------------------------------------------------------


def test_bars_are_silent_at_first_and_plain_in_a_log(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from facemae.cli import bars

    now = [100.0]
    monkeypatch.setattr(bars.time, "monotonic", lambda: now[0])
    with bars.Bars().task("mask", 400, "images", done=100) as task:
        for _ in range(4):
            now[0] += 20
            task.advance(50, "loss 1.5")
    said = capsys.readouterr()
    assert said.out == ""
    # Told after 40 s and not again before 30 more have passed; the first 100 images are no work of this run.
    assert said.err.splitlines() == [
        "mask: 200/400 images, 2.5/s, 80 s left loss 1.5",
        "mask: 300/400 images, 2.5/s, 40 s left loss 1.5",
    ]


def test_a_bar_that_waits_is_told_with_the_bar_inside_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from facemae.cli import bars

    now = [100.0]
    monkeypatch.setattr(bars.time, "monotonic", lambda: now[0])
    every = bars.Bars()
    with every.task("reproduce", 3, "stages") as outer:
        outer.advance(0, "judge")
        with every.task("recognize", 100, "images") as inner:
            for _ in range(2):
                now[0] += 20
                inner.advance(10)
    assert capsys.readouterr().err.splitlines() == [
        "reproduce: 0/3 stages judge",
        "recognize: 20/100 images, 0.5/s, 160 s left",
    ]
