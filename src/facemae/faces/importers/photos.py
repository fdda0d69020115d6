"""Photos of one or more sources into the records of a face set."""

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image as PillowImage

from facemae.errors import DataError, EmptyIdentity, MixedSizes, TooManyUnreadable, UnreadableImage
from facemae.faces.align import ARCFACE_TEMPLATE, similarity_transform, warp
from facemae.faces.codec import decode, encode_jpeg, encode_png, suffix_of
from facemae.faces.importers.entries import Entry
from facemae.faces.importers.landmarks import Landmarks
from facemae.faces.importers.source import Source
from facemae.faces.importers.storage import Skipped
from facemae.faces.writer import FaceSetWriter
from facemae.spec.execution import Execution

ALIGNED_SIZE = 112


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What came in and what did not.

    ``identities``: name of person number i. ``skipped``: every file left out, with the reason; ``unreadable`` of them
    are photos that could not be decoded. A person none of whose photos could be decoded is no identity; the reasons of
    these photos say so.
    """

    records: int
    identities: tuple[str, ...]
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
    note: Callable[[str], object] | None = None,
    limit: float = 0.01,
    execution: Execution | None = None,
) -> ImportReport:
    """Write the photos of all sources, sorted by (person, file); people are numbered by sorted name.

    A photo mixed from two people carries the heavier one's number, and in its extras those of both with their weights,
    ``{"mix": [[number, weight], [number, weight]]}``; everybody named in a mix is an identity.

    The same name in two sources is the same person; with several sources a file is ``<source>/<path>``. Every photo is
    decoded once, to know that it can be: of those that cannot, up to ``limit`` of all photos are left out, and so is a
    person who has no other. A JPEG or PNG that needs no change keeps its bytes, other formats become PNG.
    With ``landmarks`` each face is aligned to ``size`` (default 112); with ``size`` alone photos of another size are
    cut to their central square and resampled (bicubic, antialiased). What was aligned or resampled is stored as JPEG of
    quality 95. ``keep`` chooses people by name; ``note`` hears the unique relative path of every record, in order;
    ``execution.progress`` hears of every photo. Photos come and go one at a time: in memory stay the names of people,
    the landmarks, and what was left out.

    Raises:
        EmptyIdentity: a person's folder holds no image.
        TooManyUnreadable: more than ``limit`` of the photos cannot be decoded, or all of them.
        MixedSizes: photos of several sizes, and neither ``landmarks`` nor ``size``.
        DataError: no photos, or photos without landmarks.
    """
    total = _count(sources, keep)
    if landmarks is not None:
        landmarks.demand(_landmark_key(item, landmarks) for item in _merge(sources, keep))
    prepare = _Preparer(landmarks, size)
    names = _mixed_people(sources)
    numbers = {name: number for number, name in enumerate(names)}
    records = 0
    unreadable: list[tuple[_Item, str]] = []
    with (execution or Execution()).progress.task("import", total, "images") as task:
        for item in _merge(sources, keep):
            try:
                image, extras = prepare(item)
            except UnreadableImage as error:
                unreadable.append((item, str(error)))
                _check_limit(unreadable, total, limit)
                continue
            finally:
                task.advance()
            # Photos come person by person: the first readable one takes the next number.
            if not numbers and names[-1:] != [item.entry.person]:
                names.append(item.entry.person)
            number = numbers.get(item.entry.person, len(names) - 1)
            writer.add(image, number, extras=_numbered(extras, numbers))
            records += 1
            if note is not None:
                note(item.file)
    skipped = [*_no_photos(sources), *_left_out(unreadable, set(names))]
    return ImportReport(records, tuple(names), tuple(skipped), len(unreadable))


def pair_rows(sources: Sequence[Source]) -> dict[str, list[tuple[str, str, bool, int]]]:
    """Pair lists that sources bring, by their names: (left, right, same, fold), photos named as ``note`` hears them.

    Raises:
        DataError: two sources with pairs and one name; their people would be taken for the same.
    """
    lists: dict[str, list[tuple[str, str, bool, int]]] = {}
    for i, source in enumerate(sources):
        if not source.pairs:
            continue
        if source.name in lists:
            raise DataError(f"two pair lists are called {source.name}", remedy="import them into two sets")
        prefix = _prefix(sources, i)
        lists[source.name] = [
            (prefix + pair.left[0], prefix + pair.right[0], pair.same, pair.fold) for pair in source.pairs
        ]
    return lists


def _count(sources: Sequence[Source], keep: Callable[[str], bool] | None) -> int:
    """How many photos there are to import: some, and of everybody who has a folder."""
    empty = {name for source in sources for name in source.empty if keep is None or keep(name)}
    total = 0
    for source in sources:
        for person, photos in source.entries.people():
            if keep is None or keep(person):
                total += photos
                empty.discard(person)
    _check_empty(sorted(empty))
    if not total:
        raise DataError("there is nothing to import", got=f"no photos in {', '.join(s.name for s in sources)}")
    return total


def _mixed_people(sources: Sequence[Source]) -> list[str]:
    """Everybody named in a mix, sorted; nobody where no source holds mixes."""
    entries = (entry for source in sources if source.mixed for entry in source.entries)
    return sorted({name for entry in entries for name, _ in (entry.extras or {})["mix"]})


def _numbered(extras: dict[str, Any] | None, numbers: dict[str, int]) -> dict[str, Any] | None:
    """Extras with numbers in place of the names in their mix, if the photos are mixed."""
    if not numbers or extras is None:
        return extras
    return {**extras, "mix": [[numbers[name], weight] for name, weight in extras["mix"]]}


def _merge(sources: Sequence[Source], keep: Callable[[str], bool] | None) -> Iterator[_Item]:
    """All photos in the order (person, file), one at a time: each source has its own in that order already."""
    streams = [_items(source, _prefix(sources, i), keep) for i, source in enumerate(sources)]
    return streams[0] if len(streams) == 1 else heapq.merge(*streams, key=lambda item: (item.entry.person, item.file))


def _items(source: Source, prefix: str, keep: Callable[[str], bool] | None) -> Iterator[_Item]:
    for person, entries in groupby(source.entries, attrgetter("person")):
        if keep is None or keep(person):
            for entry in entries:
                yield _Item(prefix + entry.path, entry, source)


def _prefix(sources: Sequence[Source], i: int) -> str:
    """Makes files unique over all sources: the source's name, and its number where names repeat."""
    if len(sources) == 1:
        return ""
    name = sources[i].name
    repeated = sum(source.name == name for source in sources[:i])
    return f"{name}-{repeated + 1}/" if repeated else f"{name}/"


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


def _no_photos(sources: Sequence[Source]) -> Iterator[Skipped]:
    for i, source in enumerate(sources):
        for skip in source.skipped:
            yield Skipped(_prefix(sources, i) + skip.path, skip.reason)


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
