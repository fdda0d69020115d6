"""What a bench found, as frozen data, and its two files: `bench-NAME.json` and `bench-NAME.md`."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from facemae.bench.pairs import Basis, Spread
from facemae.spec.manifest import write_json

SCHEMA = 1


@dataclass(frozen=True)
class Row:
    """One contender of one group.

    ``rate``: units a second on the result's basis; ``processor`` and ``wall``: seconds a unit. ``ahead``: how many
    times as fast as this one the first of the group is, round by round. ``of_matrix_rate``: operations a second over
    those of the fastest matrix product of the same number type, round by round. A row of a peer that took no part has
    no numbers and says why in ``absent``.
    """

    group: str
    name: str
    unit: str
    dtype: str = ""
    rate: Spread | None = None
    processor: Spread | None = None
    wall: Spread | None = None
    operations: int = 0
    of_matrix_rate: Spread | None = None
    ahead: Spread | None = None
    rounds: int = 0
    check: str = ""
    absent: str = ""


@dataclass(frozen=True)
class Peak:
    """Peak memory in bytes of one stage at two numbers of records.

    ``peaks``: all memory, pages of mapped files included. ``own``: what the process allocated, looked at every few
    milliseconds; growth is judged by it, because the system drops pages of files when it needs the room.
    """

    stage: str
    records: tuple[int, int]
    peaks: tuple[int, int]
    own: tuple[int, int]

    @property
    def per_record(self) -> float:
        """Bytes of its own that every further record adds."""
        return (self.own[1] - self.own[0]) / (self.records[1] - self.records[0])

    @property
    def growth(self) -> float:
        """The larger set's peak over the smaller's."""
        return self.own[1] / self.own[0]


@dataclass(frozen=True)
class Reached:
    """One figure that the project set itself: met or not as computed, None where this run did not measure it."""

    goal: str
    wanted: float
    at_most: bool
    measured: Spread | None
    met: bool | None


@dataclass(frozen=True)
class Result:
    """A whole run. ``digest`` names what was asked for: device, threads and sizes."""

    command: str
    digest: str
    name: str
    basis: Basis
    threads: int
    seed: int
    hardware: Mapping[str, Any]
    versions: Mapping[str, str]
    sizes: Mapping[str, Any]
    rows: tuple[Row, ...]
    memory: tuple[Peak, ...]
    reached: tuple[Reached, ...]
    schema: int = SCHEMA

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON's own types; what follows from a peak's four numbers stands beside them."""
        data: dict[str, Any] = json.loads(json.dumps(asdict(self), allow_nan=False))
        for peak, entry in zip(self.memory, data["memory"], strict=True):
            entry |= {"bytes_per_record": peak.per_record, "growth": peak.growth}
        return data

    def row(self, group: str, name: str) -> Row | None:
        """One row, or None where this run has none."""
        return next((row for row in self.rows if (row.group, row.name) == (group, name)), None)


def read_result(path: Path) -> Result:
    """What `write_result` wrote."""
    data = json.loads(path.read_bytes())
    for entry in data["memory"]:
        del entry["bytes_per_record"], entry["growth"]
    return TypeAdapter(Result).validate_python(data)


def write_result(directory: Path, result: Result) -> tuple[Path, Path]:
    """Both files, each whole or absent; returns their paths."""
    from facemae.bench.page import page

    directory.mkdir(parents=True, exist_ok=True)
    data, text = (directory / f"bench-{result.name}.{suffix}" for suffix in ("json", "md"))
    write_json(data, result.to_dict())
    partial = text.with_name(f".{text.name}.partial")
    partial.write_text(page(result), encoding="utf-8")
    partial.replace(text)
    return data, text
