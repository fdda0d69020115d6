"""Distortions and sharpness: worked by hand; matching inverts blurring; noise is what its equation says."""

import hashlib
from statistics import NormalDist

import numpy as np
import pytest

from facemae.faces.distort import add_noise, blur, keep_windows, matching_sigma, pixelate, sharpness


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


# ---- pixelation ----------------------------------------------------------------------------------------------------


def test_pixelation_by_hand() -> None:
    image = grey([[0, 1, 10], [2, 4, 20], [100, 101, 7]])[0]
    # Means 7/4, 15, 100.5 and 7; halves go up.
    assert pixelate(image, 2)[..., 0].tolist() == [[2, 2, 15], [2, 2, 15], [101, 101, 7]]
    assert np.array_equal(pixelate(image, 1), image)
    assert np.unique(pixelate(image, 3)).tolist() == [round(245 / 9)]
    assert np.array_equal(pixelate(image, 99), pixelate(image, 3))


@pytest.mark.parametrize("block", [2, 5, 24])
def test_pixelation_against_means_of_slices(block: int) -> None:
    image = photos(1)[0]
    coarse = pixelate(image, block)
    for top in range(0, 24, block):
        for left in range(0, 24, block):
            part = (slice(top, top + block), slice(left, left + block))
            mean = image[part].reshape(-1, 3).mean(axis=0)
            assert (coarse[part] == np.floor(mean + 0.5)).all()


# ---- noise ---------------------------------------------------------------------------------------------------------


def test_noise_is_the_inverse_normal_of_the_hash() -> None:
    image = np.full((4, 5, 3), 120, np.uint8)
    stream = hashlib.shake_256(b"secret").digest(4 * 60)
    drawn = [int.from_bytes(stream[4 * i : 4 * i + 4], "little") for i in range(60)]
    expected = [round(120 + 20 * NormalDist().inv_cdf((u + 0.5) / 2**32)) for u in drawn]
    assert add_noise(image, 20.0, b"secret").ravel().tolist() == np.clip(expected, 0, 255).tolist()


def test_noise_has_its_strength_and_no_bias() -> None:
    flat = np.full((112, 112, 3), 128, np.uint8)
    left = add_noise(flat, 12.0, b"one").astype(float) - 128
    assert left.std() == pytest.approx((144 + 1 / 12) ** 0.5, rel=0.02)  # with the rounding
    assert abs(left.mean()) < 4 * 12 / left.size**0.5
    assert abs(np.corrcoef(left[..., 0].ravel(), left[..., 1].ravel())[0, 1]) < 0.04
    assert abs(np.corrcoef(left.ravel(), (add_noise(flat, 12.0, b"two").astype(float) - 128).ravel())[0, 1]) < 0.03


def test_noise_is_cut_at_black_and_white() -> None:
    ends = add_noise(np.array([[[0, 255, 128]] * 400], np.uint8), 30.0, b"x")
    assert (ends.min(), ends.max()) == (0, 255)
    assert (ends[..., 0] == 0).mean() == pytest.approx(0.5, abs=0.1)


# ---- windows -------------------------------------------------------------------------------------------------------


def test_windows_keep_true_pixels_and_zero_elsewhere() -> None:
    image = np.random.default_rng(3).integers(1, 256, (112, 112, 3), dtype=np.uint8)
    kept = keep_windows(image, 10)
    shown = kept.any(axis=2)
    assert shown.sum() == 400
    assert np.array_equal(kept[shown], image[shown])
    assert kept.dtype == np.uint8
    # The left eye's window: ten pixels from round(38.29 - 4.5) = 34 and round(51.70 - 4.5) = 47.
    assert shown[47:57, 34:44].all()
    assert not shown[47:57, 33].any()
