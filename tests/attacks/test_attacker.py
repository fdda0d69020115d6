"""What is attacked and how it is answered; retrieval, the attacker who learns nothing."""

from pathlib import Path

import numpy as np
import pytest

from attacks.town import owned, people, release
from facemae.attacks import CrossMatcher, Imitator, Inverter, Parrot, Released, Retrieval, unit_rows
from facemae.errors import DataError, RecipeError
from helpers import images_of


def test_both_sides_know_person_photo_and_what_may_be_grouped(tmp_path: Path) -> None:
    original = people(tmp_path / "set", 5, 3)
    released = release(tmp_path / "released", original, images_of(original.directory))
    fitted = Retrieval().fit(owned(tmp_path))
    probes, gallery = fitted.probes(original), fitted.gallery(released)
    # The release is a shuffled copy, so the nearest record of a photo is its own.
    nearest = (probes.vectors @ gallery.vectors.T).argmax(axis=1)
    assert gallery.photo[nearest].tolist() == probes.photo.tolist() == list(range(15))
    assert gallery.person[nearest].tolist() == original.identities.tolist() == probes.group.tolist()
    assert gallery.group.tolist() == released.faces.identities.tolist()
    np.testing.assert_allclose(np.linalg.norm(gallery.vectors, axis=1), 1, rtol=1e-6)


def test_unit_rows_leave_rows_of_nothing() -> None:
    assert unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist() == [[np.float32(0.6), np.float32(0.8)], [0.0, 0.0]]


def test_a_linkage_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    original = people(tmp_path / "set", 2, 2)
    with pytest.raises(DataError, match="got 3 rows; needed 4"):
        Released(original, original, np.arange(3))
    with pytest.raises(DataError, match="record numbers of"):
        Released(original, original, np.array([0, 1, 2, 4]))


@pytest.mark.parametrize("attacker", [CrossMatcher(), Inverter(), Parrot(), Imitator()])
def test_who_lacks_what_they_need_says_so_in_one_line(attacker: Parrot, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=f"the {attacker.name} attacker: needed .*process") as raised:
        attacker.fit(owned(tmp_path))
    assert "\n" not in str(raised.value)
