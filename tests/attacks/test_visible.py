"""Hidden cells filled in from visible ones, and the attack on the patches alone."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from attacks.town import owned, people
from facemae.attacks import Released, Visible
from facemae.attacks.visible import Painted, fill_in
from facemae.errors import DataError
from facemae.faces.faceset import FaceSet
from facemae.spec.recipe import MaskSpec
from facemae.stages.linkage import read_linkage
from facemae.stages.mask import mask
from helpers import plain

SHOWN = np.zeros((8, 8), bool)
SHOWN[:4, :4] = True


def test_mean_and_smooth_by_hand() -> None:
    picture = np.full((8, 8, 3), 7, np.uint8)
    picture[:4, :2], picture[:4, 2:4] = 100, 50
    mean = fill_in(picture, SHOWN, "mean", cell=4)
    assert (mean[:4, :4] == picture[:4, :4]).all()
    assert (mean[~SHOWN] == 75).all()
    smooth = fill_in(picture, SHOWN, "smooth", cell=4)
    assert (smooth[SHOWN] == picture[SHOWN]).all()
    # Nothing of the fill enters, and what is nearer counts more.
    assert smooth[~SHOWN].min() >= 50
    assert smooth[0, 5, 0] < 75 < smooth[7, 0, 0]
    assert np.array_equal(fill_in(picture, SHOWN, "as stored", cell=4), picture)


def masked(directory: Path, original: FaceSet) -> Released:
    mask(original.directory, directory, MaskSpec(cell=8, ratio=0.75, seed=1, fill="black"), plain())
    faces = FaceSet.open(directory)
    photo = read_linkage(directory.with_name(f"{directory.name}.private"), original, faces)
    return Released(faces, original, photo, masked=faces)


def test_the_paint_is_chosen_on_public_people_and_true_pixels_are_found(tmp_path: Path) -> None:
    public = people(tmp_path / "public", 30, 4, noise=50)
    members = people(tmp_path / "members", 6, 3, seed=8)
    released = masked(tmp_path / "masked", members)
    fitted = Visible().fit(owned(tmp_path, masked(tmp_path / "masked-public", public)))
    assert {*fitted.tried} == {"as stored", "mean", "smooth"}
    assert fitted.tried[fitted.chosen] == max(fitted.tried.values()) > fitted.tried["as stored"]
    # Only the pictures of the six people held out were looked at to choose.
    kept = [np.load(path, mmap_mode="r").shape[0] for path in (tmp_path / "cache").glob("vectors-*.npy")]
    assert sorted(kept) == [24, 24, 24, 120]
    # Black is no colour of a face, so every other paint is better.
    probes, gallery = fitted.probes(members), fitted.gallery(released)
    nearest = (probes.vectors @ gallery.vectors.T).argmax(axis=1)
    assert (gallery.person[nearest] == probes.person).mean() > 0.8
    # Without public people nothing can be chosen.
    assert Visible().fit(owned(tmp_path)).chosen == "as stored"
    with pytest.raises(DataError, match="needed the masked set"):
        fitted.gallery(Released(released.faces, members, released.photo))


def test_a_painted_set_shows_the_visible_cells_as_they_are(tmp_path: Path) -> None:
    released = masked(tmp_path / "masked", people(tmp_path / "set", 2, 2))
    painted = Painted(released.faces, "smooth")
    cells, places = released.faces.visible([1])
    picture = painted.image(1)
    for cell, place in zip(cells[0], places[0], strict=True):
        row, column = divmod(int(place), 4)
        assert np.array_equal(picture[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8], cell)
    assert painted.digest != released.faces.digest
    some = Painted(released.faces, "smooth", np.array([3, 1]))
    assert np.array_equal(some.image(1), picture)
    assert np.array_equal(pickle.loads(pickle.dumps(some)).image(0), painted.image(3))
    assert len({painted.digest, some.digest, Painted(released.faces, "smooth", np.array([1, 3])).digest}) == 3
