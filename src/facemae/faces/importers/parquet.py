"""Hugging Face image sets in Parquet: one pass over the files, the images kept in an unnamed temporary file.

Photos leave a source person by person, and Parquet gives rows in their own order only; a row cannot be read alone.
"""

import os
import posixpath
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from facemae.errors import Damaged, DataError, DiskFull, UnreadableImage
from facemae.faces.importers.entries import Entry
from facemae.faces.importers.layouts import LABELS, LabelledStorage, Listing, person_of
from facemae.faces.importers.storage import MAX_FILE_BYTES, Skipped, check_bytes
from facemae.faces.parquet import load_pyarrow, read_features
from facemae.spec.scratch import Scratch, packed, unpacked

_MAGIC = b"PAR1"
_IMAGES = ("image", "img", "jpg", "png", "webp", "photo", "face")
_BUFFER = 1 << 20
_EXPANSION = 20
"""Images hardly compress: whoever packs more than this many times the file's bytes into it means harm."""


class _Columns(NamedTuple):
    """Where a file keeps image (``nested``: in a structure) and person, and what the numbers of people stand for."""

    image: str
    nested: bool
    label: str
    names: tuple[str, ...] | None


def is_parquet(path: Path) -> bool:
    """Whether a file begins as Parquet does."""
    with path.open("rb") as stream:
        return stream.read(4) == _MAGIC


class ParquetStorage(LabelledStorage):
    """Images of one or more Parquet files. `listing` reads them; a photo is named ``<person>/<its own file name>``."""

    def __init__(self, name: str, paths: Sequence[Path]) -> None:
        super().__init__(name)
        load_pyarrow()
        self._paths = paths
        self._images = tempfile.TemporaryFile()  # noqa: SIM115
        self._places = Scratch(
            "CREATE TABLE places (path BLOB PRIMARY KEY, offset INTEGER, size INTEGER) WITHOUT ROWID"
        )

    def files(self) -> Iterator[str]:
        for (path,) in self._places.rows("SELECT path FROM places"):
            yield unpacked(path)

    def read(self, path: str) -> bytes:
        offset, size = next(self._places.rows("SELECT offset, size FROM places WHERE path = ?", packed(path)))
        check_bytes(size)
        if offset < 0:
            raise UnreadableImage("the row holds no image", got="no bytes", needed="bytes, not only a path")
        return os.pread(self._images.fileno(), size, offset)

    def close(self) -> None:
        self._images.close()
        self._places.close()

    def listing(self, *, label: str | None = None) -> Listing:
        """Read all files; ``label`` names the column of the people, else it is the first of the usual names.

        Raises:
            Damaged: not whole, or a row of another form than its file promises.
            DataError: no column of images or of people.
            DiskFull: no room for the images.
        """
        listing = Listing("")
        for path in self._paths:
            listing.entries.add(self._entries(path, label))
        if not len(listing.entries):
            raise DataError(f"{self.name} holds no photos", got="no row with an image and a person")
        self._images.flush()
        listing.skipped = sorted(self.skipped)
        return listing

    def _entries(self, path: Path, label: str | None) -> Iterator[Entry]:
        _, pq = load_pyarrow()
        room = _EXPANSION * path.stat().st_size + MAX_FILE_BYTES
        with (
            _naming_damage(path),
            pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False, page_checksum_verification=True) as file,
        ):
            columns = _columns(file, path, label)
            row = 0
            wanted = [columns.image, columns.label]
            # Row by row: a file of kilobytes can hold one huge image and name it in every row.
            for batch in file.iter_batches(1, columns=wanted, use_threads=False):
                for image, own, person in _rows(batch, columns):
                    if person is None:
                        self.skipped.append(Skipped(f"{path.name}, row {row}", "no person"))
                    else:
                        room -= image.size if image is not None else 0
                        if room < 0:
                            raise _unreadable(path, f"more image bytes than {_EXPANSION} times the file")
                        yield Entry(self._keep(image, own, person, f"{path.stem}-{row:08d}"), person)
                    row += 1

    def _keep(self, image: Any, own: str | None, person: str, number: str) -> str:
        """Put the bytes into the temporary file; the path under which they are found again."""
        name = posixpath.basename((own or "").replace("\\", "/")).replace("\0", "")
        folder = person if person not in (".", "..") and not set(person) & set("/\\\0") else "photos"
        stem, suffix = posixpath.splitext(name)
        size = 0 if image is None else image.size
        offset = -1 if image is None else self._images.tell()
        if image is not None and size <= MAX_FILE_BYTES:
            with _naming_full_disk():
                self._images.write(image)
        # Where a person has two photos of one name, or a photo has none, the number of the row tells them apart.
        for unique in (name, f"{stem}-{number}{suffix}" if name else number):
            path = f"{folder}/{unique}"
            row = (packed(path), offset, size)
            if unique not in ("", ".", "..") and self._places.change(
                "INSERT OR IGNORE INTO places VALUES (?, ?, ?)", *row
            ):
                return path
        raise DataError(f"{path} occurs twice", got=number, needed="one photo of a name")


def _columns(file: Any, path: Path, label: str | None) -> _Columns:
    schema = file.schema_arrow
    features = read_features(schema.metadata)
    leaves = {leaf.path for leaf in (file.schema.column(i) for i in range(len(file.schema))) if _is_bytes(leaf)}
    images = {name: f"{name}.bytes" in leaves for name in schema.names if {name, f"{name}.bytes"} & leaves}
    typed = [name for name in images if features.get(name, {}).get("_type") == "Image"]
    usual = [name for name in _IMAGES if name in images]
    image = next(iter(typed or usual or images), None)
    twice = image is not None and schema.get_field_index(image) < 0
    if image is None or twice or (len(images) > 1 and not (typed or usual)):
        raise DataError(
            f"{path} has {f'two columns {image}' if twice else 'no column of images'}",
            got=f"columns {', '.join(schema.names[:12])}",
            needed="image: bytes, or a structure with bytes",
            remedy="photos that lie beside it are read with --set layout=folder",
        )
    person = label if label is not None else next((name for name in LABELS if name in schema.names), None)
    if person is None or schema.get_field_index(person) < 0:
        raise DataError(
            f"{path} has no column {person or 'of people'}",
            got=f"columns {', '.join(schema.names[:12])}",
            needed=" or ".join(LABELS),
            remedy="name it with --set label=COLUMN",
        )
    kind = schema.field(person).type
    pa, _ = load_pyarrow()
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    texts = pa.types.is_string(plain) or pa.types.is_large_string(plain) or pa.types.is_string_view(plain)
    if not (pa.types.is_integer(plain) or texts):
        raise DataError(f"{path}, column {person} names no people", got=kind, needed="whole numbers or text")
    return _Columns(image, images[image], person, _class_names(features.get(person, {}), path))


def _is_bytes(leaf: Any) -> bool:
    return leaf.physical_type == "BYTE_ARRAY" and leaf.logical_type.type in ("NONE", "UNDEFINED", "UNKNOWN")


def _class_names(feature: dict[str, Any], path: Path) -> tuple[str, ...] | None:
    names = feature.get("names")
    if feature.get("_type") != "ClassLabel" or names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise _unreadable(path, "names of classes that are no names")
    if len(set(names)) < len(names):
        raise _unreadable(path, "two classes of one name")
    return tuple(names)


def _rows(batch: Any, columns: _Columns) -> Iterator[tuple[Any, str | None, str | None]]:
    """(bytes, file name, person) of each row; None for what it does not hold."""
    images = batch.column(batch.schema.get_field_index(columns.image))
    people = batch.column(batch.schema.get_field_index(columns.label))
    own = None
    if columns.nested:
        if images.type.get_field_index("path") >= 0:
            own = images.field("path")
        images = images.field("bytes")
    for i in range(len(batch)):
        name = own[i].as_py() if own is not None else None
        yield _buffer(images[i]), name if isinstance(name, str) else None, _person(people[i].as_py(), columns)


def _buffer(value: Any) -> Any:
    """The bytes where they lie; a value of a dictionary stands behind its number."""
    if not value.is_valid:
        return None
    return (value.value if hasattr(value, "dictionary") else value).as_buffer()


def _person(value: object, columns: _Columns) -> str | None:
    if columns.names is None or not isinstance(value, int):
        return person_of(value)
    if 0 <= value < len(columns.names):
        return columns.names[value]
    if value == -1:  # `datasets` marks rows without a class so
        return None
    raise ValueError(f"class {value} of {len(columns.names)}")


@contextmanager
def _naming_damage(path: Path) -> Iterator[None]:
    pa, _ = load_pyarrow()
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError) as error:
        # pyarrow gives what it cannot convert in one of these ways; its own memory error is an ArrowException.
        raise _unreadable(path, " ".join(str(error).split())[:200] or type(error).__name__) from None


@contextmanager
def _naming_full_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DiskFull("no room to unpack images", got=error.strerror, remedy="set TMPDIR to a larger disk") from None


def _unreadable(path: Path, reason: str) -> DataError:
    return Damaged(
        f"{path} cannot be read as Parquet",
        got=reason,
        needed="a whole file of images",
        remedy="fetch or write it again",
    )
