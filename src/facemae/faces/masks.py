"""Random choices that belong to a record, never to a batch, worker, rank or arrival order.

    seed(r, e)    = blake2b(key = secret, "purpose:" + key of r + ":" + e) as a 64-bit number
    noise(r,e,j)  = splitmix64(seed(r, e) + (j + 1) * 0x9e3779b97f4a7c15)          j = cell of the grid
    visible(r, e) = the `keep` cells with the smallest noise, in ascending order of position

Where a region of the face is to be hidden in every record, its cells are left out before the smallest are chosen.
Only the first line needs the secret: whoever inverts a published mask learns one record's seed and nothing about the
others. Paper: the random mask operation gamma of Eq. 1; the count kept is that of He et al. 2021, computed exactly.
"""

import hashlib
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from jaxtyping import Int64, UInt64

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_BLOCK = 4096


def kept_cells(cells: int, ratio: float) -> int:
    """keep = floor(cells * (1 - ratio)), exactly: 196 cells at 0.75 keep 49, at 0.9 keep 19.

    The reference code computes int(L * (1 - r)) in floating point, which loses one cell at some exact multiples
    (100 cells at 0.9: 9 instead of 10); ours reads the ratio as the decimal it was written as.
    """
    return int(cells * (1 - Fraction(str(ratio))))


def seed_bytes(seed: int) -> bytes:
    """A secret made from a public seed: for experiments that others must be able to repeat."""
    return hashlib.sha256(f"facemae-seed-1:{seed}".encode()).digest()


def record_seeds(secret: bytes, purpose: str, keys: Sequence[str], epoch: int = 0) -> UInt64[np.ndarray, " b"]:
    """One 64-bit seed per record (first line of the module's equation); ``secret`` has at most 64 bytes."""
    tail = f":{epoch}"
    digests = [hashlib.blake2b(f"{purpose}:{key}{tail}".encode(), key=secret, digest_size=8).digest() for key in keys]
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def record_secret(secret: bytes, purpose: str, key: str) -> bytes:
    """blake2b(key = secret, "purpose:" + key): 64 bytes that belong to one record, for what a seed is too short for."""
    return hashlib.blake2b(f"{purpose}:{key}".encode(), key=secret).digest()


def splitmix64(state: UInt64[np.ndarray, "..."]) -> UInt64[np.ndarray, "..."]:
    """The finaliser of the public-domain splitmix64 generator (Vigna): a bijection of 64-bit numbers."""
    z = state.copy()
    z ^= z >> np.uint64(30)
    z *= np.uint64(0xBF58476D1CE4E5B9)
    z ^= z >> np.uint64(27)
    z *= np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return z


def visible_cells(
    seeds: UInt64[np.ndarray, " b"], cells: int, keep: int, *, hidden: Int64[np.ndarray, " m"] | None = None
) -> Int64[np.ndarray, "b k"]:
    """Positions of the visible cells of each record, ascending (last two lines of the module's equation).

    ``hidden``: cells that no record shows; at least ``keep`` others have to be there.
    """
    steps = (np.arange(1, cells + 1, dtype=np.uint64) * _GOLDEN)[None, :]
    noise = splitmix64(seeds[:, None] + steps)
    if hidden is None:
        chosen = np.argsort(noise, axis=1, kind="stable")[:, :keep]
    else:
        allowed = np.delete(np.arange(cells), hidden)
        assert keep <= len(allowed), "more cells to show than are left"
        chosen = allowed[np.argsort(noise[:, allowed], axis=1, kind="stable")[:, :keep]]
    return np.sort(chosen, axis=1).astype(np.int64)


def coin_flips(seeds: UInt64[np.ndarray, " b"]) -> np.ndarray:
    """One fair coin per record: the top bit of splitmix64(seed)."""
    return (splitmix64(seeds) >> np.uint64(63)).astype(bool)


def permutation(secret: bytes, purpose: str, count: int) -> Int64[np.ndarray, " n"]:
    """A permutation of 0 … count-1 that only the holder of the secret can repeat."""
    seeds = np.empty(count, np.uint64)
    for start in range(0, count, _BLOCK):
        keys = [str(i) for i in range(start, min(start + _BLOCK, count))]
        seeds[start : start + len(keys)] = record_seeds(secret, purpose, keys)
    return np.argsort(seeds, kind="stable").astype(np.int64, copy=False)
