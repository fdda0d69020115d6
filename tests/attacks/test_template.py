"""Templates: by hand on six vectors, and which photos are on which side."""

from pathlib import Path

import numpy as np

from attacks.town import owned, people, release
from facemae.attacks import Template, View
from facemae.attacks.template import pool
from helpers import images_of


def test_pooling_by_hand() -> None:
    vectors = np.array([[1, 0], [0, 1], [0.6, 0.8], [1, 0]], np.float32)
    view = View(vectors, np.array([4, 4, 9, 4]), np.arange(4), np.array([7, 7, 2, 7]))
    pooled = pool(view, np.array([True, True, True, False]))
    np.testing.assert_allclose(pooled.vectors, [[0.6, 0.8], [0.5**0.5, 0.5**0.5]], rtol=1e-6)
    assert (pooled.person.tolist(), pooled.group.tolist(), pooled.photo.tolist()) == ([9, 4], [2, 7], [-1, -1])
    assert pooled.behind is not None
    assert pooled.behind.tolist() == [1, 2]


def test_a_group_of_several_people_counts_as_the_most_frequent() -> None:
    view = View(np.eye(5, dtype=np.float32), np.array([3, 1, 3, 8, 1]), np.arange(5), np.array([0, 0, 0, 6, 6]))
    # Group 6 shows 8 and 1 once each: the lower number.
    assert pool(view, np.ones(5, bool)).person.tolist() == [3, 1]


def test_the_two_sides_share_no_photo(tmp_path: Path) -> None:
    original = people(tmp_path / "set", 6, 5)
    released = release(tmp_path / "released", original, images_of(original.directory))
    fitted = Template().fit(owned(tmp_path))
    gallery = fitted.gallery(released)
    shown = fitted._among(original, np.arange(30), side=0)  # type: ignore[attr-defined]
    behind = fitted._among(original, released.photo, side=1)  # type: ignore[attr-defined]
    assert not {*np.flatnonzero(shown)} & {*released.photo[behind]}
    assert np.bincount(original.identities[shown]).tolist() == [3] * 6
    assert np.bincount(released.person[behind]).tolist() == [2] * 6
    assert sorted(gallery.person) == list(range(6))
    probes = fitted.probes(original)
    assert gallery.person[(probes.vectors @ gallery.vectors.T).argmax(axis=1)].tolist() == probes.person.tolist()


def test_as_many_images_as_asked_for_of_the_same_photos_where_they_may_be(tmp_path: Path) -> None:
    original = people(tmp_path / "set", 3, 4)
    released = release(tmp_path / "released", original, images_of(original.directory))
    fitted = Template(images=1, same_photo="include").fit(owned(tmp_path))
    probes, gallery = fitted.probes(original), fitted.gallery(released)
    order = np.argsort(gallery.person)
    # One photo on either side, and the same one: the release is a copy.
    np.testing.assert_allclose(probes.vectors, gallery.vectors[order], atol=1e-6)


def test_without_numbers_only_the_own_photos_are_taken_together(tmp_path: Path) -> None:
    original = people(tmp_path / "set", 6, 5)
    released = release(tmp_path / "released", original, images_of(original.directory))
    attacker = Template(group="none")
    assert attacker.name == "template of retrieval (all images, no numbers)"
    fitted = attacker.fit(owned(tmp_path))
    probes, gallery = fitted.probes(original), fitted.gallery(released)
    assert len(probes.person) == 6
    assert np.bincount(gallery.person).tolist() == [2] * 6  # the places that no probe was made of
    assert (gallery.photo >= 0).all()
    behind = fitted._among(original, released.photo, side=1)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(gallery.photo, released.photo[behind])
    both = Template(group="none", same_photo="include").fit(owned(tmp_path))
    assert len(both.gallery(released).person) == 30
