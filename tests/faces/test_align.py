"""The similarity against a golden matrix and Umeyama's SVD, the warp against SciPy's interpolation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import affine_transform

from facemae.errors import DataError
from facemae.faces.align import ARCFACE_TEMPLATE, align, similarity_transform, warp


def umeyama(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The published algorithm, by singular values, with the sign that forbids a reflection."""
    x, y = source - source.mean(0), target - target.mean(0)
    u, d, vt = np.linalg.svd(y.T @ x / len(x))
    sign = np.array([1, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = u @ np.diag(sign) @ vt
    scale = (d * sign).sum() / x.var(0).sum()
    return np.column_stack([scale * rotation, target.mean(0) - scale * rotation @ source.mean(0)])


def test_golden_matrix() -> None:
    points = np.array([(100, 120), (180, 110), (145, 165), (115, 210), (178, 203)])
    golden = [[0.442190, -0.037172, -1.465296], [0.037172, 0.442190, -4.894945]]
    np.testing.assert_allclose(similarity_transform(points, ARCFACE_TEMPLATE), golden, atol=5e-7)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_equals_umeyama_mirrored_points_included(seed: int) -> None:
    source, target = np.random.default_rng(seed).normal(size=(2, 5, 2)) * 50
    np.testing.assert_allclose(similarity_transform(source, target), umeyama(source, target), atol=1e-8)


@given(angle=st.floats(-3.1, 3.1), scale=st.floats(0.1, 10), x=st.floats(-99, 99), y=st.floats(-99, 99))
@settings(max_examples=50, deadline=None)
def test_recovers_a_known_similarity(angle: float, scale: float, x: float, y: float) -> None:
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    known = np.array([[c, -s, x], [s, c, y]])
    moved = ARCFACE_TEMPLATE @ known[:, :2].T + known[:, 2]
    np.testing.assert_allclose(similarity_transform(ARCFACE_TEMPLATE, moved), known, atol=1e-8)


@pytest.mark.parametrize("points", [np.full((5, 2), 7.0), np.full((5, 2), np.nan)])
def test_landmarks_that_fix_nothing_are_refused(points: np.ndarray) -> None:
    with pytest.raises(DataError, match="landmarks"):
        similarity_transform(points, ARCFACE_TEMPLATE)


def test_identity_and_whole_pixel_shift() -> None:
    image = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    np.testing.assert_array_equal(warp(image, np.array([[1.0, 0, 0], [0, 1, 0]]), (6, 5)), image)
    shifted = warp(image, np.array([[1.0, 0, 2], [0, 1, 1]]), (6, 5))
    np.testing.assert_array_equal(shifted[1:, 2:], image[:-1, :-2])
    assert not shifted[0].any()
    assert not shifted[:, :2].any()


def test_half_a_pixel_averages_and_fades_into_the_border() -> None:
    image = np.array([[[100] * 3, [200] * 3]], np.uint8)
    moved = warp(image, np.array([[1.0, 0, 0.5], [0, 1, 0]]), (1, 3))
    np.testing.assert_array_equal(moved[0, :, 0], [50, 150, 100])


@pytest.mark.parametrize("size", [20, (17, 31)])
def test_equals_scipy_bilinear(size: int | tuple[int, int]) -> None:
    image = np.random.default_rng(1).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    matrix = np.array([[0.7, -0.2, 3.3], [0.2, 0.7, -6.1]])
    inverse = np.linalg.inv(matrix[:, :2])
    shape = (size, size) if isinstance(size, int) else size
    # SciPy works in (row, column) and maps output to input; it treats the outermost pixel otherwise, so pad by zeros.
    flipped = inverse[::-1, ::-1]
    offset = (-inverse @ matrix[:, 2])[::-1] + 2
    padded = np.pad(image.astype(float), ((2, 2), (2, 2), (0, 0)))
    expected = np.stack(
        [affine_transform(padded[..., c], flipped, offset, output_shape=shape, order=1) for c in range(3)], axis=-1
    )
    np.testing.assert_allclose(warp(image, matrix, size), expected, atol=0.51)


@pytest.mark.parametrize("size", [112, 224])
def test_aligned_landmarks_meet_the_template(size: int) -> None:
    angle, scale = 0.4, 1.7
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    landmarks = ARCFACE_TEMPLATE @ turn.T + [90, 30]
    image = np.zeros((320, 320, 3), np.uint8)
    for x, y in landmarks:
        image[round(y) - 3 : round(y) + 4, round(x) - 3 : round(x) + 4] = 255
    face = align(image, landmarks, size).astype(float)[..., 0]
    for x, y in ARCFACE_TEMPLATE * (size / 112):
        rows, columns = np.mgrid[round(y) - 8 : round(y) + 9, round(x) - 8 : round(x) + 9]
        weights = face[rows, columns]
        centre = (columns * weights).sum() / weights.sum(), (rows * weights).sum() / weights.sum()
        np.testing.assert_allclose(centre, (x, y), atol=0.8)
