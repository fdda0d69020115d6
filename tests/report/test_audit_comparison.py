"""Audits of several releases side by side: every number is one of theirs, in the row and column it belongs to."""

import copy

from audits import full

from facemae.report import comparison_markdown
from facemae.report.audit_reading import AuditRead


def cells(page: str, caption: str) -> dict[str, list[str]]:
    """Rows of the table under ``caption``, by their first cell; the columns as the row "head"."""
    body = page.split(f"**{caption}**\n\n")[1].split("\n\n")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in body]
    return {"head": rows[0]} | {row[0]: row[1:] for row in rows[2:]}


def weaker() -> dict:
    """The same audit of a release that gives half as much away, without strangers and without its model."""
    found = copy.deepcopy(full())
    for attack in found["attacks"]:
        attack["open_set"] = None
        for at in attack["at"]:
            at["value"] /= 2
    found["membership"] = []
    found["not_run"].append({"attacker": "membership", "needs": "--process"})
    found["headline"] = found["headline"] | {"attack": "parrot", "embedder": "its own", "value": 0.05}
    return found


def test_each_release_has_its_column_and_its_worst_case() -> None:
    audits = {"One": AuditRead.model_validate(full()), "Other": AuditRead.model_validate(weaker())}
    page = comparison_markdown(audits, title="Both", note="A note.", made_by="Made by hand.")
    worst = cells(page, "Worst case of each release")
    assert worst["One"][0] == "cross-matcher, phi"
    assert worst["One"][1].startswith("11.50 %")
    assert worst["Other"][0] == "parrot, its own"
    assert worst["Other"][1].startswith("5.00 %")
    searches = cells(page, "Searches that find the right person within the first 2 guesses, network phi")
    assert searches["head"] == ["Attacker", "One", "Other"]
    assert [cell.split(" %")[0] for cell in searches["plain search"]] == ["8.00", "4.00"]
    strangers = cells(page, "Members found while 1.00 % of strangers raise an alarm (TPIR at FPIR)")
    assert strangers["head"] == ["Attacker", "One"]
    assert strangers["plain search, phi"][0].startswith("2.00 %")
    pairs = cells(page, "Are two pictures of one person?")
    assert pairs["head"][3] == "TAR at FAR 0.01"
    assert pairs["One"][2].startswith("12.00 %")
    model = cells(page, "Was a photo among those that trained the model?")
    assert set(model) == {"head", "One"}
    assert cells(page, "Not run")["membership"] == ["--process", "Other"]
    assert page.startswith("# Both\n\nEvery release shows the same people.")
    assert page.endswith("Made by hand.\n")
