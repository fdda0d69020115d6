"""`reproduce` and `demo`: run a table, publish it, say what is left."""

import shlex
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from fnmatch import filter as filter_names
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facemae.cli.common import say, tell
from facemae.errors import DiskFull, FaceMAEError, RecipeError

if TYPE_CHECKING:
    from facemae.plan import Cost, Plan
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
    jobs: int = 1,
    estimate: bool = False,
    as_json: bool = False,
) -> None:
    """Run the table, or ``only`` some of its jobs; publish and print it when all of it was asked for.

    ``estimate``: say what it would take, and run nothing. Of all tables, one that fails does not keep the others from
    being made.

    Raises:
        FaceMAEError: of one table what went wrong; of all which ones did, after the others are finished.
    """
    from facemae.plan import Plan, find_data, read_table, run_side_by_side, scaled_tables, without_data

    names = scaled_tables() if source == EVERY else [source]
    tables = {name: read_table(name, scale) for name in names}
    # Whatever is missing is said before anything is run.
    missing = _tell_missing(tables, data)
    if estimate:
        return _tell_costs(tables, as_json)
    if missing:
        if any(missing.values()):
            tell(_total(_all_costs(tables).values()))
        raise without_data(missing, source)
    plans = {}
    for name, table in tables.items():
        # The package's tables of one scale share what they make; a file may change what its names mean.
        place = runs or Path("runs") / (Path(name).stem if Path(name).is_file() else table.scale or name)
        plans[name] = Plan(table, place, find_data(table, data, name), execution)
    parts = _parts(plans, only)
    if jobs > 1:
        wanted = {
            number: [job.name for job in plan.chosen(parts[name])]
            for number, (name, plan) in enumerate(plans.items())
            if parts[name] or not only
        }
        run_side_by_side(list(plans.values()), wanted, jobs, execution)
    if only:
        return _run_only(plans, parts, as_json)
    _publish_all(plans, out, as_json)


def _publish_all(plans: "Mapping[str, Plan]", out: Path | None, as_json: bool) -> None:
    """Run what is left of every table and publish it; one of several that fails is named when the others are done."""
    failed = []
    for name, plan in plans.items():
        try:
            _publish(plan, Path(name).stem, out, as_json)
            _tell_leftovers(plan)
        except FaceMAEError as error:
            if len(plans) == 1 or isinstance(error, DiskFull):
                raise
            tell(f"{name} is not finished: {error}")
            failed.append(name)
    if failed:
        raise FaceMAEError(
            f"{len(failed)} of {len(plans)} tables are not finished",
            got=", ".join(failed),
            remedy="all others are published, finished stages are kept, and the same command goes on",
        )


def _parts(plans: "Mapping[str, Plan]", only: Sequence[str]) -> dict[str, list[str]]:
    """What of ``only`` each table has some of; a single table is asked for all of it.

    Raises:
        RecipeError: none of several tables has any job of a name.
    """
    if len(plans) == 1 or not only:
        return {name: list(only) for name in plans}
    jobs = {name: [job.name for job in plan.jobs()] for name, plan in plans.items()}
    parts = {name: [part for part in only if filter_names(every, part)] for name, every in jobs.items()}
    if nowhere := [part for part in only if not any(part in own for own in parts.values())]:
        raise RecipeError("--only", got=", ".join(nowhere), needed="names of jobs, as --estimate lists them")
    return parts


def _run_only(plans: "Mapping[str, Plan]", parts: Mapping[str, Sequence[str]], as_json: bool) -> None:
    """These jobs of every table that has some of them."""
    made: dict[str, None] = {}
    for name, plan in plans.items():
        if parts[name]:
            made |= dict.fromkeys(plan.run(parts[name]))
            _tell_leftovers(plan)
    say({"jobs": list(made)}, as_json, f"finished: {', '.join(made)}")


def _tell_missing(tables: "Mapping[str, Table]", data: Path | None) -> dict[Path, str]:
    """Say of each missing file of any table where it comes from; all of them, with that."""
    from facemae.plan import missing_data

    missing: dict[Path, str] = {}
    for table in tables.values():
        folder = data or Path(table.data)
        missing |= {folder / name: origin for name, origin in missing_data(table, folder).items()}
    for path, origin in missing.items():
        if origin:
            tell(f"missing {path}: {origin}")
    return missing


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
    found = _all_costs(tables).values()
    lines = [
        f"{cost.job:<44} {_amount(cost.images):>16} images {_amount(cost.operations):>10} operations" for cost in found
    ]
    total = _operations(found)
    days = total / OPERATIONS / 86400
    content = {"jobs": [asdict(cost) for cost in found], "operations": total, "days_on_8_a100": days}
    say(content, as_json, "\n".join([*lines, _total(found)]))


def _all_costs(tables: "Mapping[str, Table]") -> "dict[str, Cost]":
    from facemae.plan import costs

    return {cost.job: cost for table in tables.values() for cost in costs(table)}


def _operations(found: "Collection[Cost]") -> float:
    return sum(cost.operations or 0.0 for cost in found)


def _total(found: "Collection[Cost]") -> str:
    """All operations, the time that they take where the paper had its experiments, and what they leave out."""
    total, unknown = _operations(found), [cost.job for cost in found if cost.operations is None]
    seconds = total / OPERATIONS
    size, unit = next((n, u) for n, u in ((86400, "days"), (3600, "hours"), (60, "minutes"), (0, "")) if seconds >= n)
    time = f"{seconds / size:.1f} {unit}" if unit else "less than a minute"
    line = f"all {len(found)} jobs: {total:.2e} operations, computed: {time} on 8 A100 at 40 %"
    line += f"; without {len(unknown)} whose photos are not counted yet" if unknown else ""
    return line + "; audits, verification, imports and masking come on top"


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
