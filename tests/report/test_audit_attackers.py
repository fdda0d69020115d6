"""The first tables of an audit's page: the network that finds most in every cell, and luck called luck."""

import json
from typing import Any

from audits import CROSS, attack, full, templates

from facemae.report.audit_attackers import attacks_by_network_grid, found_grid, named_strangers_grid, who_grid
from facemae.report.audit_markdown import READABLE, part
from facemae.report.audit_reading import AuditRead
from facemae.report.audit_sections import Section
from facemae.report.tables import Grid
from facemae.spec.results import UNPROTECTED

NUMBERS, NONE = f"template of {CROSS} (all images)", f"template of {CROSS} (all images, no numbers)"


def read(content: dict[str, Any]) -> AuditRead:
    return AuditRead.model_validate_json(json.dumps(content))


def at_value(name: str, network: str, value: float, same_photo: str = "exclude", **more: Any) -> dict[str, Any]:
    """An attack that finds so much at K = 2."""
    one = attack(CROSS, network, same_photo, open_set=True) | {"attack": name}
    one["at"][1] |= {"value": value, "low": value, "high": value} | more
    return one


def test_every_cell_is_the_network_that_finds_most_there() -> None:
    content = full()
    content["attacks"] = [
        attack(UNPROTECTED, "phi"),
        at_value(CROSS, "phi", 0.2),
        at_value(CROSS, "iresnet18", 0.1),
        at_value(NUMBERS, "phi", 0.3, chance=0.0025),
        at_value(NUMBERS, "iresnet18", 0.4, chance=0.0025),
        at_value(NONE, "its own", 0.003, verdict="not distinguishable from chance; at most 1 %"),
        at_value(CROSS, "phi", 0.9, "include"),
    ]
    content["templates"] = [templates("phi") | {"attack": UNPROTECTED}]
    grid = found_grid(read(content), "exclude")
    assert grid.caption.startswith("Found within the first 2 guesses by who holds other photos of the person")
    assert grid.rows == (
        ("search, nothing protected", "71.00 % [67.90, 74.30], phi", "–", "34.00 % [30.90, 37.30], phi"),
        (
            CROSS,
            "20.00 % [20.00, 20.00], phi",
            "0.30 % [0.30, 0.30]; not told from luck",
            "40.00 % [40.00, 40.00], iresnet18",
        ),
        ("blind guessing", "0.26 %", "0.26 %", "0.25 %"),
    )
    held = found_grid(read(content), "include")
    assert held.columns == ("Attacker", "One photo, single pictures")
    assert held.rows[0] == (CROSS, "90.00 % [90.00, 90.00], phi")


def test_strangers_are_told_at_one_percent_or_the_least_above_it() -> None:
    content = full()
    one, few = at_value(CROSS, "phi", 0.2), at_value(NUMBERS, "phi", 0.2)
    # 10 %, 1 % and 0.5 % can be measured: told at 1 %. Of the groups only 3.9 % and more.
    one["open_set"]["smallest"] = one["open_set"]["points"][0] | {"target": 0.005}
    few["open_set"]["points"] = [few["open_set"]["points"][0], {"target": 0.01, "measurable": False}]
    least = {"target": 0.039, "fpir": 0.039, "threshold": 0.5, "measurable": True}
    least |= {"value": 0.02, "low": 0.0, "high": 0.04, "verdict": "not distinguishable from chance"}
    few["open_set"]["smallest"] = least
    none = at_value(NONE, "phi", 0.2)
    none["open_set"]["points"] = [{"target": 0.01, "measurable": False}]
    # Another network names more, but where more strangers are named.
    louder = at_value(CROSS, "iresnet18", 0.2)
    louder["open_set"]["points"] = [louder["open_set"]["points"][0], {"target": 0.01, "measurable": False}]
    content["attacks"] = [one, louder, few, none]
    assert named_strangers_grid(read(content), "exclude").rows == (
        (
            CROSS,
            "2.88 % [0.00, 6.17] at 1 % of strangers, phi",
            "not measurable",
            "2.00 % [0.00, 4.00] at 3.9 % of strangers, phi; not told from luck",
        ),
    )
    assert named_strangers_grid(read(content), "include").rows == ()


def test_everybody_is_introduced_once() -> None:
    content = full()
    content["attacks"] += [at_value(name, network, 0.2) for name in (NUMBERS, NONE) for network in ("phi", "its own")]
    rows = who_grid(read(content)).rows
    names = [name for name, _ in rows]
    assert len(names) == len(set(names))
    assert {CROSS, "plain search", "parrot"} <= set(names)
    assert not any(name.startswith("template of") for name in names)
    assert dict(rows)["parrot"] == "not run; needs public people who went through the same process"
    by_network = attacks_by_network_grid(read(content))
    assert by_network.columns == ("Attacker", "phi (loss network)", "iresnet18", "its own", "Blind guessing")
    [row] = [row for row in by_network.rows if row[0] == f"{CROSS} with all photos, single pictures"]
    assert row[1:4] == ("20.00 % [20.00, 20.00]", "–", "20.00 % [20.00, 20.00]")


def test_a_text_leaves_out_what_nobody_reads_and_says_so() -> None:
    short, long = (Grid(f"of {n}", ("a", "b"), (("x", "y"),) * n) for n in (READABLE, READABLE + 1))
    told = part(Section("Title", "Asked.", (Grid("first", ("a",), (("z",),)),), folded=(short, long)))
    assert told.count("| x | y |") == READABLE
    assert f"**of {READABLE + 1}**: {READABLE + 1} lines, folded in `audit.html`" in told
