"""The whole suite of an audit on a small town: who runs, who cannot, and whether the plants are found."""

import csv
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facemae.attacks import Parrot
from facemae.attacks.template import pool
from facemae.errors import DataError, RecipeError
from facemae.faces.codec import encode_png
from facemae.faces.faceset import FaceSet, write_people
from facemae.faces.record import People
from facemae.report import write_audit_report
from facemae.spec.manifest import read_manifest
from facemae.spec.recipe import AuditSpec, MaskSpec, RecognizeSpec, ReconstructSpec
from facemae.stages.audit import REPLICATES, SECTIONS, SUITE_VERSION, Inputs, audit, read_audit, replicates_of
from facemae.stages.auditing import scene as scenes
from facemae.stages.auditing import suite as suites
from facemae.stages.auditing.owned import Belongings
from facemae.stages.auditing.scene import Scene
from facemae.stages.mask import mask, private_of
from facemae.stages.reconstruct import reconstruct
from facemae.train.world import join
from helpers import images_of, plain, smooth_photos, tiny_mae, write_model, write_recogniser, write_set

PEOPLE, PHOTOS = 24, 4
LABELS = np.arange(PEOPLE).repeat(PHOTOS)
QUICK = AuditSpec(suite="quick", k=(1, 2), replicates=50, draws=20)
FULL = AuditSpec(suite="full", k=(1, 2), replicates=50, steps=2, masks=2)


def town(directory: Path, people: int, photos: int, *, seed: int, name: str) -> Path:
    """Originals whose people are called after ``name``."""
    labels = np.arange(people).repeat(photos)
    write_set(directory, smooth_photos(people, photos, noise=12.0, seed=seed), labels)
    files = [f"{name}{label:03d}/{i:04d}.png" for i, label in enumerate(labels.tolist())]
    write_people(directory, People(tuple(f"{name}{i:03d}" for i in range(people)), tuple(files)))
    return directory


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Originals, strangers, public people, a model, what it released, and two judges."""
    place = tmp_path_factory.mktemp("suite")
    town(place / "original", PEOPLE, PHOTOS, seed=0, name="A")
    town(place / "strangers", 50, 2, seed=1, name="B")
    town(place / "public", 8, 4, seed=2, name="C")
    town(place / "trained", 50, 2, seed=3, name="D")
    town(place / "outsiders", 60, 2, seed=4, name="E")
    write_recogniser(place / "net")
    write_recogniser(place / "phi", seed=1)
    write_model(place / "model", tiny_mae())
    mask(place / "original", place / "masked", MaskSpec(cell=8, seed=3), plain())
    reconstruct(place / "model", place / "masked", place / "released", ReconstructSpec(paste_visible=True), plain())
    return place


def inputs(place: Path, **more: Any) -> Inputs:
    given = {
        "original": place / "original",
        "released": place / "released",
        "linkage": private_of(place / "masked"),
        "embedders": {"net": place / "net"},
    }
    return Inputs(**(given | more))


@pytest.fixture(scope="module")
def quick(place: Path) -> dict[str, Any]:
    return audit(inputs(place), place / "quick", QUICK, plain(), cache=place / "cache")


def test_what_learns_nothing_needs_nothing(place: Path, quick: dict[str, Any]) -> None:
    assert set(quick) == set(SECTIONS)
    assert [(row["attack"], row["same_photo"]) for row in quick["attacks"]] == [
        ("Org. to Org.", "exclude"),
        ("Org. to released", "exclude"),
        ("Org. to released", "include"),
        *((name, same) for name in both("retrieval")[1:] for same in ("exclude", "include")),
        *((name, same) for name in both("pixels") for same in ("exclude", "include")),
    ]
    assert [(row["attack"], row["same_photo"]) for row in quick["linking"]] == [
        ("Org. to Org.", "exclude"),
        ("Org. to released", "exclude"),
        ("pixels", "exclude"),
    ]
    assert [row["attack"] for row in quick["unlinkability"]] == ["Org. to Org.", "Org. to released", "pixels"]
    assert len(quick["templates"]) == 3
    assert quick["membership"] == []
    assert quick["not_run"] == [{"attacker": "open set", "needs": "--nonmembers"}]
    assert [row["name"] for row in quick["attackers"]] == [
        "Org. to released",
        *both("retrieval")[1:],
        *both("pixels"),
    ]
    assert {row["embedder"] for row in quick["attacks"] if "pixels" in row["attack"]} == {"no network"}
    assert quick["embedders"] == [{"name": "net", "source": "net", "trained_on": None, "loss_network": False}]
    with np.load(place / "quick" / REPLICATES) as stored:
        assert len(stored) == 2 * len(quick["attacks"])


def test_retrieval_is_what_it_was_before_the_suite(place: Path, quick: dict[str, Any], tmp_path: Path) -> None:
    """The same hits, and sections that nobody asked for; p-values are over more tests in the suite."""
    alone = AuditSpec(k=(1, 2), replicates=50)
    found = audit(inputs(place), tmp_path / "out", alone, plain(), cache=place / "cache")
    assert {name: found[name] for name in SECTIONS if name != "attacks"} == {
        name: SECTIONS[name] for name in SECTIONS if name != "attacks"
    }
    manifest = read_manifest(tmp_path / "out")
    assert "suite" not in json.dumps(manifest.spec)
    for before, now in zip(found["attacks"], quick["attacks"], strict=False):
        for a, b in zip(before["at"], now["at"], strict=True):
            assert {**a, "p_value": 0} == {**b, "p_value": 0, "verdict": a["verdict"]}
            assert a["p_value"] <= b["p_value"]
    assert read_manifest(place / "quick").spec["suite_version"] == SUITE_VERSION


def test_a_result_from_before_the_suite_is_read(tmp_path: Path) -> None:
    (tmp_path / "audit.json").write_text('{"attacks": [1]}')
    assert read_audit(tmp_path) == {**SECTIONS, "attacks": [1]}


def test_the_headline_is_told_by_the_half_that_did_not_choose(quick: dict[str, Any]) -> None:
    for name, same_photo in (("headline", "exclude"), ("headline_same_photo", "include")):
        worst = quick[name]
        rows = [row for row in quick["attacks"] if row["attack"] != "Org. to Org." and row["same_photo"] == same_photo]
        at = {row["attack"]: row["at"][1] for row in rows}
        chosen = max(at, key=lambda attack: at[attack]["halves"][0]["value"] - at[attack]["halves"][0]["chance"])
        assert (worst["attack"], worst["k"], worst["measure"], worst["attacks"]) == (chosen, 2, "top2", 6)
        told = at[chosen]["halves"][1]
        assert {key: worst[key] for key in told} == told
        assert worst["verdict"] == at[chosen]["verdict"]


def test_where_the_originals_are_the_release_their_worst_case_is_told(place: Path, tmp_path: Path) -> None:
    given = inputs(place, released=place / "original", linkage=None)
    found = audit(given, tmp_path / "out", QUICK, plain(), cache=place / "cache")
    assert [(row["attack"], row["same_photo"]) for row in found["attacks"]] == [
        ("Org. to Org.", "exclude"),
        *((name, "exclude") for name in both("retrieval")[1:]),
    ]
    worst = found["headline"]
    assert (worst["attacks"], worst["same_photo"], worst["measure"]) == (3, "exclude", "top2")
    assert worst["attack"] in {row["attack"] for row in found["attacks"]}
    assert found["headline_same_photo"] is None
    assert {row["attacker"] for row in found["not_run"]} == {"open set", "pixels", "metadata"}
    write_audit_report(tmp_path / "out", tmp_path / "page")
    page = (tmp_path / "page" / "audit.md").read_text()
    assert "Nothing is protected here: an attacker finds" in page
    assert "strongest attacker" not in page.split("##")[0]


@pytest.mark.slow
def test_every_attacker_runs_on_what_is_given(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = RecognizeSpec(backbone="iresnet18", width=16, input_size=32, embedding=16, batch=16)
    monkeypatch.setattr(suites, "Parrot", partial(Parrot, tiny))
    given = inputs(
        place,
        embedders={"net": place / "net", "phi": place / "phi"},
        loss_networks=frozenset({"phi"}),
        nonmembers=place / "strangers",
        process=place / "model",
        public=place / "public",
        masked=place / "masked",
        trained=place / "trained",
        outsiders=place / "outsiders",
    )
    spec = FULL.model_copy(update={"trained_on": {"net": "nobody's faces"}, "same_photo": "exclude"})
    found = audit(given, place / "full", spec, plain(), cache=place / "cache")
    assert found["not_run"] == []
    of_net = [row["attack"] for row in found["attacks"] if row["embedder"] == "net"]
    assert of_net == [
        "Org. to Org.",
        "Org. to released",
        *both("retrieval")[1:],
        *both("imitator"),
        *both("cross-matcher"),
        *both("inverter"),
        *both("visible patches"),
    ]
    own = [row["attack"] for row in found["attacks"] if row["embedder"] == "its own"]
    assert own == [*both("parrot"), *both("imitating parrot")]
    assert {row["attack"] for row in found["attacks"] if row["embedder"] == "phi"} == set(of_net)
    # Members and strangers come the same way in every attack, so all of them are asked for the open set.
    assert all(row["open_set"]["nonmember_people"] == 50 for row in found["attacks"])
    assert [row["score"] for row in found["membership"]] == ["loss", "phi-distance"]
    # Of the model other people are asked than of the release: those from where its photos came.
    assert {(row["members"], row["nonmembers"]) for row in found["membership"]} == {(50, 60)}
    assert [(row["name"], row["trained_on"], row["loss_network"]) for row in found["embedders"]] == [
        ("net", "nobody's faces", False),
        ("phi", None, True),
    ]
    tried = {row["name"]: set(row["tried"]) for row in found["attackers"] if row["embedder"] in ("net", "its own")}
    assert tried["visible patches"] == {"as stored", "mean", "smooth"}
    assert "Procrustes" in tried["cross-matcher"]
    assert found["headline"]["attacks"] == 39


def both(attack: str) -> tuple[str, str, str]:
    """Image by image, all images of a person together, and all photos of one against single images."""
    return attack, f"template of {attack} (all images)", f"template of {attack} (all images, no numbers)"


def test_who_looks_through_another_attackers_eyes_may_put_images_together(place: Path, tmp_path: Path) -> None:
    """Learned once, asked twice; the template of an attacker is that attacker's own vectors, pooled."""
    spec = FULL.model_copy(update={"attackers": ("template", "imitator"), "same_photo": "exclude"})
    given = inputs(place, process=place / "model", masked=place / "masked")
    found = audit(given, tmp_path / "out", spec, plain(), cache=place / "cache")
    rows = {row["attack"]: row for row in found["attacks"]}
    assert {*both("imitator"), *both("retrieval")[1:]} < {*rows}
    assert rows["template of imitator (all images)"]["at"] != rows["template of retrieval (all images)"]["at"]
    assert rows["template of imitator (all images)"]["at"][0]["trials"] == PEOPLE
    alone = spec.model_copy(update={"attackers": ("imitator",)})
    found = audit(given, tmp_path / "alone", alone, plain(), cache=place / "cache")
    assert [row["attack"] for row in found["attacks"]] == ["Org. to Org.", "Org. to released", "imitator"]


def test_two_releases_of_the_same_photos_are_linked_with_and_without_them(place: Path, tmp_path: Path) -> None:
    mask(place / "original", tmp_path / "again", MaskSpec(cell=8, seed=4), plain())
    given = inputs(place, imitation=tmp_path / "again", imitation_linkage=private_of(tmp_path / "again"))
    found = audit(given, tmp_path / "out", QUICK, plain(), cache=place / "cache")
    name = "released-by-same-process to released"
    asked = [row["same_photo"] for row in found["unlinkability"] if row["attack"] == name]
    assert asked == ["exclude", "include"] == [row["same_photo"] for row in found["linking"] if row["attack"] == name]


def test_releases_by_two_processes_are_laid_side_by_side(place: Path, tmp_path: Path) -> None:
    """The masked set stands for what another process made: joined by pairs, and nobody is searched for in it."""
    given = inputs(place, other_release=place / "masked", other_linkage=private_of(place / "masked"))
    found = audit(given, tmp_path / "out", QUICK, plain(), cache=place / "cache")
    name = "released-by-another-process to released"
    asked = [row["same_photo"] for row in found["unlinkability"] if row["attack"] == name]
    assert asked == ["exclude", "include"] == [row["same_photo"] for row in found["linking"] if row["attack"] == name]
    assert name not in {row["attack"] for row in found["attacks"]}
    with pytest.raises(DataError, match="--other-release: got no linkage for it; needed --other-linkage"):
        audit(inputs(place, other_release=place / "original"), tmp_path / "no", QUICK, plain(), cache=place / "cache")


def test_strangers_are_asked_for_by_whoever_holds_the_very_photo_as_well(place: Path, tmp_path: Path) -> None:
    given = inputs(place, nonmembers=place / "strangers")
    found = audit(given, tmp_path / "out", QUICK, plain(), cache=place / "cache")
    rows = {(row["attack"], row["same_photo"]): row["open_set"] for row in found["attacks"]}
    assert None not in rows.values()
    own, other = (rows["Org. to released", same] for same in ("include", "exclude"))
    assert own["auc"]["value"] > other["auc"]["value"]
    # Every p-value is over the tests of the whole audit, so none is smaller than one of its attack alone could be.
    points = [point for row in rows.values() for point in (*row["points"], row["smallest"])]
    p_values = [point["p_value"] for point in points if point["measurable"]]
    assert p_values
    assert all(0.001 <= p <= 1 for p in p_values)


def test_what_cannot_be_asked_of_the_model_is_refused_before_anybody_learns(place: Path, tmp_path: Path) -> None:
    spec = FULL.model_copy(update={"attackers": ("cross-matcher", "membership")})
    given = inputs(
        place, process=place / "model", public=place / "public", trained=place / "trained", outsiders=place / "trained"
    )
    with pytest.raises(DataError, match="shares people with"):
        audit(given, tmp_path / "out", spec, plain(), cache=tmp_path / "cache")
    assert not [*(tmp_path / "cache").glob("cross-matcher-*")]


def belongings(place: Path, **more: Any) -> Belongings:
    return Belongings(Scene(inputs(place, **more), FULL, plain(), place / "cache", join("cpu")))


def test_groups_are_measured_by_the_photos_behind_them(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    for name in ("leakage", "nonmember_control"):
        known = getattr(scenes, name)
        monkeypatch.setattr(
            scenes, name, lambda *sets, known=known, **how: (told.append(how["behind"]), known(*sets, **how))[1]
        )
    scene = Scene(inputs(place, nonmembers=place / "strangers"), FULL, plain(), place / "cache", join("cpu"))
    [(_, _), (sides, _)] = scene.retrieval("net")
    scene.leakage(sides, "exclude")
    assert told == [None, None]
    assert sides.strangers is not None
    group = pool(sides.gallery, np.ones(len(sides.gallery.person), bool))
    scene.leakage(replace(sides, probes=group, gallery=group), "include")
    assert [behind.tolist() for behind in told[2:]] == [[PHOTOS] * PEOPLE] * 2


def test_nobody_is_dropped_in_silence(place: Path) -> None:
    assert belongings(place).lacking() == {
        "open set": "--nonmembers",
        "imitator": "--process",
        "parrot": "--public, and --process or --public-released with --public-linkage",
        "cross-matcher": "--public, and --process or --public-released with --public-linkage",
        "inverter": "--public, and --process or --public-released with --public-linkage",
        "visible": "--masked",
        "membership": "--process, --trained and --outsiders",
    }


def test_a_masked_release_tells_its_process(place: Path) -> None:
    """Whoever has the masked set can mask: no model is needed to imitate, and other seeds are other masks."""
    process = belongings(place, released=place / "masked").process
    assert process is not None
    public = FaceSet.open(place / "public")
    first, again, other = process(public, 5), process(public, 5), process(public, 6)
    assert first.faces.digest == again.faces.digest != other.faces.digest
    assert first.faces.cells == FaceSet.open(place / "masked").cells
    assert sorted(first.photo.tolist()) == list(range(len(public)))


def test_the_process_is_that_of_the_release(place: Path) -> None:
    """Settings of mask and reconstruction come from what was released; records keep the patches they were made from."""
    given = {"process": place / "model", "masked": place / "masked", "public": place / "public"}
    process = belongings(place, **given).process
    assert process is not None
    assert process.restoring.paste_visible
    assert process.masking["cell"] == 8
    made = process(FaceSet.open(place / "public"), 1)
    assert made.masked is not None
    cells, positions = made.masked.visible([3])
    picture = made.faces.image(3).reshape(4, 8, 4, 8, 3).transpose(0, 2, 1, 3, 4).reshape(16, 8, 8, 3)
    assert (picture[positions[0]] == cells[0]).all()
    # Without the masked set the model tells how it was masked.
    alone = belongings(place, process=place / "model").process
    assert alone is not None
    assert alone.masking == {"ratio": 0.75, "cell": 8}


def test_another_tools_model_masks_and_people_are_refused(place: Path, tmp_path: Path) -> None:
    spec = FULL.model_copy(update={"attackers": ("imitator", "cross-matcher", "visible")})
    other = write_model(tmp_path / "other", tiny_mae(seed=1))
    # The same geometry: told by what the stage says it was made from, so the test gives it another name.
    manifest = json.loads((other / "manifest.json").read_text()) | {"digest": "f" * 64}
    (other / "manifest.json").write_text(json.dumps(manifest))
    hidden = mask(place / "original", tmp_path / "m", MaskSpec(cell=8, seed=4), plain())
    for more, said in (
        ({"process": other}, "is not the model of"),
        ({"masked": hidden}, "is not what .* was made from"),
        ({"process": place / "model", "public": place / "original"}, "--public .* shares people with the originals"),
        (
            {"process": place / "model", "public": place / "strangers", "nonmembers": place / "strangers"},
            "--public .* shares people with --nonmembers: got 50, first 'B000'; needed people who are asked for",
        ),
    ):
        with pytest.raises(DataError, match=said) as raised:
            audit(inputs(place, **more), tmp_path / "out", spec, plain(), cache=place / "cache")
        assert "\n" not in str(raised.value)
        assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_somebodys_folder_is_audited_as_it_is(place: Path, tmp_path: Path) -> None:
    """Plain folders and a list of paths; the metadata is that of the files as they came."""
    photos, people = images_of(place / "original"), FaceSet.open(place / "original").people
    assert people is not None
    pairs = []
    for i, image in enumerate(photos):
        name = f"{LABELS[i]:03d}/{i * 7919 % 100003:06d}.png"
        for folder, path in (("mine", people.files[i]), ("theirs", name)):
            (tmp_path / folder / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / path).write_bytes(encode_png(image))
        pairs.append((people.files[i], name))
    with (tmp_path / "pairs.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("original_path", "released_path"), *pairs])
    given = inputs(place, original=tmp_path / "mine", released=tmp_path / "theirs", linkage=tmp_path / "pairs.csv")
    found = audit(given, tmp_path / "out", QUICK, plain(), cache=tmp_path / "cache")
    own, released, same_photo = found["attacks"][:3]
    assert [at["hits"] for at in own["at"]] == [at["hits"] for at in released["at"]]
    assert same_photo["at"][0]["value"] == 1.0
    copies = [each for each in found["metadata"]["findings"] if each["instrument"] == "duplicates"]
    assert copies[0]["count"] == len(photos)
    assert next(c for c in found["metadata"]["checks"] if c["instrument"] == "order")["ran"]
    (tmp_path / "pairs.csv").write_text(f"original_path,released_path\n{pairs[0][0]},nobody.png\n")
    with pytest.raises(DataError, match=r"names photos that the sets do not hold: got 1, first 'nobody\.png'"):
        audit(given, tmp_path / "again", QUICK, plain(), cache=tmp_path / "cache")


def test_an_attacker_outside_the_suite_is_refused() -> None:
    with pytest.raises(ValueError, match="attackers parrot given with suite quick"):
        AuditSpec(suite="quick", attackers=("parrot",))


def test_p_values_are_over_all_measures(quick: dict[str, Any]) -> None:
    """999 permutations for every test together: the smallest p-value there can be is 1 / 1000, and copies reach it."""
    every = [at["p_value"] for row in [*quick["attacks"], *quick["templates"]] for at in row["at"]]
    every += [row["p_value"] for row in quick["unlinkability"]] + [row["eer"]["p_value"] for row in quick["linking"]]
    assert min(every) == pytest.approx(1 / 1000)
    assert all(round(p * 1000) == pytest.approx(p * 1000) for p in every)


def test_without_a_judge_nothing_runs(place: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="--embedder: got none"):
        audit(inputs(place, embedders={}), tmp_path / "out", QUICK, plain(), cache=place / "cache")
    assert replicates_of(0) == ("all0", "second0")
