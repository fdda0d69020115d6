"""A source of photos with their people, whatever it is stored in.

`open_source` is the one place that tells what a source is: by its first bytes, not by its name.
"""

import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from facemae.errors import RecipeError
from facemae.faces.importers.entries import Entries, Entry
from facemae.faces.importers.insightface_bin import BinStorage, is_bin
from facemae.faces.importers.layouts import IMAGE_SUFFIXES, LabelledStorage, Layout, Listing, hidden, list_photos
from facemae.faces.importers.parquet import ParquetStorage, is_parquet
from facemae.faces.importers.protocol import ListedPair
from facemae.faces.importers.recordio import RecordStorage, find_records, is_recordio
from facemae.faces.importers.storage import FolderStorage, Skipped, Storage, open_storage
from facemae.faces.importers.webdataset import TarShards, is_webdataset, list_samples
from facemae.faces.importers.zipped import ZipStorage, is_zip

_FILES: tuple[tuple[Callable[[Path], bool], Callable[[Path], Storage]], ...] = (
    (is_parquet, lambda path: ParquetStorage(path.stem, [path])),
    (is_zip, ZipStorage),
    (is_recordio, lambda path: RecordStorage(path, path.stem)),
    (is_bin, BinStorage),
)
"""Kinds of files in the order in which they are asked for; whatever is none of them is taken for a tar."""


class Source:
    """Photos in the order (person, path); names lie in a temporary table on disk, images are read one at a time.

    ``mixed``: every photo's extras name two people. ``pairs``: those that the source brings. ``skipped``: files that
    are no photos, with the reason. ``empty``: people whose folder holds none.
    """

    def __init__(self, storage: Storage, *, layout: Layout = "auto", label: str | None = None) -> None:
        listing = _listing(storage, layout, label)
        self._storage = storage
        self._root = listing.root
        self.name = storage.name
        self.mixed = layout == "mixed"
        self.pairs: list[ListedPair] = storage.pairs
        self.entries: Entries = listing.entries
        self.skipped: list[Skipped] = listing.skipped
        self.empty: list[str] = listing.empty

    def read(self, entry: Entry) -> bytes:
        """The bytes of one photo.

        Raises:
            UnreadableImage: the file cannot be opened or is too large.
        """
        return self._storage.read(self._root + entry.path)

    def close(self) -> None:
        """Release an open tar and the temporary tables."""
        self._storage.close()
        self.entries.close()

    def __enter__(self) -> "Source":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_source(path: Path | str, *, layout: Layout = "auto", label: str | None = None) -> Source:
    """Open a directory, a tar (also gzipped), a zip, Parquet or WebDataset shards; see ``list_photos`` for the layouts.

    A directory of nothing but ``.parquet`` or ``.tar`` files, its own or those of its ``data``, is one set in shards.
    InsightFace's sets are a ``.rec``, or a directory with one and neither photos nor folders, and its ``.bin`` files.
    ``label``: the column (Parquet) or the key of the ``.json`` (WebDataset) that holds the person.

    Raises:
        DataError: nothing there, no photos, an unclear or unsafe layout.
        RecipeError: a layout or a label that a source of this kind does not have.
        Damaged: an archive that ends early or contradicts itself.
    """
    storage = _storage(Path(path), layout)
    try:
        return Source(storage, layout=layout, label=label)
    except BaseException:
        storage.close()
        raise


def _storage(path: Path, layout: Layout) -> Storage:
    if path.is_dir():
        if layout in ("auto", "webdataset"):
            if files := _shards(path, ".parquet"):
                return ParquetStorage(path.resolve().name, files)
            if files := _shards(path, ".tar"):
                return TarShards(path.resolve().name, files)
        if layout == "auto" and (found := find_records(path)):
            return RecordStorage(found[0], path.resolve().name, found[1])
        return FolderStorage(path)
    if path.is_file() and os.access(path, os.R_OK):
        for is_kind, opened in _FILES:
            if is_kind(path):
                return opened(path)
    return open_storage(path)


def _shards(directory: Path, suffix: str) -> list[Path]:
    """The files of ``suffix`` in a directory, or else in its ``data``, that stand there without photos or folders."""
    for folder in (directory, directory / "data"):
        found = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    ending = os.path.splitext(entry.name)[1].lower()
                    folders = entry.is_dir() and not (folder == directory and entry.name == "data")
                    if not hidden(entry.name) and (folders or ending in IMAGE_SUFFIXES):
                        return []
                    if ending == suffix and entry.is_file():
                        found.append(folder / entry.name)
        except OSError:  # no `data`, or a directory that whoever lists it will name
            return []
        if found:
            return sorted(found)
    return []


def _listing(storage: Storage, layout: Layout, label: str | None) -> Listing:
    if isinstance(storage, LabelledStorage):
        if layout != "auto":
            raise RecipeError("import.layout", got=layout, needed=f"auto: {storage.name} says whose its photos are")
        return storage.listing(label=label)
    if layout == "webdataset" or (layout == "auto" and is_webdataset(storage, label)):
        return list_samples(storage, label=label)
    if label is not None:
        raise RecipeError("import.label", got=label, needed=f"Parquet or WebDataset, not {storage.name}")
    return list_photos(storage, layout=layout)
