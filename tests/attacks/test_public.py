"""Held-out public people, and what candidates are chosen by."""

import pickle
from pathlib import Path

import numpy as np

from attacks.town import people, release
from facemae.attacks.public import Selection, Trial, best_of, split
from helpers import images_of


def test_nobody_is_both_learned_from_and_held_out(tmp_path: Path) -> None:
    original = people(tmp_path / "set", 20, 2)
    public = release(tmp_path / "released", original, images_of(original.directory))
    fit, held = split(public, seed=3)
    assert sorted([*fit, *held]) == list(range(40))
    assert not {*public.person[fit]} & {*public.person[held]}
    assert len({*public.person[held]}) == 4
    assert split(public, seed=3).held.tolist() == held.tolist() != split(public, seed=4).held.tolist()


def test_score_is_the_mean_reciprocal_rank_of_another_photo() -> None:
    """Hand-worked on the circle: angles in degrees, two people a and b with two photos each."""
    angles = np.radians([0.0, 60.0, 20.0, 90.0])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    trial = Trial(np.array([0, 0, 1, 1]), np.arange(4))
    # Others before the mate: b20 before a60 (1/2), b90 and b20 before a0 (1/3), a0 and a60 before b90, a60 before b20.
    assert np.isclose(trial.score(vectors, vectors), (1 / 2 + 1 / 3 + 1 / 3 + 1 / 2) / 4)
    # One photo each: the own release counts, and is found at once.
    assert Trial(np.arange(4), np.arange(4)).score(vectors, vectors) == 1.0


def test_among_equals_the_first_is_chosen() -> None:
    assert best_of({"simple": 0.5, "rich": 0.5, "poor": 0.1}) == "simple"


def test_a_selection_is_a_set_of_its_own(tmp_path: Path) -> None:
    faces = people(tmp_path / "set", 4, 3)
    rows = np.array([7, 3, 11])
    chosen = Selection(faces, rows)
    assert (len(chosen), chosen.num_identities, chosen.identities.tolist()) == (3, 3, [1, 0, 2])
    assert np.array_equal(chosen.images(range(3)), faces.images(rows.tolist()))
    again = pickle.loads(pickle.dumps(chosen))
    assert np.array_equal(again.image(2), faces.image(11))
    told = Selection(faces, rows, np.array([5, 5, 0]))
    assert (told.identities.tolist(), told.num_identities) == ([1, 1, 0], 2)
    assert len({faces.digest, chosen.digest, told.digest, Selection(faces, rows[::-1]).digest}) == 4
