"""Copies of photos: exact, or re-encoded, resized, mirrored and turned by right angles.

A photo is looked up by a 64-bit hash and judged by normalised correlation:

    bit k     = [c_k > median of c_k over the originals]      c: the 8 x 8 lowest cosine coefficients of 32 x 32 luma
    ncc(a, b) = sum (a - mean a)(b - mean b) / (|a - mean a| |b - mean b|)
    copy      = ncc(luma) >= 0.9  and  ncc(detail) >= 0.6     detail = luma - its 5 x 5 mean, at one size

The medians make the bits balanced: the low frequencies of aligned faces resemble one another, and bits against zero
would tell few of them apart. Luma alone confuses photos of one session; fine detail is shared by copies only, and
re-encoding leaves it. On aligned photos of 112 pixels none of 6,500 strangers came above 0.43 in detail; a copy as
JPEG of quality 20, at half the size, mirrored or darkened stayed above 0.88, one blurred by 2 pixels above 0.67.
Not found: a copy shifted, cropped or turned askew by more than about a pixel, a negative, and blur of 4 pixels or more.
"""

from collections.abc import Callable
from itertools import product
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8
from PIL import Image as PillowImage

SIDE, FINE = 32, 64
"""Pixels of a thumbnail, and of the pictures that are compared in the end (or the smaller of both, if smaller)."""

COARSE_NEEDED, DETAIL_NEEDED = 0.9, 0.6
"""Correlations of luma and of detail from which two pictures count as one photo."""

CANDIDATES = 8
"""Originals nearest by hash that are compared with each released picture, upright and mirrored each.

Of a picture turned by a right angle (cameras store photos lying, and tools set them upright) only the nearest is: faces
seldom lie, so that what resembles a turned one at all is nearly always its copy.
"""

_AMONG_OTHERS = 32
"""The same where some originals are not to be compared with, and so may take up places among the nearest."""

_WINDOW = 5
_BLOCK = 512


class Copy(NamedTuple):
    """The original that a picture resembles most, and how much: ``original`` is -1 where none came near."""

    original: int
    coarse: float
    detail: float
    mirrored: bool

    @property
    def same(self) -> bool:
        """Whether both are one photo."""
        return self.coarse >= COARSE_NEEDED and self.detail >= DETAIL_NEEDED


NOTHING = Copy(-1, 0.0, 0.0, False)


def thumbnail(image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "32 32"]:
    """Luma (Rec. 601) averaged down to 32 x 32, whatever the size and aspect."""
    return _luma(image, SIDE)


def cosines(thumbnails: UInt8[np.ndarray, "n 32 32"]) -> Float32[np.ndarray, "n 64"]:
    """The 8 x 8 lowest coefficients of the cosine transform (DCT-II), the mean replaced by zero."""
    frequency, place = np.arange(8), np.arange(SIDE)
    basis = np.cos(np.pi * (2 * place + 1) * frequency[:, None] / (2 * SIDE)).astype(np.float32)
    lowest = np.einsum("ky,nyx,lx->nkl", basis, thumbnails.astype(np.float32), basis, optimize=True).reshape(-1, 64)
    lowest[:, 0] = 0
    return lowest


def near_by_hash(
    queries: Bool[np.ndarray, "q 64"], originals: Bool[np.ndarray, "n 64"], k: int
) -> Int64[np.ndarray, "q k2"]:
    """The ``k`` originals of smallest Hamming distance for each query, in no order (all where there are fewer)."""
    signs = originals.astype(np.float32) * 2 - 1
    found = np.empty((len(queries), min(k, len(originals))), np.int64)
    for start in range(0, len(queries), _BLOCK):
        agreeing = (queries[start : start + _BLOCK].astype(np.float32) * 2 - 1) @ signs.T
        if k == 1:
            found[start : start + _BLOCK, 0] = agreeing.argmax(axis=1)
        elif k < len(originals):
            found[start : start + _BLOCK] = np.argpartition(-agreeing, k - 1, axis=1)[:, :k]
        else:
            found[start : start + _BLOCK] = np.arange(len(originals))
    return found


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """ncc(a, b) of two pictures of one size, 0 where one of them is flat."""
    x, y = a.astype(np.float64) - a.mean(), b.astype(np.float64) - b.mean()
    norm = np.sqrt((x**2).sum() * (y**2).sum())
    return float((x * y).sum() / norm) if norm > 0 else 0.0


def detail_correlation(a: UInt8[np.ndarray, "h w 3"], b: UInt8[np.ndarray, "h2 w2 3"]) -> float:
    """ncc of what is finer than 5 pixels, both at the smaller size of the two (64 x 64 at most)."""
    side = min(FINE, *a.shape[:2], *b.shape[:2])
    return correlation(_detail(_luma(a, side)), _detail(_luma(b, side)))


class Originals:
    """Thumbnails and hashes of the originals, to find copies of them; ``pixels(i)`` gives original i when needed."""

    def __init__(
        self, thumbnails: UInt8[np.ndarray, "n 32 32"], pixels: Callable[[int], UInt8[np.ndarray, "h w 3"]]
    ) -> None:
        self._pixels = pixels
        self._units = _units(thumbnails)
        lowest = cosines(thumbnails)
        self._centre = np.median(lowest, axis=0)
        self._bits = lowest > self._centre

    def copies(
        self,
        thumbnails: UInt8[np.ndarray, "q 32 32"],
        pixels: Callable[[int], UInt8[np.ndarray, "h w 3"]],
        *,
        banned: Callable[[int], np.ndarray] | None = None,
    ) -> list[Copy]:
        """For each picture the original it resembles most; ``banned(i)``: originals not to be compared with (bool)."""
        best = [NOTHING] * len(thumbnails)
        for turns, mirrored in product(range(4), (False, True)):
            flip = -1 if mirrored else 1
            seen = np.rot90(thumbnails[:, :, ::flip], turns, axes=(1, 2))
            wanted = CANDIDATES if turns == 0 else 1
            near = near_by_hash(cosines(seen) > self._centre, self._bits, wanted if banned is None else _AMONG_OTHERS)
            units = _units(seen)
            for i, candidates in enumerate(near):
                allowed = candidates if banned is None else candidates[~banned(i)[candidates]]
                coarse = self._units[allowed] @ units[i]
                close = np.flatnonzero(coarse >= COARSE_NEEDED)
                picture = np.rot90(pixels(i)[:, ::flip], turns) if len(close) else None
                for place in close:
                    original = int(allowed[place])
                    fine = detail_correlation(np.ascontiguousarray(picture), self._pixels(original))
                    if fine > best[i].detail:
                        best[i] = Copy(original, float(coarse[place]), fine, mirrored)
        return best


def _luma(image: np.ndarray, side: int) -> np.ndarray:
    picture = PillowImage.fromarray(np.ascontiguousarray(image)).convert("L")
    return np.asarray(picture.resize((side, side), PillowImage.Resampling.BOX))


def _detail(luma: np.ndarray) -> np.ndarray:
    height, width = luma.shape
    padded = np.pad(luma.astype(np.float64), _WINDOW // 2, mode="edge")
    rows = np.stack([padded[i : i + height] for i in range(_WINDOW)]).mean(axis=0)
    return luma - np.stack([rows[:, i : i + width] for i in range(_WINDOW)]).mean(axis=0)


def _units(thumbnails: np.ndarray) -> np.ndarray:
    flat = thumbnails.reshape(len(thumbnails), SIDE * SIDE).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
