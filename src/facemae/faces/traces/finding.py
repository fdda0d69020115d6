"""What a check of a release reports: findings, and the statistics behind those that rest on chance."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["note", "warning", "critical"]
"""note: told, nobody is given away by it alone; warning: links or dates records; critical: gives a photo or person."""

Instrument = Literal[
    "duplicates", "names", "carried", "beside", "order", "times", "label_order", "group_sizes", "archive"
]
"""What looks for leaks beside the pixels, one name a question."""

EXAMPLES = 5
"""Released names that a finding shows at most."""


@dataclass(frozen=True)
class Finding:
    """One thing that leaks: ``count`` of ``of`` released files show it.

    ``examples``: names of the release only, never of the originals. ``p_value``: family-wise, where the finding is a
    statistic; ``control`` says how false alarms are kept out.
    """

    instrument: Instrument
    kind: str
    what: str
    count: int
    of: int
    examples: tuple[str, ...]
    severity: Severity
    p_value: float | None = None
    control: str = "seen as it stands"

    def to_dict(self) -> dict[str, Any]:
        """The fields, ``examples`` as a list."""
        return asdict(self) | {"examples": list(self.examples)}


@dataclass(frozen=True)
class Test:
    """One statistic against its permutations; ``adjusted`` = min(1, p * number of statistics in the audit)."""

    __test__ = False  # pytest takes every class of this name for its own

    instrument: Instrument
    kind: str
    value: float
    p_value: float
    adjusted: float
    units: int

    def to_dict(self) -> dict[str, Any]:
        """The fields."""
        return asdict(self)


@dataclass(frozen=True)
class Check:
    """Whether an instrument was used, and if not, what was missing."""

    instrument: Instrument
    ran: bool
    why: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The fields."""
        return asdict(self)


def examples(names: Iterable[str]) -> tuple[str, ...]:
    """The first few names, in order."""
    return tuple(sorted(names)[:EXAMPLES])
