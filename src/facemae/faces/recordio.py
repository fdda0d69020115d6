"""RecordIO, the container of MXNet and InsightFace, byte for byte and without MXNet.

    part    = magic u32 | kind << 29 | length u32 | payload | zeros up to a multiple of 4        (little-endian)
    payload = flag u32 | label f32 | id u64 | id2 u64 | flag x f32 labels | image bytes

A payload that holds the magic number at a multiple of 4 is cut there into parts; the reader puts it back. An index is
text, a line ``key<tab>offset`` a record, in any order. Sources: dmlc-core recordio.h, mxnet recordio.py.
"""

import struct
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple

from facemae.errors import Damaged, DataError

MAGIC = 0xCED7230A
LONGEST = (1 << 29) - 1
"""Bytes of the longest record: the length has 29 bits."""

WHOLE, FIRST, MIDDLE, LAST = range(4)
MARK = struct.pack("<I", MAGIC)
FRAME = struct.Struct("<II")
HEADER = struct.Struct("<IfQQ")
_BUFFER = 1 << 20


class Header(NamedTuple):
    """What stands before an image: its labels (one: flag 0; several: flag is their number), and two numbers."""

    flag: int
    labels: tuple[float, ...]
    id: int
    id2: int


def pack(labels: int | float | Sequence[int | float], image: bytes, *, key: int = 0) -> bytes:
    """The payload of one record: a number is written as flag 0, a sequence as that many labels."""
    if isinstance(labels, int | float):
        return HEADER.pack(0, labels, key, 0) + image
    return b"".join((HEADER.pack(len(labels), 0.0, key, 0), struct.pack(f"<{len(labels)}f", *labels), image))


def unpack(payload: bytes) -> tuple[Header, bytes]:
    """The header and the image of one payload.

    Raises:
        Damaged: shorter than its header, or than the labels that its flag announces.
    """
    if len(payload) < HEADER.size:
        raise Damaged("a record without its header", got=f"{len(payload)} bytes", needed=f"at least {HEADER.size}")
    flag, label, number, other = HEADER.unpack_from(payload)
    end = HEADER.size + 4 * flag
    if end > len(payload):
        raise Damaged("a record without its labels", got=f"{len(payload)} bytes", needed=f"{flag} labels, {end} bytes")
    labels = struct.unpack_from(f"<{flag}f", payload, HEADER.size) if flag else (label,)
    return Header(flag, labels, number, other), payload[end:]


def frame(payload: bytes) -> bytes:
    """The bytes of one record on disk.

    Raises:
        DataError: longer than a record can be.
    """
    if len(payload) > LONGEST:
        raise DataError("a record is too long", got=f"{len(payload)} bytes", needed=f"at most {LONGEST}")
    cuts = _cuts(payload) if MARK in payload else []
    if not cuts:
        return _part(WHOLE, payload)
    ends = [*cuts, len(payload)]
    kinds = [FIRST, *[MIDDLE] * (len(cuts) - 1), LAST]
    starts = [0, *(cut + len(MARK) for cut in cuts)]
    return b"".join(_part(kind, payload[i:j]) for kind, i, j in zip(kinds, starts, ends, strict=True))


def _cuts(payload: bytes) -> list[int]:
    """Where the magic number stands at a multiple of 4."""
    cuts = []
    at = payload.find(MARK)
    while at >= 0:
        aligned = at % 4 == 0
        cuts += [at] if aligned else []
        at = payload.find(MARK, at + (4 if aligned else 1))
    return cuts


def _part(kind: int, data: bytes) -> bytes:
    length = len(data)
    return b"".join((FRAME.pack(MAGIC, kind << 29 | length), data, b"\0" * (-length & 3)))


class RecordWriter:
    """Appends records to a new ``.rec`` and lines to its ``.idx``."""

    def __init__(self, path: Path, index: Path) -> None:
        self._records: BinaryIO = path.open("xb", buffering=_BUFFER)
        self._index: BinaryIO = index.open("xb", buffering=_BUFFER)
        self._position = 0

    def write(self, key: int, payload: bytes) -> int:
        """Append one record and return its offset."""
        offset = self._position
        self._position += self._records.write(frame(payload))
        self._index.write(b"%d\t%d\n" % (key, offset))
        return offset

    def close(self) -> None:
        """Write what is still in memory."""
        self._records.close()
        self._index.close()

    def __enter__(self) -> "RecordWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
