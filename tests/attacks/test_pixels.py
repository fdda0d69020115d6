"""Thumbnails laid over one another: by hand, against scipy, and on releases of known people."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from attacks.town import owned, people
from facemae.attacks import Pixels, Released
from facemae.attacks.pixels import REACH, THUMBNAILS, Thumbnail, thumbnails
from facemae.faces.faceset import FaceSet
from facemae.spec.recipe import MaskSpec
from facemae.stages.linkage import read_linkage
from facemae.stages.mask import mask
from helpers import plain, smooth_photos, write_set

SIDE = THUMBNAILS[0].side


@pytest.mark.parametrize("size", THUMBNAILS)
def test_a_row_is_the_grey_thumbnail_less_its_blur(size: Thumbnail) -> None:
    picture = np.random.default_rng(0).random((size.side, size.side, 3)).astype(np.float32)
    grey = picture.mean(axis=2)
    by_scipy = grey - gaussian_filter(grey, size.blur, mode="mirror", truncate=REACH)
    row = thumbnails(size)(torch.from_numpy(picture.transpose(2, 0, 1)[None]))
    np.testing.assert_allclose(row[0].numpy().reshape(size.side, size.side), by_scipy, atol=1e-6)


def test_light_and_contrast_of_a_photo_change_nothing() -> None:
    picture = torch.rand(1, 3, 56, 56, generator=torch.Generator().manual_seed(1))
    rows = thumbnails(THUMBNAILS[0])(torch.cat([picture, 0.5 * picture + 0.3]))
    torch.testing.assert_close(0.5 * rows[0], rows[1], atol=1e-6, rtol=0)


def test_the_very_photo_is_found_behind_its_visible_quarter(tmp_path: Path) -> None:
    photos = smooth_photos(12, 3, size=2 * SIDE, noise=50)
    members = FaceSet.open(write_set(tmp_path / "members", photos, np.arange(12).repeat(3)))
    mask(members.directory, tmp_path / "masked", MaskSpec(cell=4, ratio=0.75, seed=1, fill="black"), plain())
    faces = FaceSet.open(tmp_path / "masked")
    release = Released(faces, members, read_linkage(tmp_path / "masked.private", members, faces))
    fitted = Pixels().fit(owned(tmp_path))
    probes, gallery = fitted.probes(members), fitted.gallery(release)
    first = gallery.photo[(probes.vectors @ gallery.vectors.T).argmax(axis=1)]
    assert (first == probes.photo).mean() > 0.9


def test_a_copy_is_found_to_the_last_and_vectors_are_kept(tmp_path: Path) -> None:
    members = people(tmp_path / "members", 12, 3, noise=50)
    copied = Released(members, members, np.arange(len(members)))
    have = owned(tmp_path)
    fitted = Pixels().fit(have)
    probes, gallery = fitted.probes(members), fitted.gallery(copied)
    assert np.array_equal((probes.vectors @ gallery.vectors.T).argmax(axis=1), np.arange(len(members)))
    [kept] = have.cache.glob("vectors-*.npy")
    before = kept.stat().st_mtime_ns
    again = Pixels().fit(have).probes(members)
    assert np.array_equal(again.vectors, probes.vectors)
    assert kept.stat().st_mtime_ns == before


def test_the_size_is_chosen_by_public_people_and_without_them_it_is_the_first(tmp_path: Path) -> None:
    # Photos differ only by the sign of a chequer of single pixels, block by block, and the release has noise of two
    # pixels a side: half of the size averages the one to grey and sees the other.
    random = np.random.default_rng(3)
    chequer = np.indices((56, 56)).sum(axis=0) % 2 * 2 - 1
    photos = 128 + 60 * random.choice([-1, 1], (30, 7, 7)).repeat(8, axis=1).repeat(8, axis=2) * chequer
    noise = random.integers(-60, 60, (30, 28, 28)).repeat(2, axis=1).repeat(2, axis=2)
    public, release = (
        FaceSet.open(write_set(tmp_path / name, np.repeat(grey[..., None], 3, axis=3), np.arange(10).repeat(3)))
        for name, grey in (("public", photos.astype(np.uint8)), ("release", (photos + noise).astype(np.uint8)))
    )
    seen = Pixels().fit(replace(owned(tmp_path), protected=Released(release, public, np.arange(30))))
    assert seen.tried["56 x 56, blur 2"] == 1
    assert seen.chosen == "56 x 56, blur 2"
    blind = Pixels().fit(owned(tmp_path))
    assert (blind.chosen, blind.tried) == ("28 x 28, blur 1", {})
