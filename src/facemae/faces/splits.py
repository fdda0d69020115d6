"""Who serves for what: people are split by a published hash of their name, before anything is trained.

    u(name) = first 8 bytes of sha256("facemae-split-1:" + name), big-endian, / 2^64        in [0, 1)

The bounds are those of the evidence contract: public people P1 60 %, P2 25 %, P3 15 %; deployment people D-in 80 %,
D-out 20 %. The hash sees the identity's name only, so files that share people split alike.
"""

import hashlib
from typing import Literal, get_args

Split = Literal["P1", "P2", "P3", "D-in", "D-out"]
SPLITS: tuple[Split, ...] = get_args(Split)

_BOUNDS: dict[Split, tuple[float, float]] = {
    "P1": (0.0, 0.60),
    "P2": (0.60, 0.85),
    "P3": (0.85, 1.0),
    "D-in": (0.0, 0.80),
    "D-out": (0.80, 1.0),
}


def split_position(name: str) -> float:
    """u(name) in [0, 1) as in the module's equation."""
    return int.from_bytes(hashlib.sha256(f"facemae-split-1:{name}".encode()).digest()[:8], "big") / 2**64


def in_split(name: str, split: Split) -> bool:
    """Whether the person of that name belongs to ``split``."""
    low, high = _BOUNDS[split]
    return low <= split_position(name) < high


def in_subset(name: str, part: int, parts: int) -> bool:
    """Whether the person of that name is in one of ``parts`` equal parts: floor(parts · u(name)) = part.

    u is that of another hash ("facemae-subset-1:"), so that a subset cuts across every split.
    """
    digest = hashlib.sha256(f"facemae-subset-1:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") * parts >> 64 == part
