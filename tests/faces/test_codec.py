"""Decoding against Pillow's answers, refusal of damaged and oversized files, lossless and repeatable encoding."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from facemae.errors import UnreadableImage
from facemae.faces import codec


def picture(height: int = 24, width: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM"])
def test_decode_equals_pillow(kind: str) -> None:
    data = saved(Image.fromarray(picture()), kind)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(codec.decode(data), expected)


@pytest.mark.parametrize(
    ("mode", "kind"), [("L", "JPEG"), ("CMYK", "JPEG"), ("P", "PNG"), ("LA", "PNG"), ("RGBA", "PNG"), ("1", "PNG")]
)
def test_every_colour_mode_becomes_rgb(mode: str, kind: str) -> None:
    data = saved(Image.fromarray(picture()).convert(mode), kind)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(codec.decode(data), expected)


def test_sixteen_bit_grey_keeps_the_upper_byte() -> None:
    data = saved(Image.fromarray(np.array([[0x1234, 0xFFFF]], np.uint16)), "PNG")
    np.testing.assert_array_equal(codec.decode(data), [[[0x12] * 3, [0xFF] * 3]])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_exif_orientation_is_applied_as_viewers_do(orientation: int, kind: str) -> None:
    image = Image.fromarray(picture())
    exif = image.getexif()
    exif[0x0112] = orientation
    data = saved(image, kind, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    np.testing.assert_array_equal(codec.decode(data), expected)


def test_broken_exif_leaves_the_image_readable() -> None:
    data = codec.encode_jpeg(picture())
    junk = b"Exif\0\0" + b"\xde\xad\xbe\xef" * 4
    data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(junk) + 2) + junk + data[2:]
    assert codec.decode(data).shape == (24, 16, 3)


def test_exif_in_a_comment_turns_nothing() -> None:
    image = Image.fromarray(picture())
    exif = image.getexif()
    exif[0x0112] = 6
    data = saved(image, "JPEG", comment=b"Exif\0\0" + exif.tobytes()[6:])
    np.testing.assert_array_equal(codec.decode(data), np.asarray(Image.open(io.BytesIO(data))))
    far = saved(image, "JPEG", exif=exif, comment=b"x" * 60000)
    assert codec.decode(far).shape == (16, 24, 3)


def test_grey_of_32_bits_is_refused() -> None:
    data = saved(Image.fromarray(np.full((8, 8), 200, np.int32)), "TIFF")
    with pytest.raises(UnreadableImage, match="32 bits"):
        codec.decode(data)


@given(kept=st.floats(0.02, 0.999))
@settings(max_examples=40, deadline=None)
@pytest.mark.parametrize("suffix", [".jpg", ".png", "progressive"])
def test_a_truncated_file_is_an_error(suffix: str, kept: float) -> None:
    image = picture(40, 40)
    if suffix == "progressive":
        data = saved(Image.fromarray(image), "JPEG", progressive=True)
    else:
        data = codec.encode_jpeg(image) if suffix == ".jpg" else codec.encode_png(image)
    with pytest.raises(UnreadableImage):
        codec.decode(data[: min(int(len(data) * kept), len(data) - 1)])


def test_a_truncated_jpeg_with_its_end_marker_put_back_is_an_error() -> None:
    data = codec.encode_jpeg(picture(64, 64))
    with pytest.raises(UnreadableImage, match="damaged"):
        codec.decode(data[: len(data) // 2] + b"\xff\xd9")


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff", b"hello, I am no image", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_what_is_no_image_is_refused(data: bytes) -> None:
    with pytest.raises(UnreadableImage) as caught:
        codec.decode(data)
    assert "\n" not in str(caught.value)


def test_without_simplejpeg_pillow_gives_the_same_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    image = picture(112, 112)
    data = codec.encode_jpeg(image, 95)
    fast = codec.decode(data)
    monkeypatch.setattr(codec, "simplejpeg", None)
    np.testing.assert_array_equal(codec.decode(data), fast)
    # below quality 96 TurboJPEG takes a faster cosine transform than Pillow
    errors = [np.abs(codec.decode(d).astype(float) - image).mean() for d in (data, codec.encode_jpeg(image, 95))]
    assert errors[1] == pytest.approx(errors[0], rel=0.01)
    with pytest.raises(UnreadableImage):
        codec.decode(data[:-100])


def test_size_is_refused_before_anything_is_decoded() -> None:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    with pytest.raises(UnreadableImage, match="too large"):
        codec.decode(bomb)
    for data in (codec.encode_jpeg(picture(20, 10)), codec.encode_png(picture(20, 10))):
        assert codec.decode(data, max_pixels=200).shape == (20, 10, 3)
        with pytest.raises(UnreadableImage, match="10×20"):
            codec.decode(data, max_pixels=199)


def test_png_is_lossless_and_both_encoders_repeat_themselves() -> None:
    image = picture()
    np.testing.assert_array_equal(codec.decode(codec.encode_png(image)), image)
    for encode in (codec.encode_png, codec.encode_jpeg):
        data = encode(image)
        assert data == encode(np.asfortranarray(image))
        assert b"Exif" not in data
        assert not Image.open(io.BytesIO(data)).getexif()


def test_jpeg_quality_and_subsampling_reach_the_encoder() -> None:
    image = picture(64, 64)

    def error(data: bytes) -> float:
        return float(np.abs(codec.decode(data).astype(float) - image).mean())

    assert error(codec.encode_jpeg(image, 95, subsampling="444")) < error(codec.encode_jpeg(image, 95)) / 2
    assert len(codec.encode_jpeg(image, 50)) < len(codec.encode_jpeg(image, 95))


@pytest.mark.parametrize(
    ("kind", "suffix"), [("JPEG", ".jpg"), ("PNG", ".png"), ("WEBP", ".webp"), ("TIFF", ".tif"), ("PPM", ".ppm")]
)
def test_suffix_follows_the_content(kind: str, suffix: str) -> None:
    assert codec.suffix_of(saved(Image.fromarray(picture()), kind)) == suffix
