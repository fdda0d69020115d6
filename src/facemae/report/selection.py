"""Which of the results a page shows where: choosing among numbers that are there, never making new ones."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from facemae.spec.results import LeakageResult, OpenSetResult, Results, RowResult

UNPROTECTED = "Org. to Org."
RELEASED = "Org. to released"
SHOWN_K = 2
"""The K of the paper's figure 3."""

Measured = TypeVar("Measured", LeakageResult, OpenSetResult)


@dataclass(frozen=True)
class Owned(Generic[Measured]):
    """One measurement and whose it is: the row's label, or "originals" where nothing was protected."""

    owner: str
    found: Measured


def protocols(results: Results) -> tuple[str, ...]:
    """Names of the protocols, in the order in which rows bring them."""
    return tuple(dict.fromkeys(name for row in results.rows for name in row.accuracy))


def judges(results: Results) -> tuple[str, ...]:
    """Names of the judges that measured leakage: as listed, then those that only rows name."""
    used = dict.fromkeys(found.embedder for row in results.rows for found in row.leakage)
    listed = [judge.name for judge in results.judges if judge.name in used]
    return tuple(dict.fromkeys([*listed, *used]))


def is_loss_network(results: Results, judge: str) -> bool:
    """Whether ``judge`` is phi, the network that the generator was trained against."""
    return any(known.name == judge and known.loss_network for known in results.judges)


def leakages(results: Results) -> Iterator[Owned[LeakageResult]]:
    """Every leakage of the table once."""
    return _once((row.label, found) for row in results.rows for found in row.leakage)


def open_sets(results: Results) -> Iterator[Owned[OpenSetResult]]:
    """Every open-set point of the table once."""
    return _once((row.label, found) for row in results.rows for found in row.open_set)


def _once(measured: Iterable[tuple[str, Measured]]) -> Iterator[Owned[Measured]]:
    """Each row's audit repeats "Org. to Org.", which is the same measurement where its numbers are the same."""
    seen = set()
    for label, found in measured:
        if found.attack != UNPROTECTED:
            yield Owned(label, found)
            continue
        # The verdict is left out: it is family-wise over one row's audit.
        key = found.model_dump_json(exclude={"verdict"})
        if key not in seen:
            seen.add(key)
            yield Owned("originals", found)


def shown_k(results: Results) -> int | None:
    """K = 2 as in the paper's figure 3, else the smallest that was measured; None without leakage."""
    measured = {found.k for row in results.rows for found in row.leakage}
    return SHOWN_K if SHOWN_K in measured else min(measured, default=None)


def worst(
    row: RowResult, k: int, *, attacks: tuple[str, ...] = (), same_photo: str = "exclude"
) -> LeakageResult | None:
    """The largest leakage over judges, among ``attacks`` (none given: all on what was released)."""
    candidates = [
        found
        for found in row.leakage
        if found.k == k
        and found.same_photo == same_photo
        and (found.attack in attacks if attacks else found.attack != UNPROTECTED)
    ]
    return max(candidates, key=lambda found: found.value, default=None)


def unprotected(results: Results, row: RowResult, like: LeakageResult) -> LeakageResult | None:
    """ "Org. to Org." under the same judge and K as ``like``: of the row's own audit, else of any."""
    for audited in (row, *results.rows):
        for found in audited.leakage:
            if (found.attack, found.embedder, found.k) == (UNPROTECTED, like.embedder, like.k):
                return found
    return None


def is_original(row: RowResult) -> bool:
    """A row that was audited and released nothing but the originals."""
    return bool(row.leakage) and all(found.attack == UNPROTECTED for found in row.leakage)


def leading(results: Results) -> tuple[RowResult, ...]:
    """The rows that the headline speaks of: all FaceMAE rows in the table's order, else everything released.

    None is chosen by its figures: a headline that picks the best of several would flatter.
    """
    released = tuple(row for row in results.rows if any(found.attack != UNPROTECTED for found in row.leakage))
    return tuple(row for row in results.rows if row.label.lower().startswith("facemae")) or released
