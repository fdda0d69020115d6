"""Bytes to pixels and back.

Every image of a face set passes through here, so the rules for untrusted input live here too: the size is read from the
header and refused before a pixel is decoded, only raster formats without a program inside are opened, and a truncated
file is an error, never an image with a grey lower half.

JPEG goes through simplejpeg (libjpeg-turbo, twice Pillow's speed, equal pixels); what it cannot do (CMYK, odd
subsampling), every other format, and machines without it go through Pillow. Pillow alone does not notice a JPEG whose
entropy-coded data is damaged but properly ended.
"""

import io

import numpy as np
from jaxtyping import UInt8
from PIL import Image as PillowImage

from facemae.errors import UnreadableImage

try:
    import simplejpeg
except ImportError:  # a platform without a wheel
    simplejpeg = None

MAX_PIXELS = 2**26
"""Largest image decoded by default: 67 million pixels, 201 MB as RGB."""

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
_SUFFIXES = {"tiff": ".tif"}
_ORIENTATION = 0x0112
_JPEG = b"\xff\xd8\xff"
_APP1 = 0xE1
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"IEND\xaeB`\x82"


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS) -> UInt8[np.ndarray, "h w 3"]:
    """Decode an image to RGB, upright, in 0…255.

    Grey and palette images become RGB, transparency is dropped, 16-bit grey keeps its upper byte, of an animation the
    first frame counts. An EXIF orientation is applied, as viewers and OpenCV do: landmarks measured on the displayed
    photo fit. Aligned face sets carry none.

    Raises:
        UnreadableImage: no image, truncated or damaged, or more than ``max_pixels`` pixels.
    """
    fast = _jpeg_header(data)
    if fast is not None and fast[2] in ("YCbCr", "RGB", "Gray"):
        _check_size(fast[0], fast[1], max_pixels)
        try:
            return _upright(simplejpeg.decode_jpeg(data, "RGB"), _jpeg_orientation(data))
        except ValueError as error:
            raise UnreadableImage("the JPEG is damaged", got=_one_line(error)) from None
    if data.startswith(_PNG) and _PNG_END not in data[-(2**16) :]:
        raise UnreadableImage("the image is damaged or truncated", got="a PNG without its end")
    with _open(data) as image:
        _check_size(image.height, image.width, max_pixels)
        return _upright(_pillow_pixels(image), _exif_orientation(image))


def encode_jpeg(image: UInt8[np.ndarray, "h w 3"], quality: int = 95, *, subsampling: str = "420") -> bytes:
    """Encode RGB as baseline JPEG without metadata; ``subsampling`` is ``420`` or ``444``. Equal input, equal bytes.

    Below quality 96 simplejpeg uses a faster cosine transform than Pillow: other bytes, 0.1 grey levels more error.
    """
    if simplejpeg is not None:
        return simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality, "RGB", subsampling)
    buffer = io.BytesIO()
    ratio = {"420": "4:2:0", "444": "4:4:4"}[subsampling]
    PillowImage.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=ratio)
    return buffer.getvalue()


def encode_png(image: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """Encode RGB as PNG, lossless, without metadata. Equal input, equal bytes (for one version of zlib)."""
    buffer = io.BytesIO()
    PillowImage.fromarray(image).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def suffix_of(data: bytes) -> str:
    """File suffix by content, not by name: ``.jpg``, ``.png``, ``.webp``, ``.bmp``, ``.gif``, ``.tif`` or ``.ppm``.

    Raises:
        UnreadableImage: no image, or a format that is not read.
    """
    if data.startswith(_JPEG):
        return ".jpg"
    if data.startswith(_PNG):
        return ".png"
    with _open(data) as image:
        kind = _format_name(image)
    return _SUFFIXES.get(kind, f".{kind}")


def _jpeg_header(data: bytes) -> tuple[int, int, str] | None:
    if simplejpeg is None or not data.startswith(_JPEG):
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:  # subsampling that libjpeg-turbo's simple interface does not know: Pillow decides
        return None
    return height, width, colours


def _jpeg_orientation(data: bytes) -> int:
    exif = PillowImage.Exif()
    try:
        exif.load(_jpeg_exif(data))
    except Exception:  # broken EXIF raises anything from struct.error to SyntaxError; the pixels are still good
        return 1
    return _orientation(exif)


def _jpeg_exif(data: bytes) -> bytes:
    """The EXIF segment of a JPEG; the same bytes in a comment or in a thumbnail's own header are none."""
    at = 2
    while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] not in (b"\xda", b""):
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] == _APP1 and data[at + 4 : at + 10] == b"Exif\0\0":
            return data[at + 4 : at + 2 + length]
        at += 2 + length
    return b""


def _exif_orientation(image: PillowImage.Image) -> int:
    try:
        return _orientation(image.getexif())
    except Exception:  # as above
        return 1


def _orientation(exif: PillowImage.Exif) -> int:
    value = exif.get(_ORIENTATION, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright(pixels: UInt8[np.ndarray, "h w 3"], orientation: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    if orientation == 1:
        return pixels
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _open(data: bytes) -> PillowImage.Image:
    try:
        return PillowImage.open(io.BytesIO(data), formats=_FORMATS)
    except PillowImage.DecompressionBombError as error:
        raise UnreadableImage("the image is too large", got=_one_line(error)) from None
    except Exception as error:  # Pillow's parsers raise whatever the damage leads to
        raise UnreadableImage("not an image that can be read", got=_one_line(error)) from None


def _pillow_pixels(image: PillowImage.Image) -> UInt8[np.ndarray, "h w 3"]:
    try:
        if image.mode == "I" and image.format == "TIFF":
            raise ValueError("pixels of 32 bits have no fixed range")
        if image.mode.startswith("I"):
            grey = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
            return np.repeat(grey[..., None], 3, axis=2)
        if image.mode == "F":
            raise ValueError("floating-point pixels have no fixed range")
        return np.array(image.convert("RGB"))
    except Exception as error:  # Pillow's decoders raise whatever the damage leads to
        raise UnreadableImage("the image is damaged or truncated", got=_one_line(error)) from None


def _check_size(height: int, width: int, max_pixels: int) -> None:
    if height * width > max_pixels:
        raise UnreadableImage(
            "the image is too large", got=f"{width}×{height} pixels", needed=f"at most {max_pixels} in all"
        )


def _format_name(image: PillowImage.Image) -> str:
    kind = (image.format or "").lower()
    return "jpeg" if kind == "mpo" else kind  # a JPEG that carries a second picture


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return "unknown content" if "cannot identify" in text else text
