"""A zip is read as `zipfile` reads it, without its memory, and a hostile one gets one line."""

import io
import struct
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facemae.errors import Damaged, DataError, UnreadableImage
from facemae.faces.importers import open_source, storage, zipped
from facemae.faces.importers.zipped import ZipStorage
from folders import png


def packed(
    *members: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED, before: bytes = b""
) -> bytes:
    stream = io.BytesIO()
    stream.write(before)
    with zipfile.ZipFile(stream, "a" if before else "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return stream.getvalue()


def demand_line(error: Exception) -> None:
    assert str(error)
    assert "\n" not in str(error)


def plant(tmp_path: Path, data: bytes) -> Path:
    (tmp_path / "set.zip").write_bytes(data)
    return tmp_path / "set.zip"


NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="/\\\0", exclude_categories=("Cc", "Cs")), min_size=1, max_size=9
)


@settings(max_examples=40, deadline=None)
@given(
    files=st.dictionaries(NAMES.filter(lambda name: name not in (".", "..")), st.binary(max_size=2000), max_size=8),
    method=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
    before=st.sampled_from([b"", b"#!/bin/sh\n"]),
    comment=st.binary(max_size=30),
)
def test_the_same_as_the_standard_library(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes], method: int, before: bytes, comment: bytes
) -> None:
    path = tmp_path_factory.mktemp("zip") / "a.zip"
    path.write_bytes(packed(*files.items(), method=method, before=before))
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = comment.replace(b"PK", b"  ")
    with ZipStorage(path) as opened:
        assert {name: opened.read(name) for name in opened.files()} == files


def test_people_and_what_is_left_out(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("faces/Ann/link.png")
    link.external_attr = 0o120777 << 16
    path = plant(
        tmp_path,
        packed(("faces/", b""), ("faces/Bo/1.png", png(1)), ("faces/Ann/0.png", png(0)), (link, b"/etc/passwd")),
    )
    with open_source(path) as source:
        assert (source.name, [tuple(entry)[:2] for entry in source.entries]) == (
            "set",
            [("Ann/0.png", "Ann"), ("Bo/1.png", "Bo")],
        )
        assert [source.read(entry) for entry in source.entries] == [png(0), png(1)]
        assert source.skipped == [("faces/Ann/link.png", "link")]


def test_names_of_macos_of_dos_and_of_the_field_for_them(tmp_path: Path) -> None:
    """By the description of the format: flag 11 clear, and the name in UTF-8, in code page 437, or in field 0x7075."""
    raw = [("José/0.png".encode(), b""), ("José/1.png".encode("cp437"), b""), (b"Jos_/2.png", "José/2.png".encode())]
    content, directory = b"", b""
    for i, (name, unicode) in enumerate(raw):
        told = b"\x01" + struct.pack("<I", zlib.crc32(name)) + unicode
        extra = struct.pack("<2H", 0x7075, len(told)) + told if unicode else b""
        data = png(i)
        common = struct.pack("<5H3L2H", 20, 0, 0, 0, 33, zlib.crc32(data), len(data), len(data), len(name), len(extra))
        directory += b"PK\x01\x02" + struct.pack("<H", 20) + common + struct.pack("<3H2L", 0, 0, 0, 0, len(content))
        directory += name + extra
        content += b"PK\x03\x04" + common + name + extra + data
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 3, 3, len(directory), len(content), 0)
    with open_source(plant(tmp_path, content + directory + end)) as source:
        assert [tuple(entry)[:2] for entry in source.entries] == [(f"José/{i}.png", "José") for i in range(3)]
        assert [source.read(entry) for entry in source.entries] == [png(i) for i in range(3)]


def test_sizes_of_64_bits(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive, archive.open("Ann/0.png", "w", force_zip64=True) as member:
        member.write(png(0))
    data = stream.getvalue()
    # As archives over 4 GB are: sizes and place of the member, and the directory, in their 64-bit fields.
    at = data.index(b"PK\x01\x02")
    directory = bytearray(data[at : data.index(b"PK\x05\x06")])
    sizes = struct.unpack_from("<2L", directory, 20)
    extra = struct.pack("<2H3Q", 1, 24, sizes[1], sizes[0], 0)
    directory[20:28], directory[42:46] = b"\xff" * 8, b"\xff" * 4
    name, before = struct.unpack_from("<2H", directory, 28)
    directory[30:32] = struct.pack("<H", len(extra))
    directory[46 + name : 46 + name + before] = extra
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, len(directory), at)
    place = struct.pack("<4sLQL", b"PK\x06\x07", 0, at + len(directory), 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    path = plant(tmp_path, data[:at] + directory + end64 + place + end)
    with zipfile.ZipFile(path) as archive:  # the standard library reads it so
        assert archive.read("Ann/0.png") == png(0)
    with ZipStorage(path) as opened:
        assert opened.read("Ann/0.png") == png(0)


@pytest.mark.parametrize("name", ["../0.png", "/etc/0.png", "Ann/../../0.png", "Ann\\0.png"])
def test_no_member_leaves_its_directory(tmp_path: Path, name: str) -> None:
    data = packed(("x" * len(name), png(0))).replace(b"x" * len(name), name.encode())
    with pytest.raises(DataError, match="would leave its directory") as caught:
        open_source(plant(tmp_path, data))
    assert "\n" not in str(caught.value)


def test_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "MAX_FILE_BYTES", 1 << 20)
    honest = packed(("Ann/0.png", bytes(4 << 20)))
    with ZipStorage(plant(tmp_path, honest)) as opened, pytest.raises(UnreadableImage, match="too large"):
        opened.read("Ann/0.png")
    # It promises 1,000 bytes and holds four million: inflating stops there.
    lying = honest.replace(struct.pack("<L", 4 << 20), struct.pack("<L", 1000))
    with ZipStorage(plant(tmp_path, lying)) as opened, pytest.raises(UnreadableImage, match="more than the 1000 bytes"):
        opened.read("Ann/0.png")


def test_members_that_share_bytes(tmp_path: Path) -> None:
    data = packed(*((f"Ann/{i}.png", b"0" * 400) for i in range(9)), method=zipfile.ZIP_STORED)
    at = data.index(b"PK\x01\x02")
    directory, one = bytearray(data[at:]), 46 + len("Ann/0.png")
    for i in range(9):  # every entry points at the first member and claims the whole file
        struct.pack_into("<2L", directory, i * one + 20, at - 60, at - 60)
        struct.pack_into("<L", directory, i * one + 42, 0)
    with pytest.raises(Damaged, match="members that overlap"):
        ZipStorage(plant(tmp_path, data[:at] + directory))


def test_encrypted_odd_and_doubled_members(tmp_path: Path) -> None:
    whole = packed(("Ann/0.png", png(0)))
    at = whole.index(b"PK\x01\x02")
    sealed = bytearray(whole)
    sealed[at + 8] |= 1
    with ZipStorage(plant(tmp_path, bytes(sealed))) as opened:
        assert (list(opened.files()), opened.skipped) == ([], [("Ann/0.png", "encrypted")])
    odd = packed(("Ann/0.png", png(0)), method=zipfile.ZIP_LZMA)
    with ZipStorage(plant(tmp_path, odd)) as opened, pytest.raises(UnreadableImage, match="method 14"):
        opened.read("Ann/0.png")
    broken = whole[:45] + bytes([whole[45] ^ 255]) + whole[46:]
    with ZipStorage(plant(tmp_path, broken)) as opened, pytest.raises(UnreadableImage, match="damaged"):
        opened.read("Ann/0.png")
    with pytest.raises(Damaged, match="two members of the name"):
        ZipStorage(plant(tmp_path, packed(("Ann/0.png", b"a"), ("Ann/1.png", b"b")).replace(b"1.png", b"0.png")))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damage_is_named(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    whole = packed(*((f"Ann/{i}.png", png(i, 8)) for i in range(3)))
    broken = bytearray(whole[: data.draw(st.integers(4, len(whole)))])
    for _ in range(data.draw(st.integers(0, 3))):
        broken[data.draw(st.integers(0, len(broken) - 1))] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.mktemp("zip") / "a.zip"
    path.write_bytes(broken)
    try:
        with zipped.ZipStorage(path) as opened:
            for name in opened.files():
                try:
                    assert opened.read(name) in [png(i, 8) for i in range(3)]
                except UnreadableImage as error:
                    demand_line(error)
    except DataError as error:
        demand_line(error)
