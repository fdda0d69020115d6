"""Recipes: every mistake at once and by name, one level of `extends`, `--set`, and the package's own files."""

from pathlib import Path
from typing import Any

import pytest

import facemae
from facemae.errors import RecipeError
from facemae.spec import reading as reading_module
from facemae.spec.manifest import Frozen, digest_of
from facemae.spec.reading import merge, parse_settings, read_toml, recipe_names, section_spec
from facemae.spec.recipe import (
    SECTIONS,
    AuditSpec,
    Classifier,
    ImportSpec,
    Loss,
    Margin,
    MaskSpec,
    PretrainSpec,
    Recipe,
    RecognizeSpec,
    SyntheticSpec,
    VerifySpec,
)
from facemae.spec.table import Table
from facemae.spec.table_parts import StageCall
from facemae.spec.validation import build

RECIPES = Path(facemae.__file__).parent / "recipes"
SCALED = ("table", "figure", "scale-", "audit")
PACKAGED = sorted(
    str(path.relative_to(RECIPES)) for path in RECIPES.rglob("*.toml") if not path.name.startswith(SCALED)
)
"""Without the tables that have scales, and the scales: tests/test_scales.py reads each of those on each of these."""


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def refused(model: Any, data: dict[str, Any]) -> str:
    with pytest.raises(RecipeError) as caught:
        build(model, data, "mine.toml")
    assert "\n" not in str(caught.value)
    assert "pydantic" not in str(caught.value)
    return str(caught.value)


# ---- defaults ------------------------------------------------------------------------------------------------------


def test_defaults_are_the_papers_setting() -> None:
    recipe = Recipe()
    assert (recipe.mask.ratio, recipe.mask.cell) == (0.75, 8)
    pretrain = recipe.pretrain
    assert (pretrain.size, pretrain.image_size, pretrain.patch_size, pretrain.ratio) == ("base", 224, 16, 0.75)
    assert (pretrain.base_lr, pretrain.weight_decay, pretrain.betas) == (1.5e-4, 0.05, (0.9, 0.95))
    assert (recipe.recognize.margin.margin, recipe.recognize.margin.scale) == (0.5, 64.0)
    assert recipe.audit.k == (1, 2, 3, 4)


def test_a_classifier_that_is_not_sharded_is_no_part_of_a_request() -> None:
    asked = RecognizeSpec()
    # The digest of these settings before there was a choice; results of that time are found again by it.
    before = "c8765f5ad3636c6f999e59a8253deca939510d729b9e27a1cc79360f9caf3d0c"
    assert digest_of("r", asked.model_dump(), {}) == before
    for classifier in (Classifier(sharded=True), Classifier(sharded=True, rate=0.1)):
        assert digest_of("r", asked.model_copy(update={"classifier": classifier}).model_dump(), {}) != before


@pytest.mark.parametrize(
    ("verb", "asked", "before"),
    [
        ("mask", MaskSpec(), "2989a933d8fd2afc7e023630022a49246e3aedb29fcf34982e58a6109fd46508"),
        (
            "mask",
            MaskSpec(method="blur", sigma=1.5, seed=3),
            "36476317947906242a3eeab7213681597cd3ad04da5f08ed2ff89b6ec5d32d2c",
        ),
        ("mask", MaskSpec(ratio=0.5, seed=0), "0bbc673ef6cdf67db3569bd5b8497c2b80ad2d381fb2d46135fd8b450ec308ee"),
        ("import", ImportSpec(), "23d10d5c1a6092a447efa7994faeab5d925b5e70df9c47e1058bd76fda8b6ca2"),
        (
            "import",
            ImportSpec(synthetic=SyntheticSpec(identities=4, photos=3, seed=2)),
            "6c2435955d0287fe17ebe488d58c3b6d070ce4d517e85e6fc2a2de4340a56633",
        ),
    ],
)
def test_requests_from_before_the_newer_keys_keep_their_digest(verb: str, asked: Frozen, before: str) -> None:
    assert digest_of(verb, asked.model_dump(), {}) == before


@pytest.mark.parametrize(
    "newer",
    [{"region": "eyes"}, {"region_fill": False}, {"fill": "mean"}, {"block": 4}, {"deviation": 4.0}, {"side": 4}],
)
def test_every_newer_key_of_mask_is_part_of_a_request(newer: dict[str, Any]) -> None:
    assert MaskSpec(**newer).model_dump() == MaskSpec().model_dump() | newer


def test_mixed_photos_fit_their_set() -> None:
    assert SyntheticSpec(photos=3, mixed=3).model_dump()["mixed"] == 3
    assert "mixed 4 is more than photos 3" in refused(ImportSpec, {"synthetic": {"photos": 3, "mixed": 4}})
    assert "layout mixed takes no split" in refused(ImportSpec, {"layout": "mixed", "split": "D-in"})
    said = refused(ImportSpec, {"layout": "mixed", "subset": {"part": 0, "parts": 2}})
    assert "layout mixed takes no subset" in said


# Digests of requests from before margins, schedules and mixtures could be chosen, by recipe.
REQUESTS = {
    None: "20eeb9857dbff090b4b138fb4e9ffaf305c6b9168788b5f3c8a613e33a975d25",
    "base": "20eeb9857dbff090b4b138fb4e9ffaf305c6b9168788b5f3c8a613e33a975d25",
    "demo": "a0ada459eb4c58be29c759cd699e7712fabd8aefca31fbfbbf7b57199a71b647",
    "real-small": "76927fb45b854b4b79b83c77be8ee952a817742a16e0533b4aea4b71e0286068",
}


@pytest.mark.parametrize("name", REQUESTS)
def test_newer_choices_of_a_recogniser_are_no_part_of_older_requests(name: str | None) -> None:
    asked = section_spec("recognize", RecognizeSpec, name, [])
    settings = asked.model_dump() | {"precision": "fp32", "width": asked.width or 64}
    assert digest_of("recognize", settings, {"faces": "f0"}) == REQUESTS[name]


def test_newer_margins_are_no_part_of_older_requests() -> None:
    margin = Margin(kind="cosface", margin=0.4, gradient="straight_through")
    asked = RecognizeSpec(margin=margin, classifier=Classifier(sharded=True, rate=0.1))
    before = "702b2b4bcb4599ddbc582fb7edbf5c02c682a8b6ff4630b98df60163743dbb20"
    assert digest_of("recognize", asked.model_dump(), {}) == before
    for name, value in {"h": 0.3, "t_alpha": 0.5, "interclass_filter": 0.4}.items():
        changed = asked.model_copy(update={"margin": margin.model_copy(update={name: value})})
        assert digest_of("recognize", changed.model_dump(), {}) != before


def test_every_newer_choice_of_a_recogniser_changes_the_request() -> None:
    newer: dict[str, Any] = {
        "epochs": 34, "schedule": "polynomial", "lr_rule": "absolute", "optimizer": "adamw", "mixup": "identity",
        "weight_decay_on": "no_bias_bn", "domain_mix": 0.5,
    }  # fmt: skip
    asked = [RecognizeSpec(), *(RecognizeSpec.model_validate({name: value}) for name, value in newer.items())]
    asked += [RecognizeSpec(epochs=34, warmup_epochs=1), RecognizeSpec(epochs=34, decay_epochs=(20,))]
    assert len({digest_of("recognize", one.model_dump(), {}) for one in asked}) == len(asked)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"epochs": 2, "iterations": 100}, "epochs and iterations both given; give one of them"),
        ({"warmup_epochs": 1}, "warmup_epochs, decay_epochs and schedule step_epoch need epochs"),
        ({"decay_epochs": [1, 2]}, "warmup_epochs, decay_epochs and schedule step_epoch need epochs"),
        ({"schedule": "step_epoch"}, "warmup_epochs, decay_epochs and schedule step_epoch need epochs"),
        ({"schedule": "step_epoch", "epochs": 3}, "schedule step_epoch needs warmup_epochs and decay_epochs"),
        ({"classifier": {"sharded": True}, "mixup": "identity"}, "mixup and domain_mix need classifier.sharded=false"),
        ({"classifier": {"sharded": True}, "domain_mix": 0.1}, "mixup and domain_mix need classifier.sharded=false"),
        ({"classifier": {"sharded": True}, "optimizer": "adamw"}, "optimizer adamw needs classifier.sharded=false"),
        ({"margin": {"kind": "adaface", "t_alpha": 0}}, "margin.t_alpha: input should be greater than 0 (got 0)"),
    ],
)  # fmt: skip
def test_choices_of_a_recogniser_that_do_not_go_together(data: dict[str, Any], said: str) -> None:
    assert said in refused(RecognizeSpec, data)


def test_epochs_go_with_the_default_iterations_spelled_out() -> None:
    # So that a recipe may extend `base`.
    assert build(RecognizeSpec, read_toml("base")["recognize"] | {"epochs": 3}, "").epochs == 3


def test_only_a_sharded_classifier_is_sampled() -> None:
    assert section_spec("recognize", RecognizeSpec, None, ["classifier.sharded=true", "classifier.rate=0.1"])
    said = refused(RecognizeSpec, {"classifier": {"rate": 0.1}})
    assert "rate below 1 needs sharded=true" in said


def test_every_verb_has_its_section() -> None:
    assert set(SECTIONS) == {
        "import", "export", "mask", "pretrain", "reconstruct", "recognize", "embed", "verify", "audit", "protect",
    }  # fmt: skip
    assert SECTIONS["mask"] is MaskSpec


def test_a_recipe_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        MaskSpec().ratio = 0.5  # type: ignore[misc]


# ---- mistakes ------------------------------------------------------------------------------------------------------


def test_all_mistakes_at_once_each_with_key_got_and_needed() -> None:
    text = refused(
        Recipe,
        {
            "mask": {"ratio": 1.5, "cell": "8", "methd": "cells"},
            "audit": {"k": [1, 0], "same_photo": "maybe"},
            "pretrain": {"loss": {"pixel": -1.0}},
            "teach": {},
        },
    )
    head, _, rest = text.partition(": ")
    assert head == "mine.toml"
    mistakes = rest.replace("; keys here", ", keys here").split("; ")
    assert sorted(mistakes) == [
        "audit.k.1: input should be greater than 0 (got 0)",
        "audit.same_photo: input should be 'exclude', 'include' or 'both' (got 'maybe')",
        "mask.cell: input should be a valid integer (got '8')",
        "mask.methd: unknown key, keys here are "
        "block, cell, deviation, fill, method, ratio, region, region_fill, seed, side, sigma",
        "mask.ratio: input should be less than 1 (got 1.5)",
        "pretrain.loss.pixel: input should be greater than or equal to 0 (got -1.0)",
        f"teach: unknown key, keys here are {', '.join(sorted(SECTIONS))}",
    ]


@pytest.mark.parametrize(
    ("model", "data", "said"),
    [
        (Loss, {"pixel": 0.0, "instance": 0.0, "relation": 0.0}, "mine.toml: all three loss weights are 0; give"),
        (PretrainSpec, {"epochs": 2, "image_steps": 100}, "epochs and image_steps both given; give one of them"),
        (PretrainSpec, {"image_size": 60}, "image_size 60 is not a multiple of patch_size 16"),
        (PretrainSpec, {"betas": [0.9]}, "betas.1: field required (got (0.9,))"),
        (AuditSpec, {"draws": 19}, "draws: input should be greater than or equal to 20 (got 19)"),
        (AuditSpec, {"k": []}, "k: tuple should have at least 1 item after validation, not 0 (got ())"),
        (VerifySpec, {"far": []}, "far: tuple should have at least 1 item after validation, not 0 (got ())"),
        (MaskSpec, {"ratio": 0}, "ratio: input should be greater than 0 (got 0)"),
        (MaskSpec, {"ratio": True}, "ratio: input should be a valid number (got True)"),
        (MaskSpec, {"seed": 1.0}, "seed: input should be a valid integer (got 1.0)"),
        (RecognizeSpec, {"margin": {"kind": "softmax"}}, "margin.kind: input should be 'arcface', 'cosface' or"),
        (RecognizeSpec, {"margin": 0.5}, "margin: input should be a valid dictionary or instance of Margin (got 0.5)"),
    ],
)  # fmt: skip
def test_one_mistake(model: Any, data: dict[str, Any], said: str) -> None:
    assert said in refused(model, data)


def test_toml_arrays_and_whole_numbers_fit() -> None:
    assert build(PretrainSpec, {"betas": [0.9, 0.999], "weight_decay": 0}, "").betas == (0.9, 0.999)
    assert build(AuditSpec, {"identities": []}, "").identities == ()


# ---- files and `extends` -------------------------------------------------------------------------------------------


def test_merge_goes_key_by_key_and_replaces_lists() -> None:
    base = {"a": {"x": 1, "y": {"z": 2}}, "b": [1, 2], "c": 3}
    over = {"a": {"y": {"w": 4}}, "b": [5], "c": {"d": 6}}
    assert merge(base, over) == {"a": {"x": 1, "y": {"z": 2, "w": 4}}, "b": [5], "c": {"d": 6}}
    assert base == {"a": {"x": 1, "y": {"z": 2}}, "b": [1, 2], "c": 3}


def test_extends_one_level(tmp_path: Path) -> None:
    write(tmp_path / "base.toml", "[mask]\nratio = 0.5\ncell = 4\n")
    mine = write(tmp_path / "mine.toml", 'extends = "base.toml"\n[mask]\nratio = 0.9\n')
    assert read_toml(mine) == {"mask": {"ratio": 0.9, "cell": 4}}
    third = write(tmp_path / "third.toml", 'extends = "mine.toml"\n')
    with pytest.raises(RecipeError, match=r"third\.toml extends .*mine\.toml: got a file that extends another"):
        read_toml(third)


def test_extends_a_recipe_of_the_package(tmp_path: Path) -> None:
    mine = write(tmp_path / "mine.toml", 'extends = "base"\n[mask]\ncell = 4\n')
    assert read_toml(mine)["mask"] == read_toml("base")["mask"] | {"cell": 4}


def test_a_base_of_the_package_is_never_taken_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "package"
    package.mkdir()
    write(package / "base.toml", "[mask]\nratio = 0.5\n")
    write(package / "child.toml", 'extends = "base"\n')
    monkeypatch.setattr(reading_module.resources, "files", lambda name: package)
    write(tmp_path / "base", "[mask]\nratio = 0.9\n")
    monkeypatch.chdir(tmp_path)
    assert read_toml("child") == {"mask": {"ratio": 0.5}}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.toml", None, "no recipe file"),
        ("nothing-like-it", None, "no such recipe: got 'nothing-like-it'; needed a .toml file or audit, base"),
        ("x.toml", b"[mask\n", "x.toml is not TOML"),
        ("x.toml", b'note = "\xff"\n', "x.toml is not TOML"),
        ("x.toml", b'extends = "y.toml"\n', "no such recipe: got 'y'; needed a .toml file or audit, base"),
    ],
)
def test_unreadable_files(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    source = tmp_path / name if name.endswith(".toml") else Path(name)
    if content is not None:
        source.write_bytes(content)
    with pytest.raises(RecipeError) as caught:
        read_toml(str(source))
    assert said in str(caught.value)


# ---- `--set` -------------------------------------------------------------------------------------------------------


def test_settings_are_toml_values_else_text() -> None:
    texts = [
        "ratio=0.5",
        "seed=3",
        "flip=false",
        "size=tiny",
        "loss.pixel=1",
        "loss.relation=0.0",
        'note="a=b"',
        "k=[1, 2]",
    ]
    assert parse_settings(texts) == {
        "ratio": 0.5,
        "seed": 3,
        "flip": False,
        "size": "tiny",
        "loss": {"pixel": 1, "relation": 0.0},
        "note": "a=b",
        "k": [1, 2],
    }  # fmt: skip


def test_the_last_setting_wins() -> None:
    assert parse_settings(["ratio=0.5", "ratio=0.6"]) == {"ratio": 0.6}
    assert parse_settings([]) == {}


@pytest.mark.parametrize("text", ["ratio", "=3", ""])
def test_a_setting_needs_key_and_value(text: str) -> None:
    with pytest.raises(RecipeError, match=r"--set: got .*; needed key=value"):
        parse_settings([text])


def test_section_spec_is_recipe_then_settings(tmp_path: Path) -> None:
    recipe = write(tmp_path / "mine.toml", "[mask]\nratio = 0.5\ncell = 4\n[audit]\ndraws = 30\n")
    assert section_spec("mask", MaskSpec, recipe, ["ratio=0.9"]) == MaskSpec(ratio=0.9, cell=4)
    assert section_spec("pretrain", PretrainSpec, recipe, []) == PretrainSpec()
    assert section_spec("mask", MaskSpec, None, []) == MaskSpec()
    with pytest.raises(RecipeError, match="settings of mask: ratoi: unknown key; keys here are block, cell, deviation"):
        section_spec("mask", MaskSpec, recipe, ["ratoi=0.9"])


def test_a_mistake_in_another_section_is_told_too(tmp_path: Path) -> None:
    recipe = write(tmp_path / "mine.toml", "[mask]\nratio = 0.5\n[audit]\ndraws = 3\n[pretrian]\nepochs = 3\n")
    with pytest.raises(RecipeError, match=r"audit\.draws: .*\(got 3\); pretrian: unknown key"):
        section_spec("mask", MaskSpec, recipe, [])


def test_the_sections_of_a_table_serve_as_a_recipe() -> None:
    assert section_spec("recognize", RecognizeSpec, "demo", []).backbone == read_toml("demo")["recognize"]["backbone"]


# ---- the package's own files ---------------------------------------------------------------------------------------


def test_the_package_has_recipes() -> None:
    assert {"base", "demo"} <= set(recipe_names())


def test_base_spells_the_defaults_out() -> None:
    base, defaults = build(Recipe, read_toml("base"), "base"), Recipe()
    told = {"pretrain": {"batch", "epochs"}}
    for name in SECTIONS:
        field = "imports" if name == "import" else name
        ours, theirs = getattr(base, field).model_dump(), getattr(defaults, field).model_dump()
        assert {key for key in ours if ours[key] != theirs[key]} <= told.get(name, set())


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_recipe_is_valid(name: str) -> None:
    content = read_toml(RECIPES / name)
    if "rows" in content:
        table = build(Table, content, name)
        for call in table.stages.values():
            shared = table.recognize if call.verb == "recognize" else {}
            build(SECTIONS[call.verb], merge(shared, call.settings), f"{name}, a {call.verb} stage")
        return
    sections = {key: value for key, value in content.items() if key in SECTIONS}
    build(Recipe, sections, name)
    # What is more than a recipe and less than a table is there to be extended.
    assert set(content) - set(sections) <= set(Table.model_fields)
    for stage, call in content.get("stages", {}).items():
        build(StageCall, call, f"{name}, stage {stage}")
