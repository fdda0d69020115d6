"""What a stage reads has an identity, and hashing it is not silent."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from facemae.errors import FaceMAEError
from facemae.spec.execution import Execution, Silent
from facemae.spec.manifest import hash_path
from facemae.stages.inputs import source_digest
from folders import noise, originals


class Counted(Silent):
    """Progress that adds up."""

    total = done = 0

    @contextmanager
    def task(self, name: str, total: int, unit: str, done: int = 0) -> Iterator["Counted"]:
        self.total += total
        yield self

    def advance(self, amount: int = 1, note: str = "") -> None:
        self.done += amount


def test_digests(tmp_path: Path) -> None:
    faces = originals(tmp_path / "set", [noise(0)], [0])
    assert source_digest(tmp_path / "set", Execution()) == faces.digest
    with pytest.raises(FaceMAEError, match=r"nothing at .*nowhere: check the path"):
        source_digest(tmp_path / "nowhere")


def test_hashing_shows_progress_and_changes_nothing(tmp_path: Path) -> None:
    for name, size in (("a", 1_500_000), ("b", 10), ("c", 3_000_000)):
        (tmp_path / name).write_bytes(name.encode() * size)
    counted = Counted()
    assert source_digest(tmp_path, Execution(progress=counted)) == hash_path(tmp_path) == source_digest(tmp_path)
    assert counted.total == counted.done == 4_500_010 >> 20
