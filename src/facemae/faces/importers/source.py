"""A source of photos with their people, whatever it is stored in."""

from pathlib import Path
from types import TracebackType

from facemae.faces.importers.layouts import Entry, Layout, list_photos
from facemae.faces.importers.storage import Skipped, Storage, open_storage


class Source:
    """Photos in the order (person, path); names are held in memory, images are read one at a time.

    ``skipped``: files that are no photos, with the reason. ``empty``: people whose folder holds none.
    """

    def __init__(self, storage: Storage, *, layout: Layout = "auto") -> None:
        listing = list_photos(storage, layout=layout)
        self._storage = storage
        self._root = listing.root
        self.name = storage.name
        self.entries: list[Entry] = listing.entries
        self.skipped: list[Skipped] = listing.skipped
        self.empty: list[str] = listing.empty

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


def open_source(path: Path | str, *, layout: Layout = "auto") -> Source:
    """Open a directory, a ``.tar`` or a ``.tar.gz``; see ``list_photos`` for the layouts.

    Raises:
        DataError: nothing there, no photos, an unclear or unsafe layout.
        Damaged: a tar that ends early.
    """
    storage = open_storage(Path(path))
    try:
        return Source(storage, layout=layout)
    except BaseException:
        storage.close()
        raise
