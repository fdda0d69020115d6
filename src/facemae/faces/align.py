"""Five landmarks to an aligned face: a similarity fitted to the ArcFace template, and the warp that applies it.

Template, fit and warp are those of InsightFace's ``norm_crop`` (``cv2.warpAffine``, bilinear, border 0), so that faces
aligned here suit recognisers trained on its data.
"""

import numpy as np
from jaxtyping import Float, Num, UInt8

from facemae.errors import DataError

ARCFACE_TEMPLATE: Float[np.ndarray, "5 2"] = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)
"""(x, y) in a 112×112 image: left eye, right eye, nose, left and right mouth corner; left as seen in the image."""

ARCFACE_TEMPLATE.setflags(write=False)


def similarity_transform(source: Num[np.ndarray, "5 2"], target: Num[np.ndarray, "5 2"]) -> Float[np.ndarray, "2 3"]:
    """argmin over s > 0, rotation R and t of Σ ‖s·R·xᵢ + t − yᵢ‖²: the matrix [s·R | t] from source to target.

    Umeyama's least-squares similarity (IEEE TPAMI 13(4), 1991) with four degrees of freedom, never a reflection. In the
    plane, with points as complex numbers about their means, it has the closed form s·e^{iθ} = Σ x̄ᵢyᵢ / Σ|xᵢ|².

    Raises:
        DataError: a landmark is not finite, or all lie on one spot.
    """
    points = np.asarray(source, np.float64)
    goal = np.asarray(target, np.float64)
    if not (np.isfinite(points).all() and np.isfinite(goal).all()):
        raise DataError("landmarks must be finite numbers", got=points.tolist())
    mean, goal_mean = points.mean(0), goal.mean(0)
    x = (points - mean) @ np.array([1, 1j])
    y = (goal - goal_mean) @ np.array([1, 1j])
    spread = np.vdot(x, x).real
    factor = np.vdot(x, y) / spread if spread > 0 else 0.0
    if abs(factor) < 1e-12:
        raise DataError(
            "the landmarks do not fix a scale and an angle", got=points.tolist(), needed="five spots of a face"
        )
    linear = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    return np.concatenate([linear, (goal_mean - linear @ mean)[:, None]], axis=1)


def warp(
    image: UInt8[np.ndarray, "h w 3"], matrix: Float[np.ndarray, "2 3"], size: int | tuple[int, int]
) -> UInt8[np.ndarray, "h2 w2 3"]:
    """out(y, x) = image at M⁻¹(x, y), bilinear; outside the image everything is 0.

    ``matrix`` maps source to output coordinates (x, y) with pixel centres at integers, as ``cv2.warpAffine`` takes it;
    OpenCV rounds positions to 1/32 pixel, this does not. ``size`` is the side of a square or (height, width).
    """
    height, width = (size, size) if isinstance(size, int) else size
    inverse = np.linalg.inv(matrix[:, :2])
    columns, rows = np.meshgrid(np.arange(width) - matrix[0, 2], np.arange(height) - matrix[1, 2])
    x = inverse[0, 0] * columns + inverse[0, 1] * rows
    y = inverse[1, 0] * columns + inverse[1, 1] * rows
    left, top = np.floor(x), np.floor(y)
    out = np.zeros((height, width, 3))
    for step_y, weight_y in ((0, 1 - (y - top)), (1, y - top)):
        for step_x, weight_x in ((0, 1 - (x - left)), (1, x - left)):
            out += (weight_y * weight_x)[..., None] * _pixels(image, top + step_y, left + step_x)
    return np.rint(out).astype(np.uint8)


def align(
    image: UInt8[np.ndarray, "h w 3"], landmarks: Num[np.ndarray, "5 2"], size: int = 112
) -> UInt8[np.ndarray, "{size} {size} 3"]:
    """Warp a face so that its five landmarks meet ``ARCFACE_TEMPLATE`` · size/112.

    InsightFace frames sizes divisible by 128 with a wider margin than 112; here every size shows the same crop.

    Raises:
        DataError: landmarks that fix no similarity.
    """
    return warp(image, similarity_transform(landmarks, ARCFACE_TEMPLATE * (size / 112)), size)


def _pixels(
    image: UInt8[np.ndarray, "h w 3"], rows: Float[np.ndarray, "h2 w2"], columns: Float[np.ndarray, "h2 w2"]
) -> Float[np.ndarray, "h2 w2 3"]:
    height, width = image.shape[:2]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    nearest = image[rows.clip(0, height - 1).astype(np.intp), columns.clip(0, width - 1).astype(np.intp)]
    return nearest * inside[..., None].astype(np.float64)
