"""Tables: whatever is named exists, settings fit their verbs, claims compare rows that are there."""

from typing import Any

import pytest

from facemae.errors import RecipeError
from facemae.spec.normalisation import Statistics
from facemae.spec.reading import merge
from facemae.spec.table import Table
from facemae.spec.table_parts import stage_name
from facemae.spec.validation import build

ORIGINAL = {"label": "Original", "train": "people"}


def content(**changes: Any) -> dict[str, Any]:
    table: dict[str, Any] = {
        "title": "Two rows",
        "protocols": [{"name": "LFW", "faces": "exam", "pairs": "exam/pairs/lfw.csv"}],
        "judges": [{"name": "judge", "source": "data:judge.onnx"}],
        "rows": [ORIGINAL, {"label": "Masked", "train": "masked"}],
        "claims": [
            {"claim": "masking costs accuracy", "a": "Original", "b": "Masked", "metric": "LFW"},
            {"claim": "and hides people", "a": "Original", "b": "Masked", "metric": "leakage:judge:2"},
        ],
        "pictures": [{"label": "original", "faces": "people"}],
        "stages": {
            "people": {"verb": "import", "inputs": ["synthetic"], "settings": {"size": 48}},
            "exam": {"verb": "import", "inputs": ["data:lfw.tar"]},
            "masked": {"verb": "mask", "inputs": ["people"], "settings": {"ratio": 0.5}},
        },
    }  # fmt: skip
    return merge(table, changes)


def refused(**changes: Any) -> str:
    with pytest.raises(RecipeError) as caught:
        build(Table, content(**changes), "mine")
    assert "\n" not in str(caught.value)
    assert "pydantic" not in str(caught.value)
    return str(caught.value)


def test_a_whole_table() -> None:
    table = build(Table, content(), "mine")
    assert [row.label for row in table.rows] == ["Original", "Masked"]
    assert table.stages["masked"].needs() == ("people",)
    assert table.seeds == (0, 1, 2)


@pytest.mark.parametrize(
    ("name", "stage"),
    [("people", "people"), ("people/pairs/lfw.csv", "people"), ("people.private", "people"), ("a.b/c.private", "a.b")],
)
def test_stage_name(name: str, stage: str) -> None:
    assert stage_name(name) == stage


@pytest.mark.parametrize(
    "changes",
    [
        {"imitations": {"peple": "masked"}},
        {"imitations": {"masked": "peple"}},
        {"rows": [{"label": "Masked", "train": "masked", "imitation": "peple"}]},
        {"nonmembers": "peple"},
        {"judges": [{"name": "judge", "source": "peple"}]},
        {"protocols": [{"name": "LFW", "faces": "peple", "pairs": "data:pairs.txt"}]},
        {"protocols": [{"name": "LFW", "faces": "exam", "pairs": "peple/pairs.csv"}]},
        {"rows": [ORIGINAL, {"label": "Masked", "train": "peple"}]},
        {"pictures": [{"label": "original", "faces": "peple"}]},
        {"stages": {"masked": {"inputs": ["peple"]}}},
        {"stages": {"masked": {"like": "peple"}}},
    ],
)  # fmt: skip
def test_a_name_that_no_stage_has(changes: dict[str, Any]) -> None:
    said = refused(**changes)
    assert "no stage is called peple" in said
    assert "stages are exam, masked, people" in said


def test_names_and_claims_are_told_at_once() -> None:
    claims = [
        {"claim": "one", "a": "Original", "b": "Blurred", "metric": "LFW"},
        {"claim": "two", "a": "Original", "b": "Masked", "metric": "CFP"},
        {"claim": "three", "a": "Original", "b": "Masked", "metric": "leakage:phi:2"},
        {"claim": "four", "a": "Original", "b": "Masked", "metric": "leakage:judge:9"},
    ]
    metrics = "LFW, accuracy, half-error, half-error:LFW, leakage:*:1, leakage:*:2, leakage:*:3, leakage:*:4, "
    metrics += "leakage:judge:1, leakage:judge:2, leakage:judge:3, leakage:judge:4"
    assert refused(claims=claims, nonmembers="peple").split("; ") == [
        "mine: no stage is called peple",
        "stages are exam, masked, people",
        "claim 'one' compares rows that the table does not have",
        f"claim 'two' is about 'CFP', not {metrics}",
        f"claim 'three' is about 'leakage:phi:2', not {metrics}",
        f"claim 'four' is about 'leakage:judge:9', not {metrics}",
    ]


def test_metrics_follow_the_audits_k() -> None:
    assert refused(audit={"k": [1]}).endswith(
        "is about 'leakage:judge:2', not LFW, accuracy, half-error, half-error:LFW, leakage:*:1, leakage:judge:1"
    )


def test_a_claim_is_about_what_is_measured() -> None:
    """Without seeds there is no accuracy, without judges no leakage, and a row may go without an audit."""
    accuracy, leakage = content()["claims"]
    assert "claim 'masking costs accuracy' is about 'LFW', not leakage:*:1" in refused(claims=[accuracy], seeds=[])
    assert "not LFW, accuracy, half-error, half-error:LFW" in refused(claims=[leakage], judges=[])
    rows = [ORIGINAL, {"label": "Masked", "train": "masked", "audit": False}]
    said = refused(claims=[accuracy, leakage], rows=rows)
    assert said == "mine: claim 'and hides people' is about the leakage of a row without an audit"


def test_real_photos_are_mixed_in_where_the_recogniser_does_so() -> None:
    variants = {"SynFace": {"mixup": "identity", "domain_mix": 1.0}}
    row = {"label": "Mixed", "train": "people", "recogniser": "SynFace", "real": "exam"}
    table = build(Table, content(rows=[row], recognisers=variants, claims=[]), "mine")
    assert table.run_of(table.rows[0]) == "people-with-exam-synface"
    assert "exam" in table.wanted()
    said = refused(rows=[{**row, "real": None}], recognisers=variants, claims=[])
    assert "row 'Mixed' has a recogniser with domain_mix=1.0 and no real; give both or none" in said
    said = refused(rows=[{**row, "recogniser": None}], recognisers=variants, claims=[])
    assert "row 'Mixed' has real without a domain_mix" in said


def test_settings_are_checked_under_their_key() -> None:
    said = refused(
        audit={"draws": 3},
        recognize={"margin": {"kind": "none"}},
        stages={
            "masked": {"settings": {"ratio": 3, "epochs": 4}},
            "people": {"verb": "erase", "settings": {"nothing": 0}},
            "exam": {"input": ["x"]},
        },
        row=[],
    )
    assert said.removeprefix("mine: ").replace("; keys here", ", keys here").split("; ") == [
        "recognize.margin.kind: input should be 'arcface', 'cosface' or 'adaface' (got 'none')",
        "audit.draws: input should be greater than or equal to 20 (got 3)",
        "stages.people.verb: input should be 'import', 'mask', 'pretrain', 'reconstruct' or 'recognize' (got 'erase')",
        "stages.exam.input: unknown key, keys here are init, inputs, landmarks, like, phi, settings, verb",
        "stages.masked.settings.ratio: input should be less than 1 (got 3)",
        "stages.masked.settings.epochs: unknown key, keys here are "
        "block, cell, deviation, fill, method, ratio, region, region_fill, seed, side, sigma",
        "row: unknown key, keys here are audit, claims, data, files, imitations, judges, nonmembers, note, others, "
        "outsiders, photos, pictures, protocols, public, recognisers, recognize, reference, rows, scale, seeds, "
        "stages, title, verify",
    ]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ({"verb": "import", "inputs": []}, "import takes at least 1: photos (got ())"),
        ({"verb": "mask", "inputs": []}, "mask takes 1: originals (got ())"),
        ({"verb": "pretrain", "inputs": ["people", "exam"]}, "pretrain takes 1: originals (got ('people', 'exam'))"),
        ({"verb": "reconstruct", "inputs": ["people"]}, "reconstruct takes 2: model, masked set (got ('people',))"),
        ({"verb": "recognize", "inputs": []}, "recognize takes 1: face set (got ())"),
    ],
)
def test_a_verb_takes_its_own_number_of_inputs(call: dict[str, Any], said: str) -> None:
    assert refused(stages={"more": call}) == f"mine: stages.more.inputs: {said}"


def test_an_import_takes_many_sources() -> None:
    call = {"verb": "import", "inputs": ["data:a.tar", "data:b.tar", "data:c"]}
    assert len(build(Table, content(stages={"more": call}), "mine").stages["more"].inputs) == 3


@pytest.mark.parametrize("label", ["Original", "original", "-ORIGINAL!"])
def test_rows_that_can_hardly_be_told_apart(label: str) -> None:
    said = refused(rows=[ORIGINAL, {"label": label, "train": "masked"}], claims=[])
    assert said == f"mine: 2 rows are labelled 'Original', {label!r}; claims and figures name rows by their labels"


def test_judges_and_protocols_have_names_of_their_own() -> None:
    twice = {"name": "judge", "source": "data:other.onnx", "normalize": "imagenet"}
    said = refused(
        judges=[{"name": "judge", "source": "data:judge.onnx"}, twice],
        protocols=[{"name": "LFW", "faces": "exam", "pairs": f"data:{i}.csv"} for i in range(2)],
    )
    assert "2 judges are called 'judge', 'judge'" in said
    assert "2 protocols are called 'LFW', 'LFW'" in said


def test_a_judge_may_bring_its_normalisation() -> None:
    how = {"mean": [0, 0, 0], "deviation": [1, 1, 1]}
    judges = [{"name": "judge", "source": "data:judge.onnx", "normalize": how}]
    assert build(Table, content(judges=judges), "mine").judges[0].normalize == Statistics(
        mean=(0, 0, 0), deviation=(1, 1, 1)
    )
    assert "judges.0.normalize: input should be insightface, imagenet, pixels or {mean=" in refused(
        judges=[judges[0] | {"normalize": "rgb"}]
    )


def test_a_table_needs_a_row() -> None:
    assert "rows: " in refused(rows=[], claims=[])


def test_what_a_set_was_made_from_follows_from_its_stages() -> None:
    stages = {"released": {"verb": "reconstruct", "inputs": ["data:model", "masked"]}}
    table = build(Table, content(stages=stages), "mine")
    assert [table.original_of(name) for name in ("people", "masked", "released")] == ["people"] * 3
    assert [table.linkage_of(name) for name in ("people", "masked", "released")] == [None, *["masked.private"] * 2]


def test_stages_come_after_what_they_need_and_only_where_wanted() -> None:
    idle = {"verb": "import", "inputs": ["data:idle.tar"]}
    table = build(Table, content(stages={"idle": idle}, nonmembers="exam"), "mine")
    assert table.order() == ["exam", "people", "masked"]
    assert "data:idle.tar" not in table.read()
    assert "data:lfw.tar" in table.read()


def test_a_circle_of_stages_is_shown() -> None:
    circle = {"masked": {"like": "soft"}, "soft": {"verb": "mask", "inputs": ["people"], "like": "masked"}}
    with pytest.raises(RecipeError, match="circle: got masked -> soft -> masked"):
        build(Table, content(stages=circle), "mine").order()


def test_rows_with_a_variant_have_runs_of_their_own_unless_it_changes_nothing() -> None:
    rows = [
        {"label": "A", "train": "masked", "recogniser": "R18"},
        {"label": "B", "train": "masked", "recogniser": "R100"},
        {"label": "C", "train": "masked", "imitation": "people"},
    ]
    variants = {"R18": {}, "R100": {"backbone": "iresnet100"}}
    table = build(Table, content(rows=rows, recognisers=variants, claims=[], imitations={"masked": "exam"}), "mine")
    assert [table.run_of(row) for row in table.rows] == ["masked", "masked-r100", "masked"]
    assert [table.audit_of(row) for row in table.rows] == ["masked", "masked", "masked-against-people"]
    assert [table.imitation_of(row) for row in table.rows] == ["exam", "exam", "people"]
    assert "wants recogniser 'R9'; recognisers are R100, R18" in refused(
        rows=[rows[0] | {"recogniser": "R9"}], recognisers=variants, claims=[]
    )
    assert "recognisers.depth: unknown key" in refused(recognisers={"R18": {"depth": 18}})


def test_a_claim_about_everything_is_made_once_for_each() -> None:
    claims = [
        {"claim": "one", "a": "Original", "b": "Masked", "metric": "accuracy"},
        {"claim": "two", "a": "Original", "b": "Masked", "metric": "leakage:*:3"},
        {"claim": "three", "a": "Original", "b": "Masked", "metric": "half-error"},
    ]
    judges = [{"name": name, "source": f"data:{name}"} for name in ("phi", "judge")]
    table = build(Table, content(claims=claims, judges=judges), "mine")
    assert [claim.metric for claim in table.each_claim()] == [
        "LFW",
        "leakage:phi:3",
        "leakage:judge:3",
        "half-error:LFW",
    ]
