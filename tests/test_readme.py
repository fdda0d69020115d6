"""Every number in the README stands in a results file: its tables are rebuilt from there and compared line by line."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"<!-- results/(\S+)\.json K=(\d) -->\n(.*?)\n<!-- end -->", re.DOTALL)
WORST = re.compile(r"<!-- results/(\S+)\.json worst -->\n(.*?)\n<!-- end -->", re.DOTALL)


def table(results: dict, k: int) -> list[str]:
    """Accuracy on every protocol, and what each judge finds at K: the release without the probe's own photo."""
    protocols = list(results["rows"][0]["accuracy"])
    judges = [judge["name"] for judge in results["judges"]]
    head = ["trained on", *protocols, *(f"found by {judge}" for judge in judges)]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in results["rows"]:
        cells = [rate(row["accuracy"][name]) for name in protocols]
        lines.append("| " + " | ".join([row["label"], *cells, *(found(row, judge, k) for judge in judges)]) + " |")
    return lines


def found(row: dict, judge: str, k: int) -> str:
    wanted = [
        item
        for item in row["leakage"]
        if (item["embedder"], item["k"], item["same_photo"]) == (judge, k, "exclude")
        and item.get("subset", "all") == "all"
        and item["attack"] in ("Org. to Org.", "Org. to released")
    ]
    return rate(next((item for item in wanted if item["attack"] == "Org. to released"), wanted[0]))


def rate(item: dict) -> str:
    return f"{100 * item['value']:.1f} [{100 * item['low']:.1f}, {100 * item['high']:.1f}]"


def test_the_tables_are_those_of_the_results() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = BLOCK.findall(text)
    if not blocks:
        pytest.fail("the README shows no results")
    for name, k, shown in blocks:
        results = json.loads((ROOT / "results" / f"{name}.json").read_text(encoding="utf-8"))
        assert shown.splitlines() == table(results, int(k)), f"rebuild the table of results/{name}.json"


def test_the_worst_cases_are_those_of_the_audits() -> None:
    blocks = WORST.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    if not blocks:
        pytest.fail("the README shows no worst case")
    for name, shown in blocks:
        audits = json.loads((ROOT / "results" / f"{name}.json").read_text(encoding="utf-8"))["releases"]
        told = [
            (label, *(rate(audit[key]) if audit[key] else "–" for key in ("headline", "headline_same_photo")))
            for label, audit in audits.items()
        ]
        lines = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in shown.splitlines()[2:]]
        assert sorted(lines) == sorted(told), f"rebuild the worst cases of results/{name}.json"
