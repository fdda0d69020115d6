"""The reproduction of the paper as one page, made of the published results of its tables and figures."""

from collections import Counter
from collections.abc import Mapping, Sequence

from facemae.report.markdown import table
from facemae.report.selection import judges, shown_ks
from facemae.report.tables import Grid, claims_grid
from facemae.report.wording import ABSENT, accuracy, printed, rate
from facemae.spec.results import EVERYBODY, Results, RowResult

INTRODUCTION = """Every table and figure of the paper, as far as it has been run, from the files named beside each.
Made by `benchmarks/write_reproduction.py` from `results/`; nothing here is written by hand. *Paper* is the paper's
own figure, measured at another scale and on other data than ours. Intervals are 95 %, over people and seeds; *found
by* is the share of photos whose person is among the K nearest released pictures, the photo behind each release
left out: a lower bound on leakage. A claim that one row exceeds another is *reproduced* or *contradicted* when the
paired interval lies on one side of nothing; that something changes nothing is reproduced when the interval lies within
half a point of nothing and contradicted when it lies wholly beyond; that something gains nothing is reproduced when no
gain of half a point is left in it and contradicted when it holds gains only. All else is *not resolvable here*. Some
claims are sentences of the paper, others orderings that its printed cells show. Everything is conditional on the
generators that were trained: another run of them is not in the intervals. Where a row stands in for a method whose own
pictures cannot be had, its verdicts say so and are counted apart."""

VERDICTS = ("reproduced", "contradicted", "not resolvable here")


def reproduction_markdown(results: Mapping[str, Results], names: Sequence[str], scales: Sequence[str]) -> str:
    """Tables ``names`` at ``scales`` as Markdown; ``results`` by "TABLE-SCALE". What has not been run is named."""
    there = [(name, scale) for name in names for scale in scales if f"{name}-{scale}" in results]
    parts = ["# The paper, reproduced", " ".join(INTRODUCTION.split()), table(_overview(results, names, scales))]
    for name, scale in there:
        parts += _part(f"{name}-{scale}", results[f"{name}-{scale}"])
    return "\n\n".join(parts) + "\n"


def _overview(results: Mapping[str, Results], names: Sequence[str], scales: Sequence[str]) -> Grid:
    """How many claims of each table came out how, scale by scale."""
    lines = []
    for name in names:
        cells = [name]
        for scale in scales:
            found = results.get(f"{name}-{scale}")
            claims = found.claims if found else ()
            counted = Counter("by a stand-in" if claim.stand_in else claim.verdict for claim in claims)
            told = ", ".join(f"{counted[told]} {told}" for told in (*VERDICTS, "by a stand-in") if counted[told])
            cells.append((told or "no claims") if found else "not run")
        lines.append(tuple(cells))
    return Grid("Claims by table and scale", ("Table", *(f"{scale} scale" for scale in scales)), tuple(lines))


def _part(name: str, results: Results) -> list[str]:
    files = f"Files: [results/{name}.json](../results/{name}.json), [results/{name}.md](../results/{name}.md)."
    claims = claims_grid(results)
    parts = [f"## {results.title}", results.note, table(_rows(results)), *([table(claims)] if claims.rows else [])]
    return [part for part in (*parts, f"{files} Digest `{results.digest[:12]}`, made by `{results.command}`.") if part]


def _rows(results: Results) -> Grid:
    protocols = list(dict.fromkeys(name for row in results.rows for name in row.accuracy))
    cited = list(dict.fromkeys(name for row in results.rows for name in row.paper))
    found = [(name, k) for name in judges(results) for k in shown_ks(results)]
    headings = (f"found by {name}, K = {k}" for name, k in found)
    columns = ("Row", *protocols, *(f"{name}, paper" for name in cited), *headings)
    lines = tuple(
        (
            row.label,
            *(_accuracy(row, name) for name in protocols),
            *(printed(row.paper[name]) if name in row.paper else ABSENT for name in cited),
            *(_leakage(row, name, k) for name, k in found),
        )
        for row in results.rows
    )
    return Grid("Accuracy and leakage, ours beside the paper's", columns, lines)


def _accuracy(row: RowResult, name: str) -> str:
    found = row.accuracy.get(name)
    return accuracy(found.value, found.low, found.high) if found else ABSENT


def _leakage(row: RowResult, judge: str, k: int) -> str:
    """What the attack that the row is about finds."""
    for found in row.leakage:
        asked = (found.embedder, found.attack, found.k, found.same_photo, found.subset)
        if asked == (judge, row.attack, k, "exclude", EVERYBODY):
            return rate(found.value, found.low, found.high, decimals=1)
    return ABSENT
