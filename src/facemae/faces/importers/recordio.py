"""Photos and people of an InsightFace or MXNet set: ``train.rec``, ``train.idx``, ``property``."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64

from facemae.errors import Damaged, DataError, RecipeError
from facemae.faces.importers.entries import Entry
from facemae.faces.importers.layouts import IMAGE_SUFFIXES, LabelledStorage, Listing
from facemae.faces.importers.storage import Skipped
from facemae.faces.recordfile import RecordFile, Tags
from facemae.faces.recordio import MARK

SUFFIX = ".rec"
INDEX = ".idx"
_BESIDE = ("property", "train.lst")
_BLOCK = 1 << 16
_EXACT = 1 << 24
"""Labels are float32: whole numbers up to here are exact."""


class RecordStorage(LabelledStorage):
    """The photos of a ``.rec``; the person is the label. Both are named in eight digits: ``00000012/00000345``.

    ``path``: the ``.rec``; its ``.idx`` beside it is used where there is one, else the records are scanned. Which
    records are photos is what InsightFace's own loader takes: keys 1 … N where record 0 is a header that names N, and
    all records where it is an image itself (sets made by im2rec). In memory are 28 bytes a record.

    Raises:
        DataError: no photos, labels that are no numbers of people, or one label for all (people stand elsewhere).
        Damaged: a broken record, or an index that does not fit it.
    """

    def __init__(self, path: Path, name: str, skipped: Sequence[Skipped] = ()) -> None:
        super().__init__(name)
        self.skipped = list(skipped)
        self._file = RecordFile(path, index_beside(path))
        tags = self._file.tags()
        self._rows = self._photos(tags)
        self._labels = tags.label[self._rows]
        _check_labels(self._file, self._rows, self._labels)
        if left := self._file.behind():
            self.skipped.append(Skipped(path.with_suffix(INDEX).name, f"ends {left} bytes before the records do"))

    def files(self) -> Iterator[str]:
        return (entry.path for entry in self._entries())

    def read(self, path: str) -> bytes:
        return self._file.record(self._file.find(int(path.rpartition("/")[2])))[1]

    def close(self) -> None:
        self._file.close()

    def listing(self, *, label: str | None = None) -> Listing:
        """Every photo with its label.

        Raises:
            RecipeError: a name of a field, which records do not have.
        """
        if label is not None:
            raise RecipeError("import.label", got=label, needed="no name: a record has one label")
        listing = Listing("", skipped=self.skipped)
        listing.entries.add(self._entries())
        return listing

    def _entries(self) -> Iterator[Entry]:
        keys = self._file.keys[self._rows]
        width = max(8, len(str(int(keys.max()))))
        for begin in range(0, len(keys), _BLOCK):
            block = slice(begin, begin + _BLOCK)
            for label, key in zip(self._labels[block].tolist(), keys[block].tolist(), strict=True):
                person = f"{int(label):08d}"
                yield Entry(f"{person}/{key:0{width}d}", person)

    def _photos(self, tags: Tags) -> Int64[np.ndarray, " n"]:
        file = self._file
        zero = file.find(0)
        if zero < 0 or not (tags.flag[zero] and tags.empty[zero]):
            return np.arange(len(file))
        if not (tags.label[zero] >= 1 and tags.label[zero] == np.floor(tags.label[zero]) < np.inf):
            raise Damaged(
                f"{file.path.name}, record 0 names no record behind the last photo",
                got=f"label {tags.label[zero]:g}",
                needed="a whole number above 0",
                remedy="fetch the .rec again",
            )
        end = int(tags.label[zero])
        if end > _EXACT:  # rounded, so it cannot be taken at its word
            return np.flatnonzero((file.keys > 0) & ~tags.empty)
        photos = np.flatnonzero((file.keys > 0) & (file.keys < end))
        if len(photos) != end - 1:
            raise Damaged(
                f"{file.path.name}, record 0 does not fit the index",
                got=f"{end - 1} photos by the one, {len(photos)} by the other",
                remedy="fetch the .rec and the .idx again",
            )
        return photos


def _check_labels(file: RecordFile, rows: Int64[np.ndarray, " n"], labels: Float32[np.ndarray, " n"]) -> None:
    if not len(rows):
        raise DataError(f"{file.path} holds no photos", needed="records with an image")
    wrong = np.flatnonzero(~((labels >= 0) & (labels <= _EXACT) & (np.floor(labels) == labels)))
    if len(wrong):
        raise DataError(
            f"{file.path.name}, the record with key {file.keys[rows[wrong[0]]]} names no person",
            got=f"label {labels[wrong[0]]:g}",
            needed=f"a whole number from 0 to {_EXACT}",
        )
    if len(rows) > 1 and labels.min() == labels.max() and not _one_person(file):
        raise DataError(
            f"all {len(rows)} photos of {file.path.name} carry the same label",
            got=f"{labels[0]:g}",
            needed="the number of the person",
            remedy="where the people stand in a list beside it, sort the photos into folders and import those",
        )


def _one_person(file: RecordFile) -> bool:
    """Whether record 0 itself says that the set shows one person: records N+1 … M-1 are people, by labels N+1 and M."""
    zero = file.find(0)
    labels = file.record(zero)[0].labels if zero >= 0 else ()
    return len(labels) > 1 and labels[1] - labels[0] == 1


def index_beside(path: Path) -> Path | None:
    """The ``.idx`` of a ``.rec``, where there is one."""
    index = path.with_suffix(INDEX)
    return index if path.suffix == SUFFIX and index.is_file() else None


def is_recordio(path: Path) -> bool:
    """Whether a file begins as RecordIO does, or is called so."""
    if path.suffix == SUFFIX:
        return True
    with path.open("rb") as stream:
        return stream.read(len(MARK)) == MARK


def find_records(directory: Path) -> tuple[Path, list[Skipped]] | None:
    """The ``.rec`` of a directory, and the files beside it that are left out; None where it holds something else.

    Folders or images beside them make it a directory of photos.

    Raises:
        DataError: more than one ``.rec``.
    """
    try:
        files = sorted(path for path in directory.iterdir() if not path.name.startswith("."))
    except OSError:  # whoever lists it will name it
        return None
    records = [path for path in files if path.suffix == SUFFIX and path.is_file()]
    if not records or any(path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES for path in files):
        return None
    if len(records) > 1:
        got = ", ".join(path.name for path in records[:3])
        raise DataError(f"{directory} is no set of records", got=got, needed="one .rec", remedy="name the .rec itself")
    others = [path for path in files if path not in (records[0], records[0].with_suffix(INDEX))]
    return records[0], [Skipped(path.name, _reason(path)) for path in others if path.name not in _BESIDE]


def _reason(path: Path) -> str:
    return "a verification file: import it by itself" if path.suffix == ".bin" else "no part of the records"
