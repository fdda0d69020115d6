"""Which of the results a page shows where: choosing among numbers that are there, never making new ones."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from facemae.spec.results import (
    EVERYBODY,
    IMITATED,
    SHOWN_K,
    UNPROTECTED,
    LeakageResult,
    OpenSetResult,
    Results,
    RowResult,
)

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


def leakages(results: Results, *, subsets: bool = False) -> Iterator[Owned[LeakageResult]]:
    """Every leakage of the table once: by all probes and, with ``subsets``, by those of each source alone."""
    return _once(
        (row.label, found)
        for row in results.rows
        for found in row.leakage
        if (subsets or found.subset == EVERYBODY) and not _told_elsewhere(results, row, found.attack)
    )


def _told_elsewhere(results: Results, row: RowResult, attack: str) -> bool:
    """A row about one imitation leaves the other attacks on its set to the row that is about the set itself."""
    if row.attack != IMITATED or attack in (IMITATED, UNPROTECTED):
        return False
    return any(other.trained_on == row.trained_on and other.attack != IMITATED for other in results.rows)


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
        # The verdict and its p-value are left out: they are family-wise over one row's audit.
        key = found.model_dump_json(exclude={"verdict", "p_value"})
        if key not in seen:
            seen.add(key)
            yield Owned("originals", found)


def shown_k(results: Results) -> int | None:
    """K = 2 as in the paper's figure 3, else the smallest that was measured; None without leakage."""
    measured = {found.k for row in results.rows for found in row.leakage}
    return SHOWN_K if SHOWN_K in measured else min(measured, default=None)


def shown_ks(results: Results) -> tuple[int, ...]:
    """What figures are drawn at: every K that a claim is about (3 and 4 in the paper's figure 5), else `shown_k`."""
    claimed = {int(claim.metric.split(":")[2]) for claim in results.claims if claim.metric.startswith("leakage:")}
    k = shown_k(results)
    return tuple(sorted(claimed)) or ((k,) if k else ())


def is_original(row: RowResult) -> bool:
    """A row that was audited and released nothing but the originals."""
    return bool(row.leakage) and all(found.attack == UNPROTECTED for found in row.leakage)


def leading(results: Results) -> tuple[RowResult, ...]:
    """The rows that the headline speaks of: all FaceMAE rows in the table's order, else everything released.

    None is chosen by its figures: a headline that picks the best of several would flatter.
    """
    released = tuple(row for row in results.rows if any(found.attack != UNPROTECTED for found in row.leakage))
    return tuple(row for row in results.rows if row.label.lower().startswith("facemae")) or released
