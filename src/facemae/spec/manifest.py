"""What a finished directory says of itself: `manifest.json`, and the digest that names it.

A directory that holds a manifest is complete: the manifest is written last.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from facemae.errors import StageError
from facemae.spec.scratch import Scratch, packed, unpacked

CONTRACT = 1
"""Raised whenever the same spec and parents would give other bytes than before."""

FILE = "manifest.json"

Kind = Literal[
    "original", "masked", "reconstructed", "baseline", "model", "recogniser", "embeddings", "verification", "audit"
]
FACE_KINDS: tuple[Kind, ...] = ("original", "masked", "reconstructed", "baseline")


class Frozen(BaseModel):
    """Base of everything that is hashed, compared or published: immutable, strict, no unknown keys."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", populate_by_name=True)


NEWER = "newer than the contract"
"""Marks a field of a `Grown` model, as `Annotated[T, NEWER]`, that came after results were published."""


class Grown(Frozen):
    """A model whose `NEWER` fields are written out only where they differ from their defaults.

    So a request that says nothing of them keeps the digest, and its manifest the bytes, from before they existed.
    """

    # A number that is none stays one when written out, as in every other model, so that `canonical` can refuse it.
    model_config = ConfigDict(ser_json_inf_nan="constants")

    @model_serializer(mode="wrap")
    def _without_newer_defaults(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = write(self)
        for name, field in type(self).model_fields.items():
            if NEWER in field.metadata and getattr(self, name) == field.default:
                content.pop(name, None)
        return content


class Manifest(Frozen):
    """What one stage made, from what, and how.

    ``digest`` = sha256(stage, contract version, canonical spec, parents' digests), except for a masked set, whose
    digest is the hash of its own bytes so that nothing of the originals can be confirmed by guessing.
    """

    schema_version: int = Field(default=1, alias="schema")
    stage: str
    kind: Kind
    digest: str
    contract: int = CONTRACT
    spec: dict[str, Any]
    parents: dict[str, str]
    facts: dict[str, Any]
    facemae: str


def canonical(value: object) -> bytes:
    """One spelling per value: JSON with sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def digest_of(stage: str, spec: Mapping[str, Any], parents: Mapping[str, str]) -> str:
    """digest = sha256(canonical [stage, contract version, spec, parents]), 64 hexadecimal digits."""
    return hashlib.sha256(canonical([stage, CONTRACT, dict(spec), dict(parents)])).hexdigest()


def hash_file(path: Path | str, *, seen: Callable[[int], None] | None = None) -> str:
    """sha256 of a file's bytes; ``seen`` is told how many more bytes were read."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
            if seen is not None:
                seen(len(block))
    return digest.hexdigest()


def hash_path(path: Path, *, seen: Callable[[int], None] | None = None) -> str:
    """sha256 of a file, or of a folder's (relative name, file hash) pairs in sorted order.

    A file of a folder that may not be read stands with the word "unreadable": whoever reads the folder counts it.
    """
    if path.is_file():
        return hash_file(path, seen=seen)
    names = Scratch("CREATE TABLE files (name BLOB PRIMARY KEY) WITHOUT ROWID")
    names.fill("INSERT INTO files VALUES (?)", ((packed(name),) for name in files_below(path)))
    # The hash of `canonical` of the whole list, which itself may be longer than memory. No Path for each file: it would
    # leave the parts of its name in the interpreter's table of strings.
    digest, before = hashlib.sha256(b"["), b""
    for (name,) in names.rows("SELECT name FROM files ORDER BY name"):
        file = unpacked(name)
        digest.update(before + canonical([file, _hash_or_word(os.path.join(path, file), seen)]))
        before = b","
    names.close()
    digest.update(b"]")
    return digest.hexdigest()


def files_below(folder: Path) -> Iterator[str]:
    """Relative names of all files below ``folder``, links to files included, in no order; one is in memory at a time.

    Links to folders are not followed, and folders that may not be read are passed over.
    """
    pending = [""]
    while pending:
        prefix = pending.pop()
        try:
            with os.scandir(os.path.join(folder, prefix)) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(f"{prefix}{entry.name}/")
                    elif Path(entry.path).is_file() if entry.is_symlink() else entry.is_file():
                        yield prefix + entry.name
        except (PermissionError, FileNotFoundError, NotADirectoryError):
            continue


def _hash_or_word(file: str, seen: Callable[[int], None] | None) -> str:
    try:
        return hash_file(file, seen=seen)
    except PermissionError:
        return "unreadable"


def write_json(path: Path, value: object) -> None:
    """Write one JSON file so that it is either whole or absent: sibling file, fsync, rename."""
    partial = path.with_name(f".{path.name}.partial")
    # Bytes of a file name that are no UTF-8 stand in it as \\udcXX, which is how JSON itself writes them.
    with partial.open("w", encoding="utf-8", errors="backslashreplace") as stream:
        json.dump(value, stream, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """The last file a stage writes."""
    write_json(directory / FILE, manifest.model_dump(by_alias=True))


def read_manifest(directory: Path) -> Manifest:
    """The manifest of a finished directory.

    Raises:
        StageError: the directory has none (it is unfinished, or nothing of ours), or the file is not a manifest.
    """
    path = directory / FILE
    try:
        return Manifest.model_validate_json(path.read_bytes(), strict=True)
    except (FileNotFoundError, NotADirectoryError):
        raise StageError(
            f"{directory} is not a finished facemae directory",
            got=f"no {FILE}",
            remedy="name the OUT of an earlier verb, or run `facemae import` on a folder of photos first",
        ) from None
    except (ValidationError, ValueError) as error:
        raise StageError(
            f"{path} is not a manifest", got=str(error).splitlines()[0], remedy="run the verb again"
        ) from None
