"""Distortions that hide a photo from one kind of look and, provably, not from another: what plants are made of."""

import numpy as np
from jaxtyping import UInt8

TINT = 4
"""Side of the blocks of one colour in a tint, in pixels."""


def tint(image: UInt8[np.ndarray, "s s 3"], divisor: float, seed: int) -> UInt8[np.ndarray, "s s 3"]:
    """y = g + c: g the grey photo with its contrast divided, c loud colours that add up to 0 in every pixel.

        g = round(127.5 + (mean of the colours - 127.5) / divisor)        c = (a, b, -a - b), whole numbers within +-A

    A = floor(127 - 127.5 / divisor), so nothing is cut off; a and b are drawn anew for every block of `TINT` pixels of
    every photo. The mean over the colours is g exactly, and high-passed thumbnails of it are parallel to those of the
    photo but for rounding; a network that looks at colours sees colours.
    """
    side, most = image.shape[0], int(127 - 127.5 / divisor)
    random = np.random.default_rng(seed)
    shape = (-(-side // TINT),) * 2
    one = random.integers(-most, most + 1, shape)
    other = random.integers(np.maximum(-most, -most - one), np.minimum(most, most - one) + 1)
    colours = np.stack([one, other, -one - other], axis=-1).repeat(TINT, 0).repeat(TINT, 1)[:side, :side]
    grey = np.rint(127.5 + (image.mean(axis=2, keepdims=True) - 127.5) / divisor).astype(np.int64)
    return (grey + colours).astype(np.uint8)


def fold(image: UInt8[np.ndarray, "s s 3"], block: int, seed: int) -> UInt8[np.ndarray, "s s 3"]:
    """y = x // 2, or 255 - x // 2, as a coin says that is drawn anew for every block of every photo.

    A point's own value gives its photo back to the last bit but one: x = 2 min(y, 255 - y) or one more. Yet y - 127.5
    is +-(127.5 - x // 2) with a fair sign, so it is uncorrelated with every photo: a linear map of y learns nothing.
    """
    side = image.shape[0]
    shape = (-(-side // block),) * 2
    bright = np.random.default_rng(seed).integers(0, 2, shape).astype(bool).repeat(block, 0).repeat(block, 1)
    return np.where(bright[:side, :side, None], 255 - image // 2, image // 2)
