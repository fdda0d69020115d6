"""Mixed people: the weighted mean of their numbers, with either end the person; who is mixed is drawn by key."""

from dataclasses import fields

import numpy as np
import pytest

from facemae.faces.synthetic import Identity, Mix, draw_mix, mix_identities, render_photo, sample_identity

SIZE = 48
UNDIVIDED = {"hair_styles", "moles", "glasses"}


def numbers(person: Identity) -> dict[str, np.ndarray]:
    return {field.name: np.asarray(getattr(person, field.name), np.float64) for field in fields(Identity)}


@pytest.mark.parametrize(("weight", "heavier"), [(0.8, 0), (0.5, 0), (0.3, 1)])
def test_every_number_is_the_weighted_mean(weight: float, heavier: int) -> None:
    pair = sample_identity(0, 3), sample_identity(0, 8)
    first, second = map(numbers, pair)
    for name, value in numbers(mix_identities(*pair, weight)).items():
        wanted = (
            numbers(pair[heavier])[name] if name in UNDIVIDED else weight * first[name] + (1 - weight) * second[name]
        )
        np.testing.assert_allclose(value, wanted, rtol=1e-6, atol=1e-6, err_msg=name)


def test_all_of_a_person_is_that_person() -> None:
    alone = render_photo(3, 1, seed=0, size=SIZE)
    whole = render_photo(3, 1, seed=0, size=SIZE, mix=Mix(8, 1.0))
    assert np.array_equal(alone.image, whole.image)
    assert alone.extras == whole.extras


def test_the_nearer_the_weight_the_nearer_the_picture() -> None:
    alone = render_photo(3, 1, seed=0, size=SIZE).image.astype(float)
    away = [
        np.abs(render_photo(3, 1, seed=0, size=SIZE, mix=Mix(8, weight)).image - alone).mean()
        for weight in (0.95, 0.75, 0.5)
    ]
    assert 0 < away[0] < away[1] < away[2]


def test_the_second_person_is_another_and_all_are_drawn_alike() -> None:
    people = [4, 7, 9, 12]
    drawn = [draw_mix(people, 2, photo, seed=5) for photo in range(3000)]
    counts = {person: sum(mix.other == person for mix in drawn) for person in people}
    assert counts[9] == 0
    assert all(abs(counts[person] - 1000) < 5 * (1000 * 2 / 3) ** 0.5 for person in (4, 7, 12))
    # Of 21 equally likely steps two fold onto each weight, one onto 1/2.
    weights = {round(1 - 0.05 * k, 2): 2 / 21 for k in range(10)} | {0.5: 1 / 21}
    for weight, share in weights.items():
        count = sum(mix.weight == weight for mix in drawn)
        assert abs(count - 3000 * share) < 5 * (3000 * share) ** 0.5, weight
    assert {mix.weight for mix in drawn} == set(weights)


def test_a_mix_follows_from_seed_person_and_photo() -> None:
    people = list(range(50))
    drawn = [draw_mix(people, place, photo, seed=seed) for seed in (0, 1) for place in (3, 4) for photo in (0, 1)]
    assert drawn == [
        draw_mix(people, place, photo, seed=seed) for seed in (0, 1) for place in (3, 4) for photo in (0, 1)
    ]
    assert len(set(drawn)) > 6
