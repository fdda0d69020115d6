"""From linear light to a photograph: background, lens, sensor, colour, compression."""

from functools import lru_cache

import numpy as np
from jaxtyping import Float, Float64, UInt8

from facemae.faces.synthetic.identity import smooth_field
from facemae.faces.synthetic.nuisance import Nuisance

# ITU-T T.81, annex K: the quantisation table of luminance, and JPEG's YCbCr.
_LUMINANCE_TABLE = np.array(
    [
        (16, 11, 10, 16, 24, 40, 51, 61),
        (12, 12, 14, 19, 26, 58, 60, 55),
        (14, 13, 16, 24, 40, 57, 69, 56),
        (14, 17, 22, 29, 51, 87, 80, 62),
        (18, 22, 37, 56, 68, 109, 103, 77),
        (24, 35, 55, 64, 81, 104, 113, 92),
        (49, 64, 78, 87, 103, 121, 120, 101),
        (72, 92, 95, 98, 112, 100, 103, 99),
    ],
    dtype=np.float64,
)
_TO_YCC = np.array([(0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312)])
_FROM_YCC = np.linalg.inv(_TO_YCC)


def background(photo: Nuisance, size: int) -> Float[np.ndarray, "3 n"]:
    """A blurred surrounding: two colours, a gradient between them, blobs, sometimes vertical structure."""
    rng = np.random.default_rng([photo.texture_seed, 2])
    first, second = (rng.uniform(0.015, 0.75) * rng.uniform(0.55, 1.0, 3) for _ in range(2))
    cells = (int(rng.integers(2, 7)), int(rng.integers(2, 9)))
    field = smooth_field(rng, cells, (size, size))
    angle = rng.uniform(0, 2 * np.pi)
    axis = np.linspace(-1, 1, size)
    field = 0.5 + rng.uniform(0.05, 0.45) * field + 0.4 * (axis * np.cos(angle) + axis[:, None] * np.sin(angle))
    blend = np.clip(field, 0, 1).ravel().astype(np.float32)
    return (first[:, None] * (1 - blend) + second[:, None] * blend).astype(np.float32)


@lru_cache(maxsize=64)
def _lens(fine: int, size: int, blur: float) -> Float64[np.ndarray, "s f"]:
    """Rows of a Gaussian of `blur` output pixels that also averages `fine` samples down to `size`."""
    fine_place = (np.arange(fine) + 0.5) * (size / fine)
    distance = (np.arange(size) + 0.5)[:, None] - fine_place
    weight = np.exp(-0.5 * distance**2 / (0.38**2 + blur**2))
    return weight / weight.sum(1, keepdims=True)


@lru_cache(maxsize=1)
def _cosines() -> Float64[np.ndarray, "8 8"]:
    """The orthonormal DCT-II of eight samples."""
    k, n = np.arange(8)[:, None], np.arange(8)
    basis = np.cos(np.pi * (2 * n + 1) * k / 16) * np.where(k == 0, np.sqrt(1 / 8), np.sqrt(2 / 8))
    return basis


def compress(image: Float[np.ndarray, "3 h w"], quality: int) -> Float64[np.ndarray, "3 h w"]:
    """What JPEG at `quality` does to an image in [0, 255]: 8 × 8 blocks of quantised cosines, no subsampling."""
    scale = 50.0 / quality if quality < 50 else 2.0 - quality / 50.0
    table = np.maximum(np.rint(_LUMINANCE_TABLE * scale), 1)
    _, height, width = image.shape
    padded = np.pad(image, ((0, 0), (0, -height % 8), (0, -width % 8)), mode="edge") - 128
    _, tall, wide = padded.shape
    planes = (_TO_YCC @ padded.reshape(3, -1)).reshape(3, tall // 8, 8, wide // 8, 8).transpose(0, 1, 3, 2, 4)
    basis = _cosines()
    coefficients = basis @ planes @ basis.T
    tables = np.stack([table, 1.4 * table, 1.4 * table])[:, None, None]
    planes = basis.T @ (np.rint(coefficients / tables) * tables) @ basis
    flat = planes.transpose(0, 1, 3, 2, 4).reshape(3, -1)
    return (_FROM_YCC @ flat).reshape(3, tall, wide)[:, :height, :width] + 128


def develop(
    light: Float[np.ndarray, "3 n"], photo: Nuisance, *, size: int, skin_level: float
) -> UInt8[np.ndarray, "size size 3"]:
    """Linear light on a finer square raster -> the photo. `skin_level` is the mean light of the face, for the exposure.

    Exposure goes 60 % of the way to a fixed brightness of the face, as automatic exposure does, so that skin colour
    stays visible.
    """
    fine = round(light.shape[1] ** 0.5)
    lens = _lens(fine, size, round(photo.blur * size / 112, 2))
    # In double precision from here on: the order of a matrix product's sums may change from run to run, and a last
    # bit of float32 would now and then tip a coefficient or a grey level over the edge of rounding.
    image = lens @ light.reshape(3, fine, fine).astype(np.float64) @ lens.T
    gain = (0.24 / max(skin_level, 1e-3)) ** 0.6 * np.exp(photo.exposure)
    cast = np.exp(np.array(photo.cast) + np.array([1.0, 0.1, -1.0]) * photo.warmth)
    image *= (gain * cast)[:, None, None]
    rng = np.random.default_rng([photo.texture_seed, 3])
    np.clip(image, 0, None, out=image)
    image = image / (1 + 0.18 * image)  # highlights roll off
    image = np.power(image + 1e-5, 1 / 2.2)
    image += photo.noise * rng.standard_normal(image.shape, dtype=np.float32)
    image = (image - 0.45) * np.exp(0.1 + photo.contrast) + 0.45
    image = compress(image * 255, photo.jpeg_quality)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8).transpose(1, 2, 0)
