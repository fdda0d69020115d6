"""Results as a table on the terminal; files and pages are the report room's."""

from rich.console import Console
from rich.table import Table

from facemae.spec.results import LeakageResult, RateResult, Results, RowResult

SHOWN_K = 2
"""The K of the paper's Fig. 3."""


def print_results(results: Results) -> None:
    """Rows with accuracy on every protocol and, under every judge, what an attacker finds among two guesses."""
    protocols = list(results.rows[0].accuracy)
    judges = [judge.name for judge in results.judges]
    table = Table(title=results.title, caption=results.note or None, title_justify="left", caption_justify="left")
    table.add_column("trained on")
    for protocol in protocols:
        table.add_column(f"accuracy, {protocol}", justify="right")
    for judge in judges:
        table.add_column(f"found by {judge}, K={SHOWN_K}", justify="right")
    for row in results.rows:
        cells = [_rate(row.accuracy[protocol]) for protocol in protocols]
        table.add_row(row.label, *cells, *(_leak(row, judge) for judge in judges))
    console = Console()
    console.print(table)
    for claim in results.claims:
        console.print(f"{claim.claim}: {claim.verdict}", highlight=False)


def _rate(rate: RateResult | LeakageResult) -> str:
    return f"{rate.value:.1%} [{rate.low:.1%}, {rate.high:.1%}]"


def _leak(row: RowResult, judge: str) -> str:
    """The strongest attack on the release, the probe's own photo left out; Org. to Org. where nothing is protected."""
    found = [
        item for item in row.leakage if item.embedder == judge and item.k == SHOWN_K and item.same_photo == "exclude"
    ]
    on_release = [item for item in found if item.attack != "Org. to Org."] or found
    return _rate(max(on_release, key=lambda item: item.value)) if on_release else "-"
