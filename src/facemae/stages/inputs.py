"""What a stage reads: its identity for the digest, and the line that says what is wrong with it."""

import os
from pathlib import Path

from facemae.errors import FaceMAEError
from facemae.spec.execution import Execution
from facemae.spec.manifest import FILE, files_below, hash_path, read_manifest

MIB = 1 << 20


def source_digest(path: Path, execution: Execution | None = None) -> str:
    """The manifest's digest of one of our directories, else the hash of the file's or folder's bytes.

    Gigabytes take a while to hash: with ``execution`` its progress shows how far it is.

    Raises:
        FaceMAEError: there is nothing at ``path``.
    """
    if not path.exists():
        raise FaceMAEError(f"nothing at {path}", remedy="check the path")
    if (path / FILE).is_file():
        return read_manifest(path).digest
    return hash_path(path) if execution is None else hash_with_progress(path, execution)


def hash_with_progress(path: Path, execution: Execution) -> str:
    """`hash_path`, with a bar over the bytes."""
    files = [path] if path.is_file() else (os.path.join(path, name) for name in files_below(path))
    read = 0
    with execution.progress.task("hash", sum(os.stat(file).st_size for file in files) // MIB, "MiB") as task:

        def seen(count: int) -> None:
            nonlocal read
            task.advance((read + count) // MIB - read // MIB)
            read += count

        return hash_path(path, seen=seen)
