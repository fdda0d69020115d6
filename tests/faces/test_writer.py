"""Shards: the same records give the same bytes, other tools read them, and any interruption can be gone on from."""

import errno
import os
import resource
import shutil
import tarfile
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facemae.faces.writer import INDEX_DTYPE, FaceSetWriter
from folders import jpeg, plant, png, tree

Row = tuple[bytes, int, dict[str, Any] | None]

RECORDS: tuple[Row, ...] = tuple(
    ((png if i % 2 else jpeg)(i, 4 + i % 3), i // 3, {"age": i, "points": [[1.5, 2]]} if i % 3 == 0 else None)
    for i in range(14)
)
SHARD_BYTES = 9000
"""Holds about four of these records."""

FLUSH_EVERY = 3


def write(directory: Path, records: tuple[Row, ...] = RECORDS, *, shard_bytes: int = SHARD_BYTES) -> None:
    """Everything that is still missing, and the end."""
    writer = FaceSetWriter(directory, shard_bytes=shard_bytes)
    for image, identity, extras in records[len(writer) :]:
        writer.add(image, identity, extras=extras)
    assert writer.finish() == len(records)


def hashes(directory: Path) -> dict[str, str]:
    """Every file with the hash of its bytes: short enough to be read where two differ."""
    return {name: sha256(data).hexdigest() for name, data in tree(directory).items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a writer leaves that nobody disturbed."""
    directory = tmp_path_factory.mktemp("whole")
    write(directory)
    return hashes(directory)


def test_layout(tmp_path: Path, whole: dict[str, str]) -> None:
    assert [name for name in whole if name != "index.npy"] == [f"shards/{i:05d}.tar" for i in range(len(whole) - 1)]
    assert len(whole) > 3
    write(tmp_path, shard_bytes=1 << 20)
    assert list(tree(tmp_path)) == ["index.npy", "shards/00000.tar"]


def test_same_records_same_bytes(tmp_path: Path, whole: dict[str, str]) -> None:
    write(tmp_path)
    assert hashes(tmp_path) == whole


def test_keys_count_from_zero(tmp_path: Path) -> None:
    writer = FaceSetWriter(tmp_path)
    assert [writer.add(png(0, 4), 0), writer.add(png(1, 4), 0)] == ["00000000", "00000001"]
    assert len(writer) == 2
    writer.close()


def test_an_empty_set_is_a_set(tmp_path: Path) -> None:
    write(tmp_path, ())
    assert len(np.load(tmp_path / "index.npy")) == 0
    with tarfile.open(tmp_path / "shards/00000.tar") as archive:
        assert archive.getnames() == []


def test_tarfile_reads_webdataset_names_in_order(tmp_path: Path) -> None:
    write(tmp_path)
    expected = []
    for i, (image, identity, extras) in enumerate(RECORDS):
        key = f"{i:08d}"
        expected += [(key + (".png" if i % 2 else ".jpg"), image), (key + ".cls", str(identity).encode())]
        if extras:
            expected.append((key + ".json", b'{"age":%d,"points":[[1.5,2]]}' % i))
    found = []
    for shard in sorted((tmp_path / "shards").iterdir()):
        with tarfile.open(shard) as archive:
            members = archive.getmembers()
            assert all(member.isreg() and member.mode == 0o644 for member in members)
            assert {(member.mtime, member.uid, member.uname) for member in members} == {(0, 0, "")}
            found += [(member.name, archive.extractfile(member).read()) for member in members]  # type: ignore[union-attr]
    assert found == expected


def test_index_points_at_the_bytes(tmp_path: Path) -> None:
    write(tmp_path)
    index = np.load(tmp_path / "index.npy")
    assert index.dtype == INDEX_DTYPE
    for row, (image, identity, extras) in zip(index, RECORDS, strict=True):
        data = (tmp_path / "shards" / f"{row['shard']:05d}.tar").read_bytes()
        assert data[row["offset"] : row["offset"] + row["length"]] == image
        assert row["identity"] == identity
        assert bool(row["extras_length"]) == bool(extras)


def test_a_shard_closes_once_it_is_full(tmp_path: Path) -> None:
    write(tmp_path)
    shards = np.load(tmp_path / "index.npy")["shard"]
    for number in range(int(shards[-1])):
        # All but the two zero blocks is records; without the last record there was still room.
        filled = (tmp_path / "shards" / f"{number:05d}.tar").stat().st_size - 1024
        assert SHARD_BYTES <= filled < SHARD_BYTES + 3 * 1024


def test_a_directory_without_a_running_index_starts_anew(tmp_path: Path, whole: dict[str, str]) -> None:
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards/00007.tar").write_bytes(b"stale")
    write(tmp_path)
    assert hashes(tmp_path) == whole


def interrupt(directory: Path, count: int) -> None:
    """Write ``count`` records and stop without an end, as a killed process does."""
    writer = FaceSetWriter(directory, shard_bytes=SHARD_BYTES)
    for i, (image, identity, extras) in enumerate(RECORDS[len(writer) : count], len(writer) + 1):
        writer.add(image, identity, extras=extras)
        if i % FLUSH_EVERY == 0:
            writer.flush()
    writer.close()


@pytest.mark.parametrize("count", range(len(RECORDS) + 1))
def test_stopped_after_any_record(tmp_path: Path, whole: dict[str, str], count: int) -> None:
    interrupt(tmp_path, count)
    writer = FaceSetWriter(tmp_path, shard_bytes=SHARD_BYTES)
    assert count - FLUSH_EVERY < len(writer) <= count
    writer.close()
    write(tmp_path)
    assert hashes(tmp_path) == whole


@settings(deadline=None, max_examples=30)
@given(data=st.data(), count=st.integers(0, len(RECORDS)), finished=st.booleans())
@pytest.mark.slow
def test_cut_at_any_byte_of_any_file(whole: dict[str, str], data: st.DataObject, count: int, finished: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        interrupt(directory, count)
        if finished:  # the end was being written: the last archive is closed, the index is not there yet
            with max((directory / "shards").iterdir()).open("ab") as shard:
                shard.write(bytes(1024))
        for path in [*sorted((directory / "shards").iterdir()), directory / "index.partial"]:
            size = path.stat().st_size
            kept = data.draw(st.just(size) | st.none() | st.integers(0, size), label=path.name)
            if kept is None:
                path.unlink()
            else:
                os.truncate(path, kept)
        write(directory)
        assert hashes(directory) == whole


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.slow
def test_every_cut_of_a_shard(tmp_path: Path, whole: dict[str, str], number: int) -> None:
    interrupt(tmp_path, 6)
    shards, index = tree(tmp_path / "shards"), (tmp_path / "index.partial").read_bytes()
    cut = tmp_path / "shards" / f"{number:05d}.tar"
    assert len(shards) == 2
    for size in range(len(shards[cut.name]), -1, -512):
        plant(tmp_path / "shards", shards)
        (tmp_path / "index.partial").write_bytes(index)
        os.truncate(cut, size)
        write(tmp_path)
        assert hashes(tmp_path) == whole
        shutil.rmtree(tmp_path / "shards")


@pytest.mark.slow
def test_a_failed_write_keeps_its_reason(tmp_path: Path) -> None:
    writer = FaceSetWriter(tmp_path, shard_bytes=1)
    for i in range(100):
        writer.add(png(0, 4), i)
    writer.flush()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Every shard fits below this size, the index of 100 records does not.
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError) as caught:  # noqa: PT011 (the number is what counts)
            writer.finish()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert not (tmp_path / "index.npy").exists() or (tmp_path / "index.partial").exists()
