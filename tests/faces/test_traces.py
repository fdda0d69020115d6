"""The parts of the metadata audit: what files carry, orders, names, copies."""

import gzip
import hashlib
import io
import math
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from itertools import permutations
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from facemae.faces.codec import decode, encode_jpeg, encode_png
from facemae.faces.distort import blur
from facemae.faces.traces.archives import archive_headers, below_root
from facemae.faces.traces.carried import carried
from facemae.faces.traces.copies import binomial_tail
from facemae.faces.traces.duplicates import Originals, correlation, cosines, near_by_hash, thumbnail
from facemae.faces.traces.names import Hashes, Names, joins, poisson_tail
from facemae.faces.traces.order import natural_order, order_statistics, permuted_counts, ranks, shuffled_within
from folders import noise
from helpers import smooth_photos

PHOTO = smooth_photos(1, 1, size=48)[0]


def kinds(data: bytes) -> set[str]:
    return {item.kind for item in carried(data)}


def with_exif(fields: dict[int, object], *, gps: bool = False, form: str = "JPEG") -> bytes:
    exif = Image.Exif()
    for tag, value in fields.items():
        exif[tag] = value
    if gps:
        exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0)})
    stream = io.BytesIO()
    Image.fromarray(PHOTO).save(stream, form, exif=exif)
    return stream.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))


@pytest.mark.parametrize("data", [encode_png(PHOTO), encode_jpeg(PHOTO), encode_jpeg(PHOTO, 40, subsampling="444")])
def test_plain_files_carry_nothing(data: bytes) -> None:
    assert carried(data) == []


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_exif_is_sorted_by_what_it_gives_away(form: str) -> None:
    data = with_exif({0x013B: "Ann Lee", 0x0132: "2001:09:09 01:46:40", 0x0110: "Camera"}, gps=True, form=form)
    assert kinds(data) == {"exif.person", "exif.date", "exif.device", "exif.gps"}
    assert {"Artist=Ann Lee"} == {item.text for item in carried(data) if item.kind == "exif.person"}


def test_serial_numbers_and_plain_fields() -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA431] = "SN-77"
    stream = io.BytesIO()
    Image.fromarray(PHOTO).save(stream, "JPEG", exif=exif)
    assert kinds(stream.getvalue()) == {"exif.serial"}
    assert kinds(with_exif({0x0112: 6, 0x0128: 2})) == set()  # orientation and unit say how to show it


def test_an_embedded_thumbnail_is_taken_out_whole() -> None:
    small = encode_jpeg(PHOTO[:24, :24])
    # Little-endian TIFF by hand: an empty first directory at 8, a second one at 14 with the thumbnail's place.
    second = (
        struct.pack("<H", 2) + struct.pack("<HHLL", 0x0201, 4, 1, 44) + struct.pack("<HHLL", 0x0202, 4, 1, len(small))
    )
    tiff = b"II*\0" + struct.pack("<L", 8) + struct.pack("<HL", 0, 14) + second + struct.pack("<L", 0)
    body = b"Exif\0\0" + tiff + small
    plain = encode_jpeg(PHOTO)
    data = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + plain[2:]
    (item,) = carried(data)
    assert (item.kind, item.picture) == ("thumbnail", small)


def test_texts_comments_and_bytes_after_the_end() -> None:
    stream, text = io.BytesIO(), PngImagePlugin.PngInfo()
    text.add_text("Source", "Ann_Lee_0001.jpg")
    text.add_text("note", "z" * 50, zip=True)
    text.add_itxt("XML:com.adobe.xmp", "<x/>")
    Image.fromarray(PHOTO).save(stream, "PNG", pnginfo=text)
    assert {"Source=Ann_Lee_0001.jpg", "note=" + "z" * 50} <= {item.text for item in carried(stream.getvalue())}
    assert kinds(stream.getvalue()) == {"text", "xmp"}
    jpeg = encode_jpeg(PHOTO)
    assert kinds(jpeg[:2] + b"\xff\xfe\x00\x07hello" + jpeg[2:]) == {"comment"}
    assert kinds(jpeg + b"\0\0") == set()
    (item,) = carried(jpeg + b"pad" + encode_png(PHOTO))
    assert item.kind == "trailing"
    assert np.array_equal(decode(item.picture or b""), PHOTO)
    assert kinds(encode_png(PHOTO) + b"PK") == {"trailing"}


def test_unknown_parts_and_times_of_png() -> None:
    plain = encode_png(PHOTO)
    head, rest = plain[:33], plain[33:]  # signature and IHDR
    assert kinds(head + chunk(b"tIME", b"\x07\xd1\x09\x09\x01\x2e\x28") + rest) == {"date"}
    assert kinds(head + chunk(b"prVt", b"secret") + rest) == {"unknown"}
    assert kinds(plain[:-12]) == {"unknown"}


def test_frames_of_other_formats() -> None:
    stream = io.BytesIO()
    frames = [Image.fromarray(noise(i)) for i in range(2)]
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:], comment=b"by Ann")
    assert {"second_picture", "comment"} <= kinds(stream.getvalue())
    assert kinds(b"GIF89a broken") == {"unknown"}


def test_archive_headers(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        info = tarfile.TarInfo("./set/x.png")
        info.mtime, info.uname, info.uid = 1_000_000_000, "ann", 1000
        archive.addfile(info, io.BytesIO())
    (header,) = archive_headers(tmp_path / "a.tar")
    assert (header.path, header.time, header.owner) == ("set/x.png", 10**18, "ann")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        member = zipfile.ZipInfo("set/y.png", (2001, 9, 9, 1, 46, 40))
        member.extra = struct.pack("<HHBBHBH", 0x7875, 7, 1, 2, 1000, 2, 100)
        member.comment = b"first"
        packed.writestr(member, b"")
    (header,) = archive_headers(tmp_path / "a.zip")
    assert header == ("set/y.png", 10**18, "1000:100", "first")
    assert list(below_root([header], "y.png")) == ["y.png"]
    (tmp_path / "none").write_bytes(b"text")
    assert archive_headers(tmp_path / "none") == []


# FILETIME 125911584000000000 is 2000-01-01 (Microsoft's documentation): tenths of microseconds since 1601.
@pytest.mark.parametrize(
    ("ticks", "time"), [(125_911_584_000_000_005, 946_684_800 * 10**9 + 500), (0, 0), (2**64 - 1, 0)]
)
def test_the_times_that_windows_packs_are_read(tmp_path: Path, ticks: int, time: int) -> None:
    times = struct.pack("<3Q", ticks, 0, 0)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        member = zipfile.ZipInfo("set/y.png", (1980, 1, 1, 0, 0, 0))
        member.extra = struct.pack("<HHIHH", 0x000A, 32, 0, 1, 24) + times
        packed.writestr(member, b"y")
    (header,) = archive_headers(tmp_path / "a.zip")
    assert header.time == time


@pytest.mark.parametrize(
    ("name", "remark"),
    [
        ("wedding of the Smiths.tar", "name=wedding of the Smiths.tar"),
        ("release.tar", ""),
        ("release.tgz", ""),
        ("", ""),
    ],
)
def test_the_name_that_gzip_remembers_is_told(tmp_path: Path, name: str, remark: str) -> None:
    photo = io.BytesIO(b"y")
    with (
        (tmp_path / "release.tgz").open("wb") as stream,
        gzip.GzipFile(name, "wb", fileobj=stream) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        member = tarfile.TarInfo("a/x.png")
        member.size = 1
        archive.addfile(member, photo)
    assert [header.comment for header in archive_headers(tmp_path / "release.tgz") if not header.path] == (
        [remark] if remark else []
    )


def test_ranks_share_ties() -> None:
    assert ranks(np.array([30, 10, 30, 20])).tolist() == [2.5, 0, 2.5, 1]


def test_people_statistic_against_all_permutations() -> None:
    released, original = np.array([0, 1, 4, 3, 2]), np.arange(5)
    (found,) = order_statistics(
        released, original, np.arange(5), instrument="order", name="o", permutations=4000, seed=0
    )
    value = 1 - 6 * (4 + 4) / (5 * 24)  # Spearman: 1 - 6 sum d^2 / (n (n^2 - 1))
    every = [abs(np.corrcoef(order, original)[0, 1]) for order in permutations(range(5))]
    assert found.value == pytest.approx(value)
    assert found.p_value == pytest.approx(np.mean([v >= value - 1e-9 for v in every]), abs=0.03)


def test_photos_statistic_leaves_people_out() -> None:
    person = np.repeat(np.arange(10), 4)
    random = np.random.default_rng(0)
    moved = random.permutation(10)
    kept = moved[person] * 4 + np.tile(np.arange(4), 10)  # people move, photos keep their order
    found = {
        s.kind: s
        for s in order_statistics(kept, np.arange(40), person, instrument="order", name="o", permutations=499, seed=1)
    }
    assert found["o: photos"].value == pytest.approx(1)
    assert found["o: photos"].p_value == 1 / 500
    assert found["o: people"].p_value > 0.05
    orders = shuffled_within(person, random, 3)
    assert all(np.array_equal(person[order], person) and sorted(order) == list(range(40)) for order in orders)


def test_constant_orders_and_few_people_are_not_asked() -> None:
    same = np.zeros(4, np.int64)
    assert not list(
        order_statistics(same, np.arange(4), np.arange(4), instrument="times", name="t", permutations=9, seed=0)
    )
    same = np.zeros(9, np.int64)
    assert not list(
        order_statistics(same, np.arange(9), np.arange(9), instrument="times", name="t", permutations=9, seed=0)
    )


def test_numbers_alike_in_every_folder_are_no_link() -> None:
    person = np.repeat(np.arange(20), 3)
    number = np.tile(np.arange(3), 20)

    def hits(rows: np.ndarray) -> np.ndarray:
        return number == number[rows]

    count, p = permuted_counts(hits, person, permutations=199, seed=0)
    assert count == 60
    assert p == 1 / 200  # every photo kept its own number within its person: that is a link
    shuffled = np.concatenate([np.random.default_rng(i).permutation(3) for i in range(20)])
    count, p = permuted_counts(lambda rows: shuffled == number[rows], person, permutations=199, seed=0)
    assert p > 0.05


def test_natural_order() -> None:
    assert natural_order(["a10", "a2", "b", "a2", "2", "10"]).tolist() == [3, 2, 4, 2, 0, 1]


def test_names_that_tell_and_names_that_do_not() -> None:
    files = ["Ann_Lee/Ann_Lee_0001.jpg", "Bo_Karl/Bo_Karl_0001.jpg", "Bo_Karl/img_7.jpg", "Ann_Lee/img_7.jpg"]
    names = Names(files, ["Ann_Lee", "Bo_Karl"], np.array([0, 1, 1, 0]))
    assert joins("a-b") == {"a", "b", "ab"}
    assert names.knows("00012/ann-lee 0001.png")
    assert names.knows("x_BO_KARL_y")
    assert not names.knows("img_7.png")  # both have one
    assert not names.knows("0001.png")
    assert not names.knows("annle.png")


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_are_told_however_a_system_spells_them(form: Literal["NFC", "NFD"]) -> None:
    people = [unicodedata.normalize(form, name) for name in ("José_García", "王小明", "Müller", "Mei")]
    names = Names([f"{name}/1.jpg" for name in people], people, np.arange(4))
    for told in ("José_García", "王小明", "Müller", "Jose Garcia"):
        assert all(names.knows(f"{unicodedata.normalize(to, told)}/9.png") for to in ("NFC", "NFD"))
    assert not names.knows("王/9.png")
    assert not names.knows("mei/9.png")  # three letters stand in many a name


def test_hashed_names_are_found_whole_or_cut() -> None:
    hashes = Hashes()
    hashes.add_names(["Ann/Ann_1.jpg"], ["Ann"])
    digest = hashlib.sha256(b"Ann_1.jpg").hexdigest()
    assert hashes.holds(digest)
    assert hashes.holds(f"x/{digest[:12]}.png")
    assert hashes.holds(f"{zlib.crc32(b'Ann'):08x}.png")
    assert hashes.holds(hashlib.md5(b"Ann/Ann_1.jpg").hexdigest().upper())
    assert not hashes.holds(digest[1:])
    assert not hashes.holds("00000012.png")
    assert hashes.expected(["00000012.png"]) == pytest.approx(20 / 16**8)  # 4 texts, 4 digests and a checksum each


def test_tails() -> None:
    assert poisson_tail(2, 0.5) == pytest.approx(1 - math.exp(-0.5) * 1.5)
    assert poisson_tail(0, 3.0) == 1
    assert poisson_tail(1, 0.0) == 0
    assert binomial_tail(2, 3, 0.5) == pytest.approx(0.5)
    assert binomial_tail(0, 3, 0.1) == 1


def test_cosines_against_scipy() -> None:
    from scipy.fft import dctn

    small = np.random.default_rng(0).integers(0, 256, (2, 32, 32), dtype=np.uint8)
    expected = dctn(small[1].astype(float), norm=None)[:8, :8].reshape(-1) / 4
    assert np.allclose(cosines(small)[1, 1:], expected[1:], rtol=1e-3, atol=0.5)


def test_hash_search_against_counting() -> None:
    bits = np.random.default_rng(0).random((50, 64)) < 0.5
    found = near_by_hash(bits[:5], bits, 4)
    distance = (bits[:5, None] != bits[None]).sum(axis=2)
    for row, near in enumerate(found):
        assert sorted(distance[row, near]) == sorted(distance[row])[:4]


def test_copies_are_found_however_they_were_saved_and_strangers_are_not() -> None:
    random = np.random.default_rng(0)
    photos = smooth_photos(60, 1, size=96, noise=0)
    photos = np.clip(photos + random.normal(0, 12, photos.shape), 0, 255).astype(np.uint8)
    known = Originals(np.stack([thumbnail(p) for p in photos[:30]]), lambda i: photos[i])
    halved = np.asarray(Image.fromarray(photos[4]).resize((48, 48), Image.Resampling.BICUBIC))
    copies = [
        decode(encode_jpeg(photos[0], 85)),
        np.ascontiguousarray(photos[1][:, ::-1]),
        (photos[2] * 0.8 + 10).astype(np.uint8),
        halved,
        np.rot90(photos[6]),
        np.ascontiguousarray(photos[7][::-1]),
    ]
    seen = [*copies, *photos[30:], blur(photos[5], 8.0)]
    found = known.copies(np.stack([thumbnail(p) for p in seen]), lambda i: seen[i])
    assert [c.original for c in found[:6]] == [0, 1, 2, 4, 6, 7]
    assert [c.mirrored for c in found[:6]] == [False, True, False, False, False, True]  # upside down: mirrored, turned
    assert all(c.same for c in found[:6])
    assert not any(c.same for c in found[6:])
    assert correlation(photos[0], 255 - photos[0].astype(int)) == pytest.approx(-1)


def test_what_stands_before_the_name_in_a_gzip_header_is_skipped(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "plain.tgz", "wb") as packed, tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a/x.png"))
    data = bytearray((tmp_path / "plain.tgz").read_bytes())
    body = data[data.index(b"\0", 10) + 1 :]
    data[3] = 4 | 8 | 16
    head = bytes(data[:10]) + b"\x03\x00abc" + "Müller.tar".encode() + b"\0by Ann\0"
    (tmp_path / "x.tgz").write_bytes(head + bytes(body))
    assert archive_headers(tmp_path / "x.tgz")[0].comment == "name=Müller.tar comment=by Ann"
    (tmp_path / "Müller.tgz").write_bytes(head + bytes(body))
    assert archive_headers(tmp_path / "Müller.tgz")[0].comment == "comment=by Ann"
