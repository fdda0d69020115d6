"""A RecordIO file read at random: the index as arrays, the records by mapping the file."""

import contextlib
import io
import mmap
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt32

from facemae.errors import Damaged, DataError
from facemae.faces.recordio import FIRST, FRAME, HEADER, LAST, LONGEST, MAGIC, MARK, MIDDLE, WHOLE, Header, unpack

_BLOCK = 1 << 16
_TEXT = 1 << 24


class Tags(NamedTuple):
    """Of every record: its flag, its first label, and whether no image follows (InsightFace's bookkeeping)."""

    flag: UInt32[np.ndarray, " n"]
    label: Float32[np.ndarray, " n"]
    empty: Bool[np.ndarray, " n"]


class RecordFile:
    """Records 0 … n-1 of a ``.rec``, in the order of their ``keys``; 16 bytes of memory a record.

    Without an ``index`` the file is scanned, and the keys are those that InsightFace's writer would have given:
    images from 1 and then record 0 where a record without an image follows the images, else from 0 in file order.

    Raises:
        DataError: a file cannot be opened.
        Damaged: no RecordIO, cut off, or an index that does not fit it; the line names record and byte.
    """

    def __init__(self, path: Path, index: Path | None = None) -> None:
        self.path = path
        self._map = _mapped(path)
        self._words = np.frombuffer(self._map, "<u4", count=len(self._map) // 4)
        self.keys: Int64[np.ndarray, " n"]
        self.offsets: Int64[np.ndarray, " n"]
        if index is None:
            self._take_scan()
        else:
            self.keys, self.offsets = read_index(index, size=len(self._map))

    def __len__(self) -> int:
        return len(self.keys)

    def find(self, key: int) -> int:
        """Number of the record with this key; -1 where there is none."""
        row = int(np.searchsorted(self.keys, key))
        return row if row < len(self.keys) and self.keys[row] == key else -1

    def payload(self, row: int) -> bytes:
        """Record ``row`` as it was before it was cut into parts.

        Raises:
            Damaged: other bytes than a record's at its offset, or a length that leads out of the file.
        """
        return MARK.join(self._map[start:end] for start, end in self._parts(row))

    def payloads(self) -> Iterator[bytes]:
        """All records in order; frames are checked many at a time."""
        for begin in range(0, len(self), _BLOCK):
            rows = np.arange(begin, min(begin + _BLOCK, len(self)))
            whole, starts, ends = self._spans(rows)
            for row, simple, start, end in zip(
                rows.tolist(), whole.tolist(), starts.tolist(), ends.tolist(), strict=True
            ):
                yield self._map[start:end] if simple else self.payload(row)

    def record(self, row: int) -> tuple[Header, bytes]:
        """Header and image of record ``row``; raises as ``payload`` and ``unpack`` do."""
        payload = self.payload(row)
        try:
            return unpack(payload)
        except Damaged as error:
            raise self._damaged(row, int(self.offsets[row]), str(error)) from None

    def tags(self) -> Tags:
        """Flag, label and emptiness of every record, read from the headers alone."""
        tags = Tags(np.zeros(len(self), np.uint32), np.zeros(len(self), np.float32), np.zeros(len(self), np.bool_))
        for begin in range(0, len(self), _BLOCK):
            rows = np.arange(begin, min(begin + _BLOCK, len(self)))
            whole, starts, ends = self._spans(rows)
            length = ends - starts
            first = starts // 4
            flag = self._word(first)
            body = HEADER.size + 4 * flag.astype(np.int64)
            simple = whole & (length >= HEADER.size) & (length >= body)
            label = self._word(first + np.where(flag > 0, HEADER.size // 4, 1)).view(np.float32)
            tags.flag[rows], tags.label[rows], tags.empty[rows] = flag, label, length == body
            for row in rows[~simple].tolist():  # in parts, or damaged
                header, image = self.record(row)
                tags.flag[row], tags.label[row], tags.empty[row] = header.flag, header.labels[0], not image
        return tags

    def behind(self) -> int:
        """Bytes of records behind the last one that the index names; 0 where there is nothing."""
        if not len(self):
            return len(self._map)
        *_, (_, end) = self._parts(int(self.offsets.argmax()))
        return len(self._map) - _padded(end)

    def close(self) -> None:
        """Release the file."""
        self._words = self._words[:0].copy()
        with contextlib.suppress(BufferError):
            self._map.close()

    def _word(self, place: Int64[np.ndarray, " n"]) -> UInt32[np.ndarray, " n"]:
        """32-bit words at these places; whatever lies behind the end is checked apart."""
        return self._words[np.minimum(place, len(self._words) - 1)]

    def _spans(
        self, rows: Int64[np.ndarray, " n"]
    ) -> tuple[Bool[np.ndarray, " n"], Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
        """(is it whole and sound, first byte, end) of the payloads of ``rows``."""
        at = self.offsets[rows]
        magic, second = self._word(at // 4), self._word(at // 4 + 1)
        starts = at + FRAME.size
        ends = starts + (second & LONGEST)
        whole = (magic == MAGIC) & (second >> 29 == WHOLE) & ((ends + 3) // 4 * 4 <= len(self._map))
        return whole, starts, ends

    def _parts(self, row: int) -> Iterator[tuple[int, int]]:
        """(first byte, end) of every part of record ``row``; nearly always there is one."""
        at = int(self.offsets[row])
        kind, start, end = self._span(at, row)
        self._demand(kind in (WHOLE, FIRST), row, at, "a later part of another record")
        yield start, end
        while kind not in (WHOLE, LAST):
            at = _padded(end)
            kind, start, end = self._span(at, row)
            self._demand(kind in (MIDDLE, LAST), row, at, "another record before the last part")
            yield start, end

    def _span(self, at: int, row: int) -> tuple[int, int, int]:
        """(kind, first byte, end) of the part at byte ``at``."""
        self._demand(at + FRAME.size <= len(self._map), row, at, f"the end of the file at byte {len(self._map)}")
        magic, second = FRAME.unpack_from(self._map, at)
        self._demand(magic == MAGIC, row, at, f"{magic:#010x} instead of the magic number {MAGIC:#010x}")
        kind, length = second >> 29, second & LONGEST
        self._demand(kind <= LAST, row, at, f"a part of kind {kind}")
        start = at + FRAME.size
        left = len(self._map) - start
        self._demand(_padded(length) <= left, row, at, f"{_padded(length)} bytes with padding where {left} are left")
        return kind, start, start + length

    def _demand(self, good: bool, row: int, at: int, got: str) -> None:
        if not good:
            raise self._damaged(row, at, got)

    def _damaged(self, row: int, at: int, got: str) -> Damaged:
        keys = getattr(self, "keys", None)  # while scanning there are none
        name = f"record {row} from the start" if keys is None else f"record with key {keys[row]}"
        return Damaged(f"{self.path.name}, {name}, byte {at}", got=got, remedy="fetch the file again")

    def _take_scan(self) -> None:
        offsets = array("q")
        at, inside = 0, False
        while at < len(self._map):
            row = len(offsets) - inside
            kind, _, end = self._span(at, row)
            self._demand((kind in (MIDDLE, LAST)) == inside, row, at, "a part out of order")
            if not inside:
                offsets.append(at)
            inside = kind in (FIRST, MIDDLE)
            at = _padded(end)
        self._demand(not inside, len(offsets) - 1, at, "the end of the file before the last part")
        self.offsets = np.frombuffer(offsets, np.int64) if offsets else np.empty(0, np.int64)
        self.keys = np.arange(len(offsets))
        bare = np.flatnonzero(self.tags().empty)
        if len(bare) and bare[0]:
            # The images come first, from key 1; record 0 stands right behind them.
            order = np.r_[bare[0], 0 : bare[0], bare[0] + 1 : len(offsets)]
            self.offsets = self.offsets[order]


def read_index(path: Path, *, size: int) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """Keys, ascending, and offsets of an ``.idx`` for a file of ``size`` bytes.

    Raises:
        DataError: the file cannot be opened.
        Damaged: no such lines, a key twice, or an offset outside the file.
    """
    try:
        rows = _index_rows(path, size // FRAME.size)
    except OSError as error:
        raise DataError(f"{path} cannot be opened", got=error.strerror) from None
    except (ValueError, OverflowError) as error:
        got = " ".join(str(error).split())
        raise Damaged(f"{path.name} is no index", got=got, needed="a key, a tab and an offset a line") from None
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    keys, offsets = np.ascontiguousarray(rows[:, 0]), np.ascontiguousarray(rows[:, 1])
    twice = np.flatnonzero(keys[1:] == keys[:-1])
    if len(twice):
        raise Damaged(f"{path.name} names a key twice", got=keys[twice[0]])
    if len(np.unique(offsets)) < len(offsets):
        remedy = "remove the index: the records are then scanned"
        raise Damaged(f"{path.name} names one place for two keys", needed="a record a key", remedy=remedy)
    wrong = np.flatnonzero((offsets < 0) | (offsets > size - FRAME.size) | (offsets % 4 != 0))
    if len(wrong):
        got = f"byte {offsets[wrong[0]]} of {size} for key {keys[wrong[0]]}"
        remedy = "fetch both files again, or remove the index: the records are then scanned"
        raise Damaged(f"{path.name} does not fit the .rec", got=got, remedy=remedy)
    return keys, offsets


def _index_rows(path: Path, most: int) -> np.ndarray:
    parts, count = [np.empty((0, 2), np.int64)], 0
    with path.open("rb") as stream:
        while block := stream.read(_TEXT):
            block += stream.readline(_TEXT)
            if block.isspace():
                continue
            rows = np.loadtxt(io.BytesIO(block), np.int64, delimiter="\t", comments=None, ndmin=2)
            if rows.shape[1] != 2:
                raise ValueError(f"{rows.shape[1]} columns")
            parts.append(rows)
            count += len(rows)
            if count > most:
                raise ValueError(f"more than the {most} records that the file can hold")
    return np.concatenate(parts)


def _mapped(path: Path) -> mmap.mmap:
    try:
        with path.open("rb") as stream:
            if not stream.read(1):
                raise Damaged(f"{path.name} is empty", needed="RecordIO records")
            return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise DataError(f"{path} cannot be opened", got=error.strerror) from None


def _padded(length: int) -> int:
    return (length + 3) // 4 * 4
