"""What a release gives away beside its pixels: a folder, archive or face set of any tool against the originals.

Needs no network and trains nothing. Findings that rest on chance (names, order, times) are permutation tests,
corrected for one another, so that an honest release is accused of anything with probability ``level`` at most.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Int64

from facemae.errors import DataError
from facemae.faces.traces.accounts import archive_findings, beside_findings, carried_findings, size_findings
from facemae.faces.traces.collection import Collection
from facemae.faces.traces.copies import FalseAlarms, copy_findings
from facemae.faces.traces.finding import Check, Finding, Instrument, Test, examples
from facemae.faces.traces.names import Hashes, Names, poisson_tail, stem
from facemae.faces.traces.order import Statistic, natural_order, order_statistics, permuted_counts
from facemae.faces.traces.scan import scan_originals, scan_release
from facemae.spec.execution import Execution

_LINKED: tuple[Instrument, ...] = ("order", "times", "label_order")
_STRONG = 0.5
"""Rank correlation from which an order is a map back rather than a hint."""


@dataclass(frozen=True)
class MetadataAudit:
    """All findings on one release, most severe first, with every statistic and what could not be asked.

    ``copies_alarm``: how often pictures that are no copies were taken for one, and how many were tried.
    """

    files: int
    originals: int
    unreadable: int
    findings: tuple[Finding, ...]
    tests: tuple[Test, ...]
    checks: tuple[Check, ...]
    copies_alarm: FalseAlarms

    @property
    def alarms(self) -> tuple[Finding, ...]:
        """Findings that are more than notes."""
        return tuple(finding for finding in self.findings if finding.severity != "note")

    def found(self, instrument: Instrument) -> bool:
        """Whether an instrument reports anything, a note included."""
        return any(finding.instrument == instrument for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Keys ``files originals unreadable findings tests checks copies_alarm``, JSON-able."""
        parts = {name: [each.to_dict() for each in getattr(self, name)] for name in ("findings", "tests", "checks")}
        counts = {"files": self.files, "originals": self.originals, "unreadable": self.unreadable}
        return counts | parts | {"copies_alarm": self.copies_alarm.to_dict()}


def audit_metadata(
    original: Collection,
    released: Collection,
    *,
    linked: Int64[np.ndarray, " n"] | None = None,
    strangers: Collection | None = None,
    seed: int = 0,
    permutations: int = 1999,
    level: float = 0.05,
    execution: Execution | None = None,
) -> MetadataAudit:
    """Look for everything that leaks beside the pixels of ``released``.

    ``linked[i]``: the original of released file i (as `read_linkage` and `linked_records` return it); without it
    order, times and repeated numbers cannot be judged, and ``checks`` says so. ``strangers``: photos of people outside,
    which no release can have copied; the duplicate check counts its false alarms on them, or, without them, on
    originals among the originals of other people. ``level``: of all statistics together.

    Raises:
        DataError: nothing to look at, or a linkage of another length.
    """
    if not len(original) or not len(released):
        raise DataError("nothing to compare", got=f"{len(original)} originals, {len(released)} released files")
    if linked is not None and len(linked) != len(released):
        raise DataError("the linkage does not fit", got=f"{len(linked)} lines", needed=f"{len(released)}")
    execution = execution or Execution()
    names, hashes = Names(original.names, original.people, original.person), Hashes()
    hashes.add_names(original.names, original.people)
    ours, theirs = scan_originals(original, hashes, execution), scan_release(released, execution)
    findings, alarm = copy_findings(original, released, ours, theirs, strangers, seed)
    findings += carried_findings(theirs, released, names, hashes)
    findings += [*beside_findings(released, names), *archive_findings(released), *size_findings(original, released)]
    findings += _names_known(released, names)
    asked = [*_hashed(released, hashes)]
    if linked is not None:
        findings += _same_times(original, released, linked)
        asked += _linked_statistics(original, released, names, linked, permutations, seed)
    tests = tuple(_corrected(asked))
    findings += [_significant(test, released) for test in tests if test.adjusted <= level]
    findings.sort(key=lambda found: (("critical", "warning", "note").index(found.severity), found.kind))
    checks = tuple(_checks(original, released, linked))
    return MetadataAudit(len(released), len(original), theirs.unreadable, tuple(findings), tests, checks, alarm)


def _linked_statistics(
    original: Collection, released: Collection, names: Names, linked: np.ndarray, permutations: int, seed: int
) -> Iterator[Statistic]:
    person, known_orders = original.person[linked], _orders(original, times=True)
    ask = partial(order_statistics, person=person, permutations=permutations, seed=seed)
    for name, theirs in _orders(released, times=False).items():
        for known, ours in known_orders.items():
            yield from ask(theirs, ours[linked], instrument="order", name=f"{name} by {known}")
    if released.times is not None:
        for known, ours in known_orders.items():
            yield from ask(released.times, ours[linked], instrument="times", name=f"file times by {known}")
    labels = natural_order(released.people)[released.person]
    yield from ask(labels, person, instrument="label_order", name="person numbers by names", photos=False)
    for kind, codes, texts in (
        ("own file name", names.stem_codes, [stem(name) for name in released.names]),
        ("own person's name", names.people_codes, _labelled(released)),
    ):
        held = names.codes(texts)

        def hits(rows: np.ndarray, held: np.ndarray = held, codes: np.ndarray = codes) -> np.ndarray:
            return (held == codes[linked[rows]][:, None]).any(axis=1)

        count, p = permuted_counts(hits, person, permutations=permutations, seed=seed)
        yield Statistic("names", kind, count / len(released), p, count)


def _hashed(released: Collection, hashes: Hashes) -> Iterator[Statistic]:
    texts = _labelled(released)
    count, expected = sum(map(hashes.holds, texts)), hashes.expected(texts)
    yield Statistic("names", "hash of an original", count / len(texts), poisson_tail(count, expected), count)


def _orders(collection: Collection, *, times: bool) -> dict[str, np.ndarray]:
    """Every order in which the files can be read; those that repeat an earlier one are left out."""
    orders = {"listing": np.arange(len(collection), dtype=np.int64)}
    more = {"file name": natural_order([stem(name) for name in collection.names])}
    if collection.places is not None:
        more["archive"] = collection.places
    if times and collection.times is not None:
        more["file time"] = collection.times
    for name, order in more.items():
        placed = np.unique(order, return_inverse=True)[1]
        if placed.any() and not any(np.array_equal(placed, kept) for kept in orders.values()):
            orders[name] = placed.astype(np.int64)
    return orders


def _labelled(released: Collection) -> list[str]:
    """Path and person of each file: archives with labels of their own name people who stand in no path."""
    people = [released.people[int(number)] for number in released.person]
    return [name if who in name else f"{who}/{name}" for name, who in zip(released.names, people, strict=True)]


def _names_known(released: Collection, names: Names) -> Iterator[Finding]:
    telling = [name for name, text in zip(released.names, _labelled(released), strict=True) if names.knows(text)]
    if telling:
        what = "names hold a word that belongs to one person of the originals alone"
        yield Finding(
            "names",
            "known name",
            what,
            len(telling),
            len(released),
            examples(telling),
            "critical",
            control="words of two or more people do not count",
        )


def _same_times(original: Collection, released: Collection, linked: np.ndarray) -> Iterator[Finding]:
    """Times of change that came along; a time that several files of either side share tells nothing."""
    if original.times is None or released.times is None:
        return
    alone = [_alone(times) for times in (original.times, released.times)]
    same = (released.times == original.times[linked]) & alone[0][linked] & alone[1]
    if same.any():
        names = [released.names[i] for i in np.flatnonzero(same)]
        what = "files keep the time of change of their original, which no other file has"
        yield Finding("times", "time kept", what, len(names), len(released), examples(names), "critical")


def _alone(values: np.ndarray) -> np.ndarray:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return counts[place] == 1


def _corrected(asked: list[Statistic]) -> Iterator[Test]:
    for one in asked:
        adjusted = min(1.0, one.p_value * len(asked))
        yield Test(one.instrument, one.kind, one.value, one.p_value, adjusted, one.units)


def _significant(test: Test, released: Collection) -> Finding:
    if test.instrument == "names":
        what, count = f"names hold the {test.kind}", test.units
    else:
        what, count = f"{test.kind}: rank correlation {test.value:+.2f} with the originals", len(released)
    severity = "critical" if test.instrument == "names" or abs(test.value) >= _STRONG else "warning"
    control = "Poisson's law" if test.kind.startswith("hash") else "permutations"
    return Finding(
        test.instrument,
        test.kind,
        what,
        count,
        len(released),
        tuple(released.names[:1]),
        severity,  # type: ignore[arg-type]
        test.adjusted,
        f"{control}, corrected for all statistics of the audit",
    )


def _checks(original: Collection, released: Collection, linked: np.ndarray | None) -> Iterator[Check]:
    for instrument in ("duplicates", "names", "carried", "beside", "group_sizes"):
        partly = "names that are mere numbers need the linkage" if instrument == "names" and linked is None else ""
        yield Check(instrument, True, partly)
    yield Check("archive", bool(released.headers), "" if released.headers else "not an archive")
    for instrument in _LINKED:
        if linked is None:
            yield Check(instrument, False, "no linkage")
        elif instrument == "times" and released.times is None:
            yield Check(instrument, False, "the release tells no times")
        else:
            yield Check(instrument, True)
