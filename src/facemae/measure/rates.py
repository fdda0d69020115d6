"""Rates: the only numbers a report accepts, and the rule on what is measurable at all."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from facemae.errors import DataError

TRIALS_PER_UNIT = 10
PEOPLE_NEEDED = 50
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Rate:
    """value = hits / trials (or a mean of such ratios), with low ≤ value ≤ high, all fractions in [0, 1].

    ``method`` says in words how the interval was made. Where the value is a mean over folds or draws, ``hits`` and
    ``trials`` are the sums, so their ratio may differ from the value when the parts are unequal. Differences of up to
    1e-9 from the order above are rounding and are snapped.

    Raises ``ValueError`` for a number that is not a rate: no trials, outside [0, 1], not finite, or an interval
    that leaves the value out.
    """

    value: float
    low: float
    high: float
    hits: int
    trials: int
    method: str

    def __post_init__(self) -> None:
        for name in ("value", "low", "high"):
            number = float(getattr(self, name))
            if not math.isfinite(number) or not -_ROUNDING <= number <= 1 + _ROUNDING:
                raise ValueError(f"{name} of a rate lies in [0, 1], got {number}")
            object.__setattr__(self, name, min(max(number, 0.0), 1.0))
        if not self.low - _ROUNDING <= self.value <= self.high + _ROUNDING:
            raise ValueError(f"a rate lies within its interval, got {self.value} in [{self.low}, {self.high}]")
        if self.trials < 1 or not 0 <= self.hits <= self.trials:
            raise ValueError(f"a rate has trials, and no more hits than those, got {self.hits} of {self.trials}")
        if not self.method:
            raise ValueError("a rate names the method of its interval")
        object.__setattr__(self, "low", min(self.low, self.value))
        object.__setattr__(self, "high", max(self.high, self.value))

    def to_dict(self) -> dict[str, Any]:
        """Keys ``value low high hits trials method``."""
        return asdict(self)


def smallest_measurable(trials: int, people: int | None) -> float | None:
    """Smallest false positive rate that may be reported: 10 / trials, or None with fewer than 50 people.

    ``people`` is the number of different people behind the non-member (impostor) trials; None where it is unknown,
    and then only the trials are judged. None as the answer (also where 10 / trials exceeds 1) means that nothing is
    measurable. Source: three times the rule of three, so that such a rate is seen about ten times.
    """
    if trials < TRIALS_PER_UNIT or (people is not None and people < PEOPLE_NEEDED):
        return None
    return TRIALS_PER_UNIT / trials


def measurable(rate: float, smallest: float | None) -> bool:
    """Whether a false positive rate in (0, 1) may be reported where ``smallest`` is the smallest that may."""
    if not 0 < rate < 1:
        raise DataError("a target false positive rate", got=rate, needed="a number between 0 and 1")
    return smallest is not None and rate >= smallest * (1 - _ROUNDING)
