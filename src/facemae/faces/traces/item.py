"""One thing that a file carries beside its pixels."""

from typing import NamedTuple

LONGEST = 4096
"""Characters of a text that are looked at."""


class Item(NamedTuple):
    """``kind``, what it says (for comparing files and finding names, never for a report), and a picture inside it."""

    kind: str
    text: str
    picture: bytes | None = None
