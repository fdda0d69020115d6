"""What an image file carries beside its pixels, read from the bytes: segments, chunks, and what comes after the end.

JPEG: ISO/IEC 10918-1 annex B; PNG: W3C PNG third edition; WebP: RFC 9649. Nothing is executed and nothing inflated
beyond `LONGEST` characters; what cannot be parsed is named as such.
"""

import hashlib
import io
import re
import struct
import zlib
from collections.abc import Iterator

from PIL import Image as PillowImage

from facemae.faces.traces.exif import exif_items, fields
from facemae.faces.traces.item import LONGEST, Item

_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")
_XMP = b"http://ns.adobe.com/"
_PICTURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
_FORMATS = ("GIF", "TIFF", "BMP", "PPM")

# Chunks without which the picture would look different.
_PNG_PLAIN = set(b"IHDR PLTE IDAT IEND tRNS gAMA cHRM sRGB sBIT bKGD hIST pHYs sPLT cICP mDCV cLLI acTL fcTL".split())
_WEBP_PLAIN = {b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM"}


def carried(data: bytes) -> list[Item]:
    """Everything found in one file; an empty list for a file that holds its pixels and no more.

    Kinds: ``exif.gps .serial .person .text .date .device .other .broken``, ``thumbnail``, ``second_picture``, ``xmp``,
    ``iptc``, ``icc``, ``comment``, ``text``, ``date``, ``unknown`` (a segment or chunk of an unknown kind),
    ``trailing`` (bytes after the end of the image).
    """
    if data.startswith(_PICTURES[0]):
        return list(_jpeg(data))
    if data.startswith(_PICTURES[1]):
        return list(_png(data))
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return list(_webp(data))
    return list(_others(data))


def _jpeg(data: bytes) -> Iterator[Item]:
    place, scanned = 2, False
    while found := _MARKER.search(data, place):
        marker, place = found[1][0], found.end()
        if marker == 0xD9:
            yield from _trailing(data, place)
            return
        if marker in (0x01, 0xD8):
            continue
        length = int.from_bytes(data[place : place + 2], "big")
        body = data[place + 2 : place + length]
        if 0xE0 <= marker <= 0xEF or marker == 0xFE:
            yield from _segment(marker, body)
        scanned = scanned or marker == 0xDA
        place += max(length, 2)
    yield Item("unknown", "no end mark" if scanned else "no image data")


def _segment(marker: int, body: bytes) -> Iterator[Item]:
    if marker == 0xFE:
        yield Item("comment", _decoded(body))
    elif marker == 0xE1 and body.startswith(b"Exif\0"):
        yield from exif_items(body)
    elif marker == 0xE1 and body.startswith(_XMP):
        yield Item("xmp", _decoded(body))
    elif marker == 0xE2 and body.startswith(b"ICC_PROFILE\0"):
        yield from _profile(body[14:], first=body[12:13] == b"\1")
    elif marker == 0xE2 and body.startswith(b"MPF\0"):
        yield Item("second_picture", "MPF")
    elif marker == 0xED and body.startswith(b"Photoshop 3.0\0"):
        yield Item("iptc", _decoded(body[14:]))
    elif marker == 0xE0 and body.startswith(b"JFIF\0"):
        if len(body) >= 14 and body[12] * body[13] > 0:
            yield Item("thumbnail", f"JFIF {body[12]}x{body[13]}")
    elif marker == 0xE0 and body.startswith(b"JFXX\0"):
        yield Item("thumbnail", "JFXX", body[6:] if body[5:6] == b"\x10" else None)
    elif not (marker == 0xEE and body.startswith(b"Adobe")):  # which colours the numbers mean
        yield Item("unknown", f"APP{marker - 0xE0} {_decoded(body)}")


def _png(data: bytes) -> Iterator[Item]:
    place = 8
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">L4s", data, place)
        body = data[place + 8 : place + 8 + length]
        place += 12 + length
        if kind == b"IEND":
            yield from _trailing(data, place)
            return
        yield from _chunk(kind, body)
    yield Item("unknown", "no end mark")


def _chunk(kind: bytes, body: bytes) -> Iterator[Item]:
    if kind in (b"tEXt", b"zTXt", b"iTXt"):
        key = body.partition(b"\0")[0]
        text = _png_text(kind, body)
        if b"exif" in key.lower():
            yield Item("exif.text", text)  # "Raw profile type exif", as ImageMagick writes it
        else:
            yield Item("xmp" if key == b"XML:com.adobe.xmp" else "text", f"{_decoded(key)}={text}")
    elif kind == b"eXIf":
        yield from exif_items(body)
    elif kind == b"tIME":
        yield Item("date", body.hex())
    elif kind == b"iCCP":
        yield from _profile(_inflated(body.partition(b"\0")[2][1:]), first=True)
    elif kind not in _PNG_PLAIN:
        yield Item("unknown", f"{_decoded(kind)} {_decoded(body)}")


def _png_text(kind: bytes, body: bytes) -> str:
    rest = body.partition(b"\0")[2]
    if kind == b"tEXt":
        return rest.decode("latin-1")[:LONGEST]
    if kind == b"zTXt":
        return _decoded(_inflated(rest[1:]))
    packed, text = rest[:1] == b"\1", rest[2:].split(b"\0", 2)[-1]
    return _decoded(_inflated(text) if packed else text)


def _webp(data: bytes) -> Iterator[Item]:
    end = 8 + int.from_bytes(data[4:8], "little")
    place, frames = 12, 0
    while place + 8 <= min(end, len(data)):
        kind, length = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "little")
        body = data[place + 8 : place + 8 + length]
        place += 8 + length + length % 2
        frames += kind == b"ANMF"
        if kind == b"EXIF":
            yield from exif_items(body)
        elif kind == b"XMP ":
            yield Item("xmp", _decoded(body))
        elif kind == b"ICCP":
            yield from _profile(body, first=True)
        elif kind not in _WEBP_PLAIN and kind != b"ANMF":
            yield Item("unknown", f"{_decoded(kind)} {_decoded(body)}")
    if frames > 1:
        yield Item("second_picture", f"{frames} frames")
    yield from _trailing(data, end + end % 2)


def _others(data: bytes) -> Iterator[Item]:
    """GIF, TIFF, BMP and PPM, as far as Pillow tells."""
    try:
        with PillowImage.open(io.BytesIO(data), formats=_FORMATS) as image:
            yield from fields(image.getexif())
            if getattr(image, "n_frames", 1) > 1:
                yield Item("second_picture", f"{getattr(image, 'n_frames', 1)} frames")
            for key, kind in (("comment", "comment"), ("icc_profile", "icc"), ("photoshop", "iptc"), ("xmp", "xmp")):
                if value := image.info.get(key):
                    yield Item(kind, _decoded(value) if isinstance(value, bytes) else str(value)[:LONGEST])
            if image.format == "BMP":
                yield from _trailing(data, int.from_bytes(data[2:6], "little"))
    except Exception as error:  # Pillow's parsers raise whatever the damage leads to
        yield Item("unknown", type(error).__name__)


def _profile(profile: bytes, *, first: bool) -> Iterator[Item]:
    if first:
        size = int.from_bytes(profile[:4], "big")
        yield Item("icc", hashlib.sha256(profile).hexdigest())
        if len(profile) > size >= 128:
            yield Item("trailing", f"{len(profile) - size} bytes after a colour profile")


def _trailing(data: bytes, end: int) -> Iterator[Item]:
    rest = data[end:]
    if rest.strip(b"\0"):  # zeros are padding
        starts = [place for magic in _PICTURES if (place := rest.find(magic)) >= 0]
        yield Item("trailing", _decoded(rest), rest[min(starts) :] if starts else None)


def _inflated(data: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, 1 << 22)
    except zlib.error:
        return data


def _decoded(data: bytes) -> str:
    return data[: 4 * LONGEST].decode("utf-8", "replace")[:LONGEST]
