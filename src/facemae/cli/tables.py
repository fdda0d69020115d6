"""Results as a table on the terminal; files and pages are the report room's."""

from rich.console import Console
from rich.table import Table

from facemae.report.selection import shown_ks
from facemae.report.wording import metric
from facemae.spec.results import (
    EVERYBODY,
    SHOWN_K,
    UNPROTECTED,
    LeakageResult,
    RateResult,
    Results,
    RowResult,
    WorstResult,
)


def print_results(results: Results) -> None:
    """Rows with accuracy on every protocol and what attackers find among K guesses: each judge, and the worst."""
    protocols = list(dict.fromkeys(name for row in results.rows for name in row.accuracy))
    found = [(judge.name, k) for judge in results.judges for k in shown_ks(results)]
    table = Table(title=results.title, caption=results.note or None, title_justify="left", caption_justify="left")
    table.add_column("trained on")
    for protocol in protocols:
        table.add_column(f"accuracy, {protocol}", justify="right")
    for judge, k in found:
        table.add_column(f"found by {judge}, K={k}", justify="right")
    attacked = any(row.worst for row in results.rows)
    if attacked:
        table.add_column(f"worst, K={SHOWN_K}, chosen on other people", justify="right")
    for row in results.rows:
        cells = [_rate(row.accuracy[name]) if name in row.accuracy else "–" for name in protocols]
        cells += [_leak(row, judge, k) for judge, k in found]
        table.add_row(row.label, *cells, *([_worst(row.worst)] if attacked else []))
    console = Console()
    console.print(table)
    for claim in results.claims:
        console.print(f"{claim.claim} ({metric(claim.metric)}): {claim.verdict}", highlight=False)


def _rate(rate: RateResult | LeakageResult | WorstResult) -> str:
    return f"{rate.value:.1%} [{rate.low:.1%}, {rate.high:.1%}]"


def _leak(row: RowResult, judge: str, k: int) -> str:
    """The attack that the row is about, the probe's own photo left out; "Org. to Org." where nothing is protected."""
    found = {
        item.attack: item
        for item in row.leakage
        if (item.embedder, item.k, item.same_photo, item.subset) == (judge, k, "exclude", EVERYBODY)
    }
    shown = found.get(row.attack) or found.get(UNPROTECTED)
    return _rate(shown) if shown else "-"


def _worst(found: WorstResult | None) -> str:
    return f"{_rate(found)} {found.embedder}" if found else "-"
