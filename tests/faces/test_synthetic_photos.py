"""Synthetic photos: repeatable, aligned, and people stay themselves."""

import dataclasses
import json
import subprocess
import sys
import zlib

import numpy as np
import pytest

from facemae.errors import DataError
from facemae.faces.align import ARCFACE_TEMPLATE
from facemae.faces.synthetic import (
    Nuisance,
    identity_name,
    photo_nuisance,
    render_photo,
    sample_identity,
)
from facemae.faces.synthetic.camera import compress
from facemae.faces.synthetic.scene import Scene

SIZE = 48


def landmarks(face) -> np.ndarray:
    return np.array(face.extras["landmarks"])


def test_a_photo_depends_on_its_numbers_alone():
    numbers = [(3, 0), (3, 5), (1, 0), (1, 5)]
    batch = [render_photo(identity, photo, seed=2, size=SIZE) for identity, photo in numbers]
    assert [(face.identity, face.extras["photo"]) for face in batch] == numbers
    for face in reversed(batch):
        again = render_photo(face.identity, face.extras["photo"], seed=2, size=SIZE)
        np.testing.assert_array_equal(again.image, face.image)
        assert again.extras == face.extras
    images = [face.image for face in batch] + [render_photo(3, 0, seed=3, size=SIZE).image]
    assert len({image.tobytes() for image in images}) == 5


@pytest.mark.slow
def test_another_process_draws_the_same_bytes():
    code = (
        "import zlib; from facemae.faces.synthetic import render_photo;"
        f"print(zlib.crc32(render_photo(4, 2, seed=1, size={SIZE}).image.tobytes()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == zlib.crc32(render_photo(4, 2, seed=1, size=SIZE).image.tobytes())


def test_image_and_extras_have_the_promised_form():
    face = render_photo(12, 1, seed=0, size=64)
    assert face.image.shape == (64, 64, 3)
    assert face.image.dtype == np.uint8
    assert json.loads(json.dumps(face.extras)) == face.extras
    assert set(face.extras) == {"photo", "yaw", "pitch", "roll", "age", "landmarks"}
    assert landmarks(face).shape == (5, 2)
    assert identity_name(12) == "synthetic-00012"


@pytest.mark.parametrize(("identity", "photo", "size"), [(-1, 0, 64), (0, -1, 64), (0, 0, 8)])
def test_impossible_numbers_are_refused(identity, photo, size):
    with pytest.raises(DataError, match="at least"):
        render_photo(identity, photo, seed=0, size=size)


@pytest.mark.parametrize("size", [56, 112])
@pytest.mark.slow
def test_frontal_landmarks_lie_on_the_template(size):
    for identity in range(8):
        face = render_photo(identity, 0, seed=0, size=size, nuisance=Nuisance(roll=12.0))
        error = np.linalg.norm(landmarks(face) - ARCFACE_TEMPLATE * size / 112, axis=1) * 112 / size
        assert error.max() < 6.0
        assert error.mean() < 3.0


def test_a_profile_is_seen_from_the_side():
    template = ARCFACE_TEMPLATE
    right = landmarks(render_photo(0, 0, seed=0, nuisance=Nuisance(yaw=80.0)))
    left = landmarks(render_photo(0, 0, seed=0, nuisance=Nuisance(yaw=-80.0)))
    for seen, sign in ((right, 1), (left, -1)):
        eyes = seen[:2].mean(0)
        assert sign * (seen[2, 0] - eyes[0]) > 10
        assert abs(seen[1, 0] - seen[0, 0]) < 0.4 * (template[1, 0] - template[0, 0])
        # The fit still balances all five points about the template's centre.
        np.testing.assert_allclose(seen.mean(0), template.mean(0), atol=1e-3)


@pytest.mark.slow
def test_landmarks_are_where_the_eyes_are_drawn():
    """A pupil is darker than the skin at the cheek below it."""
    wide = Nuisance(openness=1.2, blur=0.0, noise=0.0)
    for identity in range(6):
        face = render_photo(identity, 0, seed=0, size=112, nuisance=wide)
        grey = face.image.mean(-1)
        for x, y in landmarks(face)[:2]:
            eye = grey[int(y) - 3 : int(y) + 4, int(x) - 3 : int(x) + 4].min()
            cheek = grey[int(y) + 18 : int(y) + 24, int(x) - 3 : int(x) + 4].mean()
            assert eye < 0.65 * cheek


@pytest.mark.slow
def test_a_person_resembles_themselves_under_equal_circumstances():
    """Small changes of expression and light move a face less than another identity does."""
    calm = Nuisance(noise=0.001, texture_seed=5)
    moved = dataclasses.replace(calm, smile=0.4, light_azimuth=15.0, age=38.0, gaze=(1.0, 0.0))
    first = np.stack([render_photo(i, 0, seed=9, size=SIZE, nuisance=calm).image for i in range(10)])
    second = np.stack([render_photo(i, 0, seed=9, size=SIZE, nuisance=moved).image for i in range(10)])
    distance = np.sqrt(((first[:, None].astype(float) - second[None]) ** 2).mean((2, 3, 4)))
    assert (distance.argmin(1) == np.arange(10)).all()
    assert np.diag(distance).mean() < 0.5 * distance[~np.eye(10, dtype=bool)].mean()


def test_identity_does_not_move_with_the_circumstances():
    before = sample_identity(0, 7)
    snapshot = {field.name: np.copy(getattr(before, field.name)) for field in dataclasses.fields(before)}
    for photo in range(4):
        render_photo(7, photo, seed=0, size=SIZE)
    sample_identity.cache_clear()
    after = sample_identity(0, 7)
    for name, value in snapshot.items():
        np.testing.assert_array_equal(getattr(after, name), value, err_msg=name)


@pytest.mark.slow
def test_people_differ_in_many_independent_directions():
    shapes = np.stack([sample_identity(0, index).shape for index in range(200)])
    assert shapes.shape[1] >= 40
    # A rank of at least 40 with no direction negligible: every mode really varies.
    assert np.linalg.svd(shapes - shapes.mean(0), compute_uv=False)[39] > 3.0
    melanin = np.array([sample_identity(0, index).melanin for index in range(200)])
    counts = np.histogram(melanin, bins=4, range=(0, 1))[0]
    assert counts.min() > 30


def test_age_greys_and_wrinkles_one_person():
    young, old = (render_photo(2, 0, seed=0, nuisance=Nuisance(age=age, noise=0.0)) for age in (25.0, 78.0))
    assert np.abs(young.image.astype(int) - old.image).mean() > 4
    person = sample_identity(0, 2)
    hair = [Scene(person, Nuisance(age=age), SIZE).haircut.colour for age in (25.0, 78.0)]
    assert np.ptp(hair[1]) / hair[1].mean() < np.ptp(hair[0]) / hair[0].mean()
    assert hair[1].mean() > hair[0].mean()


def test_the_light_falls_from_its_side():
    for azimuth in (-70.0, 70.0):
        face = render_photo(1, 0, seed=0, nuisance=Nuisance(light_azimuth=azimuth, light_ratio=3.0, noise=0.0))
        grey = face.image[55:85].mean((0, 2))
        assert (grey[62:82].mean() > grey[30:50].mean()) == (azimuth > 0)


@pytest.mark.slow
def test_circumstances_reach_profiles_and_other_ages():
    drawn = [photo_nuisance(identity, photo, seed=0) for identity in range(20) for photo in range(20)]
    yaw = np.abs([nuisance.yaw for nuisance in drawn])
    assert 0.12 < (yaw >= 55).mean() < 0.28
    assert (yaw < 20).mean() > 0.45
    ages = np.array([nuisance.age for nuisance in drawn]).reshape(20, 20)
    assert (np.ptp(ages, axis=1) >= 30).mean() > 0.8


def test_compression_keeps_flat_blocks_and_loses_fine_detail():
    flat = np.full((3, 16, 20), 100.0, dtype=np.float32)
    np.testing.assert_allclose(compress(flat, 50), flat, atol=3.0)
    rng = np.random.default_rng(0)
    noisy = (128 + 30 * rng.standard_normal((3, 32, 32))).astype(np.float32)
    errors = [np.abs(compress(noisy, quality) - noisy).mean() for quality in (95, 60, 20)]
    assert errors == sorted(errors)
    assert errors[0] < 4 < errors[2]
