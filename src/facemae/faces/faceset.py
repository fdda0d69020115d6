"""A finished set of faces on disk, read at random by record number."""

import json
import os
import zlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from jaxtyping import Int64, UInt8

from facemae.errors import Damaged, NotAFaceSet, StageError
from facemae.faces.codec import decode, suffix_of
from facemae.faces.people import PeopleWriter, SourceFiles
from facemae.faces.record import People, Record, key_of
from facemae.spec.manifest import FACE_KINDS, Kind, Manifest, read_manifest

GREY = 128
"""What stands in the hidden cells wherever a masked record is shown or trained on as a picture, by default."""

OPEN_SHARDS = 256
"""Shards held open at most: a system lets a process open about a thousand files, and a large set has more shards."""


class FaceSet:
    """Records 0 … n-1 of one directory; opening reads the manifest and maps the index, nothing else.

    Safe to share with worker processes: reads are positional, so no file position is ever shared.
    """

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        self.directory = directory
        self.manifest = manifest
        self.index = _load_index(directory / "index.npy")
        self._files: dict[int, int] = {}

    @classmethod
    def open(cls, directory: Path | str, *, kind: Kind | Sequence[Kind] | None = None) -> "FaceSet":
        """Open a set, demanding one of ``kind`` where it matters.

        Raises:
            NotAFaceSet: no such directory, no manifest, not a set of faces, or of the wrong kind.
            Damaged: the index is missing or cut.
        """
        directory = Path(directory)
        try:
            manifest = read_manifest(directory)
        except StageError as error:
            raise NotAFaceSet(str(error)) from None
        wanted = FACE_KINDS if kind is None else (kind,) if isinstance(kind, str) else tuple(kind)
        if manifest.kind not in wanted:
            raise NotAFaceSet(
                f"{directory} cannot be used here",
                got=f"kind {manifest.kind}",
                needed=" or ".join(wanted),
                remedy="run `facemae mask` on the originals first" if wanted == ("masked",) else None,
            )
        return cls(directory, manifest)

    def __len__(self) -> int:
        return len(self.index)

    def __getstate__(self) -> dict[str, Any]:
        return {"directory": self.directory, "manifest": self.manifest}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["directory"], state["manifest"])  # type: ignore[misc]

    def __del__(self) -> None:
        for descriptor in getattr(self, "_files", {}).values():
            os.close(descriptor)

    @property
    def kind(self) -> Kind:
        """original, masked, reconstructed or baseline."""
        return self.manifest.kind

    @property
    def digest(self) -> str:
        """The manifest's digest."""
        return self.manifest.digest

    @cached_property
    def identities(self) -> np.ndarray:
        """int32, one person number per record."""
        return np.array(self.index["identity"], dtype=np.int32)

    @property
    def num_identities(self) -> int:
        """How many people the set holds."""
        return int(self.manifest.facts["identities"])

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels, the same for every image."""
        height, width = self.manifest.facts["size"]
        return int(height), int(width)

    @cached_property
    def people(self) -> People | None:
        """Names and source files; only originals have them."""
        path = self.directory / "people.json"
        if not path.exists():
            return None
        content = json.loads(path.read_bytes())
        return People(identities=tuple(content["identities"]), files=tuple(content["files"]))

    def source_files(self) -> SourceFiles | None:
        """``people.files`` at 8 bytes a record in memory; None where there are no names.

        Raises:
            Damaged: not one file a record.
        """
        path = self.directory / "people.json"
        return SourceFiles(path, len(self)) if path.exists() else None

    def record(self, i: int) -> Record:
        """Record ``i`` as stored.

        Raises:
            Damaged: the bytes do not match the checksum in the index.
        """
        row = self.index[i]
        shard = int(row["shard"])
        image = self._read(shard, int(row["offset"]), int(row["length"]))
        encoded = self._read(shard, int(row["extras_offset"]), int(row["extras_length"]))
        if zlib.crc32(encoded, zlib.crc32(image)) != row["crc32"]:
            raise Damaged(
                f"record {key_of(i)} of {self.directory} is damaged",
                got="bytes that do not match their checksum",
                remedy="make the set again from its source",
            )
        extras = json.loads(encoded) if encoded else None
        return Record(key_of(i), int(row["identity"]), image, suffix_of(image), extras)

    def extras(self, i: int) -> dict[str, Any] | None:
        """What else is known of record ``i``, without its image and so without its checksum.

        Raises:
            Damaged: the bytes are no JSON.
        """
        row = self.index[i]
        encoded = self._read(int(row["shard"]), int(row["extras_offset"]), int(row["extras_length"]))
        try:
            return json.loads(encoded) if encoded else None
        except ValueError:
            raise Damaged(f"extras of record {key_of(i)} of {self.directory} cannot be read") from None

    def image(self, i: int) -> UInt8[np.ndarray, "h w 3"]:
        """Record ``i`` decoded, RGB; a masked record as its visible cells on ``fill``."""
        if self.kind == "masked":
            return self._painted(i)
        return decode(self.record(i).image)

    def images(self, indices: Sequence[int]) -> UInt8[np.ndarray, "b h w 3"]:
        """Several records decoded, in the order asked for."""
        return np.stack([self.image(int(i)) for i in indices])

    @property
    def cells(self) -> tuple[int, int, int]:
        """(grid, cell, kept) of a masked set: grid x grid cells of cell x cell pixels, of which kept are visible."""
        mask = self.manifest.facts["mask"]
        return int(mask["grid"]), int(mask["cell"]), int(mask["kept"])

    def visible(self, indices: Sequence[int]) -> tuple[UInt8[np.ndarray, "b k c c 3"], Int64[np.ndarray, "b k"]]:
        """Visible cells of masked records and their positions on the grid, row-major, ascending.

        Raises:
            Damaged: a record does not hold what the manifest promises.
        """
        grid, cell, kept = self.cells
        patches = np.empty((len(indices), kept, cell, cell, 3), np.uint8)
        positions = np.empty((len(indices), kept), np.int64)
        for row, i in enumerate(indices):
            record = self.record(int(i))
            strip, places = decode(record.image), (record.extras or {}).get("positions")
            if strip.shape != (cell, kept * cell, 3) or not _on_grid(places, kept, grid * grid):
                raise Damaged(
                    f"record {record.key} of {self.directory} is damaged",
                    got="cells that do not fit the manifest",
                    needed=f"{kept} cells of {cell} pixels on a grid of {grid}x{grid}",
                )
            patches[row] = strip.reshape(cell, kept, cell, 3).transpose(1, 0, 2, 3)
            positions[row] = places
        return patches, positions

    @property
    def fill(self) -> tuple[int, int, int]:
        """The colour of hidden cells where a masked record is seen as a picture: mid-grey unless the manifest says so.

        Raises:
            Damaged: the manifest says something that is no colour.
        """
        colour = self.manifest.facts["mask"].get("fill", [GREY] * 3)
        if not (isinstance(colour, list) and len(colour) == 3 and all(type(c) is int and 0 <= c < 256 for c in colour)):
            raise Damaged(
                f"the manifest of {self.directory} is damaged", got=f"fill {colour}", needed="red, green, blue"
            )
        return colour[0], colour[1], colour[2]

    def _painted(self, i: int) -> UInt8[np.ndarray, "h w 3"]:
        grid, cell, _ = self.cells
        patches, positions = self.visible([i])
        canvas = np.full((grid * grid, cell, cell, 3), self.fill, np.uint8)
        canvas[positions[0]] = patches[0]
        rows = canvas.reshape(grid, grid, cell, cell, 3).transpose(0, 2, 1, 3, 4)
        return rows.reshape(grid * cell, grid * cell, 3)

    def _read(self, shard: int, offset: int, length: int) -> bytes:
        if length == 0:
            return b""
        if shard not in self._files:
            if len(self._files) == OPEN_SHARDS:
                os.close(self._files.pop(next(iter(self._files))))
            self._files[shard] = os.open(self.directory / "shards" / f"{shard:05d}.tar", os.O_RDONLY)
        return os.pread(self._files[shard], length, offset)


def _load_index(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        reason = " ".join(str(error).split())
        raise Damaged(f"{path} cannot be read", got=reason, remedy="make the set again from its source") from None


def _on_grid(places: Any, kept: int, cells: int) -> TypeGuard[list[int]]:
    return (
        isinstance(places, list)
        and len(places) == kept
        and all(type(place) is int and 0 <= place < cells for place in places)
        and places == sorted(set(places))
    )


def write_people(directory: Path, people: People) -> None:
    """Store names and source files beside a set of originals."""
    with PeopleWriter(directory) as writer:
        for file in people.files:
            writer.add(file)
        writer.finish(people.identities)
