"""What a stage reads: its identity for the digest, and the line that says what is wrong with it."""

from pathlib import Path

from facemae.errors import FaceMAEError
from facemae.spec.manifest import FILE, hash_path, read_manifest


def source_digest(path: Path) -> str:
    """The manifest's digest of one of our directories, else the hash of the file's or folder's bytes.

    Raises:
        FaceMAEError: there is nothing at ``path``.
    """
    if not path.exists():
        raise FaceMAEError(f"nothing at {path}", remedy="check the path")
    return read_manifest(path).digest if (path / FILE).is_file() else hash_path(path)
