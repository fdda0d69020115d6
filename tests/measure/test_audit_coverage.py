"""The simulation study in small: its truths, its rows, and coverage where the truth has a formula."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "audit_coverage.py"


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script with few repetitions inside."""
    spec = importlib.util.spec_from_file_location("audit_coverage", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(__import__("sys").modules, "audit_coverage", module)
    spec.loader.exec_module(module)
    module.REPLICATES, module.PERMUTATIONS, module.SIMULATIONS, module.PAIRS = 100, 39, 6, 20_000
    return module


def test_membership_covers_and_does_not_accuse(study: ModuleType) -> None:
    how, truth, _ = study.STUDIES["membership"]
    for leak, most in ((0.0, 0.2), (0.6, 1.0)):
        rows = study.rows_of("membership", leak, how, truth(leak), range(40))
        # 40 repetitions of 95 % lie above 82 % but once in a thousand.
        assert min(row["coverage"]["value"] for row in rows) >= 0.82
        assert rows[0]["accused"]["value"] <= most
        assert rows[0]["mean"] == pytest.approx(rows[0]["truth"], abs=0.03)
    assert rows[0]["accused"]["value"] > 0.8


def test_every_study_gives_rows(study: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {name: (how, truth, leaks[-1:]) for name, (how, truth, leaks) in study.STUDIES.items()}
    monkeypatch.setattr(study, "STUDIES", small)
    out = tmp_path / "coverage.json"
    monkeypatch.setattr("sys.argv", ["audit_coverage.py", str(out), "--repetitions", "1"])
    study.main()
    written = json.loads(out.read_text())
    assert {row["measure"] for row in written["rows"]} == {*small, "worst"}
    for row in written["rows"]:
        assert row["coverage"]["trials"] == 1
        assert row["mean"] == pytest.approx(row["truth"], abs=0.2)


def test_a_release_without_leak_has_the_truth_of_chance(study: ModuleType) -> None:
    assert study.truth_pairs(0.0)["EER"] == 0.5
    assert study.truth_pairs(0.0)["TAR at FAR 10%"] == pytest.approx(0.1, abs=0.01)
    assert study.truth_membership(0.0)["TPR at FPR 10%"] == pytest.approx(0.1)
    study.SIMULATIONS = 40
    assert study.truth_templates(0.0)["1 images, K = 1"] == pytest.approx(0.01, abs=0.005)
    photos, released = study.release(0.0, 1)
    assert np.abs((photos * released).sum(axis=1).mean()) < 0.05
