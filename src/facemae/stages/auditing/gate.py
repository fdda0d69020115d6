"""The release gate: which attacks find more than an owner allows."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from facemae.errors import RecipeError
from facemae.spec.recipe import AuditSpec
from facemae.spec.results import EVERYBODY, NO_NETWORK, UNPROTECTED

SEVERITIES = ("none", "note", "warning", "critical")
_AT = ("tpir@fpir", "tar@far", "tpr@fpr")
_NEEDED = (
    "topK:VALUE, tpir@fpir=RATE:VALUE, tar@far=RATE:VALUE, dsys:VALUE, tpr@fpr=RATE:VALUE, auc:VALUE "
    "or metadata:none|note|warning"
)


@dataclass(frozen=True)
class Limit:
    """The most that any attack may find: ``name`` as it was asked for, ``at`` its K or false rate."""

    name: str
    kind: str
    at: float
    most: float

    @property
    def shown(self) -> str:
        """The limit in words."""
        return f"at most {SEVERITIES[int(self.most)] if self.kind == 'metadata' else f'{self.most:g}'}"


@dataclass(frozen=True)
class Point:
    """What one attack found, with its interval where there is one."""

    attack: str
    value: float
    low: float | None = None
    high: float | None = None

    def describe(self, limit: Limit) -> str:
        """The finding in words."""
        if limit.kind == "metadata":
            return f"{self.attack} is {SEVERITIES[int(self.value)]}"
        interval = "" if self.low is None else f" [{self.low:.4g}, {self.high:.4g}]"
        return f"{self.attack} reaches {self.value:.4g}{interval}"


@dataclass(frozen=True)
class Breach:
    """A limit, and the attacks that find more, the worst first."""

    limit: Limit
    points: tuple[Point, ...]

    def describe(self) -> str:
        """Limit and worst attack in words, and how many others there are."""
        more = f" (and {len(self.points) - 1} more)" if len(self.points) > 1 else ""
        return f"{self.limit.name} {self.limit.shown}, but {self.points[0].describe(self.limit)}{more}"

    def to_dict(self) -> dict[str, Any]:
        """Keys ``measure most attacks``."""
        return {"measure": self.limit.name, "most": self.limit.most, "attacks": [vars(point) for point in self.points]}


def read_limits(texts: Sequence[str]) -> tuple[Limit, ...]:
    """`MEASURE:VALUE` texts: top2:0.2, tpir@fpir=0.01:0.05, tar@far=0.01:0.1, dsys:0.2, metadata:note.

    Raises:
        RecipeError: no such measure, or a value that is none of its own.
    """
    return tuple(_limit(text) for text in texts)


def breaches(limits: Sequence[Limit], result: Mapping[str, Any]) -> tuple[Breach, ...]:
    """Limits that some attack of an audit passes, each with all attacks that do.

    Judged by the estimate on everybody, of every attack on the release under every embedder and same-photo setting that
    was measured: the largest of many estimates is rather too large than too small. A limit on what was not measured is
    no passed limit, nor is one that a single attack could not be measured at: what it would have found is unknown,
    unless it finds no more than is allowed even at the smallest rate of false alarms that could be measured (fewer
    false alarms never name more). Attacks of another kind, that were not asked for it at all, are in `passed_over`.

    Raises:
        RecipeError: a limit on something that the audit did not measure.
    """
    found = []
    for limit in limits:
        points, unknown = list(_points(limit, result)), _unmeasured(limit, result)
        above = sorted((point for point in points if point.value > limit.most), key=lambda point: -point.value)
        if above:
            found.append(Breach(limit, tuple(above)))
        elif unknown or not points:
            raise RecipeError(
                f"--max {limit.name} cannot be judged",
                got=f"{len(unknown)} attacks without it, first {unknown[0]}" if points else "an audit without it",
                needed=_missing(limit),
            )
    return tuple(found)


def passed_over(limits: Sequence[Limit], result: Mapping[str, Any]) -> tuple[str, ...]:
    """Attacks on which a limit on strangers says nothing, for they were not asked about strangers at all."""
    if not any(limit.kind == "tpir@fpir" for limit in limits):
        return ()
    rows = (row for section, row in _rows(result) if section == "attacks" and row.get("open_set") is None)
    return tuple(_named("attacks", row) for row in rows)


def demand_measured(limits: Sequence[Limit], spec: AuditSpec) -> None:
    """Refuse limits that this audit will certainly not measure, before it begins.

    Raises:
        RecipeError: naming the limit and what it needs.
    """
    beyond = spec.suite != "retrieval"
    measured: dict[str, set[Any]] = {"top": set(spec.k), "tpir@fpir": set(spec.false_alarms)}
    measured |= {"tar@far": set(spec.fars) if beyond else set()}
    measured |= {"tpr@fpr": set(spec.false_alarms) if "membership" in spec.asked else set()}
    for limit in limits:
        there = limit.at in measured[limit.kind] if limit.kind in measured else beyond
        if limit.kind in ("metadata", "auc"):
            there = {"metadata": "metadata", "auc": "membership"}[limit.kind] in spec.asked
        if not there:
            raise RecipeError(f"--max {limit.name} cannot be judged", got="an audit without it", needed=_missing(limit))


def _limit(text: str) -> Limit:
    name, colon, value = text.rpartition(":")
    kind, _, at = name.partition("=")
    try:
        if name == "metadata":
            return Limit(name, name, 0, SEVERITIES[:3].index(value))
        most = float(value)
        if colon and 0 <= most <= 1:
            if name in ("dsys", "auc"):
                return Limit(name, name, 0, most)
            if kind in _AT and 0 < float(at) < 1:
                return Limit(name, kind, float(at), most)
            if name.startswith("top") and int(name[3:]) > 0:
                return Limit(name, "top", int(name[3:]), most)
    except ValueError:
        pass
    raise RecipeError("--max", got=repr(text), needed=f"{_NEEDED}, values from 0 to 1")


def _points(limit: Limit, result: Mapping[str, Any]) -> Iterator[Point]:
    if limit.kind == "metadata":
        findings = result["metadata"]["findings"] if result["metadata"] else None
        if findings is not None:
            yield Point("metadata", 0)
            yield from (Point(f"{f['instrument']} ({f['kind']})", SEVERITIES.index(f["severity"])) for f in findings)
        return
    for section, row in _rows(result):
        for kind, at, found in _numbers(section, row):
            if kind == limit.kind and at == limit.at and found.get("value") is not None:
                yield Point(_named(section, row), found["value"], found["low"], found["high"])


def _unmeasured(limit: Limit, result: Mapping[str, Any]) -> list[str]:
    """Attacks that were asked for this limit's measure and may pass it for all that could be measured."""
    unknown = []
    for section, row in _rows(result):
        for kind, at, found in _numbers(section, row):
            if kind == limit.kind and at == limit.at and found.get("value") is None:
                most = _at_smallest(section, row, limit)
                if most is None:
                    unknown.append(_named(section, row))
                elif most["value"] > limit.most:
                    unknown.append(f"{_named(section, row)}: {most['value']:.4g} at {most['target']:.4g}")
    return unknown


def _at_smallest(section: str, row: Mapping[str, Any], limit: Limit) -> Mapping[str, Any] | None:
    """What was found at the smallest measurable rate, where that is no smaller than the limit's: no less than at it."""
    found = (row if section == "membership" else row.get("open_set") or {}).get("smallest")
    there = found is not None and found.get("value") is not None and found["target"] >= limit.at
    return found if there else None


def _rows(result: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for section in ("attacks", "templates", "linking", "unlinkability", "membership"):
        for row in result[section]:
            if row.get("attack") != UNPROTECTED and row.get("subset", EVERYBODY) == EVERYBODY:
                yield section, row


def _numbers(section: str, row: Mapping[str, Any]) -> Iterator[tuple[str, float, Mapping[str, Any]]]:
    """(measure, K or false rate, what was found) of one row."""
    if section in ("attacks", "templates"):
        yield from (("top", at["k"], at) for at in row["at"])
        yield from (("tpir@fpir", at["target"], at) for at in (row.get("open_set") or {"points": []})["points"])
    elif section == "linking":
        yield from (("tar@far", at["target"], at) for at in row["tar"])
    elif section == "unlinkability":
        yield "dsys", 0, row
    else:
        yield "auc", 0, row["auc"]
        yield from (("tpr@fpr", at["target"], at) for at in row["points"])


def _named(section: str, row: Mapping[str, Any]) -> str:
    if section == "membership":
        return f"membership by {row['score']}"
    templates = "templates, " if section == "templates" else ""
    return f"{templates}{row['attack']} {under(row['embedder'])} (same photo {row['same_photo']}d)"


def under(embedder: str) -> str:
    """With which network an attack was made: "under phi", or "without a network"."""
    return "without a network" if embedder == NO_NETWORK else f"under {embedder}"


def _at_least(times: int, limit: Limit) -> int:
    return math.ceil(times / (limit.at or 1) - 1e-9)


def _missing(limit: Limit) -> str:
    larger = "suite quick or full, and a release that is not the originals themselves"
    return {
        "top": f"{limit.at:g} among the audit's k",
        "tpir@fpir": f"{limit.at:g} among fpirs, and --nonmembers with {_at_least(10, limit)} photos of "
        f"{max(50, _at_least(2, limit))} people, of whom five raise alarms ({_at_least(10, limit)} people for "
        "templates, which ask once a person)",
        "tar@far": f"{limit.at:g} among fars, {larger}, of 50 people",
        "dsys": larger,
        "metadata": f"{larger}, with metadata among its attackers",
    }.get(limit.kind, "the membership attack: suite full with --process, --trained and --outsiders")
