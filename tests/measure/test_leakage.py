"""Equation 3 by hand, by double loops, and against the hypergeometric distribution."""

import itertools
import json
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hypergeom

from facemae.errors import DataError
from facemae.measure import Leakage, chance, first_half, leakage, max_statistic
from facemae.measure.control import FEWEST, blocks, permute, shuffles
from facemae.measure.mated import mated_attack, undivided
from facemae.measure.retrieval import FLOAT32


def angle(*degrees: float) -> np.ndarray:
    radians = np.deg2rad(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def people(count: int, photos: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two independent photos of the same moments: probes, gallery and their common labels."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(count), photos)
    centre = random.normal(size=(count, 24))
    rows = [centre[labels] + noise * random.normal(size=(len(labels), 24)) for _ in range(2)]
    probes, gallery = ((row / np.linalg.norm(row, axis=1, keepdims=True)).astype(np.float32) for row in rows)
    return probes, gallery, labels


def test_four_images_by_hand() -> None:
    # Gallery on a circle: a at 0° and 40°, b at 10° and 90°. Probe of a at 8°: nearest b (2°), then a (8°).
    # Probe of b at 80°: nearest b (10°). Probe of b at 30°: a (10°), b (20°).
    gallery, labels = angle(0, 10, 40, 90), np.array([5, 9, 5, 9])
    found = leakage(angle(8, 80, 30), np.array([5, 9, 9]), gallery, labels, ks=(1, 2), seed=0, replicates=20)
    first, second = found.at
    assert (first.rate.hits, first.rate.trials, second.rate.hits) == (1, 3, 3)
    # Two of four images are the person's: 1/2 blindly, and 1 − C(2,2)/C(4,2) = 5/6 with two tries.
    assert first.chance == pytest.approx(1 / 2)
    assert second.chance == pytest.approx(5 / 6)
    assert (found.probes, found.unmated, first.identities) == (3, 0, 2)


def test_own_photo_excluded_by_hand() -> None:
    # Org → Org: every photo is a probe and may not find itself. c has one photo, so nothing can be found: no trial.
    rows, labels = angle(0, 10, 50, 95, 52), np.array([1, 1, 2, 2, 3])
    found = leakage(rows, labels, rows, labels, ks=(1, 2), exclude=np.arange(5), seed=0, replicates=20)
    # 0° → 10° a hit, 10° → 0° a hit, 50° → 52° a miss then 10° a miss, 95° → 52° a miss then 50° a hit.
    assert [point.rate.hits for point in found.at] == [2, 3]
    assert (found.at[0].rate.trials, found.unmated) == (4, 1)
    assert found.at[0].chance == pytest.approx(1 / 4)
    assert found.at[1].chance == pytest.approx(1 / 2)


@given(st.integers(1, 60), st.data())
def test_chance_is_hypergeometric(images: int, data: st.DataObject) -> None:
    own, k = data.draw(st.integers(0, images)), data.draw(st.integers(1, 5))
    expected = 1 - hypergeom.pmf(0, images, own, min(k, images))
    assert chance(np.array([images]), np.array([own]), k)[0] == pytest.approx(expected, abs=1e-12)


def by_loops(
    probes: np.ndarray,
    person: np.ndarray,
    gallery: np.ndarray,
    labels: np.ndarray,
    k: int,
    own: bool,
    allowed: set[int],
) -> tuple[int, int]:
    """Hits and trials, one probe and one image at a time."""
    hits = trials = 0
    for i, who in enumerate(person.tolist()):
        rivals = [j for j in range(len(gallery)) if labels[j] in allowed and not (own and i == j)]
        if who not in allowed or all(labels[j] != who for j in rivals):
            continue
        score = {j: float((probes[i].astype(np.float64) * gallery[j].astype(np.float64)).sum()) for j in rivals}
        nearest = sorted(rivals, key=lambda j: (-score[j], j))[:k]
        hits, trials = hits + any(labels[j] == who for j in nearest), trials + 1
    return hits, trials


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.slow
def test_leakage_and_curve_match_double_loops(own: bool) -> None:
    probes, gallery, labels = people(9, 4, noise=1.6)
    exclude = np.arange(36) if own else None
    sizes = (2, 5, 9)
    found = leakage(
        probes, labels, gallery, labels, ks=(1, 3), identities=sizes, exclude=exclude, seed=3, replicates=20
    )
    everybody = set(range(9))
    for point in found.at:
        assert (point.rate.hits, point.rate.trials) == by_loops(
            probes, labels, gallery, labels, point.k, own, everybody
        )
    random = np.random.default_rng([3, 0xD4A3])
    draws = [random.permutation(9) for _ in range(20)]
    for point in found.curve:
        cells = [set(np.flatnonzero(draw < point.identities).tolist()) for draw in draws]
        sums = [by_loops(probes, labels, gallery, labels, point.k, own, cell) for cell in cells]
        rates = np.array([hits / trials for hits, trials in sums])
        assert point.rate.value == pytest.approx(rates.mean(), abs=1e-12)
        low, high = np.quantile(rates, [0.025, 0.975])
        assert (point.rate.low, point.rate.high) == pytest.approx((min(low, rates.mean()), max(high, rates.mean())))
        images = 4 * point.identities - own
        assert point.chance == pytest.approx(float(chance(np.array([images]), np.array([4 - own]), point.k)[0]))
    full = [point for point in found.curve if point.identities == 9]
    assert [point.rate.value for point in full] == pytest.approx([point.rate.value for point in found.at])


def test_the_control_asks_for_somebody_else() -> None:
    probes, gallery, labels = people(40, 5, noise=1.0)
    found = leakage(probes, labels, gallery, labels, seed=1, replicates=100)
    # The nearest picture is the right person's or one of 39 others': the control is an even share of what is left.
    nearest = found.at[0]
    assert nearest.rate.value > 0.7
    assert nearest.control.value == pytest.approx((1 - nearest.rate.value) / 39, abs=0.001)
    for point in found.at:
        assert point.control.low <= point.control.value <= point.control.high < point.chance
        assert point.rate.low > point.control.high
        assert point.distinguishable
    document = json.loads(json.dumps(found.to_dict()))
    assert set(document["at"][0]) >= {"k", "identities", "value", "low", "high", "hits", "trials", "chance", "control"}


def random_attack(counts: np.ndarray, probes: np.ndarray, seed: int, *, own: bool) -> tuple[np.ndarray, ...]:
    """Vectors that say nothing of who is who; person i has ``counts[i]`` pictures and ``probes[i]`` probes."""
    random = np.random.default_rng(seed)
    labels, asked = (np.repeat(np.arange(len(number)), number) for number in (counts, probes))
    rows = [random.normal(size=(len(which), 16)) for which in (labels, asked)]
    gallery, query = ((row / np.linalg.norm(row, axis=1, keepdims=True)).astype(np.float32) for row in rows)
    return (gallery, labels, gallery, labels) if own else (query, asked, gallery, labels)


UNEQUAL = (2 + 60 / np.arange(1, 41)).astype(int)
"""From 62 pictures down to 3: blind guessing finds 6.7 % of as many probes, evenly spread people 2.5 %."""


@pytest.mark.slow
def test_unequal_people_raise_no_false_alarm() -> None:
    """Random vectors, 60 audits of two attacks each: family-wise near 5 %, and the control at chance."""
    alarms, gaps = 0, []
    for seed in range(60):
        found = [
            leakage(
                *random_attack(UNEQUAL, UNEQUAL, seed + 1000 * i, own=False), seed=seed, replicates=2, permutations=99
            )
            for i in range(2)
        ]
        observed = np.array([at.excess for one in found for at in one.at])
        p_values = max_statistic(observed, np.concatenate([one.permuted for one in found], axis=1))
        alarms += bool(p_values.min() <= 0.05)
        gaps += [one.at[0].control.value - one.at[0].chance for one in found]
    assert found[0].at[0].chance == pytest.approx((UNEQUAL**2).sum() / UNEQUAL.sum() ** 2)
    assert alarms <= 6
    # The spread of a mean of 120 audits; a control of evenly spread people would lie 4 points lower.
    assert abs(np.mean(gaps)) < 4 * np.std(gaps) / len(gaps) ** 0.5 < 0.01


@pytest.mark.slow
def test_few_probes_of_many_pictures_are_at_chance_too() -> None:
    """Who is asked about often has few pictures: blind guessing finds less than among evenly spread people."""
    found = [
        leakage(*random_attack(UNEQUAL, UNEQUAL[::-1], seed, own=False), seed=seed, replicates=2, permutations=99)
        for seed in range(20)
    ]
    gaps = [one.at[0].control.value - one.at[0].chance for one in found]
    assert found[0].at[0].chance == pytest.approx((UNEQUAL * UNEQUAL[::-1]).sum() / UNEQUAL.sum() ** 2)
    assert abs(np.mean(gaps)) < 4 * np.std(gaps) / len(gaps) ** 0.5 < 0.01


@pytest.mark.slow
def test_own_photos_left_out_leave_the_control_at_chance() -> None:
    found = [
        leakage(
            *(attack := random_attack(UNEQUAL, UNEQUAL, seed, own=True)),
            exclude=np.arange(len(attack[1])),
            seed=seed,
            replicates=2,
            permutations=99,
        )
        for seed in range(20)
    ]
    gaps = [one.at[0].control.value - one.at[0].chance for one in found]
    assert abs(np.mean(gaps)) < 4 * np.std(gaps) / len(gaps) ** 0.5 < 0.01


def excess_by_loops(
    nearest: np.ndarray, labels: np.ndarray, own: list[list[int]], goal: np.ndarray, k: int
) -> tuple[float, float]:
    """Mean excess of all probes, and of those sent to somebody else; probe i is of person ``labels[i]``."""
    of = [np.flatnonzero(labels == who).tolist() for who in range(labels.max() + 1)]
    everybody, moved = [], []
    for i, who in enumerate(labels.tolist()):
        wanted = of[goal[who]]
        counting = {*wanted} - {wanted[of[who].index(j) % len(wanted)] for j in own[i]}
        hit = bool(counting & {*nearest[i, :k].tolist()})
        left = len(labels) - len({*own[i]})
        everybody.append(hit - hypergeom.sf(0, left, len(counting), k))
        moved += everybody[-1:] if goal[who] != who else []
    return float(np.mean(everybody)), float(np.mean(moved))


@pytest.mark.parametrize("also", [0, 1])
def test_a_wrong_person_loses_as_many_pictures_as_the_right_one(also: int) -> None:
    """Against loops; with ``also``, a second picture of the person is left out as well."""
    counts = np.array([3, 3, 3, 4, 4, 4])
    _, labels, rows, _ = random_attack(counts, counts, 3, own=False)
    first = (np.cumsum(counts) - counts)[labels]
    places = [(np.arange(len(labels)) - first + step) % counts[labels] for step in range(1 + also)]
    own = np.stack([first + place for place in places], axis=1)
    attack = mated_attack(rows, labels, rows, labels, own)
    found, _ = attack.nearest(3, undivided, FLOAT32)
    everybody, moved = permute(attack.trials(found), (1, 3), permutations=9, seed=1)
    for p, goal in enumerate(shuffles(counts, permutations=9, seed=1)):
        for column, k in enumerate((1, 3)):
            expected = excess_by_loops(found, labels, own.tolist(), goal, k)
            assert (everybody[p, column], moved[p, column]) == pytest.approx(expected, abs=1e-12)


@pytest.mark.slow
def test_permutations_spread_as_the_attack_does_without_its_own_photo() -> None:
    """Two photos a person: one to find at home and two at somebody else's would give two thirds of this spread."""
    counts, z = np.full(80, 2), []
    for seed in range(100):
        attack = random_attack(counts, counts, seed, own=False)
        found = leakage(*attack, ks=(1,), exclude=np.arange(160), seed=seed, replicates=2, permutations=99)
        z.append((found.at[0].excess - found.permuted.mean()) / found.permuted.std())
    assert abs(np.mean(z)) < 0.3
    assert 0.85 < np.std(z) < 1.15


def test_blocks_join_close_numbers_of_pictures() -> None:
    # Five pictures: 6 people alone. Seven and eight: 3 + 2 people. Nine: 3 people, too few, so with those before.
    images = np.repeat([9, 5, 8, 7], [3, 6, 2, 3])
    assert FEWEST == 5
    assert blocks(images).tolist() == [1] * 3 + [0] * 6 + [1] * 5
    assert blocks(np.array([4, 4, 90])).tolist() == [0, 0, 0]


def test_halves_part_the_people() -> None:
    first = first_half(9, seed=3)
    assert (first.sum(), len(first)) == (4, 9)
    assert np.array_equal(first, first_half(9, seed=3))
    assert not np.array_equal(first_half(40, seed=3), first_half(40, seed=4))
    probes, gallery, labels = people(9, 4, noise=1.6)
    mine = first[labels]
    found = leakage(probes, labels, gallery, labels, first=mine, seed=3, replicates=40)
    parts = [leakage(probes[m], labels[m], gallery, labels, seed=3, replicates=40) for m in (mine, ~mine)]
    for i, point in enumerate(found.at):
        assert [half.rate for half in point.halves] == [part.at[i].rate for part in parts]
        assert [half.chance for half in point.halves] == [part.at[i].chance for part in parts]
    assert np.array_equal(found.second, parts[1].replicates)
    assert found.at == tuple(
        replace(point, halves=halved.halves)
        for point, halved in zip(
            leakage(probes, labels, gallery, labels, seed=3, replicates=40).at, found.at, strict=True
        )
    )


def test_a_half_without_a_trial_gives_no_halves() -> None:
    probes, gallery, labels = people(4, 2, noise=1.0)
    found = leakage(probes, labels, gallery, labels, first=np.zeros(8, bool), seed=0, replicates=20)
    assert found.at[0].halves == ()
    assert found.second.shape == (0, 4)


def test_parts_ask_the_same_gallery() -> None:
    probes, gallery, labels = people(9, 4, noise=1.6)
    some, nobody = labels % 3 == 0, np.zeros(36, bool)
    found = leakage(
        probes, labels, gallery, labels, parts={"some": some, "nobody": nobody}, identities=(9,), seed=3, replicates=20
    )
    alone = leakage(probes[some], labels[some], gallery, labels, seed=3, replicates=20)
    assert found.parts == {"some": alone}
    assert (found.parts["some"].probes, found.parts["some"].curve) == (12, ())


def test_people_without_a_trial_are_drawn_with_the_others() -> None:
    """So that two attacks by the same people are resampled alike, whoever of them has something to find."""
    probes, gallery, labels = people(9, 4, noise=1.6)
    fewer = labels < 7
    whole = leakage(probes, labels, gallery, labels, ks=(1,), seed=3, replicates=200)
    some = leakage(probes, labels, gallery[fewer], labels[fewer], ks=(1,), seed=3, replicates=200)
    assert some.unmated == 8
    assert "7 people" in some.at[0].rate.method
    assert np.corrcoef(whole.replicates[:, 0], some.replicates[:, 0])[0, 1] > 0.5


@pytest.mark.slow
def test_strangers_labels_are_rarely_distinguished() -> None:
    told = 0
    for seed in range(60):
        probes, _, labels = people(25, 4, noise=1.0, seed=seed)
        _, gallery, _ = people(25, 4, noise=1.0, seed=1000 + seed)
        found = leakage(probes, labels, gallery, labels, seed=seed, replicates=20, permutations=99)
        told += any(point.distinguishable for point in found.at)
        if not found.at[0].distinguishable:
            assert f"this attack finds at most {found.at[0].rate.high:.2%}" in found.at[0].verdict
    # A 5 % test over 60 rounds: more than 9 would have a probability below 0.3 %.
    assert told <= 9


def test_means_of_many_photos_change_places_with_means_of_as_many() -> None:
    """Ten people, one row each, whose nearest is the next of five with as many photos: by luck 2 of 10 hit, not 1."""
    wrong = np.concatenate([np.roll(np.arange(5), -1), 5 + np.roll(np.arange(5), -1)])
    gallery, people = np.eye(10, dtype=np.float32), np.arange(10)
    how = {"ks": (1,), "seed": 0, "replicates": 2}
    alike = leakage(gallery[wrong], people, gallery, people, behind=np.repeat([1, 9], 5), **how)
    assert alike.permuted.mean() == pytest.approx(2 / 10 - alike.at[0].chance, abs=0.015)
    single = leakage(gallery[wrong], people, gallery, people, **how)
    assert single.permuted.mean() == pytest.approx(1 / 10 - single.at[0].chance, abs=0.015)


def test_max_statistic_by_hand() -> None:
    permuted = np.array([[0.0, 0.0], [0.2, 0.0], [0.0, 0.2], [0.2, 0.2]])
    # First column with its 0.2: mean 0.12, z of 0.2 is 0.82, of 0 is −1.22. Second with its 0.7: mean 0.22, deviation
    # 0.256, z of 0.7 is 1.87, of 0.2 is −0.08, of 0 is −0.86. Maxima over the columns: −0.86, 0.82, −0.08, 0.82.
    assert max_statistic(np.array([0.2, 0.7]), permuted) == pytest.approx([3 / 5, 1 / 5])


def test_an_undefined_permutation_never_accuses() -> None:
    permuted = np.array([[0.0, np.nan], [0.1, np.nan], [np.nan, np.nan], [0.05, np.nan]])
    assert max_statistic(np.array([0.4]), permuted[:, :1]) == pytest.approx([2 / 5])
    assert max_statistic(np.array([0.4, 0.4]), permuted)[1] == 1


def test_same_seed_same_numbers() -> None:
    probes, gallery, labels = people(12, 3, noise=1.5)
    first, again = (leakage(probes, labels, gallery, labels, identities=(4, 12), seed=2, replicates=30) for _ in "ab")
    assert first == again
    assert np.array_equal(first.replicates, again.replicates)
    other = leakage(probes, labels, gallery, labels, identities=(4, 12), seed=5, replicates=30)
    assert other.curve != first.curve


def test_mistakes_are_named() -> None:
    probes, gallery, labels = people(4, 2, noise=1.0)
    with pytest.raises(DataError, match="nothing to measure: got no K"):
        leakage(probes, labels, gallery, labels, ks=(), seed=0)
    with pytest.raises(DataError, match="no probe has an image"):
        leakage(probes, labels + 10, gallery, labels, seed=0)
    with pytest.raises(DataError, match="another person"):
        leakage(probes, labels, gallery, labels, exclude=(np.arange(8) + 2) % 8, seed=0)
    with pytest.raises(DataError, match="numbers from 1 to 4"):
        leakage(probes, labels, gallery, labels, identities=(2, 5), seed=0)
    with pytest.raises(DataError, match="at least 20"):
        leakage(probes, labels, gallery, labels, identities=(2,), draws=19, seed=0)


def test_a_divided_search_is_the_same_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of any size, and of none, joined row by row: every number stays, the mean chances of the curve too."""
    probes, gallery, labels = people(30, 4, 1.5)
    more = {"ks": (1, 3), "identities": (4, 20), "exclude": np.arange(120), "seed": 3, "replicates": 30}
    whole = leakage(probes, labels, gallery, labels, **more)  # type: ignore[arg-type]
    monkeypatch.setattr(sys.modules[Leakage.__module__], "_ROWS", 8)
    in_blocks = leakage(probes, labels, gallery, labels, **more)  # type: ignore[arg-type]

    def divide(work: Callable[[slice], tuple[np.ndarray, ...]], rows: int) -> tuple[np.ndarray, ...]:
        edges = [0, 0, rows // 7, rows // 2, rows, rows]
        pieces = [work(slice(a, b)) for a, b in itertools.pairwise(edges)]
        return tuple(np.concatenate(column) for column in zip(*pieces, strict=True))

    monkeypatch.setattr(sys.modules[Leakage.__module__], "_WINDOW", 48)
    divided = leakage(probes, labels, gallery, labels, **more, divide=divide)  # type: ignore[arg-type]
    assert divided.to_dict() == in_blocks.to_dict()
    assert np.array_equal(divided.replicates, whole.replicates)
    assert [point.rate for point in divided.curve] == [point.rate for point in whole.curve]
