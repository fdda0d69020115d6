"""What every pair list comes down to before its photos are looked up."""

from typing import NamedTuple


class ListedPair(NamedTuple):
    """Two photos as a list names them.

    Each side is one or more spellings (relative paths, suffix optional), tried in order.
    """

    left: tuple[str, ...]
    right: tuple[str, ...]
    same: bool
    fold: int
