"""The page of the paper's tables: its numbers are those of results, and the committed page is the made one."""

import runpy
from pathlib import Path

import pytest

from facemae.plan import read_table, scaled_tables, scales
from facemae.report import reproduction_markdown
from facemae.spec.results import IMITATED, Results, read_results

ROOT = Path(__file__).resolve().parents[2]


def rate(value: float) -> dict[str, object]:
    return {"value": value, "low": value - 0.01, "high": value + 0.01, "hits": 90, "trials": 100, "method": "by hand"}


def leakage(attack: str, value: float, **changes: object) -> dict[str, object]:
    plain = {"attack": attack, "embedder": "phi", "same_photo": "exclude", "k": 2, "identities": 10, "chance": 0.1}
    control = {"control": 0.1, "control_low": 0.0, "control_high": 0.2, "p_value": 0.001, "verdict": "by hand"}
    return rate(value) | plain | control | changes


def results() -> Results:
    plain = leakage("Org. to released", 0.5)
    rows = [
        {"label": "A", "trained_on": "a", "accuracy": {"LFW": rate(0.9)}, "seeds": {}, "paper": {"LFW": 99.35}}
        | {"leakage": [plain, leakage("Org. to released", 0.7, k=3), leakage("Org. to released", 0.8, subset="x")]},
        {
            "label": "B",
            "trained_on": "b",
            "accuracy": {},
            "seeds": {},
            "attack": IMITATED,
            "leakage": [plain, leakage(IMITATED, 0.3)],
        },
    ]
    claims = [
        {"claim": f"claim {i}", "a": "A", "b": "B", "metric": "LFW", "verdict": verdict}
        for i, verdict in enumerate(("reproduced", "contradicted", "reproduced"))
    ]
    content = {"title": "T", "command": "facemae", "digest": "ab" * 32, "hardware": {}, "rows": rows, "claims": claims}
    return Results.model_validate(content, strict=False)


def test_numbers_stand_beside_the_papers() -> None:
    page = reproduction_markdown({"table1-small": results()}, ["table1", "table2"], ["small", "synthetic"])
    assert "| table1 | 2 reproduced, 1 contradicted | not run |" in page
    assert "| table2 | not run | not run |" in page
    assert "| A | 90.00 % [89.0, 91.0] | 99.35 % | 50.00 % [49.0, 51.0] |" in page
    assert "| B | – | – | 30.00 % [29.0, 31.0] |" in page
    assert page.count("| claim ") == 3


def test_verdicts_on_a_stand_in_are_marked_and_counted_apart() -> None:
    first, *others = results().claims
    marked = (first.model_copy(update={"stand_in": "a stand-in for another"}), *others)
    page = reproduction_markdown(
        {"table1-small": results().model_copy(update={"claims": marked})}, ["table1"], ["small"]
    )
    assert "| table1 | 1 reproduced, 1 contradicted, 1 by a stand-in |" in page
    assert "reproduced, by a stand-in for another |" in page


@pytest.mark.parametrize("name", [f"{table}-{scale}" for table in scaled_tables() for scale in scales()])
def test_committed_verdicts_are_on_the_claims_of_the_recipe(name: str) -> None:
    """A claim that is new or worded anew needs its table tabulated again."""
    path = ROOT / "results" / f"{name}.json"
    if not path.exists():
        pytest.skip("not run yet")
    wanted = [(claim.claim, claim.metric, claim.a, claim.b) for claim in read_table(*name.split("-")).each_claim()]
    assert [(claim.claim, claim.metric, claim.a, claim.b) for claim in read_results(path).claims] == wanted


def test_the_committed_page_is_made_from_the_committed_results() -> None:
    made = runpy.run_path(str(ROOT / "benchmarks" / "write_reproduction.py"))["page"]()
    assert (ROOT / "docs" / "reproduction.md").read_text(encoding="utf-8") == made
