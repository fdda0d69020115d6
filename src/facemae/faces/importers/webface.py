"""WebFace260M and its subsets: names of their photos."""

import re
from collections.abc import Iterable
from typing import Any

_PHOTO = re.compile(r"((?:.*/)?)(\d+_\d+_\d+)/\d+_\d+\.\w+")


def photo(path: str) -> tuple[str, str, dict[str, Any] | None] | None:
    """(path, person, extras) of ``0/0_0_0000000/0_0.jpg``, whatever part of the set it is in; None for other names."""
    match = _PHOTO.fullmatch(path)
    return (path, match[2], None) if match else None


def in_parts(paths: Iterable[str]) -> bool:
    """Whether all photos are named so and lie in several parts; one part alone is a folder of people like any other."""
    parts = set()
    for path in paths:
        match = _PHOTO.fullmatch(path)
        if match is None:
            return False
        parts.add(match[1])
    return len(parts) > 1
