"""EXIF fields sorted by what they give away (Exif 3.0, JEITA CP-3451; tag names as there)."""

from collections.abc import Iterator

from PIL import ExifTags
from PIL import Image as PillowImage

from facemae.faces.traces.item import LONGEST, Item

_GPS, _PHOTO, _THUMBNAIL = 0x8825, 0x8769, int(ExifTags.IFD.IFD1)
_START, _LENGTH = 0x0201, 0x0202

_KINDS: dict[str, tuple[int, ...]] = {
    # Numbers of body, lens and camera, of the single picture, and the maker's own block that holds them as well.
    "exif.serial": (0xA431, 0xA435, 0xC62F, 0xA420, 0x927C, 0xC65D),
    # Artist, copyright, owner of the camera, author.
    "exif.person": (0x013B, 0x8298, 0xA430, 0x9C9D, 0xA437, 0xA438, 0xA439),
    # Description, document, page, user's comment, title, comment, keywords, subject, file heard with it, computer.
    "exif.text": (0x010E, 0x010D, 0x011D, 0x9286, 0x9C9B, 0x9C9C, 0x9C9E, 0x9C9F, 0xA004, 0x013C, 0xA436),
    "exif.date": (0x0132, 0x9003, 0x9004, 0x9010, 0x9011, 0x9012, 0x9290, 0x9291, 0x9292),
    "exif.device": (0x010F, 0x0110, 0x0131, 0xA432, 0xA433, 0xA434, 0xC614),
}
_KIND_OF = {tag: kind for kind, tags in _KINDS.items() for tag in tags}

# How the pixels are stored and shown: size, strips, colours, resolution, orientation, versions, pointers.
_PLAIN = {254, 255, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 282, 283, 284, 292, 293, 296, 297, 301, 317}
_PLAIN |= {318, 319, 320, 322, 323, 324, 325, 330, 332, 338, 339, 347, *range(512, 533), 0x8769, 0x8825, 0xA005}
_PLAIN |= {0x9000, 0x9101, 0xA000, 0xA001, 0xA002, 0xA003, 700, 33723, 34377, 34675}


def exif_items(data: bytes) -> Iterator[Item]:
    """What an EXIF block (from its "Exif" mark or its TIFF header on) tells, and the thumbnail in it."""
    exif = PillowImage.Exif()
    body = data.removeprefix(b"Exif\0\0")
    try:
        exif.load(b"Exif\0\0" + body)
        yield from fields(exif)
        smaller = exif.get_ifd(_THUMBNAIL)
        start, length = smaller.get(_START), smaller.get(_LENGTH)
    except Exception as error:  # broken EXIF raises anything from struct.error to SyntaxError
        yield Item("exif.broken", type(error).__name__)
        return
    if isinstance(start, int) and isinstance(length, int) and length > 0:
        picture = body[start : start + length]
        yield Item("thumbnail", f"{len(picture)} bytes", picture)
    elif smaller:
        yield Item("thumbnail", "not compressed")


def fields(exif: PillowImage.Exif) -> Iterator[Item]:
    """The fields of an open EXIF block; those that only say how pixels are stored are left out."""
    place = exif.get_ifd(_GPS)
    if any(tag != 0 for tag in place):  # tag 0 is the version
        yield Item("exif.gps", str(sorted(place.items())))
    for tag, value in [*exif.items(), *exif.get_ifd(_PHOTO).items()]:
        if tag not in _PLAIN:
            yield Item(_KIND_OF.get(tag, "exif.other"), f"{ExifTags.TAGS.get(tag, hex(tag))}={_text(value)}")


def _text(value: object) -> str:
    if isinstance(value, bytes):
        wide = b"\0" in value[1:2]  # Windows' own fields are UTF-16
        return value.decode("utf-16-le" if wide else "utf-8", "replace").strip("\0")[:LONGEST]
    return str(value)[:LONGEST]
