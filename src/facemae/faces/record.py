"""One face at rest, and who is who in a set of originals."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Record:
    """One face: its key in the set, the number of its person, encoded image bytes and what else is known of it.

    ``suffix`` is ".jpg" or ".png". ``extras`` are JSON-able facts (age, pose, landmarks; positions of visible patches).
    """

    key: str
    identity: int
    image: bytes
    suffix: str
    extras: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class People:
    """Names behind the numbers; only sets of originals have them.

    ``identities``: name of person number i. ``files``: relative source path of record i ("Name/Name_0001.jpg").
    """

    identities: tuple[str, ...]
    files: tuple[str, ...]


def key_of(index: int) -> str:
    """Record keys count from 0 in eight digits, so that file order, key order and record order agree."""
    return f"{index:08d}"
