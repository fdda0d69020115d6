"""Operating points of two samples: which rates of false alarms may be reported at all."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facemae.measure.operating import ALARM_PEOPLE, TwoSamples


def samples(negative: np.ndarray, people: np.ndarray) -> TwoSamples:
    return TwoSamples.of(np.array([0.0]), np.array([0]), negative, people)


def test_a_loud_stranger_makes_small_rates_unmeasurable() -> None:
    # 200 photos of 50 strangers, four each: ten alarms are 5 %. The four photos of each of three strangers lead, then
    # come one photo of a fourth and two of a fifth with the same score: 15 photos score at least as high as that.
    people = np.repeat(np.arange(50), 4)
    score = np.linspace(0, 1, 200)
    assert samples(np.random.default_rng(0).permutation(score), people).smallest_measurable == 0.05
    score[:12], score[12], score[16], score[17] = 9.0, 5.0, 4.0, 4.0
    score[18:] = np.minimum(score[18:], 0.5)
    loud = samples(score, people)
    assert loud.smallest_measurable == pytest.approx(15 / 200)
    assert len(np.unique(people[score > loud.threshold(15 / 200)])) == 5
    assert len(np.unique(people[score > loud.threshold(14 / 200)])) == 4
    assert samples(score[:196], people[:196]).smallest_measurable is None  # 49 strangers


def test_few_people_with_many_photos_do_not_measure_what_they_cannot_show() -> None:
    # 1,500 photos, so that ten alarms are 0.67 %; but two of 60 people are 3.3 %.
    people = np.repeat(np.arange(60), 25)
    assert samples(np.random.default_rng(0).random(1500), people).smallest_measurable == pytest.approx(2 / 60)


@given(
    scores=st.lists(st.integers(0, 12), min_size=120, max_size=120),
    shift=st.lists(st.integers(0, 6), min_size=60, max_size=60),
    target=st.integers(1, 119),
)
def test_what_is_measurable_rests_on_ten_alarms_and_five_people(
    scores: list[int], shift: list[int], target: int
) -> None:
    people = np.repeat(np.arange(60), 2)
    found = samples(np.array(scores, float) + np.repeat(shift, 2), people)
    smallest, rate = found.smallest_measurable, target / 120
    assert smallest is not None
    alarms = people[found.negative > found.threshold(rate)]
    assert (rate >= smallest - 1e-12) == (target >= 10 and len(np.unique(alarms)) >= ALARM_PEOPLE)
