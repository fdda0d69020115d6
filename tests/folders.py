"""Folders of small pictures, finished sets of originals, and verbs run as a person runs them; nothing needs torch."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from facemae.cli import main
from facemae.faces.codec import encode_jpeg, encode_png
from facemae.faces.faceset import FaceSet, write_people
from facemae.faces.record import People
from facemae.faces.writer import FaceSetWriter
from facemae.spec.manifest import Kind, Manifest, digest_of, write_manifest


class Ended(NamedTuple):
    """How a verb ended."""

    code: int
    out: str
    err: str


def noise(seed: int, size: int = 32) -> np.ndarray:
    """A square RGB picture that no other seed gives."""
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


def png(seed: int, size: int = 32) -> bytes:
    return encode_png(noise(seed, size))


def jpeg(seed: int, size: int = 32) -> bytes:
    return encode_jpeg(noise(seed, size))


def plant(root: Path, files: dict[str, bytes]) -> Path:
    """Write files below ``root``."""
    root.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def tree(root: Path) -> dict[str, bytes]:
    """Every file below ``root`` with its bytes."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def originals(directory: Path, images: Sequence[np.ndarray], labels: Sequence[int]) -> FaceSet:
    """A finished, lossless set of originals of "Person_N"."""
    writer = FaceSetWriter(directory)
    for image, label in zip(images, labels, strict=True):
        writer.add(encode_png(image), label)
    writer.finish()
    count = max(labels) + 1
    names = tuple(f"Person_{label}" for label in range(count))
    write_people(directory, People(names, tuple(f"Person_{label}/{i}.png" for i, label in enumerate(labels))))
    facts = {"records": len(images), "identities": count, "size": list(images[0].shape[:2])}
    content = {"images": [image.tobytes().hex() for image in images], "labels": list(labels)}
    return publish(directory, "original", facts, digest=digest_of("test", content, {}))


def publish(directory: Path, kind: Kind, facts: dict[str, Any], *, digest: str = "0" * 64) -> FaceSet:
    """Put a manifest beside what a writer finished."""
    manifest = Manifest(stage="test", kind=kind, digest=digest, spec={}, parents={}, facts=facts, facemae="0")
    write_manifest(directory, manifest)
    return FaceSet.open(directory)


def facemae(capsys: pytest.CaptureFixture[str], *words: object) -> Ended:
    """``facemae WORDS`` within this process."""
    capsys.readouterr()
    before, sys.argv = sys.argv, ["facemae", *map(str, words)]
    try:
        main()
    except SystemExit as end:
        code = end.code
    finally:
        sys.argv = before
    said = capsys.readouterr()
    return Ended(int(code or 0), said.out, said.err)


def demand_one_line(ended: Ended) -> str:
    """The one line of an error that a person meets."""
    assert ended.code == 2, ended
    assert ended.out == ""
    assert ended.err.count("\n") == 1
    assert ended.err.startswith("facemae: ")
    assert "Traceback" not in ended.err
    return ended.err
