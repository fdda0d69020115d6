"""`facemae audit` as a person runs it: any folder in, one command, a verdict as the exit code."""

import csv
import json
from pathlib import Path

import pytest

from facemae.cli.audit import audit_lines
from facemae.faces.codec import encode_png
from folders import demand_one_line, facemae
from helpers import smooth_photos, write_recogniser

PEOPLE, PHOTOS = 12, 3


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Somebody's folder, what a tool made of it (nothing at all), the list of pairs, and a network."""
    place = tmp_path_factory.mktemp("audit")
    pairs = []
    for i, image in enumerate(smooth_photos(PEOPLE, PHOTOS)):
        names = f"mine/P{i // PHOTOS:02d}/{i:03d}.png", f"theirs/{(i // PHOTOS * 5) % PEOPLE}/{i * 17 % 101}.png"
        for name in names:
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(encode_png(image))
        pairs.append([name.partition("/")[2] for name in names])
    with (place / "pairs.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["original_path", "released_path"], *pairs])
    write_recogniser(place / "net")
    return place


@pytest.mark.slow
def test_somebodys_folder_in_one_command(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["audit", place / "mine", place / "theirs", tmp_path / "out", "--linkage", place / "pairs.csv"]
    words += ["--phi", place / "net", "--set", "replicates=50", "--device", "cpu"]
    passed = facemae(capsys, *words, "--max", "top2:1", "--max", "dsys:1")
    assert passed.code == 0
    for said in ("worst case: ", "not run: imitator needs --process", "D_sys", "critical: ", "equal error rate"):
        assert said in passed.out
    result = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert [row["loss_network"] for row in result["embedders"]] == [True]
    page = (tmp_path / "out" / "audit.html").read_text()
    assert result["headline"]["attack"] in page or "plain search" in page
    assert "<img" not in page
    assert (tmp_path / "out" / "audit.md").read_text().startswith("# What an attacker would learn")
    assert (tmp_path / "out" / "audit-card.md").exists()
    # Pictures only where somebody asks for them, and never in the other two.
    assert facemae(capsys, *words, "--show-faces", "3").code == 0
    assert (tmp_path / "out" / "audit.html").read_text().count("<img") == 3
    assert "data:image" not in (tmp_path / "out" / "audit.md").read_text()
    # Copies of the originals pass no gate: exit code 1 and one line that names who found them.
    failed = facemae(capsys, *words, "--json", "--max", "top2:0.5", "--max", "metadata:note")
    assert failed.code == 1
    assert "the release fails its gate: top2 at most 0.5, but " in failed.err
    assert "metadata at most note, but " in failed.err
    assert [row["measure"] for row in json.loads(failed.out)["gate"]] == ["top2", "metadata"]


def test_a_gate_that_cannot_be_judged_is_a_mistake(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["audit", place / "mine", place / "theirs", tmp_path / "out", "--embedder", place / "net"]
    for limit, more, said in (
        ("top9:0.1", [], "--max top9 cannot be judged: got an audit without it; needed 9 among the audit's k"),
        ("leak:0.1", [], "--max: got 'leak:0.1'"),
        ("dsys:0.1", ["--set", "suite=retrieval"], "suite quick or full"),
    ):
        assert said in demand_one_line(facemae(capsys, *words, *more, "--max", limit))
    assert not (tmp_path / "out").exists()


def test_pages_need_a_place_and_results_that_are_some(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["audit", place / "mine", place / "theirs"]
    more = ["--linkage", place / "pairs.csv", "--embedder", place / "net"]
    for option in (["--show-faces", "2"], ["--beside", "results.json"]):
        said = demand_one_line(facemae(capsys, *words, *more, *option))
        assert f"{option[0]}: got no OUT" in said
    (tmp_path / "none.json").write_text("{}")
    quick = ["--set", "suite=retrieval", "--set", "replicates=20", "--device", "cpu"]
    said = demand_one_line(facemae(capsys, *words, tmp_path / "out", *more, *quick, "--beside", tmp_path / "none.json"))
    assert "needed a results file of `facemae reproduce`" in said
    # What was measured is not lost with the page.
    assert (tmp_path / "out" / "audit.json").exists()


def test_a_result_of_nothing_says_nothing() -> None:
    empty = {name: [] for name in ("attacks", "templates", "linking", "unlinkability", "membership", "not_run")}
    assert audit_lines(empty | {"metadata": None, "headline": None, "headline_same_photo": None}) == []
