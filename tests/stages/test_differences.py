"""Audits of the same people, written by hand, to differences between releases whose every number is worked out here."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facemae.errors import DataError
from facemae.spec.manifest import Manifest, write_manifest
from facemae.spec.results import RELEASED, UNPROTECTED, ReleasesResult
from facemae.stages.audit import REPLICATES, RESULT, replicates_of
from facemae.stages.differences import release_differences

NORMAL = 1.959963984540054
"""The 97.5 % point of the normal distribution."""
PEOPLE = 20


def write_audit(
    directory: Path,
    rates: dict[tuple[str, str, str], tuple[float, list[float]]],
    heads: tuple[tuple[str, str, str], ...],
    *,
    spec: dict[str, Any] | None = None,
    parents: dict[str, str] | None = None,
    people: int = PEOPLE,
) -> Path:
    """``rates``: attack, network and same photo to the rate at K = 2 on the second half and its replicates.

    Everybody's rate and replicates are half of those; at K = 1 nobody is found. ``heads``: which are headlines.
    """
    directory.mkdir()
    attacks, draws = [], {}
    for number, ((name, network, same_photo), (value, replicates)) in enumerate(rates.items()):
        at = [
            {"k": k, "identities": people, "value": share * value / 2, "halves": [{}, {"value": share * value}]}
            for k, share in ((1, 0), (2, 1))
        ]
        place = {"attack": name, "embedder": network, "same_photo": same_photo, "subset": "all"}
        attacks.append(place | {"at": at, "curve": []})
        for share, file in zip((0.5, 1.0), replicates_of(number), strict=True):
            draws[file] = np.stack([np.zeros(4), share * np.array(replicates)], axis=1)
    told = [dict(zip(("attack", "embedder", "same_photo"), head, strict=True)) | {"k": 2} for head in heads]
    named = dict(zip(("headline", "headline_same_photo"), told, strict=False))
    (directory / RESULT).write_text(json.dumps({"attacks": attacks} | named))
    np.savez(directory / REPLICATES, **draws)
    manifest = Manifest(
        stage="audit",
        kind="audit",
        digest="d",
        spec={"seed": 0, "replicates": 4} | (spec or {}),
        parents={"original": "o" * 64, "embedder phi": "p" * 64} | (parents or {}),
        facts={},
        facemae="0",
    )
    write_manifest(directory, manifest)
    return directory


CROSS, TEMPLATE = "cross-matcher", "template of retrieval (all images)"
WITHOUT, HELD = (CROSS, "phi", "exclude"), (CROSS, "phi", "include")
PLAIN, PLAIN_JUDGE = (RELEASED, "phi", "exclude"), (RELEASED, "judge", "exclude")
ONE = {
    PLAIN: (0.20, [0.22, 0.18, 0.22, 0.18]),
    WITHOUT: (0.30, [0.32, 0.28, 0.32, 0.28]),
    HELD: (1.0, [1.0] * 4),
}
OTHER = {
    PLAIN: (0.40, [0.42, 0.38, 0.38, 0.42]),
    PLAIN_JUDGE: (0.10, [0.10] * 4),
    WITHOUT: (0.50, [0.51, 0.49, 0.49, 0.51]),
    HELD: (1.0, [1.0] * 4),
}
ORIGINAL = {(UNPROTECTED, "phi", "exclude"): (0.9, [0.9] * 4), (TEMPLATE, "phi", "exclude"): (0.8, [0.8] * 4)}


@pytest.fixture
def audits(tmp_path: Path) -> dict[str, Path]:
    return {
        "One": write_audit(tmp_path / "one", ONE, (WITHOUT, HELD)),
        "Other": write_audit(tmp_path / "other", OTHER, (WITHOUT, HELD)),
    }


def by_measure(found: tuple[ReleasesResult, ...]) -> dict[tuple[str, str, str], ReleasesResult]:
    return {(one.measure, one.same_photo, one.embedder_a): one for one in found}


def test_worst_cases_are_subtracted_in_pairs(audits: dict[str, Path]) -> None:
    one = by_measure(release_differences(audits))["worst case", "exclude", "phi"]
    assert (one.a, one.b, one.k, one.attack_a, one.attack_b) == ("One", "Other", 2, CROSS, CROSS)
    assert one.value == pytest.approx(0.30 - 0.50)
    # Replicates differ by -0.19, -0.21, -0.17, -0.23: around their mean by 0.01, -0.01, 0.03, -0.03.
    half = NORMAL * ((2 * 0.01**2 + 2 * 0.03**2) / 3) ** 0.5
    assert one.smallest_resolvable == pytest.approx(half)
    assert (one.low, one.high) == pytest.approx((-0.2 - half, -0.2 + half))


def test_two_rates_without_a_miss_differ_by_at_most_what_so_few_people_show(audits: dict[str, Path]) -> None:
    one = by_measure(release_differences(audits))["worst case", "include", "phi"]
    # Wilson's upper bound for 0 of the 10 people of the second half: z² / (10 + z²).
    assert (one.value, one.smallest_resolvable) == (0, pytest.approx(NORMAL**2 / (10 + NORMAL**2)))


def test_plain_searches_are_subtracted_under_the_networks_of_both(audits: dict[str, Path]) -> None:
    found = by_measure(release_differences(audits))
    assert {key for key in found if key[0] == "plain search"} == {("plain search", "exclude", "phi")}
    one = found["plain search", "exclude", "phi"]
    # Everybody's rates are half of those of the second half: 0.1 - 0.2; replicates differ by 0, 0, 0.02, -0.02 more.
    assert one.value == pytest.approx(-0.1)
    assert one.smallest_resolvable == pytest.approx(NORMAL * (2 * 0.02**2 / 3) ** 0.5)


def test_a_release_less_itself_is_nothing_and_the_other_way_round_is_the_opposite(audits: dict[str, Path]) -> None:
    twice = release_differences({"One": audits["One"], "Again": audits["One"]})
    assert len(twice) == 3
    assert {(one.value, one.low, one.high, one.smallest_resolvable) for one in twice} == {(0, 0, 0, 0)}
    turned = by_measure(release_differences(dict(reversed(audits.items()))))
    for key, one in by_measure(release_differences(audits)).items():
        other = turned[key]
        assert (one.a, one.b) == (other.b, other.a)
        assert (one.value, one.low, one.high) == (-other.value, -other.high, -other.low)
        assert one.smallest_resolvable == other.smallest_resolvable


def test_every_two_releases_are_compared_and_the_originals_by_what_is_searched_there(
    audits: dict[str, Path], tmp_path: Path
) -> None:
    original = write_audit(tmp_path / "original", ORIGINAL, ((TEMPLATE, "phi", "exclude"),))
    found = release_differences({"Original": original} | audits)
    pairs = [(one.a, one.b) for one in found if (one.measure, one.same_photo) == ("worst case", "exclude")]
    assert pairs == [("Original", "One"), ("Original", "Other"), ("One", "Other")]
    assert [(one.a, one.b) for one in found if one.same_photo == "include"] == [("One", "Other")]
    worst = next(one for one in found if one.a == "Original")
    assert (worst.attack_a, worst.attack_b, worst.value) == (TEMPLATE, CROSS, pytest.approx(0.8 - 0.3))
    plainly = next(one for one in found if one.measure == "plain search")
    assert (plainly.attack_a, plainly.attack_b) == (UNPROTECTED, RELEASED)
    assert plainly.value == pytest.approx(0.45 - 0.1)


@pytest.mark.parametrize(
    ("changed", "got"),
    [
        ({"parents": {"original": "x" * 64}}, "originals oooooooooooo and xxxxxxxxxxxx"),
        ({"parents": {"embedder phi": "x" * 64}}, "embedder phi pppppppppppp and xxxxxxxxxxxx"),
        ({"spec": {"seed": 1}}, "seed 0 and 1"),
        ({"spec": {"replicates": 5}}, "replicates 4 and 5"),
        ({"people": 19}, "identities 20 and 19"),
    ],
)
def test_audits_that_do_not_draw_the_same_people_are_refused(
    audits: dict[str, Path], tmp_path: Path, changed: dict[str, Any], got: str
) -> None:
    strange = write_audit(tmp_path / "strange", OTHER, (WITHOUT, HELD), **changed)
    with pytest.raises(DataError, match=f"audits of One and Strange .*got {got}; needed"):
        release_differences({"One": audits["One"], "Strange": strange})
