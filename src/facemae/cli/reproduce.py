"""`reproduce` and `demo`: run a table, publish it, say what is left."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facemae.cli.common import say, tell

if TYPE_CHECKING:
    from facemae.plan import Plan
    from facemae.spec.execution import Execution
    from facemae.spec.table import Table


EVERY = "all"
"""Every table and figure of the paper, one after another."""

OPERATIONS = 312e12 * 0.4 * 8
"""Operations a second that estimates reckon with: eight A100 at 40 % of their data-sheet rate in bf16."""


def reproduce_table(
    source: str,
    execution: "Execution",
    *,
    scale: str | None = None,
    out: Path | None = None,
    data: Path | None = None,
    runs: Path | None = None,
    only: Sequence[str] = (),
    estimate: bool = False,
    as_json: bool = False,
) -> None:
    """Run the table, or ``only`` some of its jobs; publish and print it when all of it was asked for.

    ``estimate``: say what it would take, and run nothing.
    """
    from facemae.plan import Plan, find_data, read_table, scaled_tables

    names = scaled_tables() if source == EVERY else [source]
    tables = {name: read_table(name, scale) for name in names}
    if estimate:
        return _tell_costs(tables, as_json)
    # Whatever is missing is said before anything is run.
    folders = {name: find_data(table, data, name) for name, table in tables.items()}
    for name, table in tables.items():
        place = runs or Path("runs") / (table.scale or Path(source).stem)
        plan = Plan(table, place, folders[name], execution)
        if only:
            made = plan.run(only)
            say({"jobs": made}, as_json, f"finished: {', '.join(made)}")
        else:
            _publish(plan, name, out, as_json)
        _tell_leftovers(plan)


def _publish(plan: "Plan", name: str, out: Path | None, as_json: bool) -> None:
    from facemae.cli.tables import print_results

    plan.run(())
    own = f"{name}-{plan.table.scale}" if plan.table.scale else None
    target = out or plan.runs / "report"
    results = plan.publish(target, command_line(sys.argv[1:]), name=own)
    if as_json:
        say(results.model_dump(mode="json", by_alias=True), True, "")
    else:
        print_results(results)
        print(f"\nreport: {target / (own or 'report')}.html")


def _tell_costs(tables: "Mapping[str, Table]", as_json: bool) -> None:
    """Every job that runs a network once, though several tables share it, and the time of all on eight A100."""
    from facemae.plan import costs

    found = {cost.job: cost for table in tables.values() for cost in costs(table)}
    lines = [
        f"{cost.job:<44} {_amount(cost.images):>16} images {_amount(cost.operations):>10} operations"
        for cost in found.values()
    ]
    total = sum(cost.operations or 0.0 for cost in found.values())
    days = total / OPERATIONS / 86400
    lines.append(f"{'all':<44} {'':>16}        {total:>10.2e} operations, computed: {days:.2g} days on 8 A100 at 40 %")
    content = {"jobs": [asdict(cost) for cost in found.values()], "operations": total, "days_on_8_a100": days}
    say(content, as_json, "\n".join(lines))


def _amount(value: float | None) -> str:
    if value is None:
        return "unknown"
    return f"{value:,}" if isinstance(value, int) else f"{value:.2e}"


def command_line(words: Sequence[str]) -> str:
    """The command as it was given; of an absolute path only the last component, for the rest names a machine."""
    return " ".join(["facemae", *(_word(word) for word in words)])


def _word(word: str) -> str:
    head, equals, value = word.rpartition("=")
    if Path(value).is_absolute():
        return f"{head}{equals}…/{Path(value).name}"
    return shlex.quote(word)


def _tell_leftovers(plan: "Plan") -> None:
    left: dict[str, Any] = {}
    for path in plan.leftovers():
        left.setdefault(str(path.with_name(path.name.rsplit(".", 2)[0])), []).append(path)
    if left:
        count = sum(len(paths) for paths in left.values())
        which = " ".join(shlex.quote(start) + ".*.partial" for start in left)
        noun = "directory" if count == 1 else "directories"
        tell(f"{count} unfinished {noun} of earlier settings left; to remove: rm -r {which}")
