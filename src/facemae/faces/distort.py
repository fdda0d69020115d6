"""Classic distortions, and how sharp a picture is: the controls that a soft generator must be compared with."""

import numpy as np
from jaxtyping import UInt8


def blur(image: UInt8[np.ndarray, "h w 3"], sigma: float) -> UInt8[np.ndarray, "h w 3"]:
    """Gaussian blur of standard deviation ``sigma`` pixels, borders repeated, rounded to 8 bits."""
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(image.astype(np.float32), sigma=(sigma, sigma, 0), mode="nearest")
    return np.clip(np.rint(smooth), 0, 255).astype(np.uint8)


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
