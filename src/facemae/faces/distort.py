"""Classic distortions, and how sharp a picture is: the controls that a soft generator must be compared with."""

import hashlib

import numpy as np
from jaxtyping import UInt8

from facemae.faces.regions import window_pixels


def blur(image: UInt8[np.ndarray, "h w 3"], sigma: float) -> UInt8[np.ndarray, "h w 3"]:
    """Gaussian blur of standard deviation ``sigma`` pixels, borders repeated, rounded to 8 bits."""
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(image.astype(np.float32), sigma=(sigma, sigma, 0), mode="nearest")
    return np.clip(np.rint(smooth), 0, 255).astype(np.uint8)


def pixelate(image: UInt8[np.ndarray, "h w 3"], block: int) -> UInt8[np.ndarray, "h w 3"]:
    """Every square of ``block`` x ``block`` pixels, counted from the top left, takes its mean colour, rounded half up.

    Squares at the right and at the bottom are smaller where the side is no multiple of the block.
    """
    height, width = image.shape[:2]
    rows, columns = np.arange(0, height, block), np.arange(0, width, block)
    sums = np.add.reduceat(np.add.reduceat(image.astype(np.int64), rows, axis=0), columns, axis=1)
    heights, widths = np.diff(rows, append=height), np.diff(columns, append=width)
    counts = (heights[:, None] * widths)[..., None]
    means = ((2 * sums + counts) // (2 * counts)).astype(np.uint8)
    return means.repeat(heights, axis=0).repeat(widths, axis=1)


def add_noise(image: UInt8[np.ndarray, "h w 3"], deviation: float, secret: bytes) -> UInt8[np.ndarray, "h w 3"]:
    """out = clip(round(image + deviation * Phi^-1((u + 1/2) / 2^32)), 0, 255), u the next 32 bits of SHAKE-256(secret).

    Gaussian noise of standard deviation ``deviation`` grey levels, independent in every pixel and colour. Who knows a
    part of the photo reads off its noise there, and must not learn the rest from it: hence a cryptographic generator.
    """
    from scipy.special import ndtri

    drawn = np.frombuffer(hashlib.shake_256(secret).digest(4 * image.size), "<u4").reshape(image.shape)
    noisy = image + deviation * ndtri((drawn + 0.5) / 2**32)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def keep_windows(image: UInt8[np.ndarray, "s s 3"], side: int) -> UInt8[np.ndarray, "s s 3"]:
    """The photo inside squares of ``side`` pixels about both eyes and both corners of the mouth, 0 elsewhere.

    The places are those of the ArcFace template, so the face has to be aligned to it.
    """
    return image * window_pixels(image.shape[0], side)[..., None]


def sharpness(images: UInt8[np.ndarray, "b h w 3"]) -> float:
    """Root mean square of the differences between neighbouring pixels of the luma (Rec. 601), in grey levels.

    sqrt(mean((Y[r, c+1] - Y[r, c])^2) + mean((Y[r+1, c] - Y[r, c])^2))
    """
    luma = images.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    across, down = np.diff(luma, axis=2), np.diff(luma, axis=1)
    return float(np.sqrt(np.mean(across**2) + np.mean(down**2)))


def matching_sigma(images: UInt8[np.ndarray, "b h w 3"], target: float, *, largest: float = 16.0) -> float:
    """The blur that makes ``images`` as sharp as ``target``, to 1/64 pixel by bisection; 0 if they are softer."""
    if sharpness(images) <= target:
        return 0.0
    low, high = 0.0, largest
    while high - low > 1 / 64:
        middle = (low + high) / 2
        blurred = np.stack([blur(image, middle) for image in images])
        low, high = (middle, high) if sharpness(blurred) > target else (low, middle)
    return (low + high) / 2
