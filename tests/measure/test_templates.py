"""Templates by hand, by loops, and with the same photo on both sides or kept apart."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facemae.errors import DataError
from facemae.measure import averages, template_leakage
from facemae.measure.averages import Side


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def angle(*degrees: float) -> np.ndarray:
    radians = np.deg2rad(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def people(count: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probes, gallery and their labels: 2 to 5 photos a person, in no order."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.repeat(np.arange(count), 2 + np.arange(count) % 4))
    centre = random.normal(size=(count, 16))[labels]
    return *(unit(centre + noise * random.normal(size=centre.shape)) for _ in range(2)), labels


def test_averages_by_hand() -> None:
    # Person 4: gallery 0° and 60° (mean 30°), person 6: 20° and 100° (mean 60°). Probes of 4: 10° and 40° (mean 25°).
    asked, shown = np.array([4, 4, 6]), np.array([4, 6, 4, 6])
    gallery = angle(0, 20, 60, 100)
    found = template_leakage(angle(10, 40, 44), asked, gallery, shown, sizes=((None, None),), ks=(1, 2), seed=0)
    first, second = found.at
    # 25° is nearest to 30°: found. 44° of person 6 is 14° from 30° and 16° from 60°: missed, found with K = 2.
    assert (first.rate.hits, first.rate.trials, second.rate.hits) == (1, 2, 2)
    assert (first.chance, second.chance) == (0.5, 1.0)
    assert (first.probe_mean, first.gallery_mean, first.identities) == (1.5, 2.0, 2)
    assert first.outcome.people.tolist() == [4, 6]
    assert first.outcome.hits.tolist() == [1, 0]


def test_all_images_match_loops() -> None:
    x, y, labels = people(30, 2.0)
    found = template_leakage(x, labels, y, labels, sizes=((None, None),), ks=(1, 3), seed=0, replicates=10)
    mean = [np.stack([rows[labels == who].astype(float).mean(axis=0) for who in range(30)]) for rows in (x, y)]
    scores = (mean[0] / np.linalg.norm(mean[0], axis=1)[:, None]) @ (
        mean[1] / np.linalg.norm(mean[1], axis=1)[:, None]
    ).T
    rank = (scores > np.diag(scores)[:, None]).sum(axis=1)
    assert [at.rate.hits for at in found.at] == [(rank < 1).sum(), (rank < 3).sum()]
    assert 0 < found.at[0].rate.value < 1
    assert [at.chance for at in found.at] == pytest.approx([1 / 30, 3 / 30])
    assert found.at[0].rate.trials == 30


def test_single_images_are_the_mean_over_draws() -> None:
    x, y, labels = people(30, 1.0)
    found = template_leakage(x, labels, y, labels, sizes=((1, 1), (2, None)), ks=(1,), draws=7, seed=0, replicates=10)
    assert [at.rate.trials for at in found.at] == [210, 210]
    assert [(at.probe_mean, at.gallery_mean) for at in found.at] == [(1, 1), (2, pytest.approx(len(labels) / 30))]
    assert found.at[1].rate.value > found.at[0].rate.value
    assert found.observed == pytest.approx([at.rate.value - 1 / 30 for at in found.at])


def test_the_same_photo_may_be_kept_apart() -> None:
    # The release copies every photo and is noise but for that: only the same photo finds anybody.
    random = np.random.default_rng(5)
    labels, photo = np.repeat(np.arange(40), 4), np.arange(160)
    x = unit(random.normal(size=(160, 24)))
    same = template_leakage(x, labels, x, labels, sizes=((None, None),), ks=(1,), seed=0, permutations=99)
    apart = template_leakage(
        x, labels, x, labels, query_photo=photo, gallery_photo=photo, sizes=((None, None),), ks=(1,), seed=0
    )
    assert same.at[0].rate.value == 1
    assert same.at[0].verdict == "distinguishable from chance"
    assert apart.at[0].verdict.startswith("not distinguishable from chance; this attack finds at most")
    assert apart.at[0].rate.low < 1 / 40 < apart.at[0].rate.high
    # Half of four photos are spent on the probe, the other two are left.
    assert (apart.at[0].probe_mean, apart.at[0].gallery_mean) == (2, 2)


def test_no_photo_is_ever_on_both_sides() -> None:
    random = np.random.default_rng(1)
    labels = np.repeat(np.arange(12), [1, 2, 3, 4] * 3)
    photo = random.permutation(len(labels)) + 50
    # Three imitations of each photo on the probes' side, one released image of most.
    asked, shown = np.repeat(np.arange(len(labels)), 3), np.arange(2, len(labels))
    rows = unit(random.normal(size=(len(labels), 8)))
    sides = averages.Sides.of(rows[asked], labels[asked], photo[asked], rows[shown], labels[shown], photo[shown])
    order = averages._Order.of(sides, sides.places(random), random)
    for images in (1, 2, 4, None):
        taken = averages._first(order.probe, sides.probe.person, order.spendable, images)
        spent = [len(np.unique(photo[asked][taken][labels[asked][taken] == who])) for who in range(12)]
        most = [0, 1, 1, 2] * 3
        assert all(0 <= n <= limit for n, limit in zip(spent, most, strict=True))
        assert spent == most or images is not None
        # Three images are of one photo, so that two photos take more than three.
        assert max(spent) == (2 if images in (4, None) else 1)


def test_everybody_with_as_many_photos_is_split_alike() -> None:
    """So that a probe which is sent to somebody else meets the splits that it meets at home, and no others."""
    random = np.random.default_rng(1)
    labels = np.repeat(np.arange(8), [4, 5] * 4)
    rows, photo = unit(random.normal(size=(36, 8))), np.arange(36)
    sides = averages.Sides.of(rows, labels, photo, rows, labels, photo)
    place, seen = sides.places(random), set()
    assert all(sorted(place[labels == who].tolist()) == [*range((labels == who).sum())] for who in range(8))
    assert len({tuple(place[labels == who].tolist()) for who in range(0, 8, 2)}) > 1
    for _ in range(10):
        order = averages._Order.of(sides, place, random)
        spent = [frozenset(place[order.spendable & (labels == who)].tolist()) for who in range(8)]
        assert [len(places) for places in spent] == [2] * 8
        assert len({*spent[0::2]}) == len({*spent[1::2]}) == 1
        seen.add(spent[0])
    assert len(seen) > 3


def statistics(seed: int, released: int) -> tuple[bool, float]:
    """60 people of two photos, so many of them released as noise: whether that is accused, and how far from chance."""
    random = np.random.default_rng(seed)
    labels, photo = np.repeat(np.arange(60), 2), np.arange(120)
    kept = np.concatenate([2 * who + random.permutation(2)[:released] for who in range(60)])
    x, y = (unit(random.normal(size=(n, 16))) for n in (120, len(kept)))
    how = {"sizes": ((None, None),), "ks": (1,), "seed": seed, "replicates": 2, "permutations": 99}
    found = template_leakage(x, labels, y, labels[kept], query_photo=photo, gallery_photo=photo[kept], **how)
    z = (found.observed - found.permuted.mean()) / found.permuted.std()
    return found.at[0].distinguishable, float(z[0])


@pytest.mark.slow
def test_a_release_that_leaves_photos_out_is_not_accused() -> None:
    """Whose only image is spent on the probe cannot be found: counted as a miss, it would put chance below chance."""
    accused, z = zip(*(statistics(seed, released=1) for seed in range(40)), strict=True)
    assert sum(accused) <= 5
    assert abs(np.mean(z)) < 0.5


@pytest.mark.slow
def test_permutations_spread_as_the_attack_does() -> None:
    """Splits of one's own for everybody would let the attack spread 1.3 times as wide as its permutations."""
    _, z = zip(*(statistics(seed, released=2) for seed in range(80)), strict=True)
    assert abs(np.mean(z)) < 0.35
    assert 0.8 < np.std(z) < 1.15


@given(st.integers(0, 500))
@settings(max_examples=10, deadline=None)
def test_order_of_rows_changes_nothing_where_all_images_are_taken(seed: int) -> None:
    x, y, labels = people(20, 1.5)
    left, right = (np.random.default_rng([seed, i]).permutation(len(labels)) for i in range(2))
    wanted = {"sizes": ((None, None),), "ks": (1, 2), "seed": 0, "replicates": 10, "permutations": 9}
    found = template_leakage(x, labels, y, labels, **wanted)
    again = template_leakage(x[left], labels[left], y[right], labels[right], **wanted)
    assert found.to_dict() == again.to_dict()
    assert np.array_equal(found.permuted, again.permuted)


def test_sums_do_not_depend_on_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    x, _, labels = people(20, 1.0)
    taken = np.argsort(labels, kind="stable")
    monkeypatch.setattr(averages, "_CHUNK", 3)
    who, templates, images = Side(x, labels, np.arange(len(labels))).templates(taken)
    assert who.tolist() == list(range(20))
    assert images.tolist() == np.bincount(labels).tolist()
    total = np.stack([x[labels == one].astype(float).sum(axis=0) for one in who])
    assert templates == pytest.approx(total / np.linalg.norm(total, axis=1, keepdims=True), abs=1e-6)


def test_people_without_anything_to_find_are_counted() -> None:
    x, y, labels = people(20, 0.5)
    found = template_leakage(x, labels, y[labels > 4], labels[labels > 4], ks=(1,), seed=0, replicates=10)
    assert (found.people, found.unmated, found.at[0].identities) == (20, 5, 15)
    assert json.loads(json.dumps(found.to_dict()))["at"][1]["gallery_images"] is None


def test_wrong_requests_are_refused() -> None:
    x, y, labels = people(6, 1.0)
    photo = np.arange(len(labels))
    for wrong in ({"sizes": ()}, {"sizes": ((0, 1),)}, {"ks": (0,)}, {"ks": ()}, {"draws": 0}):
        with pytest.raises(DataError, match="no template to compare"):
            template_leakage(x, labels, y, labels, seed=0, **wrong)
    with pytest.raises(DataError, match="photos of one side only"):
        template_leakage(x, labels, y, labels, query_photo=photo, seed=0)
    with pytest.raises(DataError, match="a photo shows two people"):
        template_leakage(x, labels, y, labels, query_photo=photo, gallery_photo=np.roll(photo, 1), seed=0)
    with pytest.raises(DataError, match="no person on both sides"):
        template_leakage(x, labels, y, labels + 50, seed=0)
