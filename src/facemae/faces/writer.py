"""Writes the shards and the index of a FaceSet, resumable at the last flushed record.

Layout: `shards/NNNNN.tar` are plain USTAR archives with WebDataset names (`<key>.jpg|.png`, `<key>.cls`, and
`<key>.json` where a record has extras); `index.npy` holds one row per record. The same records give the same bytes.
"""

import contextlib
import json
import os
import shutil
import tarfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np

from facemae.faces.codec import suffix_of
from facemae.faces.record import key_of

INDEX_DTYPE = np.dtype(
    [
        ("shard", "<u4"),
        ("length", "<u4"),
        ("offset", "<u8"),
        ("extras_offset", "<u8"),
        ("extras_length", "<u4"),
        ("crc32", "<u4"),
        ("identity", "<i4"),
        ("reserved", "<u4"),
    ]
)
"""``offset``/``length``: image bytes inside the shard; ``crc32``: of image + extras; ``extras_length`` 0: no extras."""

SHARD_BYTES = 1 << 28
_PENDING = 4096
_BLOCK = 512
_PARTIAL_INDEX = "index.partial"
_Length = TypeVar("_Length", int, np.ndarray)


class FaceSetWriter:
    """Appends records to ``directory``; `finish` turns the running index into ``index.npy``.

    Opening a directory that an interrupted run left goes on after the last record that reached the disk whole.
    """

    def __init__(self, directory: Path, *, shard_bytes: int = SHARD_BYTES) -> None:
        self._directory = directory
        self._shard_bytes = shard_bytes
        (directory / "shards").mkdir(parents=True, exist_ok=True)
        rows = self._recover()
        self._pending: list[tuple[int, ...]] = []
        self._index = (directory / _PARTIAL_INDEX).open("ab")
        self._shard_number = int(rows[-1]["shard"]) if len(rows) else 0
        self._shard: BinaryIO = self._shard_path(self._shard_number).open("ab")
        self._position = self._shard.tell()
        self._count = len(rows)

    def __len__(self) -> int:
        return self._count

    def add(self, image: bytes, identity: int, *, extras: dict[str, Any] | None = None) -> str:
        """Append one record and return its key; ``image`` is a whole JPEG or PNG file."""
        if self._position >= self._shard_bytes:
            self._next_shard()
        key = key_of(self._count)
        encoded = json.dumps(extras, sort_keys=True, separators=(",", ":")).encode() if extras else b""
        offset = self._member(key + suffix_of(image), image)
        self._member(key + ".cls", str(identity).encode())
        extras_offset = self._member(key + ".json", encoded) if extras else 0
        crc = zlib.crc32(encoded, zlib.crc32(image))
        self._pending.append((self._shard_number, len(image), offset, extras_offset, len(encoded), crc, identity, 0))
        self._count += 1
        if len(self._pending) == _PENDING:
            self.flush()
        return key

    def flush(self) -> None:
        """Everything added so far survives an interruption: shard bytes first, then their index rows."""
        self._shard.flush()
        os.fsync(self._shard.fileno())
        self._index.write(np.array(self._pending, dtype=INDEX_DTYPE).tobytes())
        self._index.flush()
        os.fsync(self._index.fileno())
        self._pending.clear()

    def finish(self) -> int:
        """Close the shards, write ``index.npy`` and return the number of records."""
        self.flush()
        # Two zero blocks end an archive.
        self._shard.write(b"\0" * (2 * _BLOCK))
        self._shard.flush()
        os.fsync(self._shard.fileno())
        self.close()
        partial = self._directory / _PARTIAL_INDEX
        header = {"descr": np.lib.format.dtype_to_descr(INDEX_DTYPE), "fortran_order": False, "shape": (self._count,)}
        # Not by np.save: it needs all rows in memory, and hides the reason (no space left) when writing fails.
        with (self._directory / "index.npy").open("wb") as stream, partial.open("rb") as rows:
            np.lib.format.write_array_header_1_0(stream, header)
            shutil.copyfileobj(rows, stream, 1 << 16)
            stream.flush()
            os.fsync(stream.fileno())
        partial.unlink()
        return self._count

    def close(self) -> None:
        """Release the files without finishing the set."""
        self._shard.close()
        self._index.close()

    def __del__(self) -> None:
        # After a failed write, closing fails once more; the person has been told already.
        for name in ("_shard", "_index"):
            with contextlib.suppress(OSError, AttributeError):
                getattr(self, name).close()

    def _shard_path(self, number: int) -> Path:
        return self._directory / "shards" / f"{number:05d}.tar"

    def _recover(self) -> np.ndarray:
        partial = self._directory / _PARTIAL_INDEX
        if not partial.exists():
            for stale in (self._directory / "shards").glob("*.tar"):
                stale.unlink()
            return np.empty(0, INDEX_DTYPE)
        data = partial.read_bytes()
        rows = np.frombuffer(data[: len(data) // INDEX_DTYPE.itemsize * INDEX_DTYPE.itemsize], INDEX_DTYPE)
        rows = rows[: self._whole(rows)]
        os.truncate(partial, rows.nbytes)
        last = int(rows[-1]["shard"]) if len(rows) else -1
        for shard in sorted((self._directory / "shards").glob("*.tar")):
            if int(shard.stem) > last:
                shard.unlink()
        if len(rows):
            os.truncate(self._shard_path(last), int(_ends(rows[-1:])[0]))
        return rows

    def _whole(self, rows: np.ndarray) -> int:
        """How many leading records lie in the shards with all their bytes."""
        last = int(rows["shard"].max(initial=0))
        paths = [self._shard_path(number) for number in range(last + 1)]
        sizes = np.array([path.stat().st_size if path.exists() else 0 for path in paths])
        # A shard that has a successor goes on for the two zero blocks that end it.
        needed = _ends(rows) + np.where(rows["shard"] < last, 2 * _BLOCK, 0)
        short = np.flatnonzero(needed > sizes[rows["shard"]])
        return int(short[0]) if len(short) else len(rows)

    def _member(self, name: str, data: bytes) -> int:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        info.mode = 0o644
        self._shard.write(info.tobuf(tarfile.USTAR_FORMAT))
        offset = self._position + _BLOCK
        self._shard.write(data + b"\0" * (_padded(len(data)) - len(data)))
        self._position = offset + _padded(len(data))
        return offset

    def _next_shard(self) -> None:
        self.flush()
        self._shard.write(b"\0" * (2 * _BLOCK))
        self._shard.flush()
        os.fsync(self._shard.fileno())
        self._shard.close()
        self._shard_number += 1
        self._shard = self._shard_path(self._shard_number).open("ab")
        self._position = 0


def _ends(rows: np.ndarray) -> np.ndarray:
    """Where the last member of each record ends: the .json where there is one, else the .cls."""
    image = _padded(rows["offset"].astype(np.int64) + rows["length"])
    extras = _padded(rows["extras_offset"].astype(np.int64) + rows["extras_length"])
    return np.where(rows["extras_length"] > 0, extras, image + 2 * _BLOCK)


def _padded(length: _Length) -> _Length:
    return (length + _BLOCK - 1) // _BLOCK * _BLOCK
