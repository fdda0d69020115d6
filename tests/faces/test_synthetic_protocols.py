"""Protocols: balanced folds, disjoint people, and the conditions in their names."""

import numpy as np
import pytest

from facemae.errors import DataError
from facemae.faces.synthetic import photo_nuisance, protocol_pairs

PEOPLE = [person for person in range(60) for _ in range(14)]
EXTRAS = [
    {"yaw": nuisance.yaw, "age": nuisance.age}
    for nuisance in (photo_nuisance(person, photo, seed=4) for person in range(60) for photo in range(14))
]
YAW = np.array([extra["yaw"] for extra in EXTRAS])
AGE = np.array([extra["age"] for extra in EXTRAS])
PERSON = np.array(PEOPLE)


@pytest.mark.parametrize("kind", ["lfw", "cfp_fp", "agedb"])
def test_folds_are_balanced_disjoint_and_without_repeats(kind):
    pairs = protocol_pairs(kind, PEOPLE, EXTRAS, pairs_per_fold=60)
    np.testing.assert_array_equal(pairs.same, PERSON[pairs.left] == PERSON[pairs.right])
    assert (pairs.left != pairs.right).all()
    unordered = np.sort(np.column_stack([pairs.left, pairs.right]), axis=1)
    assert len(np.unique(unordered, axis=0)) == len(pairs)
    sizes = np.bincount(pairs.fold)
    assert len(sizes) == 10
    assert len(set(sizes)) == 1
    assert (np.diff(pairs.fold) >= 0).all()
    seen: set[int] = set()
    for fold in range(10):
        inside = pairs.fold == fold
        assert pairs.same[inside].mean() == 0.5
        people = set(PERSON[pairs.left[inside]]) | set(PERSON[pairs.right[inside]])
        assert not people & seen
        seen |= people


def test_lfw_leaves_profiles_out():
    pairs = protocol_pairs("lfw", PEOPLE, EXTRAS, pairs_per_fold=60)
    assert len(pairs) == 600
    assert np.abs(YAW[np.concatenate([pairs.left, pairs.right])]).max() <= 45


def test_cfp_compares_a_front_with_a_side():
    pairs = protocol_pairs("cfp_fp", PEOPLE, EXTRAS, pairs_per_fold=60)
    assert np.abs(YAW[pairs.left]).max() <= 20
    assert np.abs(YAW[pairs.right]).min() >= 60


def test_agedb_keeps_thirty_years_between_all_pairs():
    pairs = protocol_pairs("agedb", PEOPLE, EXTRAS, pairs_per_fold=60)
    assert np.abs(AGE[pairs.left] - AGE[pairs.right]).min() >= 30
    assert np.abs(YAW[pairs.left]).max() <= 45


def test_pairs_follow_from_the_seed():
    first, again, other = (protocol_pairs("lfw", PEOPLE, EXTRAS, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.left, again.left)
    np.testing.assert_array_equal(first.right, again.right)
    assert not np.array_equal(first.left[:50], other.left[:50])


def test_two_photos_make_one_pair_of_each_kind():
    people = [person for person in range(20) for _ in range(2)]
    extras = [{"yaw": 0.0, "age": 30.0}] * 40
    pairs = protocol_pairs("lfw", people, extras)
    # Each fold has two people with two photos: 2 genuine pairs, and as many of the 4 impostor pairs.
    assert len(pairs) == 10 * 4
    genuine = np.column_stack([pairs.left, pairs.right])[pairs.same]
    np.testing.assert_array_equal(np.sort(genuine[:, 0]), np.arange(0, 40, 2))
    np.testing.assert_array_equal(genuine[:, 1] - genuine[:, 0], 1)


def test_impossible_protocols_are_refused():
    frontal = [{"yaw": 0.0, "age": 30.0}] * 40
    people = [person for person in range(20) for _ in range(2)]
    with pytest.raises(DataError, match="too few photos for the cfp_fp"):
        protocol_pairs("cfp_fp", people, frontal)
    with pytest.raises(DataError, match="too few photos for the agedb"):
        protocol_pairs("agedb", people, frontal)
    with pytest.raises(DataError, match="no such protocol"):
        protocol_pairs("megaface", people, frontal)
    with pytest.raises(DataError, match="39 extras"):
        protocol_pairs("lfw", people, frontal[1:])
