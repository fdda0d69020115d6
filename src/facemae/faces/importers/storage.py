"""Where photos lie: a directory or a tar, listed once and read one file at a time.

Nothing is extracted. Members of a tar with a path that could leave its directory end the import; links and devices are
left out and named. A gzipped tar is unpacked once into an unnamed temporary file (under ``TMPDIR``), because reading
its members in any order but their own would cost a pass each.
"""

import gzip
import os
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import BinaryIO, NamedTuple

from facemae.errors import Damaged, DataError, DiskFull, UnreadableImage
from facemae.faces.importers.protocol import ListedPair
from facemae.spec.scratch import Scratch, packed, unpacked

MAX_FILE_BYTES = 1 << 28
"""No photo is larger than 256 MB; a larger file is not read into memory."""


EXPANSION = 100
"""Images hardly compress: a gzipped tar that unpacks to more than so many times its size, and a photo, means harm."""


class Skipped(NamedTuple):
    """A file that was left out, and why."""

    path: str
    reason: str


class Storage:
    """Files under one root, named by relative paths with forward slashes, unsorted.

    ``directories`` and ``skipped`` are complete once ``files()`` has come to its end. ``pairs``: those that it brings.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.directories: list[str] = []
        self.skipped: list[Skipped] = []
        self.pairs: list[ListedPair] = []

    def files(self) -> Iterator[str]:
        """The paths of all files, each held in memory only while it is looked at.

        Raises:
            DataError: a directory cannot be listed.
        """
        raise NotImplementedError

    def read(self, path: str) -> bytes:
        """The bytes of one of ``files``.

        Raises:
            UnreadableImage: too large, gone, or not permitted.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Release what is held open."""

    def __enter__(self) -> "Storage":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_storage(path: Path) -> Storage:
    """A directory, a ``.tar`` or a ``.tar.gz``, told apart by content.

    Raises:
        DataError: nothing there, or neither a directory nor a tar.
        Damaged: a tar that ends early or is corrupt.
    """
    if path.is_dir():
        return FolderStorage(path)
    if path.is_file() and os.access(path, os.R_OK):
        return TarStorage(path)
    raise DataError(f"no photos at {path}", got="nothing that can be opened", needed="a directory or a tar of photos")


class FolderStorage(Storage):
    """Every regular file below a directory. Links to files count as files; links to directories are not followed."""

    def __init__(self, root: Path) -> None:
        super().__init__(root.resolve().name)
        self._root = root

    def files(self) -> Iterator[str]:
        self.directories, self.skipped = [], []
        pending = [""]
        while pending:
            prefix = pending.pop()
            try:
                with os.scandir(os.path.join(self._root, prefix)) as entries:
                    for entry in entries:
                        path = prefix + entry.name
                        if entry.is_dir(follow_symlinks=False):
                            self.directories.append(path)
                            pending.append(path + "/")
                        elif entry.is_file():
                            yield path
                        else:
                            reason = "link to a directory" if entry.is_dir() else "not a regular file"
                            self.skipped.append(Skipped(path, reason))
            except OSError as error:
                raise DataError(f"{self._root / prefix} cannot be listed", got=error.strerror) from None

    def read(self, path: str) -> bytes:
        try:
            with open(os.path.join(self._root, path), "rb") as stream:  # a Path would keep the parts of its name
                check_bytes(os.fstat(stream.fileno()).st_size)
                return stream.read()
        except OSError as error:
            raise UnreadableImage("the file cannot be opened", got=error.strerror) from None


class TarStorage(Storage):
    """Every regular member of a tar, indexed in one pass and read by offset."""

    def __init__(self, path: Path) -> None:
        super().__init__(_tar_stem(path))
        self._stream = _plain_stream(path)
        self._places = Scratch(
            "CREATE TABLE places (number INTEGER PRIMARY KEY, path BLOB UNIQUE, offset INTEGER, size INTEGER)"
        )
        try:
            self._index(path)
        except BaseException:
            self.close()
            raise

    def files(self) -> Iterator[str]:
        return (path for path, _, _ in self.places())

    def places(self) -> Iterator[tuple[str, int, int]]:
        """Path, first byte and length of every member, in the order of the tar."""
        for path, offset, size in self._places.rows("SELECT path, offset, size FROM places ORDER BY number"):
            yield unpacked(path), offset, size

    def read(self, path: str) -> bytes:
        offset, size = next(self._places.rows("SELECT offset, size FROM places WHERE path = ?", packed(path)))
        check_bytes(size)
        return os.pread(self._stream.fileno(), size, offset)

    def close(self) -> None:
        self._stream.close()
        self._places.close()

    def _index(self, path: Path) -> None:
        length = os.fstat(self._stream.fileno()).st_size
        try:
            with tarfile.open(fileobj=self._stream, mode="r:") as archive:
                while (member := archive.next()) is not None:
                    # A sparse member says how large it would be with its holes; it is left out below.
                    if member.size < 0 or (member.size > length and not member.issparse()):
                        raise tarfile.ReadError(f"member {member.name!r} of {member.size} bytes")
                    self._take(member, path)
                    archive.members = []  # type: ignore[attr-defined]  # it keeps every header; millions fill memory
                stopped = archive.offset
        except (tarfile.TarError, EOFError, ValueError, OverflowError, OSError) as error:
            raise _bad_tar(path, str(error)) from None
        # tarfile takes a corrupt header, or a cut between two members, for the end; the true end is a block of zeros.
        self._stream.seek(stopped)
        if self._stream.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
            raise _bad_tar(path, f"no end mark at byte {stopped}, where the last readable member ends")

    def _take(self, member: tarfile.TarInfo, path: Path) -> None:
        name = safe_member(path, member.name)
        if member.isdir():
            if name != ".":
                self.directories.append(name)
        elif not member.isreg() or member.issparse():
            self.skipped.append(Skipped(name, "link" if member.issym() or member.islnk() else "not a regular file"))
        else:
            place = (packed(name), member.offset_data, member.size)
            if not self._places.change("INSERT OR IGNORE INTO places (path, offset, size) VALUES (?, ?, ?)", *place):
                self.skipped.append(Skipped(name, "a later member of the tar has the same name"))
                self._places.change("UPDATE places SET offset = ?2, size = ?3 WHERE path = ?1", *place)


def safe_member(archive: Path, name: str) -> str:
    """The name of an archive's member in its plainest spelling.

    Raises:
        DataError: the name could lead out of the directory.
    """
    pure = PurePosixPath(name)
    plain = str(pure)
    if pure.is_absolute() or ".." in pure.parts or "\\" in plain or "\0" in plain:
        raise DataError(
            f"{archive} holds a member that would leave its directory",
            got=repr(name),
            needed="relative paths without ..",
            remedy="do not trust this archive; pack it again from a directory you know",
        )
    return plain


def _plain_stream(path: Path) -> BinaryIO:
    with path.open("rb") as stream:
        gzipped = stream.read(2) == b"\x1f\x8b"
    if not gzipped:
        return path.open("rb")
    plain = tempfile.TemporaryFile()  # noqa: SIM115
    try:
        with gzip.open(path) as packed:
            room = EXPANSION * path.stat().st_size + MAX_FILE_BYTES
            while block := packed.read(1 << 20):
                room -= len(block)
                if room < 0:
                    raise EOFError(f"more than {EXPANSION} times its size when unpacked")
                plain.write(block)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        plain.close()
        raise _bad_tar(path, str(error)) from None
    except OSError as error:
        plain.close()
        raise DiskFull(f"no room to unpack {path}", got=error.strerror, remedy="set TMPDIR to a larger disk") from None
    plain.seek(0)
    return plain


def _bad_tar(path: Path, reason: str) -> DataError:
    return Damaged(
        f"{path} cannot be read as a tar", got=reason, needed="a whole .tar or .tar.gz", remedy="fetch or pack it again"
    )


def check_bytes(size: int) -> None:
    """Refuse what is too large to be a photo before it is read.

    Raises:
        UnreadableImage: over `MAX_FILE_BYTES`.
    """
    if size > MAX_FILE_BYTES:
        raise UnreadableImage("the file is too large", got=f"{size} bytes", needed=f"at most {MAX_FILE_BYTES}")


def _tar_stem(path: Path) -> str:
    name = path.name
    for suffix in (".tar.gz", ".tgz", ".tar"):
        if name.endswith(suffix):
            return name[: -len(suffix)]
    return path.stem
