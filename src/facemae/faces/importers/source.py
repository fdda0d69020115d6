"""A source of photos with their people, whatever it is stored in."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from facemae.faces.importers.layouts import Entry, FlatRule, Layout, list_photos
from facemae.faces.importers.storage import Skipped, Storage, open_storage


@dataclass(frozen=True, slots=True)
class Photo:
    """One photo as found: relative path, the name of its person, the file's bytes, what its name tells."""

    path: str
    person: str
    data: bytes
    extras: dict[str, Any] | None = None


class Source:
    """Photos in the order (person, path); names are held in memory, images are read one at a time.

    ``skipped``: files that are no photos, with the reason. ``empty``: people whose folder holds none.
    """

    def __init__(self, storage: Storage, *, layout: Layout = "auto", flat_rule: FlatRule = "auto") -> None:
        listing = list_photos(storage, layout=layout, flat_rule=flat_rule)
        self._storage = storage
        self._root = listing.root
        self.name = storage.name
        self.entries: list[Entry] = listing.entries
        self.skipped: list[Skipped] = listing.skipped
        self.empty: list[str] = listing.empty

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Photo]:
        for entry in self.entries:
            yield Photo(entry.path, entry.person, self.read(entry), entry.extras)

    def read(self, entry: Entry) -> bytes:
        """The bytes of one photo.

        Raises:
            UnreadableImage: the file cannot be opened or is too large.
        """
        return self._storage.read(self._root + entry.path)

    def close(self) -> None:
        """Release an open tar."""
        self._storage.close()

    def __enter__(self) -> "Source":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_source(path: Path | str, *, layout: Layout = "auto", flat_rule: FlatRule = "auto") -> Source:
    """Open a directory, a ``.tar`` or a ``.tar.gz``; see ``list_photos`` for the layouts.

    Raises:
        DataError: nothing there, no photos, an unclear or unsafe layout.
        Damaged: a tar that ends early.
    """
    storage = open_storage(Path(path))
    try:
        return Source(storage, layout=layout, flat_rule=flat_rule)
    except BaseException:
        storage.close()
        raise
