"""What the headers of files and of archive members tell: when, by whom, with which remark."""

import datetime
import os
import struct
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from facemae.errors import Damaged
from facemae.faces.importers.zipped import is_zip
from facemae.spec.manifest import files_below

_UNIX_OWNER, _UNIX_TIMES, _NTFS = 0x7875, 0x5455, 0x000A
_1601 = 11_644_473_600
"""Seconds from the first of January 1601, where NTFS begins to count tenths of microseconds, to 1970."""
_GZIP = b"\x1f\x8b\x08"
_EXTRA, _NAME, _REMARK = 4, 8, 16
"""Bits of a gzip header's flags (RFC 1952)."""


class Header(NamedTuple):
    """One file or member: path, time of change in ns (0: none told), owner in words ("" for root or none), remark."""

    path: str
    time: int
    owner: str = ""
    comment: str = ""


def folder_headers(folder: Path) -> list[Header]:
    """Times of the files below a folder. Their owner is whoever unpacked them here, and says nothing."""
    return [Header(name, os.stat(folder / name).st_mtime_ns) for name in files_below(folder)]


def archive_headers(path: Path) -> list[Header]:
    """Headers of a tar (also packed) or zip, in its order; nothing for a file that is neither.

    Raises:
        Damaged: a zip or tar that breaks off.
    """
    try:
        if is_zip(path):
            return list(_zip(path))
        return list(_tar(path)) if tarfile.is_tarfile(path) else []
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, struct.error) as error:
        raise Damaged(f"{path} cannot be read", got=error, needed="a whole archive") from None


def below_root(headers: Iterable[Header], known: str) -> dict[str, Header]:
    """Headers by path relative to the people's directory, which is told from where the photo ``known`` lies in it."""
    listed = list(headers)
    roots = [
        header.path[: -len(known)] for header in listed if header.path == known or header.path.endswith("/" + known)
    ]
    root = min(roots, key=len, default="")
    return {header.path[len(root) :]: header for header in listed if header.path.startswith(root)}


def _tar(path: Path) -> Iterator[Header]:
    if told := _gzip_remarks(path):
        yield Header("", 0, "", told)
    with tarfile.open(path) as archive:
        while (member := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # it keeps every header
            if not member.isreg():
                continue
            names = [name for name in (member.uname, member.gname) if name not in ("", "root")]
            numbers = [str(number) for number in (member.uid, member.gid) if number]
            remarks = [f"{key}={value}" for key, value in member.pax_headers.items() if key not in _PLAIN_PAX]
            yield Header(
                member.name.removeprefix("./"), int(member.mtime * 1e9), ":".join(names or numbers), " ".join(remarks)
            )


def _gzip_remarks(path: Path) -> str:
    """What the header of a gzip file remembers: the name of the packed file, unless it is this one's, and a comment."""
    with path.open("rb") as stream:
        head = stream.read(1 << 16)
    if not head.startswith(_GZIP) or len(head) < 10:
        return ""
    flags, rest = head[3], head[10:]
    if flags & _EXTRA:
        rest = rest[2 + int.from_bytes(rest[:2], "little") :]
    told = {}
    for bit, kind in ((_NAME, "name"), (_REMARK, "comment")):
        if flags & bit:
            text, _, rest = rest.partition(b"\0")
            told[kind] = _text(text)
    if told.get("name") in (path.name, path.stem, path.with_suffix(".tar").name):
        del told["name"]
    return " ".join(f"{kind}={text}" for kind, text in told.items() if text)


def _text(told: bytes) -> str:
    # RFC 1952 wants Latin-1; gzip itself writes the bytes of the file name.
    try:
        return told.decode()
    except UnicodeDecodeError:
        return told.decode("latin-1")


_PLAIN_PAX = {"path", "linkpath", "size", "mtime", "uid", "gid", "uname", "gname", "hdrcharset"}


def _zip(path: Path) -> Iterator[Header]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if not member.is_dir():
                yield Header(
                    member.filename.removeprefix("./"),
                    _zip_time(member),
                    _zip_owner(member.extra),
                    member.comment.decode("utf-8", "replace"),
                )
        if archive.comment:
            yield Header("", 0, "", archive.comment.decode("utf-8", "replace"))


def _zip_time(member: zipfile.ZipInfo) -> int:
    for kind, body in _fields(member.extra):
        if kind == _UNIX_TIMES and len(body) >= 5 and body[0] & 1:
            return int(struct.unpack_from("<i", body, 1)[0]) * 10**9
        # Four reserved bytes, then attributes: number 1, of 24 bytes, opens with the time of change.
        if kind == _NTFS and body[4:8] == b"\x01\0\x18\0" and len(body) >= 16:
            ticks = struct.unpack_from("<Q", body, 8)[0]
            time = 100 * ticks - _1601 * 10**9
            if ticks and abs(time) < 1 << 63:  # none is told by 0; a header may claim anything
                return int(time)
    if member.date_time == (1980, 1, 1, 0, 0, 0):
        return 0  # the first moment that a zip can tell stands for none
    try:
        return int(datetime.datetime(*member.date_time, tzinfo=datetime.UTC).timestamp()) * 10**9
    except ValueError:  # month 0, second 62
        return 0


def _zip_owner(extra: bytes) -> str:
    """User and group by number, from the field that Info-ZIP writes: version, length, user, length, group."""
    for kind, body in _fields(extra):
        if kind == _UNIX_OWNER and len(body) >= 2:
            user_end = 2 + body[1]
            numbers = body[2:user_end], body[user_end + 1 : user_end + 1 + sum(body[user_end : user_end + 1])]
            told = [str(int.from_bytes(number, "little")) for number in numbers]
            return "" if told == ["0", "0"] else ":".join(told)
    return ""


def _fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<2H", extra)
        yield kind, extra[4 : 4 + length]
        extra = extra[4 + length :]
