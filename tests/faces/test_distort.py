"""Blur and sharpness: worked by hand, and the one inverts the other."""

import numpy as np
import pytest

from facemae.faces.distort import blur, matching_sigma, sharpness


def photos(count: int = 3, size: int = 24) -> np.ndarray:
    """Noise with the falling spectrum of photographs."""
    noise = np.random.default_rng(0).normal(0, 1, (count, size, size, 3))
    walks = noise.cumsum(axis=1).cumsum(axis=2)
    low, high = walks.min(), walks.max()
    return ((walks - low) / (high - low) * 255).astype(np.uint8)


def grey(rows: list[list[int]]) -> np.ndarray:
    return np.repeat(np.array(rows, np.uint8)[None, ..., None], 3, axis=3)


def test_sharpness_by_hand() -> None:
    # Across 10 and 20, down 20 and 30: sqrt((100 + 400) / 2 + (400 + 900) / 2) = sqrt(900).
    assert sharpness(grey([[0, 10], [20, 40]])) == pytest.approx(30)
    assert sharpness(grey([[7, 7], [7, 7]])) == 0


def test_sharpness_weighs_colours_by_rec_601() -> None:
    image = np.zeros((1, 2, 2, 3), np.uint8)
    for channel, weight in enumerate((0.299, 0.587, 0.114)):
        image[:] = 0
        image[0, :, 1, channel] = 100
        assert sharpness(image) == pytest.approx(100 * weight)


def test_sharpness_of_a_batch_is_the_root_mean_square() -> None:
    batch = np.concatenate([grey([[0, 10], [20, 40]]), grey([[5, 5], [5, 5]])])
    assert sharpness(batch) == pytest.approx((900 / 2) ** 0.5)


@pytest.mark.parametrize("sigma", [0.0, 0.5, 3.0, 20.0])
def test_blur_leaves_flat_colour(sigma: float) -> None:
    flat = np.broadcast_to(np.array([0, 130, 255], np.uint8), (9, 7, 3)).copy()
    assert np.array_equal(blur(flat, sigma), flat)


def test_blur_of_a_step_is_the_normal_distribution() -> None:
    step = np.zeros((3, 41, 3), np.uint8)
    step[:, 20:] = 200
    blurred = blur(step, 3.0)[1, :, 0].astype(int)
    # Between pixels 19 and 20 lies the edge; half a pixel from it the value is 100 ± 200 * (Φ(1/6) - 1/2) = 100 ± 13.2.
    assert (blurred[19], blurred[20]) == (87, 113)
    assert (np.diff(blurred) >= 0).all()
    assert (blurred[0], blurred[-1]) == (0, 200)


def test_blur_nothing_and_never_mix_colours() -> None:
    image = photos(1)[0]
    assert np.array_equal(blur(image, 0.0), image)
    image[..., 1] = 77
    assert (blur(image, 2.0)[..., 1] == 77).all()


@pytest.mark.parametrize("sigma", [0.6, 1.5, 4.0])
def test_matching_sigma_reaches_the_target(sigma: float) -> None:
    images = photos()
    target = sharpness(np.stack([blur(image, sigma) for image in images]))
    found = matching_sigma(images, target)
    reached = sharpness(np.stack([blur(image, found) for image in images]))
    assert found == pytest.approx(sigma, abs=0.1)
    assert reached == pytest.approx(target, rel=0.03)


def test_matching_sigma_of_softer_pictures_is_zero() -> None:
    images = photos()
    assert matching_sigma(images, sharpness(images)) == 0
    assert matching_sigma(images, sharpness(images) + 1) == 0
