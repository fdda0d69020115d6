"""InsightFace's verification files, ``lfw.bin``: photos 2i and 2i + 1 are pair i."""

import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64

from facemae.errors import Damaged, DataError, RecipeError
from facemae.faces.importers.entries import Entry
from facemae.faces.importers.layouts import LabelledStorage, Listing
from facemae.faces.importers.protocol import FOLDS, ListedPair
from facemae.faces.importers.safe_pickle import Array, read_pickle

SUFFIX = ".bin"
MAX_BYTES = 1 << 31
"""The public files hold 50 to 100 MB; a larger one than 2 GB is not read into memory."""

PEOPLE = "told apart by the pairs alone"
"""What the manifest of such a set says of its people."""

_PICKLE = 0x80


class BinStorage(LabelledStorage):
    """The photos of a verification file, each once, and its ``pairs`` in their ten folds.

    A picture that occurs in several pairs is stored once: LFW's file repeats a third of its pictures, and a copy would
    be found as "another photo" of the same person. ``pairs`` name the photos as `files` does.

    The file does not say who is shown. Here a person is a set of photos that pairs of the same person connect, two
    equal pictures being one. So one real person may stand under several names, and intervals over people are narrower
    than with the true names. Where that would make one person of a pair of different people (a mislabelled pair),
    nothing is connected: there each pair stands for itself, with its own copies.

    Raises:
        DataError: the file cannot be opened, or is no verification file.
        UnsafeFile: the pickle asks for anything but arrays.
        Damaged: it is cut off.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path.stem)
        images, same = read_bin(path)
        slots, people = _people(images, same)
        files = [f"{self.name}-{person:08d}/{slot:08d}" for slot, person in zip(slots, people, strict=True)]
        self._images = dict(zip(files, images, strict=True))
        folds = np.repeat(np.arange(FOLDS), [len(part) for part in np.array_split(same, FOLDS)])
        self.pairs = [
            ListedPair((files[2 * i],), (files[2 * i + 1],), bool(same[i]), int(folds[i])) for i in range(len(same))
        ]

    def files(self) -> Iterator[str]:
        return iter(self._images)

    def read(self, path: str) -> bytes:
        return self._images[path]

    def listing(self, *, label: str | None = None) -> Listing:
        """Every photo with its person.

        Raises:
            RecipeError: a name of a field, which such a file does not have.
        """
        if label is not None:
            raise RecipeError("import.label", got=label, needed="no name: a verification file has no labels")
        listing = Listing("")
        listing.entries.add(Entry(file, file.partition("/")[0]) for file in self._images)
        return listing


def is_bin(path: Path) -> bool:
    """Whether a file begins as a pickle does, or is called ``.bin``."""
    if path.suffix == SUFFIX:
        return True
    with path.open("rb") as stream:
        start = stream.read(2)
    return len(start) == 2 and start[0] == _PICKLE and start[1] <= pickle.HIGHEST_PROTOCOL


def read_bin(path: Path) -> tuple[list[bytes], Bool[np.ndarray, " n"]]:
    """2n pictures, as stored, and n times whether two that follow one another show one person.

    Pictures may be ``bytes``, text of Python 2, or numpy arrays of bytes in any shape; nothing of the pickle is
    executed, see `safe_pickle`.

    Raises:
        DataError: the file cannot be opened, or holds something else.
        UnsafeFile: the pickle asks for anything but arrays.
        Damaged: it is cut off.
    """
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= MAX_BYTES else b""
    except OSError as error:
        raise DataError(f"{path} cannot be opened", got=error.strerror) from None
    if size > MAX_BYTES:
        raise DataError(f"{path.name} is too large", got=f"{size} bytes", needed=f"at most {MAX_BYTES}")
    content = read_pickle(data, path.name)
    if not isinstance(content, tuple | list) or len(content) != 2:
        raise _other(path, "a pickle of something else")
    images, flags = content
    if not isinstance(images, tuple | list):
        raise _other(path, "no list of pictures")
    found = [_picture(path, i, image) for i, image in enumerate(images)]
    same = _flags(path, flags)
    if len(found) != 2 * len(same) or not found:
        got = f"{len(found)} pictures for {len(same)} pairs"
        raise Damaged(f"{path.name} is incomplete", got=got, needed="two pictures a pair")
    return found, same


def _picture(path: Path, i: int, image: object) -> bytes:
    if isinstance(image, Array) and image.dtype.itemsize == 1:
        return image.data
    if isinstance(image, bytes):
        return image
    raise _other(path, f"picture {i} of another kind than bytes")


def _flags(path: Path, flags: object) -> Bool[np.ndarray, " n"]:
    values = flags.values().tolist() if isinstance(flags, Array) else flags
    if not isinstance(values, tuple | list) or not all(value in (0, 1) for value in values):
        raise _other(path, "flags that are not true or false")
    return np.array(values, np.bool_)


def _other(path: Path, got: str) -> DataError:
    return DataError(f"{path.name} is no verification file", got=got, needed="a pickle of pictures and of flags")


def _people(images: Sequence[bytes], same: Bool[np.ndarray, " n"]) -> tuple[list[int], list[int]]:
    """Of every picture: the first place at which it stands, and the number of its person."""
    first: dict[bytes, int] = {}
    slots = np.array([first.setdefault(image, slot) for slot, image in enumerate(images)])
    people = _connected(slots, same)
    left, right = people[0::2], people[1::2]
    mistaken = np.isin(people, left[~same & (left == right)])
    slots = np.where(mistaken, np.arange(len(slots)), slots)
    people = _connected(slots, same)
    return slots.tolist(), np.unique(people, return_inverse=True)[1].tolist()


def _connected(slots: Int64[np.ndarray, " m"], same: Bool[np.ndarray, " n"]) -> Int64[np.ndarray, " m"]:
    """The lowest slot that pairs of the same person connect each slot to."""
    parent = np.arange(len(slots))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = int(parent[i])
        return i

    for a, b in slots.reshape(-1, 2)[same].tolist():
        low, high = sorted((root(a), root(b)))
        parent[high] = low
    return np.array([root(slot) for slot in slots.tolist()])
