"""`bench-NAME.md`: what was measured, in tables."""

from itertools import groupby

from facemae.bench.machine import UNIT as MATRIX_UNIT
from facemae.bench.pairs import Spread
from facemae.bench.result import Reached, Result, Row
from facemae.report.markdown import table
from facemae.report.tables import Grid
from facemae.report.wording import ABSENT, count, words

MIB = 2**20
BASES = {"processor": "processor time (one thread; whatever a stage starts besides is counted in)", "wall": "wall time"}
NOTE = """Rates are units a second of {basis}, the median of {rounds} rounds and, in brackets, the slowest and the
fastest. A round visits every contender of a group, in alternating order; ratios and shares are medians of what was
found within each round. *Of the matrix rate*: counted operations a second over those of the fastest plain matrix
product of the same number type in the same rounds; above 100 % is possible where a convolution kernel beats every
matrix product. *First over this*: how many times as fast as this row the first of its group is. *Wall*: units a second
of wall time."""


def page(result: Result) -> str:
    """The result as Markdown."""
    rounds = max((row.rounds for row in result.rows), default=0)
    note = " ".join(NOTE.format(basis=BASES[result.basis], rounds=rounds).split())
    parts = [
        f"# Speed and memory on {result.hardware.get('processor', 'this machine')} ({result.name})",
        f"Threads: {result.threads}. {note}",
        "## What was to be reached",
        table(Grid("Each figure as computed from the tables below", *_reached(result))),
        "## Rates",
        *(table(Grid(group, *_rates(list(rows)))) for group, rows in groupby(result.rows, lambda row: row.group)),
        *_memory(result),
        "## Hardware and versions",
        table(Grid("This machine", ("What", "Value"), _pairs({**result.hardware, **result.versions}))),
        table(Grid("Sizes", ("What", "Value"), _pairs({**result.sizes, "seed": result.seed}))),
        f"## Made by\n\n```\n{result.command}\n```\n\nDigest `{result.digest}`",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def summary(result: Result) -> str:
    """A line a row, for the terminal, and how many of the figures were met."""
    lines = []
    for row in result.rows:
        figure = row.absent or f"{_number(row.rate.median) if row.rate else ABSENT:>12} {row.unit}"
        shared = f"  {row.of_matrix_rate.median:.0%} of the matrix rate" if row.of_matrix_rate else ""
        lines.append(f"{row.group:<28} {row.name:<34} {figure}{shared}")
    lines += [f"{'memory':<28} {peak.stage:<34} {peak.per_record:>12.1f} bytes a record" for peak in result.memory]
    judged = [reached for reached in result.reached if reached.met is not None]
    return "\n".join([*lines, f"{sum(bool(reached.met) for reached in judged)} of {len(judged)} figures reached"])


def _reached(result: Result) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    columns = ("Figure", "Wanted", "Measured", "Reached")
    rows = []
    for reached in result.reached:
        sign = "≤" if reached.at_most else "≥"
        measured = _spread(reached.measured) if reached.measured else ABSENT
        rows.append((reached.goal, f"{sign} {reached.wanted:g}", measured, _verdict(reached)))
    return columns, tuple(rows)


def _verdict(reached: Reached) -> str:
    return {True: "yes", False: "no", None: "not measured"}[reached.met]


def _rates(rows: list[Row]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    unit = rows[0].unit
    columns = ("Who", "Numbers", unit, "Operations a unit", "Of the matrix rate", "First over this", "Wall", "Check")
    return columns, tuple(_cells(row, unit) for row in rows)


def _cells(row: Row, unit: str) -> tuple[str, ...]:
    if row.rate is None or row.wall is None:
        return (row.name, ABSENT, ABSENT, ABSENT, ABSENT, ABSENT, ABSENT, row.absent)
    return (
        row.name,
        row.dtype,
        _spread(row.rate) + (f" {row.unit}" if row.unit != unit else ""),
        count(row.operations) if row.operations and row.unit != MATRIX_UNIT else ABSENT,
        _share(row.of_matrix_rate) if row.of_matrix_rate else ABSENT,
        _spread(row.ahead) if row.ahead else ABSENT,
        _number(1 / row.wall.median),
        row.check,
    )


def _memory(result: Result) -> list[str]:
    if not result.memory:
        return []
    columns = ("Stage", *(f"{count(n)} records" for n in result.memory[0].records), "Growth", "Bytes a record")
    rows = []
    for peak in result.memory:
        held = (f"{own / MIB:.0f} ({all_of_it / MIB:.0f})" for own, all_of_it in zip(peak.own, peak.peaks, strict=True))
        rows.append((peak.stage, *held, f"{peak.growth:.2f}", f"{peak.per_record:.1f}"))
    caption = "Most MiB that the process of each stage allocated (with libraries and pages of mapped files)"
    return ["## Memory", table(Grid(caption, columns, tuple(rows)))]


def _pairs(values: dict[str, object]) -> tuple[tuple[str, ...], ...]:
    return tuple((name, words(value)) for name, value in values.items())


def _spread(spread: Spread) -> str:
    return f"{_number(spread.median)} [{_number(spread.low)}, {_number(spread.high)}]"


def _share(spread: Spread) -> str:
    return f"{spread.median:.0%} [{spread.low:.0%}, {spread.high:.0%}]"


def _number(value: float) -> str:
    """Three digits that count."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
