"""Verification protocols over synthetic photos, modelled on LFW, CFP-FP and AgeDB-30.

    lfw      any two photos, neither from the side
    cfp_fp   left frontal, right profile
    agedb    at least 30 years apart, neither from the side (same and different people alike)

Pairs lie in folds, one after the other, of equal size, half of each fold same-person; nobody appears in two folds.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from facemae.errors import DataError
from facemae.faces.pairs import Pairs

FRONTAL_YAW, ORDINARY_YAW, PROFILE_YAW = 20.0, 45.0, 60.0  # degrees
AGE_GAP = 30.0  # years
_NEEDS = {
    "lfw": f"people with two photos of |yaw| <= {ORDINARY_YAW:.0f}°",
    "cfp_fp": f"people with photos of |yaw| <= {FRONTAL_YAW:.0f}° and >= {PROFILE_YAW:.0f}°",
    "agedb": f"people with photos of |yaw| <= {ORDINARY_YAW:.0f}°, {AGE_GAP:.0f} years apart",
}
KINDS = tuple(_NEEDS)


def protocol_pairs(
    kind: str,
    people: Sequence[int],
    extras: Sequence[Mapping[str, Any]],
    *,
    seed: int = 0,
    folds: int = 10,
    pairs_per_fold: int = 600,
) -> Pairs:
    """Pairs of record numbers: record i shows people[i] with extras[i] (yaw in degrees, age in years).

    Every fold holds the same even number of pairs, at most `pairs_per_fold` (LFW and AgeDB have 600, CFP 700),
    fewer where the photos allow no more. Raises DataError for an unknown kind, for people and extras of different
    lengths, and where a fold would stay empty.
    """
    if kind not in _NEEDS or len(people) != len(extras):
        got = f"{kind!r}, {len(people)} people and {len(extras)} extras"
        raise DataError("no such protocol", got=got, needed=f"one of {', '.join(_NEEDS)}, and extras for each record")
    person = np.asarray(people, dtype=np.int64)
    yaw = np.abs(np.array([extra["yaw"] for extra in extras], dtype=np.float64))
    age = np.array([extra["age"] for extra in extras], dtype=np.float64)
    left = yaw <= (FRONTAL_YAW if kind == "cfp_fp" else ORDINARY_YAW)
    right = yaw >= PROFILE_YAW if kind == "cfp_fp" else left
    gap = AGE_GAP if kind == "agedb" else 0.0
    rng = np.random.default_rng([seed, sorted(_NEEDS).index(kind)])
    drawn = []
    for group in np.array_split(rng.permutation(np.unique(person)), folds):
        members = np.isin(person, group)
        a, b = np.flatnonzero(members & left), np.flatnonzero(members & right)
        genuine = _genuine(person, age, a, b, gap)
        genuine = rng.permutation(genuine, axis=0)[: pairs_per_fold // 2]
        drawn.append((genuine, _impostors(rng, person, age, a, b, gap, len(genuine))))
    half = min((min(len(same), len(different)) for same, different in drawn), default=0)
    if half == 0:
        raise DataError(
            f"too few photos for the {kind} protocol",
            got=f"{len(np.unique(person))} people in {folds} folds",
            needed=f"in every fold two people, and {_NEEDS[kind]}",
            remedy="add people, or photos to each",
        )
    index = np.concatenate([part[:half] for fold in drawn for part in fold])
    same = np.tile(np.repeat([True, False], half), len(drawn))
    return Pairs(index[:, 0], index[:, 1], same, np.repeat(np.arange(len(drawn), dtype=np.int64), 2 * half))


def _apart(age: np.ndarray, pairs: Int[np.ndarray, "n 2"], gap: float) -> Bool[np.ndarray, " n"]:
    return np.abs(age[pairs[:, 0]] - age[pairs[:, 1]]) >= gap


def _genuine(
    person: np.ndarray, age: np.ndarray, left: np.ndarray, right: np.ndarray, gap: float
) -> Int[np.ndarray, "n 2"]:
    """All pairs of one person's photos, each once."""
    parts = [np.empty((0, 2), dtype=np.int64)]
    for who in np.unique(person[left]):
        a, b = np.meshgrid(left[person[left] == who], right[person[right] == who], indexing="ij")
        pairs = _columns(a, b)
        if np.array_equal(left, right):
            pairs = pairs[pairs[:, 0] < pairs[:, 1]]
        parts.append(pairs[_apart(age, pairs, gap)])
    return np.concatenate(parts)


def _columns(a: np.ndarray, b: np.ndarray) -> Int[np.ndarray, "n 2"]:
    return np.column_stack([a.ravel(), b.ravel()])


def _impostors(
    rng: np.random.Generator,
    person: np.ndarray,
    age: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    gap: float,
    count: int,
) -> Int[np.ndarray, "n 2"]:
    """Up to `count` pairs of two people, all different, drawn at random: every allowed pair is equally likely."""
    if count == 0 or len(left) == 0 or len(right) == 0:
        return np.empty((0, 2), dtype=np.int64)
    pairs = _columns(rng.choice(left, 60 * count), rng.choice(right, 60 * count))
    pairs = pairs[(person[pairs[:, 0]] != person[pairs[:, 1]]) & _apart(age, pairs, gap)]
    _, first = np.unique(np.sort(pairs, axis=1), axis=0, return_index=True)
    return pairs[np.sort(first)][:count]
