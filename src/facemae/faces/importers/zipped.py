"""Photos in a zip: its central directory read once, member by member, and one photo inflated at a time.

Written against the format (PKWARE's APPNOTE) and not upon `zipfile`, which keeps half a kilobyte of every member in
memory: face sets are handed out in zips of millions.
"""

import os
import stat
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from facemae.errors import Damaged, DataError, UnreadableImage
from facemae.faces.importers.storage import Skipped, Storage, check_bytes, safe_member
from facemae.spec.scratch import Scratch, packed, unpacked

_END = struct.Struct("<4s4H2LH")
_END64_PLACE = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_FULL, _FULL16 = 0xFFFFFFFF, 0xFFFF
_STORED, _DEFLATED = 0, 8
_ENCRYPTED, _UTF8 = 0x1, 0x800
_ZIP64, _UNICODE_PATH = 0x0001, 0x7075


class _Member(NamedTuple):
    name: str
    method: int
    flags: int
    crc: int
    packed_size: int
    size: int
    place: int
    mode: int


def is_zip(path: Path) -> bool:
    """Whether a file begins as a zip does (an empty one begins with its end)."""
    with path.open("rb") as stream:
        return stream.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


class ZipStorage(Storage):
    """Every regular member of a zip. Links and encrypted members are left out and named.

    What a member says of itself is not believed: the packed sizes of all together fit into the file (overlapping
    members are how a small zip claims petabytes), and inflating stops at the promised size.

    Raises:
        Damaged: not a whole zip, or one that contradicts itself.
        DataError: a member would leave its directory.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path.name[:-4] if path.name.lower().endswith(".zip") else path.stem)
        self._path = path
        self._stream = path.open("rb")
        self._length = os.fstat(self._stream.fileno()).st_size
        self._members = Scratch(
            "CREATE TABLE members (number INTEGER PRIMARY KEY, path BLOB UNIQUE, place INTEGER, method INTEGER,"
            " packed INTEGER, size INTEGER, crc INTEGER)"
        )
        try:
            self._index()
        except BaseException:
            self.close()
            raise

    def files(self) -> Iterator[str]:
        for (path,) in self._members.rows("SELECT path FROM members ORDER BY number"):
            yield unpacked(path)

    def read(self, path: str) -> bytes:
        query = "SELECT place, method, packed, size, crc FROM members WHERE path = ?"
        place, method, packed_size, size, crc = next(self._members.rows(query, packed(path)))
        check_bytes(max(size, packed_size))
        if method not in (_STORED, _DEFLATED):
            raise UnreadableImage("the member is packed in a way that is not read", got=f"method {method}")
        raw = self._packed(place, packed_size)
        data = raw if method == _STORED else _inflated(raw, size)
        if len(data) != size or zlib.crc32(data) != crc:
            raise UnreadableImage("the member is damaged", got="bytes that do not match its size and checksum")
        return data

    def close(self) -> None:
        self._stream.close()
        self._members.close()

    def _packed(self, place: int, size: int) -> bytes:
        header = self._bytes(place, _LOCAL.size)
        if len(header) < _LOCAL.size or not header.startswith(b"PK\x03\x04"):
            raise UnreadableImage("the member is damaged", got="no header where the directory says")
        name, extra = _LOCAL.unpack(header)[-2:]
        return self._bytes(place + _LOCAL.size + name + extra, size)

    def _bytes(self, offset: int, size: int) -> bytes:
        return os.pread(self._stream.fileno(), size, offset)

    def _index(self) -> None:
        count, length, start, shift = self._directory()
        total, left = 0, self._length
        for member in self._central(count, start + shift, length):
            total += 1
            left -= member.packed_size
            self._take(member, shift)
        if total != count or left < 0:
            raise self._damaged("members that overlap" if left < 0 else f"{total} members of {count}")

    def _take(self, member: _Member, shift: int) -> None:
        name = safe_member(self._path, member.name)
        if member.name.endswith("/"):
            self.directories.append(name)
        elif stat.S_IFMT(member.mode) not in (0, stat.S_IFREG):  # many tools tell the permissions only
            self.skipped.append(Skipped(name, "link" if stat.S_ISLNK(member.mode) else "not a regular file"))
        elif member.flags & _ENCRYPTED:
            self.skipped.append(Skipped(name, "encrypted"))
        else:
            row = (packed(name), member.place + shift, member.method, member.packed_size, member.size, member.crc)
            names = "path, place, method, packed, size, crc"
            if not self._members.change(f"INSERT OR IGNORE INTO members ({names}) VALUES (?, ?, ?, ?, ?, ?)", *row):
                raise self._damaged(f"two members of the name {name!r}")

    def _directory(self) -> tuple[int, int, int, int]:
        """Number of members, length and start of the central directory, and what stands before the zip itself."""
        # A comment of up to 64 KB may follow the end record.
        tail_start = max(0, self._length - _FULL16 - _END.size)
        tail = self._bytes(tail_start, self._length - tail_start)
        at = tail.rfind(b"PK\x05\x06")
        if at < 0 or len(tail) - at < _END.size:
            raise self._damaged("no end record")
        _, disk, _, _, count, length, start, _ = _END.unpack_from(tail, at)
        end = tail_start + at
        if count == _FULL16 or _FULL in (length, start):
            place = self._bytes(max(0, end - _END64_PLACE.size), _END64_PLACE.size)
            if place.startswith(b"PK\x06\x07") and end >= _END64_PLACE.size + _END64.size:
                end -= _END64_PLACE.size + _END64.size
                record = self._bytes(end, _END64.size)
                if not record.startswith(b"PK\x06\x06"):
                    raise self._damaged("no 64-bit end record")
                _, _, _, _, disk, _, _, count, length, start = _END64.unpack(record)
        shift = end - length - start
        if disk or shift < 0:
            raise self._damaged("one part of several" if disk else "a directory that would lie before the file")
        return count, length, start, shift

    def _central(self, count: int, start: int, length: int) -> Iterator[_Member]:
        self._stream.seek(start)
        stop = start + length
        for _ in range(count):
            header = self._stream.read(_CENTRAL.size)
            if len(header) < _CENTRAL.size or not header.startswith(b"PK\x01\x02"):
                raise self._damaged("a directory that ends early")
            fields = _CENTRAL.unpack(header)
            name, extra = self._stream.read(fields[10]), self._stream.read(fields[11])
            self._stream.seek(fields[12], os.SEEK_CUR)
            if self._stream.tell() > stop:
                raise self._damaged("a directory longer than it says")
            yield self._member(fields, name, extra)

    def _member(self, fields: tuple, name: bytes, extra: bytes) -> _Member:
        flags, method, crc = fields[3], fields[4], fields[7]
        packed_size, size, place = self._wide(fields[8], fields[9], fields[16], extra)
        return _Member(_name(name, flags, extra), method, flags, crc, packed_size, size, place, fields[15] >> 16)

    def _wide(self, packed_size: int, size: int, place: int, extra: bytes) -> tuple[int, int, int]:
        """Sizes and place, taken from the 64-bit extra field where they do not fit into 32 bits."""
        wide = iter(value for (value,) in struct.iter_unpack("<Q", _whole(_field(extra, _ZIP64), 8)))
        try:
            size = next(wide) if size == _FULL else size
            packed_size = next(wide) if packed_size == _FULL else packed_size
            place = next(wide) if place == _FULL else place
        except StopIteration:
            raise self._damaged("a 64-bit size that is missing") from None
        if max(size, packed_size, place) >= 1 << 62:
            raise self._damaged("an impossible size")
        return packed_size, size, place

    def _damaged(self, got: str) -> DataError:
        return Damaged(
            f"{self._path} cannot be read as a zip", got=got, needed="a whole .zip", remedy="fetch or pack it again"
        )


def _name(raw: bytes, flags: int, extra: bytes) -> str:
    """A member's name: by the flag for UTF-8, by the field for it, else UTF-8 where it can be that, as macOS writes it
    without saying so, and the code page of DOS last."""
    if flags & _UTF8:
        return raw.decode("utf-8", "replace")
    field = _field(extra, _UNICODE_PATH)
    if len(field) > 5 and field[0] == 1 and int.from_bytes(field[1:5], "little") == zlib.crc32(raw):
        raw = field[5:]
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("cp437")


def _field(extra: bytes, wanted: int) -> bytes:
    """The content of one extra field; nothing where it is not there."""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<2H", extra)
        if kind == wanted:
            return extra[4 : 4 + length]
        extra = extra[4 + length :]
    return b""


def _whole(field: bytes, unit: int) -> bytes:
    return field[: len(field) // unit * unit]


def _inflated(raw: bytes, size: int) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = inflater.decompress(raw, size + 1)
    except zlib.error as error:
        raise UnreadableImage("the member is damaged", got=error) from None
    if len(data) > size:
        raise UnreadableImage("the member is damaged", got=f"more than the {size} bytes that it promises")
    return data
