"""RecordIO: the golden bytes of MXNet's writer, round trips, and files that lie."""

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facemae.errors import Damaged, DataError
from facemae.faces.recordfile import RecordFile
from facemae.faces.recordio import LONGEST, Header, RecordWriter, frame, pack, unpack

M = bytes.fromhex("0a23d7ce")

GOLDEN = {
    b"abc": "0a23d7ce 03000000 61626300",
    b"abcd" + M + b"ef": "0a23d7ce 04000020 61626364 0a23d7ce 02000060 65660000",
    M + b"ef": "0a23d7ce 00000020 0a23d7ce 02000060 65660000",
    M + M: "0a23d7ce 00000020 0a23d7ce 00000040 0a23d7ce 00000060",
    b"a" + M: "0a23d7ce 05000000 61 0a23d7ce 000000",
    pack((5, 7), b""): "0a23d7ce 20000000 02000000 00000000" + "00" * 16 + "0000a040 0000e040",
    pack(3, b"\xff\xd8", key=9): "0a23d7ce 1a000000 00000000 00004040 0900000000000000 0000000000000000 ffd80000",
}

PAYLOADS = st.lists(st.sampled_from([M, M[:3], b"\xce", b"\0", b"face", b"photograph"]), max_size=12).map(b"".join)


def write(folder: Path, payloads: list[bytes]) -> Path:
    with RecordWriter(folder / "a.rec", folder / "a.idx") as records:
        for key, payload in enumerate(payloads):
            records.write(key, payload)
    return folder / "a.rec"


def foreign(records: list[tuple[int, bytes]]) -> tuple[bytes, str]:
    """A file and its index, put together from the format's description: payloads without the magic number only."""
    content, index = b"", ""
    for key, payload in records:
        assert M not in payload
        index += f"{key}\t{len(content)}\n"
        content += struct.pack("<II", 0xCED7230A, len(payload)) + payload + b"\0" * (-len(payload) % 4)
    return content, index


@pytest.mark.parametrize("payload", GOLDEN, ids=range(len(GOLDEN)))
def test_golden_bytes_both_ways(payload: bytes, tmp_path: Path) -> None:
    raw = bytes.fromhex(GOLDEN[payload])
    assert frame(payload) == raw
    (tmp_path / "a.rec").write_bytes(raw)
    (tmp_path / "a.idx").write_text("4\t0\n")
    records = RecordFile(tmp_path / "a.rec", tmp_path / "a.idx")
    assert records.payload(0) == payload
    assert list(records.payloads()) == [payload]


def test_headers() -> None:
    assert unpack(bytes.fromhex(GOLDEN[pack(3, b"\xff\xd8", key=9)].replace(" ", ""))[8:34]) == (
        Header(0, (3.0,), 9, 0),
        b"\xff\xd8",
    )
    assert unpack(pack((1, 0.5, 7), b"x")) == (Header(3, (1.0, 0.5, 7.0), 0, 0), b"x")
    with pytest.raises(Damaged, match="without its header: got 23 bytes"):
        unpack(b"\0" * 23)
    with pytest.raises(Damaged, match="without its labels: got 28 bytes; needed 2 labels, 32 bytes"):
        unpack(pack((1, 2), b"")[:28])


@given(payloads=st.lists(PAYLOADS, min_size=1, max_size=8))
def test_what_is_written_is_read(payloads: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = write(tmp_path_factory.mktemp("records"), payloads)
    records = RecordFile(path, path.with_suffix(".idx"))
    assert list(records.payloads()) == payloads
    assert [records.payload(i) for i in reversed(range(len(payloads)))] == payloads[::-1]
    records.close()


@given(labels=st.lists(st.floats(width=32, allow_nan=False), max_size=4), image=PAYLOADS, key=st.integers(0, 2**64 - 1))
@pytest.mark.slow
def test_headers_round_trip(labels: list[float], image: bytes, key: int) -> None:
    header, found = unpack(pack(tuple(labels), image, key=key))
    assert (header.flag, header.id, found) == (len(labels), key, image)
    assert header.labels == (tuple(labels) or (0.0,))


@given(images=st.lists(PAYLOADS, min_size=1, max_size=6), data=st.data())
@pytest.mark.slow
def test_scanned_like_indexed(
    images: list[bytes], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Tags come from the headers alone; a label whose bytes are the magic number takes the record apart at its head."""
    odd = struct.unpack("<f", M)[0]
    labels = [data.draw(st.sampled_from([1, 7.0, odd, (3.0, 1.0), (odd, odd, 2.0), (odd,)])) for _ in images]
    path = write(tmp_path_factory.mktemp("records"), [pack(a, b) for a, b in zip(labels, images, strict=True)])
    records = RecordFile(path, path.with_suffix(".idx"))
    tags = records.tags()
    flags = [len(label) if isinstance(label, tuple) else 0 for label in labels]
    assert tags.flag.tolist() == flags
    assert tags.label.tolist() == [label[0] if isinstance(label, tuple) else label for label in labels]
    assert tags.empty.tolist() == [not image for image in images]
    scanned = RecordFile(path)
    assert sorted(scanned.offsets.tolist()) == records.offsets.tolist()


def test_the_key_order_of_insightface(tmp_path: Path) -> None:
    """Images 1 and 2, then record 0, then the people: by index or by scanning, the same keys."""
    listed = [(1, pack((0, 1), b"a")), (2, pack((1, 1), b"b")), (0, pack((3, 5), b""))]
    listed += [(3, pack((1, 2), b"")), (4, pack((2, 3), b""))]
    content, index = foreign(listed)
    (tmp_path / "a.rec").write_bytes(content)
    (tmp_path / "a.idx").write_text(index)
    for where in (tmp_path / "a.idx", None):
        records = RecordFile(tmp_path / "a.rec", where)
        assert records.keys.tolist() == [0, 1, 2, 3, 4]
        assert {int(key): records.payload(i) for i, key in enumerate(records.keys)} == dict(listed)
        assert [records.find(key) for key in (-1, 0, 4, 5)] == [-1, 0, 4, -1]
        assert records.tags().empty.tolist() == [True, False, False, True, True]


def test_an_index_takes_sixteen_bytes_a_record(tmp_path: Path) -> None:
    path = write(tmp_path, [b"face"] * 1000)
    records = RecordFile(path, path.with_suffix(".idx"))
    assert records.keys.nbytes + records.offsets.nbytes == 16_000


def read_all(path: Path, index: Path | None) -> None:
    records = RecordFile(path, index)
    list(records.payloads())
    records.tags()


def damaged(tmp_path: Path, content: bytes, index: str | None = None) -> str:
    """What reading all of it says."""
    (tmp_path / "a.rec").write_bytes(content)
    if index is not None:
        (tmp_path / "a.idx").write_text(index)
    with pytest.raises(Damaged) as raised:
        read_all(tmp_path / "a.rec", None if index is None else tmp_path / "a.idx")
    assert "\n" not in str(raised.value)
    return str(raised.value)


GOOD = frame(pack(1, b"first")) + frame(pack(2, b"second"))
SECOND = len(frame(pack(1, b"first")))
INDEX = f"0\t0\n7\t{SECOND}\n"


def changed(at: int, data: bytes) -> bytes:
    return GOOD[:at] + data + GOOD[at + len(data) :]


@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (changed(SECOND, b"WHAT"), "0x54414857 instead of the magic number 0xced7230a"),
        (changed(SECOND + 4, struct.pack("<I", LONGEST)), "536870912 bytes with padding where 32 are left"),
        (changed(SECOND + 4, struct.pack("<I", 5 << 29 | 4)), "a part of kind 5"),
        (GOOD[:-1], "32 bytes with padding where 31 are left"),
        (changed(SECOND + 4, struct.pack("<I", 3 << 29 | 30)), "part"),
        (GOOD[:SECOND] + frame(b"abcd" + M + b"ef")[:12], "the end of the file"),
        (GOOD[:SECOND] + frame(b"abcd" + M + b"ef")[:12] + GOOD[:SECOND], "part"),
    ],
    ids=["magic", "length", "kind", "cut", "last part first", "no last part", "a record inside"],
)
def test_damage_names_record_and_byte(tmp_path: Path, content: bytes, said: str, indexed: bool) -> None:
    line = damaged(tmp_path, content, INDEX if indexed else None)
    assert said in line
    record = "record with key 7" if indexed else "record 1 from the start"
    later = SECOND + len(frame(b"abcd")) if content[SECOND + 7] == 0x20 else SECOND  # the part after the first
    assert line.startswith(f"a.rec, {record}, byte {later}: ")


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ("0 0\n", "a.idx is no index"),
        ("zero\t0\n", "a.idx is no index"),
        ("0\t0\t0\n", "got 3 columns"),
        ("0\t0\n0\t36\n", "a.idx names a key twice: got 0"),
        ("0\t999\n", "got byte 999 of 80 for key 0"),
        ("0\t-4\n", "got byte -4 of 80 for key 0"),
        ("0\t2\n", "got byte 2 of 80 for key 0"),
        ("0\t76\n", "got byte 76 of 80 for key 0"),
        ("0\t99999999999999999999\n", "a.idx is no index"),
        ("".join(f"{key}\t0\n" for key in range(20)), "more than the 10 records that the file can hold"),
    ],
)
def test_an_index_that_does_not_fit(tmp_path: Path, index: str, said: str) -> None:
    assert len(GOOD) == 80
    assert said in damaged(tmp_path, GOOD, index)


def test_other_files(tmp_path: Path) -> None:
    assert damaged(tmp_path, b"").startswith("a.rec is empty")
    assert "0x04034b50" in damaged(tmp_path, b"PK\x03\x04 a zip")
    assert "byte 0: got the end of the file at byte 3" in damaged(tmp_path, b"abc")
    with pytest.raises(DataError, match=r"nothing\.rec cannot be opened: got No such file"):
        RecordFile(tmp_path / "nothing.rec")


@given(cut=st.integers(1, len(GOOD) - 1), at=st.integers(0, len(GOOD) - 1), value=st.integers(0, 255))
def test_only_our_own_errors(cut: int, at: int, value: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("records") / "a.rec"
    path.with_suffix(".idx").write_text(INDEX)
    for content in (GOOD[:cut], changed(at, bytes([value]))):
        path.write_bytes(content)
        for index in (path.with_suffix(".idx"), None):
            try:
                records = RecordFile(path, index)
                records.tags()
                for i in range(len(records)):
                    records.record(i)
            except Damaged:
                continue


def test_a_record_has_a_longest_length() -> None:
    class Long(bytes):
        def __len__(self) -> int:
            return LONGEST + 1

    with pytest.raises(DataError, match="a record is too long: got 536870912 bytes"):
        frame(Long())
