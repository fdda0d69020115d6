"""A face set as WebDataset shards, for training tools that read those."""

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

from facemae.faces.exporters.place import start_empty
from facemae.faces.faceset import FaceSet
from facemae.faces.record import Record

SHARD_BYTES = 1 << 28


def export_webdataset(faces: FaceSet, directory: Path, *, shard_bytes: int = SHARD_BYTES) -> list[Path]:
    """Write ``NNNNNN.tar`` of ``<key>.jpg|.png``, ``<key>.cls`` and, with extras, ``<key>.json``; returns the shards.

    Bytes and extras are as stored: a masked record is its strip of cells, its ``.json`` holds their positions. A shard
    is closed once it holds ``shard_bytes`` of content. The same set gives the same bytes.

    Raises:
        OutputExists: the directory holds something.
    """
    start_empty(directory)
    shards: list[Path] = []
    i = 0
    while i < len(faces):
        shards.append(directory / f"{len(shards):06d}.tar")
        with tarfile.open(shards[-1], "w", format=tarfile.USTAR_FORMAT) as archive:
            size = 0
            while i < len(faces) and size < shard_bytes:
                for name, data in _members(faces.record(i)):
                    _add(archive, name, data)
                    size += len(data)
                i += 1
    return shards


def _members(record: Record) -> Iterator[tuple[str, bytes]]:
    yield record.key + record.suffix, record.image
    yield record.key + ".cls", str(record.identity).encode()
    if record.extras:
        yield record.key + ".json", json.dumps(record.extras, sort_keys=True, separators=(",", ":")).encode()


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))
    archive.members = []  # type: ignore[attr-defined]  # it keeps every header; a shard has many
