"""`reproduce` and `demo`: run a table, publish it, say what is left."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facemae.cli.common import say, tell

if TYPE_CHECKING:
    from facemae.plan import Plan
    from facemae.spec.execution import Execution


def reproduce_table(
    source: str,
    execution: "Execution",
    *,
    out: Path | None = None,
    data: Path | None = None,
    runs: Path | None = None,
    only: Sequence[str] = (),
    as_json: bool = False,
) -> None:
    """Run the table, or ``only`` some of its jobs; publish and print it when all of it was asked for."""
    from facemae.cli.tables import print_results
    from facemae.plan import Plan, find_data, read_table

    table = read_table(source)
    place = runs or Path("runs") / Path(source).stem
    plan = Plan(table, place, find_data(table, data, source), execution)
    made = plan.run(only)
    if only:
        say({"jobs": made}, as_json, f"finished: {', '.join(made)}")
        return _tell_leftovers(plan)
    target = out or place / "report"
    results = plan.publish(target, command_line(sys.argv[1:]))
    if as_json:
        say(results.model_dump(mode="json", by_alias=True), True, "")
    else:
        print_results(results)
        print(f"\nreport: {target / 'report.html'}")
    _tell_leftovers(plan)


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
