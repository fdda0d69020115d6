"""Five landmarks per photo, from a CSV or JSON that a face detector wrote."""

import csv
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from facemae.errors import DataError

_NEEDED = "path, then x and y of left eye, right eye, nose, left and right mouth corner, in pixels"


class Landmarks:
    """Landmarks by relative path of the photo."""

    def __init__(self, rows: dict[str, int], points: Float64[np.ndarray, "n 5 2"]) -> None:
        self._rows = rows
        self._points = points

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, path: str) -> bool:
        return path in self._rows

    def __getitem__(self, path: str) -> Float64[np.ndarray, "5 2"]:
        return self._points[self._rows[path]]

    def demand(self, paths: Iterable[str]) -> None:
        """Check that every photo has its landmarks.

        Raises:
            DataError: naming how many have none, and the first three.
        """
        missing = [path for path in paths if path not in self._rows]
        if missing:
            raise DataError(
                "photos without landmarks",
                got=f"{len(missing)}, first {', '.join(missing[:3])}",
                needed="five landmarks for every photo",
                remedy="add them, or leave out photos in which no face was found",
            )


def read_landmarks(path: Path) -> Landmarks:
    """Read ``{path: [[x, y] × 5]}`` (JSON) or ``path,x1,y1,…,x5,y5`` with a header line (any other suffix).

    Raises:
        DataError: unreadable, a row of another form, a value that is no finite number, a photo named twice.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = _json_rows(stream.read()) if path.suffix.lower() == ".json" else _csv_rows(stream)
            named: dict[str, int] = {}
            points: list[np.ndarray] = []
            for name, values in rows:
                if name in named:
                    raise ValueError(f"{name} occurs twice")
                named[name] = len(points)
                points.append(_points(name, values))
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"the landmarks of {path} cannot be used", got=error, needed=_NEEDED) from None
    return Landmarks(named, np.array(points, np.float64).reshape(-1, 5, 2))


def _json_rows(text: str) -> Iterable[tuple[str, object]]:
    content = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError("the JSON is no object of paths")
    return content.items()


def _csv_rows(stream: Iterable[str]) -> Iterable[tuple[str, object]]:
    reader = csv.reader(stream, strict=True)
    header = next(reader, [])
    if not header or header[0].strip().lower() not in ("path", "file", "filename", "image", "name"):
        raise ValueError(f"a header that begins with {header[0]!r}" if header else "an empty file")
    return ((row[0], row[1:]) for row in reader if row)


def _points(name: str, values: object) -> Float64[np.ndarray, "10"]:
    try:
        array = np.asarray(values, dtype=np.float64).ravel()
    except (TypeError, ValueError):
        raise ValueError(f"{name} has {values!r}") from None
    if array.shape != (10,) or not np.isfinite(array).all():
        raise ValueError(f"{name} has {array.tolist()}")
    return array
