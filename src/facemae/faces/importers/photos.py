"""Photos of one or more sources into the records of a face set."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image as PillowImage

from facemae.errors import DataError, EmptyIdentity, MixedSizes, TooManyUnreadable, UnreadableImage
from facemae.faces.align import ARCFACE_TEMPLATE, similarity_transform, warp
from facemae.faces.codec import decode, encode_jpeg, encode_png, suffix_of
from facemae.faces.importers.landmarks import Landmarks
from facemae.faces.importers.layouts import Entry
from facemae.faces.importers.source import Source
from facemae.faces.importers.storage import Skipped
from facemae.faces.writer import FaceSetWriter
from facemae.spec.execution import Execution

ALIGNED_SIZE = 112


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What came in and what did not.

    ``identities``: name of person number i. ``files``: unique relative path of record i. ``skipped``: every file left
    out, with the reason; ``unreadable`` of them are photos that could not be decoded. A person none of whose photos
    could be decoded is no identity; the reasons of these photos say so.
    """

    records: int
    identities: tuple[str, ...]
    files: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    unreadable: int


class _Item(NamedTuple):
    file: str
    entry: Entry
    source: Source


def import_photos(
    sources: Sequence[Source],
    writer: FaceSetWriter,
    *,
    landmarks: Landmarks | None = None,
    size: int | None = None,
    keep: Callable[[str], bool] | None = None,
    limit: float = 0.01,
    execution: Execution | None = None,
) -> ImportReport:
    """Write the photos of all sources, sorted by (person, file); people are numbered by sorted name.

    The same name in two sources is the same person; with several sources a file is ``<source>/<path>``. Every photo is
    decoded once, to know that it can be: of those that cannot, up to ``limit`` of all photos are left out, and so is a
    person who has no other. A JPEG or PNG that needs no change keeps its bytes, other formats become PNG.
    With ``landmarks`` each face is aligned to ``size`` (default 112); with ``size`` alone photos of another size are
    cut to their central square and resampled (bicubic, antialiased). What was aligned or resampled is stored as JPEG of
    quality 95. ``keep`` chooses people by name; ``execution.progress`` hears of every photo.

    Raises:
        EmptyIdentity: a person's folder holds no image.
        TooManyUnreadable: more than ``limit`` of the photos cannot be decoded, or all of them.
        MixedSizes: photos of several sizes, and neither ``landmarks`` nor ``size``.
        DataError: no photos, or photos without landmarks.
    """
    items = _merge(sources, keep)
    if landmarks is not None:
        landmarks.demand(_landmark_key(item, landmarks) for item in items)
    prepare = _Preparer(landmarks, size)
    names: list[str] = []
    files: list[str] = []
    unreadable: list[tuple[_Item, str]] = []
    with (execution or Execution()).progress.task("import", len(items), "images") as task:
        for item in items:
            try:
                image, extras = prepare(item)
            except UnreadableImage as error:
                unreadable.append((item, str(error)))
                _check_limit(unreadable, len(items), limit)
                continue
            finally:
                task.advance()
            # Photos come person by person: the first readable one takes the next number.
            if names[-1:] != [item.entry.person]:
                names.append(item.entry.person)
            writer.add(image, len(names) - 1, extras=extras)
            files.append(item.file)
    skipped = [Skipped(_file(sources, i, skip.path), skip.reason) for i, s in enumerate(sources) for skip in s.skipped]
    skipped += _left_out(unreadable, set(names))
    return ImportReport(len(files), tuple(names), tuple(files), tuple(skipped), len(unreadable))


def _merge(sources: Sequence[Source], keep: Callable[[str], bool] | None) -> list[_Item]:
    items = [
        _Item(_file(sources, i, entry.path), entry, source)
        for i, source in enumerate(sources)
        for entry in source.entries
        if keep is None or keep(entry.person)
    ]
    present = {item.entry.person for item in items}
    empty = {name for source in sources for name in source.empty if keep is None or keep(name)}
    _check_empty(sorted(empty - present))
    if not items:
        raise DataError("there is nothing to import", got=f"no photos in {', '.join(s.name for s in sources)}")
    return sorted(items, key=lambda item: (item.entry.person, item.file))


def _file(sources: Sequence[Source], i: int, path: str) -> str:
    """Unique over all sources: prefixed by the source's name, and by its number where names repeat."""
    if len(sources) == 1:
        return path
    name = sources[i].name
    repeated = sum(source.name == name for source in sources[:i])
    return f"{name}-{repeated + 1}/{path}" if repeated else f"{name}/{path}"


def _landmark_key(item: _Item, landmarks: Landmarks) -> str:
    return item.file if item.file in landmarks else item.entry.path


class _Preparer:
    """One photo's bytes to the bytes and extras of its record; remembers the first size seen."""

    def __init__(self, landmarks: Landmarks | None, size: int | None) -> None:
        self._landmarks = landmarks
        self._size = ALIGNED_SIZE if size is None and landmarks is not None else size
        self._first: tuple[str, tuple[int, int]] | None = None

    def __call__(self, item: _Item) -> tuple[bytes, dict[str, Any] | None]:
        data = item.source.read(item.entry)
        pixels = decode(data)
        extras = item.entry.extras
        if self._landmarks is not None:
            assert self._size is not None
            try:
                pixels, points = _aligned(pixels, self._landmarks[_landmark_key(item, self._landmarks)], self._size)
            except DataError as error:
                raise DataError(f"{item.file} cannot be aligned", got=error) from None
            return encode_jpeg(pixels), {**(extras or {}), "landmarks": points.round(2).tolist()}
        if self._size is None:
            self._check_size(item.file, pixels.shape[:2])
        elif pixels.shape[:2] != (self._size, self._size):
            return encode_jpeg(_resized(pixels, self._size)), extras
        return (data if suffix_of(data) in (".jpg", ".png") else encode_png(pixels)), extras

    def _check_size(self, file: str, shape: tuple[int, ...]) -> None:
        height, width = shape
        if self._first is None:
            self._first = (file, (height, width))
        first, (first_height, first_width) = self._first
        if (height, width) != (first_height, first_width):
            raise MixedSizes(
                "photos differ in size",
                got=f"{first_width}×{first_height} ({first}) and {width}×{height} ({file})",
                remedy=f"give landmarks to align them, or --set size={ALIGNED_SIZE} to resample all",
            )


def _aligned(
    pixels: UInt8[np.ndarray, "h w 3"], points: Float64[np.ndarray, "5 2"], size: int
) -> tuple[UInt8[np.ndarray, "s s 3"], Float64[np.ndarray, "5 2"]]:
    """The aligned face, and where the landmarks lie in it."""
    matrix = similarity_transform(points, ARCFACE_TEMPLATE * (size / 112))
    return warp(pixels, matrix, size), points @ matrix[:, :2].T + matrix[:, 2]


def _resized(pixels: UInt8[np.ndarray, "h w 3"], size: int) -> UInt8[np.ndarray, "s s 3"]:
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = PillowImage.fromarray(np.ascontiguousarray(pixels[top : top + side, left : left + side]))
    return np.asarray(square.resize((size, size), PillowImage.Resampling.BICUBIC))


def _check_limit(unreadable: list[tuple[_Item, str]], total: int, limit: float) -> None:
    if len(unreadable) > limit * total or len(unreadable) == total:
        shown = ", ".join(f"{item.file} ({reason})" for item, reason in unreadable[:3])
        raise TooManyUnreadable(
            "too many photos cannot be decoded",
            got=f"{len(unreadable)} of {total}, first {shown}",
            needed=f"at most {limit:.1%}" if limit < 1 else "one that can",
            remedy="repair or remove them, or raise the limit" if limit < 1 else "repair them",
        )


def _left_out(unreadable: list[tuple[_Item, str]], present: set[str]) -> Iterator[Skipped]:
    for item, reason in unreadable:
        person = item.entry.person
        alone = "" if person in present else f"; {person} has no readable photo and is left out"
        yield Skipped(item.file, reason + alone)


def _check_empty(names: list[str]) -> None:
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise EmptyIdentity(
            f"a person has no readable photo: {', '.join(names[:3])}{more}",
            got="the folder holds no image",
            remedy="remove the folder or restore its photos",
        )
