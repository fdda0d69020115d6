"""Numbers in words: one spelling for each kind, the same in every table, headline and file."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from facemae.spec.results import DifferenceResult, PairedResult, RelativeResult


@runtime_checkable
class Interval(Protocol):
    """Whatever has an interval."""

    @property
    def value(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


ABSENT = "–"
_SMALLEST = 0.00005


def percent(value: float) -> str:
    """A fraction as "96.12 %"; one that would round to nothing says so."""
    return "< 0.01 %" if 0 < value < _SMALLEST else f"{100 * value:.2f} %"


def rate(value: float, low: float, high: float, *, decimals: int = 2) -> str:
    """A fraction with its interval, as "96.12 % [95.50, 96.70]"."""
    low, high = (round(100 * edge, decimals) + 0.0 for edge in (low, high))  # never "-0.00"
    return f"{percent(value)} [{low:.{decimals}f}, {high:.{decimals}f}]"


def decimal(found: Interval) -> str:
    """A number that is no share, with its interval: "0.562 [0.530, 0.595]"."""
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def accuracy(value: float, low: float, high: float) -> str:
    """As ``rate``, with one decimal in the interval: "96.12 % [95.5, 96.7]"."""
    return rate(value, low, high, decimals=1)


def printed(figure: float) -> str:
    """A figure of the paper: a fraction, or above 1 the percentage as it was printed."""
    return f"{figure:.2f} %" if figure > 1 else percent(figure)


def relative(found: RelativeResult | None) -> str:
    """A multiple of another rate, as "0.17 [0.14, 0.20]"."""
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]" if found else ABSENT


def points(value: float) -> str:
    """A difference of fractions in percentage points, signed: "+1.23"."""
    return f"{round(100 * value, 2) + 0.0:+.2f}"


def difference(found: DifferenceResult | PairedResult) -> str:
    """A difference with its interval, in points: "+2.87 [+1.05, +4.69]"."""
    return f"{points(found.value)} [{points(found.low)}, {points(found.high)}]"


def count(value: int) -> str:
    """A whole number, thousands apart: "12,000"."""
    return f"{value:,}"


def words(value: object) -> str:
    """Any value of a free-form entry: mappings as "pixel 0, instance 1", lists with commas, numbers short."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {words(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(words(item) for item in value)
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return count(value)
    return str(value)


def metric(name: str) -> str:
    """ "leakage:phi:2" in words; the name of a protocol stays as it is."""
    if name.startswith("half-error:"):
        return f"accuracy on {name.removeprefix('half-error:')}, B with half its error"
    if not name.startswith(("leakage:", "fall:")):
        return f"accuracy on {name}"
    kind, judge, k = name.split(":")
    return f"{kind} to {judge}, K = {k}" if kind == "leakage" else f"leakage to {judge} lost with more people, K = {k}"
