"""Finished directories, written by hand, to a table whose every number is worked out here."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import t as student

from facemae.errors import RecipeError
from facemae.spec.manifest import Manifest, write_manifest
from facemae.spec.results import IMITATED, RELEASED, UNPROTECTED, PairedResult, RateResult
from facemae.spec.table import Table
from facemae.stages.audit import REPLICATES as AUDIT_REPLICATES
from facemae.stages.audit import RESULT as AUDIT
from facemae.stages.audit import replicates_of
from facemae.stages.tabulate import Made, tabulate, training_of
from facemae.stages.verify import REPLICATES, RESULT
from facemae.train.journal import Journal
from helpers import smooth_photos, tiny_mae, write_model, write_set

SWING = np.array([0.01, -0.01, 0.01, -0.01])
"""Four bootstrap replicates around a value: their standard deviation is √(4 · 0.01² / 3)."""
SPREAD = (4 * 1e-4 / 3) ** 0.5
SEEDS = (0, 1)
ACCURACY = {"Original": (0.90, 0.92), "Soft": (0.80, 0.82), "Twin": (0.90, 0.92)}


def table(**changes: Any) -> Table:
    rows = (
        {"label": "Original", "train": "plain", "paper": {"LFW": 99.35}},
        {"label": "Soft", "train": "soft", "weights": "pixel 1"},
        {"label": "Twin", "train": "twin"},
    )
    claims = (
        {"claim": "originals train better", "a": "Original", "b": "Soft", "metric": "LFW"},
        {"claim": "soft ones train better", "a": "Soft", "b": "Original", "metric": "LFW"},
        {"claim": "the twin is as good", "a": "Twin", "b": "Original", "metric": "LFW", "kind": "no_effect"},
        {"claim": "originals leak more", "a": "Original", "b": "Soft", "metric": "leakage:judge:2"},
    )
    call = {"verb": "import", "inputs": ("synthetic",)}
    content = {
        "title": "By hand",
        "seeds": SEEDS,
        "protocols": ({"name": "LFW", "faces": "exam", "pairs": "exam/pairs/lfw.csv"},),
        "judges": ({"name": "judge", "source": "data:net.onnx", "loss_network": True},),
        "rows": rows,
        "claims": claims,
        "stages": {
            **dict.fromkeys(("plain", "exam"), call),
            "masked": {"verb": "mask", "inputs": ("plain",)},
            **{name: {"verb": "reconstruct", "inputs": ("plain", "masked")} for name in ("soft", "twin")},
        },
    }
    return Table.model_validate(content | changes)


def write_verification(directory: Path, value: float, swing: np.ndarray) -> Path:
    directory.mkdir(parents=True)
    rate = {"value": value, "low": 0.0, "high": 1.0, "hits": round(value * 100), "trials": 100, "method": "by hand"}
    (directory / RESULT).write_text(json.dumps({"accuracy": rate, "pairs": 100}))
    np.save(directory / REPLICATES, value + swing)
    return directory


def write_audit(
    directory: Path,
    attacks: list[tuple[Any, ...]],
    *,
    curve: bool = False,
    halves: dict[tuple[str, str], tuple[float, float]] | None = None,
) -> Path:
    """``attacks``: (name, same photo, leakage at K = 2; at K = 1 it is half of that), and any subset.

    ``halves``: rates at K = 2 on either half of the people by (name, same photo); elsewhere both are the attack's own.
    """
    directory.mkdir()
    rows: list[dict[str, Any]] = []
    draws: dict[str, np.ndarray] = {}
    for number, (name, same_photo, value, *subset) in enumerate(attacks):
        sides = (halves or {}).get((name, same_photo), (value, value))
        at = [
            {"k": k, "identities": 20, "value": share * value, "low": 0.0, "high": 1.0, "chance": 0.05}
            | {"hits": round(share * value * 60), "trials": 60, "method": "by hand", "verdict": "by hand"}
            | {"control": 0.04, "control_low": 0.02, "control_high": 0.06, "p_value": 0.001}
            | {"halves": [half(share * side) for side in sides]}
            for k, share in ((1, 0.5), (2, 1.0))
        ]
        point = {"value": 0.5, "low": 0.4, "high": 0.6, "hits": 10, "trials": 20, "method": "draws", "chance": 0.1}
        points = [{"k": k, "identities": n} | point for k in (1, 2) for n in (5, 10)]
        open_set = {
            "nonmember_trials": 100,
            "nonmember_people": 50,
            "smallest_measurable": 0.1,
            "points": [
                {"target": 0.1, "measurable": True, "value": 0.3, "low": 0.2, "high": 0.4}
                | {"hits": 18, "trials": 60, "method": "by hand"},
                {"target": 0.01, "measurable": False},
            ],
        }
        rows.append(
            {"attack": name, "embedder": "judge", "same_photo": same_photo, "subset": (*subset, "all")[0], "at": at}
            | {"curve": points if curve else [], "open_set": open_set if same_photo == "exclude" else None}
        )
        for place, middle in zip(replicates_of(number), (value, sides[1]), strict=True):
            draws[place] = np.stack([middle / 2 + SWING, middle + SWING], axis=1)
    (directory / AUDIT).write_text(json.dumps({"attacks": rows}))
    np.savez(directory / AUDIT_REPLICATES, **draws)  # type: ignore[arg-type]
    return directory


def half(value: float) -> dict[str, Any]:
    return {"value": value, "low": value / 2, "high": (1 + value) / 2, "hits": round(value * 30), "trials": 30} | {
        "method": "half by hand",
        "chance": 0.06,
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    place = tmp_path_factory.mktemp("tabulate")
    photos = smooth_photos(4, 2)
    names = [f"p{i}/{j}.png" for i in range(4) for j in range(2)]
    exam = write_set(place / "exam", photos, np.arange(4).repeat(2), files=names)
    pairs = place / "lfw.csv"
    # The fourth person is in no pair.
    pairs.write_text("left,right,same,fold\np0/0.png,p0/1.png,1,0\np1/0.png,p2/0.png,0,0\np1/0.png,p1/1.png,1,1\n")
    soft = np.repeat(photos.mean(axis=(1, 2), keepdims=True).astype(np.uint8), 32, axis=1).repeat(32, axis=2)
    pictures = {"plain": photos, "soft": soft, "twin": photos}
    sets = {name: write_set(place / name, images, np.arange(4).repeat(2)) for name, images in pictures.items()}
    verifications = {
        (name, seed, "LFW"): write_verification(
            place / f"v-{name}-{seed}", value, SWING if name != "Soft" else np.zeros(4)
        )
        for name, values in ACCURACY.items()
        for seed, value in zip(SEEDS, values, strict=True)
    }
    attacks = [
        ("Org. to Org.", "exclude", 0.8),
        ("Org. to released", "include", 0.9),
        ("Org. to released", "exclude", 0.3),
    ]
    return Made(
        verifications=verifications,
        audits={
            "Original": write_audit(place / "a-original", [("Org. to Org.", "exclude", 0.8)]),
            "Soft": write_audit(place / "a-soft", attacks, curve=True),
        },
        judged={("judge", "LFW"): write_verification(place / "v-judge", 0.97, SWING)},
        sets=sets,
        protocol_files={"LFW": (exam, pairs)},
    )


def test_accuracy_is_the_mean_over_seeds_with_both_spreads(made: Made) -> None:
    (row, soft, _), *_ = tabulate(table(), made)
    accuracy = row.accuracy["LFW"]
    assert accuracy.value == pytest.approx(0.91)
    assert (accuracy.hits, accuracy.trials) == (182, 200)
    assert [(seed.seed, seed.accuracy) for seed in row.seeds["LFW"]] == [(0, 0.90), (1, 0.92)]
    # People: SPREAD². Seeds: sample variance 2e-4 over 2 seeds = 1e-4. Satterthwaite: (7/3)² e-8 / 1e-8 = 5.444.
    variance = SPREAD**2 + 1e-4
    assert variance == pytest.approx(7 / 3 * 1e-4)
    half = 2.50873 * variance**0.5  # t quantile of 97.5 % with 5.444 degrees of freedom
    assert accuracy.low == pytest.approx(0.91 - half, abs=1e-5)
    assert accuracy.high == pytest.approx(0.91 + half, abs=1e-5)
    assert (row.label, row.trained_on, row.paper, row.weights) == ("Original", "plain", {"LFW": 99.35}, "")
    assert soft.accuracy["LFW"].value == pytest.approx(0.81)
    assert soft.weights == "pixel 1"


def find(paired: tuple[PairedResult, ...], a: str, b: str, metric: str = "LFW") -> PairedResult:
    [found] = [p for p in paired if (p.a, p.b, p.metric) == (a, b, metric)]
    return found


def test_differences_are_paired_by_people_and_seed(made: Made) -> None:
    *_, paired, _ = tabulate(table(), made)
    # Both seeds differ by 0.1 exactly, so only people are left: 1.96 standard deviations of the swing.
    difference = find(paired, "Original", "Soft")
    assert difference.value == pytest.approx(0.10)
    assert difference.smallest_resolvable == pytest.approx(1.959964 * SPREAD, rel=1e-5)
    assert difference.low == pytest.approx(0.10 - 1.959964 * SPREAD, rel=1e-5)
    # The twin swings with the originals: no variance at all, so Wilson's bound for 0 of the 3 people in the pairs.
    twin = find(paired, "Twin", "Original")
    z2 = 1.959964**2
    assert twin.value == pytest.approx(0.0)
    assert twin.smallest_resolvable == pytest.approx(z2 / (3 + z2), rel=1e-5)


def test_half_of_anothers_error_is_met_by_accuracy_half_way_to_one(made: Made) -> None:
    """Half the error of accuracy b is left at (1 + b) / 2, and its spread is half of b's."""
    claim = {"claim": "half", "a": "Original", "b": "Soft", "metric": "half-error:LFW"}
    *_, paired, claims = tabulate(table(claims=(claim,)), made)
    row = {row.label: row.accuracy["LFW"].value for row in tabulate(table(), made)[0]}
    found = find(paired, "Original", "Soft", "half-error:LFW")
    assert found.value == pytest.approx(row["Original"] - (1 + row["Soft"]) / 2)
    assert claims[0].verdict == ("contradicted" if found.high < 0 else "not resolvable here")


def test_every_row_meets_every_earlier_one_once(made: Made) -> None:
    *_, paired, _ = tabulate(table(), made)
    wanted = [("Original", "Soft"), ("Soft", "Original"), ("Twin", "Original"), ("Twin", "Soft")]
    assert sorted((p.a, p.b) for p in paired if p.metric == "LFW") == sorted(wanted)
    assert len(paired) == 5


def test_verdicts_by_hand(made: Made) -> None:
    *_, claims = tabulate(table(), made)
    assert [claim.verdict for claim in claims] == [
        "reproduced",  # 0.10 - 0.0226 > 0
        "contradicted",  # -0.10 + 0.0226 < 0
        "not resolvable here",  # ±0.56 of three people is no ±0.005
        "reproduced",  # leakage 0.8 - 0.3 = 0.5, and the draws swing alike
    ]


def test_a_claim_knows_whether_one_of_its_rows_only_stands_in(made: Made) -> None:
    rows = [row.model_copy(update={"stand_in": "a stand-in" if row.label == "Soft" else ""}) for row in table().rows]
    *_, claims = tabulate(table().model_copy(update={"rows": tuple(rows)}), made)
    assert [claim.stand_in for claim in claims] == ["a stand-in" if "Soft" in (c.a, c.b) else "" for c in claims]
    assert {claim.stand_in for claim in claims} == {"", "a stand-in"}


def test_leakage_compares_the_release_with_the_originals_own(made: Made) -> None:
    *_, paired, _ = tabulate(table(), made)
    leakage = find(paired, "Original", "Soft", "leakage:judge:2")
    # "Org. to Org." 0.8 of the originals, "Org. to released" without the same photo 0.3: not 0.9 and not K = 1.
    assert leakage.value == pytest.approx(0.5)
    z2 = 1.959964**2
    assert leakage.smallest_resolvable == pytest.approx(z2 / (20 + z2), rel=1e-5)
    assert "one seed" in leakage.method


def test_a_fall_goes_from_the_fewest_people_of_the_curve_to_all(made: Made, tmp_path: Path) -> None:
    audits = {
        name: write_audit(tmp_path / name, [(attack, "exclude", whole)], curve=True)
        for name, attack, whole in (("Original", UNPROTECTED, 0.45), ("Soft", RELEASED, 0.3))
    }
    for directory in audits.values():
        manifest = {"stage": "audit", "kind": "audit", "digest": "ab" * 32, "spec": {"draws": 20}}
        write_manifest(directory, Manifest(**manifest, parents={}, facts={}, facemae="0"))
    claims = ({"claim": "soft ones fall further", "a": "Soft", "b": "Original", "metric": "fall:*:2"},)
    falling = table(claims=claims, audit={"identities": (5, 10)})
    *_, paired, told = tabulate(falling, replace(made, audits=made.audits | audits))
    found = find(paired, "Soft", "Original", "fall:judge:2")
    # Both find 0.5 among 5 people; among all 20 one finds 0.3 and the other 0.45.
    assert found.value == pytest.approx(0.15)
    # Bands of 0.2 over draws that are worth four, and no bootstrap variance between matched replicates.
    half = student.ppf(0.975, 3) * (2 * (0.2 / (2 * 1.959964)) ** 2 / 4) ** 0.5
    assert found.smallest_resolvable == pytest.approx(half, rel=1e-6)
    assert [(claim.metric, claim.verdict) for claim in told] == [("fall:judge:2", "reproduced")]


def test_rows_carry_their_attacks_curves_and_open_sets(made: Made) -> None:
    (original, soft, twin), *_ = tabulate(table(), made)
    found = [(x.attack, x.same_photo, x.k, x.value) for x in soft.leakage]
    assert found[2:] == [
        ("Org. to released", "include", 1, 0.45),
        ("Org. to released", "include", 2, 0.9),
        ("Org. to released", "exclude", 1, 0.15),
        ("Org. to released", "exclude", 2, 0.3),
    ]
    assert all([point.k for point in x.curve] == [x.k, x.k] for x in soft.leakage)
    assert [point.identities for point in soft.leakage[0].curve] == [5, 10]
    assert original.leakage[0].curve == ()
    assert [(x.attack, x.fpir, x.value, x.hits, x.smallest_measurable) for x in soft.open_set] == [
        ("Org. to Org.", 0.1, 0.3, 18, 0.1),
        ("Org. to Org.", 0.01, None, None, 0.1),
        ("Org. to released", 0.1, 0.3, 18, 0.1),
        ("Org. to released", 0.01, None, None, 0.1),
    ]
    assert twin.leakage == ()
    assert twin.open_set == ()


def audited(made: Made, audit: Path, label: str = "Soft") -> Made:
    """The same with another audit of one row."""
    return replace(made, audits={**made.audits, label: audit})


def test_findings_keep_their_evidence(made: Made) -> None:
    (_, soft, _), *_ = tabulate(table(), made)
    found = soft.leakage[-1]
    assert (found.subset, found.control, found.control_low, found.control_high) == ("all", 0.04, 0.02, 0.06)
    assert found.p_value == 0.001
    point = found.curve[0]
    assert (point.hits, point.trials, point.method) == (10, 20, "draws")


def test_leakage_is_told_relative_to_the_originals_own(made: Made) -> None:
    (original, soft, _), *_ = tabulate(table(), made)
    assert all(found.relative is None for found in (*original.leakage, *soft.leakage[:2]))
    found = soft.leakage[-1]
    assert (found.attack, found.same_photo, found.k) == (RELEASED, "exclude", 2)
    assert found.relative is not None
    assert found.relative.value == pytest.approx(0.3 / 0.8)
    # Two kinds of draws: 0.31 / 0.81 and 0.29 / 0.79; the outer 2.5 % of four draws interpolate within equal values.
    assert (found.relative.low, found.relative.high) == pytest.approx((0.29 / 0.79, 0.31 / 0.81))


def test_probes_of_one_source_are_relative_to_their_own(made: Made, tmp_path: Path) -> None:
    attacks = [
        (UNPROTECTED, "exclude", 0.8),
        (UNPROTECTED, "exclude", 0.4, "soft"),
        (RELEASED, "exclude", 0.3),
        (RELEASED, "exclude", 0.2, "soft"),
    ]
    (_, soft, _), *_ = tabulate(table(), audited(made, write_audit(tmp_path / "a", attacks)))
    shares = {x.subset: x.relative.value for x in soft.leakage if x.relative is not None and x.k == 2}
    assert shares == pytest.approx({"all": 0.3 / 0.8, "soft": 0.2 / 0.4})
    assert soft.worst is not None
    assert soft.worst.value == 0.3


def test_the_worst_is_chosen_on_one_half_and_told_on_the_other(made: Made, tmp_path: Path) -> None:
    attacks = [
        (UNPROTECTED, "exclude", 0.8),
        (RELEASED, "exclude", 0.30),
        (RELEASED, "include", 0.9),
        (IMITATED, "exclude", 0.28),
    ]
    # On everybody and on the second half the plain attack is stronger; on the first half the imitation is.
    halves = {
        (UNPROTECTED, "exclude"): (0.9, 0.7),
        (RELEASED, "exclude"): (0.25, 0.35),
        (IMITATED, "exclude"): (0.36, 0.2),
        (RELEASED, "include"): (0.8, 1.0),
    }
    (original, soft, twin), *_ = tabulate(table(), audited(made, write_audit(tmp_path / "a", attacks, halves=halves)))
    worst = soft.worst
    assert worst is not None
    assert (worst.attack, worst.embedder, worst.same_photo, worst.k) == (IMITATED, "judge", "exclude", 2)
    assert (worst.value, worst.low, worst.high) == (0.2, 0.1, 0.6)
    assert (worst.hits, worst.trials, worst.method, worst.chance) == (6, 30, "half by hand", 0.06)
    assert worst.unprotected is not None
    assert (worst.unprotected.value, worst.unprotected.hits) == (0.7, 21)
    # Both swing alike, so nothing is left but Wilson's bound for 0 of the ten people of that half.
    assert worst.difference is not None
    z2 = 1.959964**2
    assert worst.difference.value == pytest.approx(-0.5)
    assert worst.difference.high == pytest.approx(-0.5 + z2 / (10 + z2), rel=1e-5)
    assert soft.worst_same_photo is not None
    assert (soft.worst_same_photo.value, soft.worst_same_photo.same_photo) == (1.0, "include")
    assert original.worst is not None
    assert (original.worst.attack, original.worst.value, original.worst.difference) == (UNPROTECTED, 0.8, None)
    assert original.worst_same_photo is None
    assert twin.worst is None


def rewritten(audit: Path, change: Callable[[list[dict[str, Any]]], None]) -> Path:
    """The same audit with other numbers at K = 2, one an attack."""
    content = json.loads((audit / AUDIT).read_text())
    change([attack["at"][1] for attack in content["attacks"]])
    (audit / AUDIT).write_text(json.dumps(content))
    return audit


def test_the_worst_is_what_finds_most_beyond_chance(made: Made, tmp_path: Path) -> None:
    """As in the audit's own headline: 0.36 where blind guessing finds 0.3 is less than 0.25 where it finds 0.06."""

    def easy(at: list[dict[str, Any]]) -> None:
        at[2]["halves"][0]["chance"] = 0.3

    attacks = [(UNPROTECTED, "exclude", 0.8), (RELEASED, "exclude", 0.25), (IMITATED, "exclude", 0.36)]
    (_, soft, _), *_ = tabulate(table(), audited(made, rewritten(write_audit(tmp_path / "a", attacks), easy)))
    assert soft.worst is not None
    assert (soft.worst.attack, soft.worst.value) == (RELEASED, 0.25)


def test_nobody_found_by_few_is_not_nobody_found_by_all(made: Made, tmp_path: Path) -> None:
    """Relative leakage of a source keeps the upper end of its own few people, whatever the gallery holds."""

    def few(at: list[dict[str, Any]]) -> None:
        at[1] |= {"value": 0.0, "low": 0.0, "high": 0.43, "hits": 0}

    audit = write_audit(tmp_path / "a", [(UNPROTECTED, "exclude", 0.8), (RELEASED, "exclude", 0.3)])
    with np.load(audit / AUDIT_REPLICATES) as stored:
        draws = dict(stored)
    draws[replicates_of(1)[0]] = np.zeros_like(draws[replicates_of(1)[0]])
    np.savez(audit / AUDIT_REPLICATES, **draws)
    (_, soft, _), *_ = tabulate(table(), audited(made, rewritten(audit, few)))
    found = soft.leakage[-1]
    assert (found.attack, found.k, found.value) == (RELEASED, 2, 0.0)
    assert found.relative is not None
    assert (found.relative.low, found.relative.high) == pytest.approx((0, 0.43 / 0.8))


def test_a_claim_about_an_attack_that_nobody_ran_is_one_line(made: Made, tmp_path: Path) -> None:
    attacks = [(UNPROTECTED, "exclude", 0.8), (RELEASED, "include", 0.9)]
    with pytest.raises(RecipeError, match=r"audit\.same_photo = include\); needed exclude or both") as raised:
        tabulate(table(), audited(made, write_audit(tmp_path / "a", attacks)))
    assert "\n" not in str(raised.value)
    assert "originals leak more" in str(raised.value)


def test_sharpness_and_judges_stand_beside(made: Made) -> None:
    (original, soft, twin), judges, *_ = tabulate(table(), made)
    assert original.sharpness is not None
    assert soft.sharpness == 0.0
    assert original.sharpness == twin.sharpness
    assert original.sharpness > 1.0
    [judge] = judges
    assert (judge.name, judge.loss_network) == ("judge", True)
    assert judge.accuracy == {"LFW": RateResult(value=0.97, low=0.0, high=1.0, hits=97, trials=100, method="by hand")}


def test_a_row_may_come_in_one_seed(made: Made) -> None:
    (row, *_), _, paired, _ = tabulate(table(seeds=(1,)), made)
    assert row.accuracy["LFW"].value == pytest.approx(0.92)
    assert "one seed" in row.accuracy["LFW"].method
    assert find(paired, "Original", "Soft").value == pytest.approx(0.10)


def test_training_of_a_generator_is_told(tmp_path: Path) -> None:
    from facemae.spec.manifest import digest_of
    from facemae.spec.recipe import Loss, PretrainSpec
    from facemae.stages.pretrain import save_model
    from facemae.stages.stage import open_stage

    spec = PretrainSpec(batch=8, loss=Loss(pixel=1)).model_dump()
    with open_stage("pretrain", tmp_path / "model", spec=spec, parents={"init": "abc"}) as stage:
        save_model(stage.directory, tiny_mae())
        journal = Journal(stage.directory / "journal.jsonl")
        for i in range(1, 41):
            journal.write(10 * i, loss=1 / i, pixel=2 / i)
        journal.close()
        stage.publish("model", {"parameters": 99, "image_steps": 3200})
    told = training_of("facemae", tmp_path / "model")
    assert told["digest"] == digest_of("pretrain", spec, {"init": "abc"})
    assert (told["name"], told["size"], told["parameters"], told["image_steps"]) == ("facemae", "base", 99, 3200)
    assert told["start"] == "weights of another model"
    assert told["loss_weights"]["pixel"] == 1
    assert (told["steps"][0], told["steps"][-1], told["loss"][0]) == (80, 3200, 1.0)
    # The last twentieth of 40 rows: two of them.
    assert told["final"] == pytest.approx({"loss": (1 / 39 + 1 / 40) / 2, "pixel": 1 / 39 + 1 / 40})


def test_a_random_start_is_told(tmp_path: Path) -> None:
    directory = write_model(tmp_path / "model", tiny_mae())
    manifest = json.loads((directory / "manifest.json").read_text())
    manifest["spec"] |= {"batch": 8, "loss": {}, "size": "tiny"}
    manifest["facts"] = {"parameters": 1, "image_steps": 8}
    (directory / "manifest.json").write_text(json.dumps(manifest))
    (directory / "journal.jsonl").write_text('{"step": 1, "loss": 0.5}\n')
    assert training_of("x", directory)["start"] == "random"
