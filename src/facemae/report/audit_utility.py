"""Utility against privacy over every set audited so far: points made of published results."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from facemae.report.audit_names import with_network
from facemae.report.selection import is_original, protocols
from facemae.report.tables import Grid
from facemae.report.wording import accuracy, rate
from facemae.spec.results import RateResult, Results, RowResult


@dataclass(frozen=True)
class UtilityPoint:
    """One set: accuracy of a recogniser trained on it, and the worst case over attackers.

    ``attack`` and ``network`` are those of the worst case; ``protected`` is False for originals; ``here``: the set
    that the page is about.
    """

    label: str
    protocol: str
    accuracy: RateResult
    worst: RateResult
    k: int
    attack: str = ""
    network: str = ""
    protected: bool = True
    here: bool = False


def utility_points(published: Iterable[Results]) -> tuple[UtilityPoint, ...]:
    """A point for every row of ``results/*.json`` with an accuracy and a worst case, once; all protocols."""
    points = [
        UtilityPoint(
            label=row.label,
            protocol=protocol,
            accuracy=row.accuracy[protocol],
            worst=_rate(row),
            k=row.worst.k,
            attack=row.worst.attack,
            network=row.worst.embedder,
            protected=not is_original(row),
        )
        for results in published
        for protocol in protocols(results)
        for row in results.rows
        if row.worst and protocol in row.accuracy
    ]
    return tuple(dict.fromkeys(points))


def utility_grid(points: Sequence[UtilityPoint]) -> Grid:
    """The points as a table."""
    lines = tuple(
        (
            f"{point.label} (this release)" if point.here else point.label,
            point.protocol,
            accuracy(point.accuracy.value, point.accuracy.low, point.accuracy.high),
            rate(point.worst.value, point.worst.low, point.worst.high),
            str(point.k),
            with_network(point.attack, point.network) if point.attack else "",
        )
        for point in points
    )
    columns = ("Set", "Protocol", "Accuracy when trained on it", "Worst case", "K", "Attack and network")
    return Grid("Useful and given away, every set audited so far", columns, lines)


def _rate(row: RowResult) -> RateResult:
    assert row.worst is not None, "asked only of rows with a worst case"
    return RateResult(**{name: getattr(row.worst, name) for name in RateResult.model_fields})
