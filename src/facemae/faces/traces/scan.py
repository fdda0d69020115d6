"""Every file of a collection looked at once: digests, thumbnail, what it carries."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt8

from facemae.errors import UnreadableImage
from facemae.faces.codec import decode
from facemae.faces.traces.carried import carried
from facemae.faces.traces.collection import Collection, facts_of
from facemae.faces.traces.duplicates import SIDE, thumbnail
from facemae.faces.traces.item import Item
from facemae.faces.traces.names import Hashes
from facemae.spec.execution import Execution


@dataclass
class Scan:
    """``content`` and ``pixels``: 16-byte digests of each file and of its decoded pixels (empty: cannot be decoded).

    ``items``: what each file carries, where it carries anything. ``inside``: file numbers and pictures within files.
    """

    content: list[bytes] = field(default_factory=list)
    pixels: list[bytes] = field(default_factory=list)
    thumbnails: list[UInt8[np.ndarray, "32 32"]] = field(default_factory=list)
    items: dict[int, list[Item]] = field(default_factory=dict)
    inside: list[tuple[int, UInt8[np.ndarray, "h w 3"]]] = field(default_factory=list)

    @property
    def unreadable(self) -> int:
        """Files that cannot be decoded."""
        return self.pixels.count(b"")

    def thumbs(self) -> UInt8[np.ndarray, "n 32 32"]:
        """All thumbnails, flat where a file cannot be decoded."""
        return np.stack(self.thumbnails) if self.thumbnails else np.zeros((0, SIDE, SIDE), np.uint8)


def scan_originals(originals: Collection, hashes: Hashes, execution: Execution) -> Scan:
    """Digests and thumbnails; every file's bytes go to ``hashes`` as well."""
    found = Scan()
    for _, data in _files(originals, found, execution):
        hashes.add(data)
    return found


def scan_release(released: Collection, execution: Execution) -> Scan:
    """Digests, thumbnails, what each file carries, and the pictures inside."""
    found = Scan()
    for i, data in _files(released, found, execution):
        items = carried(data)
        items += [Item("extras", f"{key}={text}") for key, text in facts_of(released.extras(i)).items()]
        if items:
            # The pictures themselves are decoded here, so that no file's bytes stay in memory.
            found.items[i] = [item._replace(picture=None) for item in items]
            found.inside += [(i, pixels) for item in items if (pixels := _picture(item)) is not None]
    return found


def _files(collection: Collection, found: Scan, execution: Execution) -> Iterator[tuple[int, bytes]]:
    with execution.progress.task("metadata", len(collection), "images") as task:
        for i in range(len(collection)):
            try:
                data = collection.data(i)
            except UnreadableImage:
                data = b""
            pixels = collection.pixels(i, data)
            found.content.append(hashlib.sha256(data).digest()[:16])
            found.pixels.append(b"" if pixels is None else _pixel_digest(pixels))
            found.thumbnails.append(np.zeros((SIDE, SIDE), np.uint8) if pixels is None else thumbnail(pixels))
            yield i, data
            task.advance()


def _pixel_digest(pixels: np.ndarray) -> bytes:
    return hashlib.sha256(str(pixels.shape).encode() + np.ascontiguousarray(pixels).data).digest()[:16]


def _picture(item: Item) -> np.ndarray | None:
    if item.picture is None:
        return None
    try:
        return decode(item.picture, max_pixels=1 << 22)
    except UnreadableImage:
        return None
