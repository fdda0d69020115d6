"""What more training finds, beside what the audits that are compared found."""

import copy
from dataclasses import replace

from facemae.report import comparison_markdown
from facemae.report.audit_longer import Longer, longer_grid, longer_note
from facemae.report.audit_reading import AuditRead
from report.audits import CROSS, between, brief, full, headline, rated


def asked_again(worst: float) -> tuple[dict[str, AuditRead], Longer]:
    """The full audit, and its cross-matcher with more steps: a quarter of the searches more."""
    audits = {"FaceMAE": AuditRead.model_validate(full()), "MAE": AuditRead.model_validate(full())}
    more = copy.deepcopy(full()) | {"headline": headline(**rated(worst))}
    more["attacks"] = [row for row in more["attacks"] if row["attack"] == CROSS]
    for row in more["attacks"]:
        for at in row["at"]:
            at |= rated(at["value"] + 0.25)
    return audits, Longer(300, 2000, {"FaceMAE": AuditRead.model_validate(more)})


def test_only_who_learns_stands_beside_itself() -> None:
    audits, longer = asked_again(0.365)
    grid = longer_grid(audits, longer)
    assert grid.columns == ("Release", "Attacker, network", "300 steps", "2,000 steps")
    assert [row[:2] for row in grid.rows] == [
        ("FaceMAE", "worst case"),
        ("FaceMAE", "cross-matcher, phi"),
        ("FaceMAE", "cross-matcher, iresnet18"),
    ]
    assert grid.rows[0][2:] == (
        "11.50 % [8.40, 14.80] (cross-matcher, phi)",
        "36.50 % [33.40, 39.80] (cross-matcher, phi)",
    )
    assert [cell.split()[0] for cell in grid.rows[1][2:]] == ["11.50", "36.50"]


def test_those_who_were_asked_again_are_compared_with_one_another() -> None:
    audits, longer = asked_again(0.365)
    one = between(-0.09, -0.13, -0.05)
    page = comparison_markdown(audits, title="Audits", longer=replace(longer, differences=(one,)))
    told = page[page.index("## What more training finds") :]
    assert "**Worst case of the first less that of the second, in points**" in told
    assert f"| {one.a} − {one.b} | -9.00 [-13.00, -5.00] | 4.00 | {one.b} |" in told


def test_a_worst_case_that_holds_no_more_is_said_where_it_stands() -> None:
    audits, longer = asked_again(0.365)
    page = comparison_markdown(audits, title="Audits", longer=longer)
    note = longer_note(audits, longer)
    assert "finds 36.50 % [33.40, 39.80] in “FaceMAE”, where the worst case above is 11.50 %" in note
    assert page.index("## The worst case") < page.index("With 2,000 steps of training") < page.index("## Who attacked")
    said = brief(page, "FaceMAE")
    assert "With 2,000 steps of learning in place of 300, the strongest of those who were tried again" in said
    assert "finds 36.50 % (interval 33.40 to 39.80 %)" in said
    assert "## What more training finds" in page
    assert longer_note(*asked_again(0.1)) == ""
    assert "## What more training finds" not in comparison_markdown(audits, title="Audits")
