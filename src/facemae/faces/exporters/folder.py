"""A face set as a folder per identity."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from facemae.errors import DataError
from facemae.faces.codec import encode_png
from facemae.faces.exporters.place import start_empty
from facemae.faces.faceset import FaceSet
from facemae.faces.record import Record
from facemae.spec.scratch import Scratch, packed


def export_folder(faces: FaceSet, directory: Path, *, keep_names: bool = False) -> int:
    """Write every image as ``<identity>/<key>.jpg|.png``; returns their number.

    Bytes are unchanged, except that a masked record, a strip of cells, becomes a picture: its visible cells where they
    were, on mid-grey, as PNG. With ``keep_names`` originals get their source path back instead (the suffix follows
    the content).

    Raises:
        OutputExists: the directory holds something.
        DataError: ``keep_names`` on a set without names, or with a name that would leave the directory.
    """
    start_empty(directory)
    made = set()
    for i, (record, relative) in enumerate(_named(faces, keep_names)):
        target = directory / relative
        if target.parent not in made:
            target.parent.mkdir(parents=True, exist_ok=True)
            made.add(target.parent)
        with target.open("xb") as stream:
            stream.write(encode_png(faces.image(i)) if faces.kind == "masked" else record.image)
    return len(faces)


def _named(faces: FaceSet, keep_names: bool) -> Iterator[tuple[Record, str]]:
    width = max(6, len(str(int(faces.identities.max(initial=0)))))
    people = faces.people if keep_names else None
    if keep_names and people is None:
        raise DataError(f"a set of kind {faces.kind} has no names to keep", remedy="export it without them")
    used = Scratch("CREATE TABLE used (path BLOB PRIMARY KEY) WITHOUT ROWID")
    for i in range(len(faces)):
        record = faces.record(i)
        if people is None:
            yield record, f"{record.identity:0{width}d}/{record.key}{record.suffix}"
            continue
        relative = _source_path(people.files[i], record)
        name = packed(relative.lower())
        if not used.change("INSERT OR IGNORE INTO used VALUES (?)", name):  # a.bmp and a.webp both became a.png
            relative = relative.removesuffix(record.suffix) + f"-{record.key}{record.suffix}"
            used.change("INSERT OR IGNORE INTO used VALUES (?)", packed(relative.lower()))
        yield record, relative
    used.close()


def _source_path(file: str, record: Record) -> str:
    path = PurePosixPath(file)
    if path.is_absolute() or ".." in path.parts or "\\" in file or not path.name:
        raise DataError("people.json names a file outside the set", got=repr(file), needed="relative paths without ..")
    if path.suffix.lower() in (".jpeg", record.suffix):
        return str(path)
    return str(path.with_name(path.stem + record.suffix))
