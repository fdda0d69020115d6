"""`results.md`: everything that was measured, as tables that read well in any viewer and in a diff."""

from facemae.report import tables
from facemae.report.tables import Grid
from facemae.spec.results import Results

LEAKAGE_NOTE = (
    "Leakage is a measured lower bound: the share of photos whose person is among the K nearest released pictures. "
    "The photo that a picture was made from is left out where the column says *exclude*. *Chance* is blind guessing, "
    "*control* the same attack asked for other people with about as many pictures. *Of Org. to Org.* is the leakage "
    "as a multiple of what the same judge finds without protection. Intervals: bootstrap over the people who probe, "
    "gallery fixed."
)
OPEN_SET_NOTE = (
    "A rate of false alarms x is reported only with at least 10/x trials from at least 50 and 2/x non-members, five of "
    "whom raise alarms."
)
PAIRED_NOTE = "Conditional on the generators that were trained. Intervals that include 0 settle nothing."


def results_markdown(results: Results) -> str:
    """All of ``results`` as Markdown; parts without content leave no heading behind."""
    leakage = tables.leakage_grids(results)
    parts = [
        f"# {plain(results.title)}",
        plain(results.note),
        _section("Accuracy", "", tables.accuracy_grid(results), tables.seeds_grid(results)),
        _section("Leakage", LEAKAGE_NOTE, tables.worst_grid(results), *leakage),
        _section("Open set", OPEN_SET_NOTE, tables.open_set_grid(results)),
        _section("Judges", "", tables.judges_grid(results)),
        _section("Paired differences", PAIRED_NOTE, tables.paired_grid(results)),
        _section("Claims", "", tables.claims_grid(results)),
        _methods(results),
        _section("Training", "", tables.training_grid(results)),
        _section("Lineage", "", tables.lineage_grid(results)),
        _section("Hardware", "", tables.hardware_grid(results)),
        f"## Made by\n\n```\n{results.command}\n```\n\nDigest `{results.digest}`",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(grid: Grid) -> str:
    """A pipe table under its caption in bold."""
    lines = [grid.columns, tuple("---" for _ in grid.columns), *grid.rows]
    body = "\n".join("| " + " | ".join(plain(cell) for cell in line) + " |" for line in lines)
    return f"**{plain(grid.caption)}**\n\n{body}"


def _section(heading: str, note: str, *grids: Grid) -> str:
    filled = [table(grid) for grid in grids if grid.rows]
    return "\n\n".join([f"## {heading}", *([note] if note else []), *filled]) if filled else ""


def _methods(results: Results) -> str:
    notes = tables.methods(results)
    listed = "\n".join(f"- ({number}) {plain(method)}" for number, method in enumerate(notes, start=1))
    return f"## Methods of the intervals\n\n{listed}" if notes else ""


def plain(value: str) -> str:
    """One line without anything that Markdown would take for markup of a table or of HTML."""
    line = " ".join(value.split())
    # Names of files may come from whoever made a release: no link and no picture is made of them.
    marked = (("\\", "\\\\"), ("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("`", "\\`"), ("*", "\\*"), ("](", "]\\("))
    for letters, shown in marked:
        line = line.replace(letters, shown)
    return line
