"""Does the order of a release follow that of the originals? Rank correlations, tested by permutation.

Photos of one person stand together in most sets, so they are no independent witnesses: shuffling all of them alike
would call many an honest release suspicious. The question is therefore asked twice, each time by permuting what an
honest release permutes:

    people   rho = corr(mean released rank of each person, mean original rank)         people change places
    photos   rho = corr(released rank - its person's mean, original rank - that mean)   photos change places in a person
    p        = (1 + #{|rho permuted| >= |rho|}) / (1 + permutations)                    two-sided

Source: Spearman's rank correlation; Phipson and Smyth 2010 for the 1 in p.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from facemae.faces.traces.finding import Instrument

SAMPLED = 4096
"""Photos (whole people) that the permutations are made of, at most: enough to see a correlation of 0.06."""

_FEWEST = 5
_NUMBER = re.compile(r"(\d+)")
_ROUNDING = 1e-12


class Statistic(NamedTuple):
    """One test before its correction for the others; ``units`` people or photos were free to change places."""

    instrument: Instrument
    kind: str
    value: float
    p_value: float
    units: int


def ranks(values: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Ranks from 0, the mean rank for equal values."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    after = np.cumsum(counts)
    return ((after - counts + after - 1) / 2)[place]


def order_statistics(
    released: Int64[np.ndarray, " n"],
    original: Int64[np.ndarray, " n"],
    person: Int64[np.ndarray, " n"],
    *,
    instrument: Instrument,
    name: str,
    photos: bool = True,
    permutations: int,
    seed: int,
) -> Iterator[Statistic]:
    """The people's and the photos' correlation of two orders; nothing where fewer than 5 are free to change places.

    ``person``: whose each record is, in the originals. ``photos``: ask within people as well.
    """
    random = np.random.default_rng(seed)
    a, b = ranks(released), ranks(original)
    first, second = _means(a, person), _means(b, person)
    if len(first) >= _FEWEST:
        chosen = random.permutation(len(first))[:SAMPLED]
        x, y = first[chosen], second[chosen]
        value, p = _tested(x - x.mean(), y - y.mean(), np.zeros(len(x), np.int64), permutations, random)
        if value is not None:
            yield Statistic(instrument, f"{name}: people", value, p, len(x))
    if photos:
        rows = _whole_people(person, random)
        x, y = a[rows] - _spread(a[rows], person[rows]), b[rows] - _spread(b[rows], person[rows])
        free = int((np.bincount(person[rows])[person[rows]] > 1).sum())
        if free >= _FEWEST:
            value, p = _tested(x, y, person[rows], permutations, random)
            if value is not None:
                yield Statistic(instrument, f"{name}: photos", value, p, free)


def shuffled_within(
    group: Int64[np.ndarray, " n"], random: np.random.Generator, times: int
) -> Int64[np.ndarray, "t n"]:
    """``times`` random orders of 0 … n-1 in which every place keeps its group."""
    home = np.argsort(group, kind="stable")
    drawn = np.argsort(group[home] + random.random((times, len(group))), axis=1)
    orders = np.empty_like(drawn)
    orders[:, home] = home[drawn]
    return orders


def permuted_counts(
    hits: Callable[[np.ndarray], np.ndarray],
    person: Int64[np.ndarray, " n"],
    *,
    permutations: int,
    seed: int,
) -> tuple[int, float]:
    """How many released records hit their own original, and p against originals of other people.

    ``hits(rows)`` says for each record whether it hits the original of record ``rows[i]``. A permutation gives every
    person another's originals, a random one of them to each photo: whoever numbers photos alike in every folder hits
    as often so.
    """
    random = np.random.default_rng(seed)
    rows = np.arange(len(person))
    observed = hits(rows)
    chosen = np.sort(_whole_people(person, random))
    _, number, sizes = np.unique(person[chosen], return_inverse=True, return_counts=True)
    home = chosen[np.argsort(number, kind="stable")]
    starts = np.cumsum(sizes) - sizes
    aimed, more = int(observed[chosen].sum()), 0
    for _ in range(permutations):
        other = random.permutation(len(sizes))[number]
        drawn = starts[other] + (random.random(len(chosen)) * sizes[other]).astype(np.int64)
        rows[chosen] = home[drawn]
        more += int(hits(rows)[chosen].sum()) >= aimed
    return int(observed.sum()), (1 + more) / (1 + permutations)


def natural_order(names: Sequence[str]) -> Int64[np.ndarray, " n"]:
    """Place of each name when numbers in it count as numbers ("2" before "10"); equal names share theirs."""
    keys = [_natural(name) for name in names]
    place = {key: i for i, key in enumerate(sorted(set(keys)))}
    return np.array([place[key] for key in keys], np.int64)


def _natural(name: str) -> tuple[str | int, ...]:
    """Words and numbers in turn, beginning with a word (empty where the name begins with a number)."""
    return tuple(int(part) if place % 2 else part for place, part in enumerate(_NUMBER.split(name)))


def _tested(
    x: np.ndarray, y: np.ndarray, group: np.ndarray, permutations: int, random: np.random.Generator
) -> tuple[float | None, float]:
    norm = np.sqrt((x**2).sum() * (y**2).sum())
    if norm <= _ROUNDING:
        return None, 1.0
    value, more = float(x @ y / norm), 0
    block = max(1, (1 << 20) // len(x))
    for start in range(0, permutations, block):
        orders = shuffled_within(group, random, min(block, permutations - start))
        more += int((np.abs(x[orders] @ y) / norm >= abs(value) - _ROUNDING).sum())
    return value, (1 + more) / (1 + permutations)


def _whole_people(person: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Records of randomly chosen people, `SAMPLED` at most (but everything of one person)."""
    people, number = np.unique(person, return_inverse=True)
    turn = random.permutation(len(people))
    taken = np.cumsum(np.bincount(number)[turn]) <= SAMPLED
    taken[0] = True
    return np.flatnonzero(np.isin(number, turn[taken]))


def _means(values: np.ndarray, person: np.ndarray) -> np.ndarray:
    _, number, counts = np.unique(person, return_inverse=True, return_counts=True)
    return np.bincount(number, weights=values) / counts


def _spread(values: np.ndarray, person: np.ndarray) -> np.ndarray:
    """The mean of each record's person, record by record."""
    _, number = np.unique(person, return_inverse=True)
    return _means(values, person)[number]
