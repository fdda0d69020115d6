"""Plants: each is what it says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facemae.errors import DataError
from facemae.faces.disguise import TINT, fold, tint
from facemae.faces.distort import blur, sharpness
from facemae.faces.masks import seed_bytes
from facemae.faces.planted import PLANTS, Plant, Scramble, plant_photos, shown
from folders import noise

SECRET = seed_bytes(1)
PEOPLE = np.repeat(np.arange(20), 5)
STRANGERS = np.repeat(np.arange(25), 4)


def plan(name: str, secret: bytes = SECRET) -> np.ndarray:
    return shown(PLANTS[name], PEOPLE, STRANGERS, secret)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([(8, 1), (8, 2), (24, 8), (15, 5)]))
def test_scramble_is_orthogonal_about_mid_grey_and_undone_by_its_key(seed: int, shape: tuple[int, int]) -> None:
    size, block = shape
    scramble = Scramble(size, block, seed_bytes(seed))
    image, other = noise(seed, size), noise(seed + 1, size)
    assert np.array_equal(scramble.undo(scramble(image)), image)
    a, b = image / 127.5 - 1, other / 127.5 - 1
    x, y = scramble(image) / 127.5 - 1, scramble(other) / 127.5 - 1
    assert (x * y).sum() == pytest.approx((a * b).sum())


def test_scramble_is_one_linear_map() -> None:
    scramble = Scramble(8, 4, SECRET)
    grey = np.full((8, 8, 3), 127, np.uint8)
    centre = scramble(grey).astype(int)
    columns = []
    for i in range(grey.size):
        one = grey.copy()
        one.reshape(-1)[i] = 137
        columns.append((scramble(one).astype(int) - centre).reshape(-1) / 10)
    matrix = np.stack(columns, axis=1)
    assert np.array_equal(matrix @ matrix.T, np.eye(grey.size))
    image = noise(3, 8)
    fitted = matrix @ (image.reshape(-1) - 127.5) + 127.5
    assert np.array_equal(fitted, scramble(image).reshape(-1))


def test_scramble_greys_flat_blocks_and_depends_on_its_key() -> None:
    bright = np.full((16, 16, 3), 240, np.uint8)
    blocks = Scramble(16, 8, SECRET)(bright).reshape(2, 8, 2, 8, 3).mean(axis=(1, 3, 4))
    assert np.allclose(blocks, 127.5)
    assert (Scramble(16, 8, SECRET)(noise(0, 16)) != Scramble(16, 8, seed_bytes(2))(noise(0, 16))).mean() > 0.9
    with pytest.raises(DataError, match="tile"):
        Scramble(10, 4, SECRET)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([8, 10]), st.sampled_from([2.0, 4.0, 8.0]))
def test_a_tint_leaves_the_mean_over_colours_and_nothing_else(seed: int, size: int, divisor: float) -> None:
    image = noise(seed, size)
    shown = tint(image, divisor, seed).astype(int)
    grey = np.rint(127.5 + (image.mean(axis=2) - 127.5) / divisor)
    assert np.array_equal(shown.sum(axis=2), 3 * grey)  # nothing was cut off: colours add up to 0 exactly
    colours = shown - grey[..., None]
    assert np.array_equal(colours[:TINT, :TINT].reshape(-1, 3), np.tile(colours[0, 0], (TINT**2, 1)))
    assert np.abs(colours).max() > 3 * np.abs(grey - 127.5).std()
    assert (tint(image, divisor, seed + 1) != shown).mean() > 0.5


def test_a_tint_by_hand() -> None:
    black, white = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)
    # 127.5 -+ 127.5 / 4 is 95.6 and 159.4.
    assert np.all(tint(black, 4.0, 0).sum(axis=2) == 3 * 96)
    assert np.all(tint(white, 4.0, 0).sum(axis=2) == 3 * 159)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([(8, 4), (10, 4), (6, 1)]))
def test_a_fold_is_undone_point_by_point(seed: int, shape: tuple[int, int]) -> None:
    size, block = shape
    image = noise(seed, size)
    shown = fold(image, block, seed)
    assert np.array_equal(np.minimum(shown, 255 - shown), image // 2)
    bright = shown[:block, :block] > 127
    assert bright.all() or not bright.any()


def test_a_folded_photo_is_uncorrelated_with_the_photo() -> None:
    image = noise(3, 4)
    shown = np.stack([fold(image, 2, seed) for seed in range(1000)]).astype(float) - 127.5
    # A fair coin's mean over 1000 lies within 4 / sqrt(1000) of its size.
    assert np.all(np.abs(shown.mean(axis=0)) <= 4 / np.sqrt(1000) * np.abs(shown[0]))


@pytest.mark.parametrize(("name", "own"), [("planted-1", 1), ("planted-5", 5), ("planted-20", 20), ("copied", 100)])
def test_exactly_so_many_records_are_originals(name: str, own: int) -> None:
    assert (plan(name) < 0).sum() == own


@pytest.mark.parametrize("count", [37, 250])
def test_the_fraction_is_rounded(count: int) -> None:
    people, strangers = np.arange(count), np.arange(count)
    source = shown(PLANTS["planted-5"], people, strangers, SECRET)
    assert (source < 0).sum() == round(0.05 * count)


def test_a_replaced_person_is_one_stranger_and_nobody_elses() -> None:
    source = plan("replaced")
    assert (source >= 0).all()
    donors = [set(STRANGERS[source[person == PEOPLE]]) for person in range(20)]
    assert all(len(donor) == 1 for donor in donors)
    assert len(set.union(*donors)) == 20
    # 5 photos of each, donors have 4: each is used, one twice.
    assert all(len(set(source[person == PEOPLE])) == 4 for person in range(20))


def test_the_stranger_is_drawn_without_regard_to_the_person() -> None:
    drawn = np.array([STRANGERS[plan("replaced", seed_bytes(seed))[0]] for seed in range(300)])
    counts = np.bincount(drawn, minlength=25)
    assert ((counts - 12) ** 2 / 12).sum() < 52.6  # chi-square, 24 degrees of freedom, 0.999


def test_labels_alone_show_no_stranger_twice() -> None:
    source = plan("only-label-order")
    assert len(set(source)) == 100


def test_too_few_donors_are_refused() -> None:
    with pytest.raises(DataError, match="not enough donors"):
        shown(PLANTS["replaced"], PEOPLE, STRANGERS[:16], SECRET)
    with pytest.raises(DataError, match="not enough donors"):
        shown(PLANTS["only-label-order"], PEOPLE, STRANGERS[:99], SECRET)


def test_photos_in_photos_out() -> None:
    photos = np.stack([noise(i, 16) for i in range(6)])
    others = np.stack([noise(100 + i, 16) for i in range(6)])
    people = np.arange(6)

    def made(name: str) -> np.ndarray:
        return plant_photos(PLANTS[name], photos, people, others, people, secret=SECRET)

    assert np.array_equal(made("copied"), photos)
    replaced = made("replaced")
    assert sorted(p.tobytes() for p in replaced) == sorted(p.tobytes() for p in others)
    scrambled = plant_photos(
        Plant("s", "", {}, own=1.0, change="scramble", strength=4.0), photos, people, others, people, secret=SECRET
    )
    assert np.array_equal(Scramble(16, 4, SECRET).undo(scrambled[2]), photos[2])
    assert np.array_equal(made("blurred-8")[0], blur(photos[0], 8 * 16 / 112))
    assert np.array_equal(made("turned")[2], photos[2][::-1])
    assert np.array_equal(np.minimum(made("folded"), 255 - made("folded")), photos // 2)
    tinted = made("tinted")
    assert np.abs(tinted.mean(axis=3) - 127.5).max() <= 127.5 / 4 + 0.5
    assert len({(one - grey)[0, 0].tobytes() for one, grey in zip(tinted, tinted.mean(3)[..., None], strict=True)}) == 6
    sharp = [sharpness(made(f"blurred-{sigma}")) for sigma in (1, 2, 4, 8)]
    assert sharp == sorted(sharp, reverse=True)


def test_every_plant_says_what_must_find_it() -> None:
    assert all("found" in plant.expects.values() for name, plant in PLANTS.items() if name not in SILENT)
    assert all(plant.name == name for name, plant in PLANTS.items())
    with pytest.raises(TypeError):
        PLANTS["copied"].expects["retrieval"] = "silent"  # type: ignore[index]


SILENT = {"replaced", "blurred-4", "blurred-8"}
