"""Photos as somebody is handed them: a folder, an archive or one of our sets, with everything that comes along."""

import csv
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8

from facemae.errors import DataError, UnreadableImage
from facemae.faces.codec import decode
from facemae.faces.faceset import FaceSet
from facemae.faces.importers.layouts import Layout
from facemae.faces.importers.source import Source, open_source
from facemae.faces.record import key_of
from facemae.faces.traces.archives import Header, archive_headers, below_root, folder_headers
from facemae.spec.manifest import FILE

_PARTS_OF_A_SET = {"index.npy", FILE}


class Collection:
    """Record i: ``names[i]`` (path, or key where there is none), person number ``person[i]``, its bytes and pixels.

    ``people``: what each person is called. ``times``: when each file was changed in ns, None where nothing tells.
    ``places``: where each stands in the archive. ``headers``: of the members of an archive, with those that are no
    photos. ``beside``: files that lie beside the photos.
    """

    def __init__(
        self,
        names: Sequence[str],
        person: Int64[np.ndarray, " n"],
        people: Sequence[str],
        read: Callable[[int], bytes],
        *,
        headers: Sequence[Header] = (),
        archived: bool = False,
        beside: Sequence[str] = (),
        paint: Callable[[int], np.ndarray] | None = None,
        extras: Callable[[int], dict[str, Any] | None] = lambda i: None,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self.names, self.people, self.person = list(names), list(people), person
        self.headers, self.beside = tuple(headers) if archived else (), tuple(beside)
        self.data, self.extras, self._paint, self._close = read, extras, paint, close
        found = below_root(headers, self.names[0]) if self.names else {}
        known = [found.get(name) for name in self.names]
        stamps = [header.time for header in known if header is not None]
        complete = len(stamps) == len(self.names) and any(stamps)
        self.times: np.ndarray | None = np.array(stamps, np.int64) if complete else None
        order = {path: place for place, path in enumerate(found)}
        whole = archived and all(header is not None for header in known)
        self.places: np.ndarray | None = np.array([order[name] for name in self.names], np.int64) if whole else None

    def __len__(self) -> int:
        return len(self.names)

    def pixels(self, i: int, data: bytes | None = None) -> UInt8[np.ndarray, "h w 3"] | None:
        """Photo i decoded (from ``data``, if read already); None where it cannot be."""
        try:
            return self._paint(i) if self._paint else decode(self.data(i) if data is None else data)
        except UnreadableImage:
            return None

    def __enter__(self) -> "Collection":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()


def open_collection(path: Path | str, *, layout: Layout = "auto", label: str | None = None) -> Collection:
    """One of our sets, told by its manifest, or whatever `import` reads: a folder, tar, zip, Parquet, records.

    Raises:
        DataError and its kinds: as `open_source` and `FaceSet.open`.
    """
    path = Path(path)
    if (path / FILE).is_file():
        return _of_set(FaceSet.open(path))
    return _of_source(open_source(path, layout=layout, label=label), path)


def _of_set(faces: FaceSet) -> Collection:
    people = faces.people
    names = people.files if people else tuple(key_of(i) for i in range(len(faces)))
    count = int(faces.identities.max(initial=-1)) + 1
    called = people.identities if people else tuple(map(str, range(count)))
    masked = faces.kind == "masked"
    shards = sorted((faces.directory / "shards").glob("*.tar"))
    headers = [header for shard in shards for header in archive_headers(shard)]
    if people is None:
        headers = [h._replace(path=h.path.partition(".")[0]) for h in headers if not h.path.endswith((".cls", ".json"))]
    lying = [file.name for file in faces.directory.iterdir() if file.is_file() and file.name not in _PARTS_OF_A_SET]
    return Collection(
        names,
        faces.identities.astype(np.int64),
        called,
        lambda i: faces.record(i).image,
        headers=headers,
        archived=True,
        beside=sorted(lying),
        paint=faces.image if masked else None,
        extras=faces.extras,
    )


def _of_source(source: Source, path: Path) -> Collection:
    try:
        entries = list(source.entries)
        # A folder of tar shards is an archive in parts.
        archives = [path] if path.is_file() else sorted([*path.glob("*.tar"), *path.glob("data/*.tar")])
        headers = [header for archive in archives for header in archive_headers(archive)]
        people = sorted({entry.person for entry in entries})
        number = {name: i for i, name in enumerate(people)}
        return Collection(
            [entry.path for entry in entries],
            np.array([number[entry.person] for entry in entries], np.int64),
            people,
            lambda i: source.read(entries[i]),
            headers=headers or (folder_headers(path) if path.is_dir() else ()),
            archived=bool(headers),
            beside=[skipped.path for skipped in source.skipped],
            close=source.close,
        )
    except BaseException:
        source.close()
        raise


def linked_records(path: Path | str, original: Collection, released: Collection) -> Int64[np.ndarray, " n"]:
    """Number of the original of every released record, from a CSV with the columns original_path,released_path.

    Raises:
        DataError: no such file, not that CSV, names that one side does not hold, released files left out or twice.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as stream:
            rows = [(row["original_path"], row["released_path"]) for row in csv.DictReader(stream)]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        raise DataError(
            f"{path} is not a linkage file", got=error, needed="CSV in UTF-8, original_path,released_path"
        ) from None
    known = {name: i for i, name in enumerate(original.names)}
    mine = {name: i for i, name in enumerate(released.names)}
    strange = [name for old, new in rows for name, names in ((old, known), (new, mine)) if name not in names]
    if strange:
        raise DataError(f"{path} names photos that are not there", got=f"{len(strange)}, first {strange[0]!r}")
    counted = Counter(new for _, new in rows)
    if len(counted) != len(mine) or len(rows) != len(mine):
        raise DataError(f"{path} does not fit the release", got=f"{len(rows)} lines", needed="one line a released file")
    linked = np.empty(len(mine), np.int64)
    for old, new in rows:
        linked[mine[new]] = known[old]
    return linked


def facts_of(extras: dict[str, Any] | None) -> dict[str, str]:
    """What a record's extras tell beside the places of its visible cells, as text."""
    return {key: json.dumps(value) for key, value in (extras or {}).items() if key != "positions"}
