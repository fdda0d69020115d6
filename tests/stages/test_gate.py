"""The release gate: which numbers it looks at, whom it names, and what it refuses to judge."""

from typing import Any

import pytest

from facemae.errors import RecipeError
from facemae.spec.recipe import AuditSpec
from facemae.stages.audit import SECTIONS
from facemae.stages.auditing.gate import breaches, demand_measured, passed_over, read_limits


def rate(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.05, "high": value + 0.05}


def attack(name: str, top2: float, *, tpir: float | None = None, same_photo: str = "exclude", **more: Any) -> dict:
    points = [{"target": 0.01, "measurable": tpir is not None} | (rate(tpir) if tpir is not None else {})]
    head = {"attack": name, "embedder": "net", "same_photo": same_photo, "subset": "all"}
    return head | {"at": [{"k": 2} | rate(top2)], "open_set": {"points": points}} | more


HEAD = {"attack": "Org. to released", "embedder": "net", "same_photo": "exclude"}
RESULT = SECTIONS | {
    "attacks": [
        attack("Org. to Org.", 0.99),
        attack("Org. to released", 0.2, tpir=0.04),
        attack("inverter", 0.3, tpir=0.06),
        attack("inverter", 0.9, subset="one source"),
        attack("imitator", 0.25, same_photo="include", open_set=None),
    ],
    "templates": [HEAD | {"at": [{"k": 2} | rate(0.1)]}],
    "linking": [HEAD | {"tar": [{"target": 0.01} | rate(0.11)]}],
    "unlinkability": [HEAD | {"attack": "inverter"} | rate(0.21)],
    "membership": [{"score": "loss", "auc": rate(0.55), "points": [{"target": 0.01} | rate(0.02)]}],
    "metadata": {"findings": [{"instrument": "carried", "kind": "icc", "severity": "warning"}]},
}


def judged(*texts: str, result: dict[str, Any] = RESULT) -> list[str]:
    return [breach.describe() for breach in breaches(read_limits(texts), result)]


def test_the_worst_attack_is_named_with_its_interval() -> None:
    assert judged("top2:0.2") == [
        "top2 at most 0.2, but inverter under net (same photo excluded) reaches 0.3 [0.25, 0.35] (and 1 more)"
    ]


@pytest.mark.parametrize(
    ("within", "beyond", "named"),
    [
        ("top2:0.3", "top2:0.299", "inverter"),
        ("tpir@fpir=0.01:0.06", "tpir@fpir=0.01:0.05", "inverter"),
        ("tar@far=0.01:0.11", "tar@far=0.01:0.1", "Org. to released"),
        ("dsys:0.21", "dsys:0.2", "inverter"),
        ("auc:0.55", "auc:0.5", "membership by loss"),
        ("tpr@fpr=0.01:0.02", "tpr@fpr=0.01:0.01", "membership by loss"),
        ("metadata:warning", "metadata:note", "carried (icc) is warning"),
        ("metadata:warning", "metadata:none", "metadata at most none"),
    ],
)
def test_a_limit_is_the_most_that_an_estimate_may_be(within: str, beyond: str, named: str) -> None:
    """What is exactly allowed passes; unprotected originals and single sources are no attacks on the release."""
    assert judged(within) == []
    [line] = judged(beyond)
    assert named in line
    assert "\n" not in line


def test_every_limit_is_judged() -> None:
    assert len(judged("top2:0.1", "dsys:0.1", "auc:0.9")) == 2
    [breach] = breaches(read_limits(["top2:0.1"]), RESULT)
    assert [point["value"] for point in breach.to_dict()["attacks"]] == [0.3, 0.25, 0.2]


@pytest.mark.parametrize(
    ("text", "needed"),
    [("top3:0.1", "3 among the audit's k"), ("tpir@fpir=0.001:0.1", "--nonmembers with 10000 photos of 2000 people")],
)
def test_what_was_not_measured_does_not_pass(text: str, needed: str) -> None:
    with pytest.raises(RecipeError, match=r"--max .* cannot be judged") as raised:
        judged(text)
    assert needed in str(raised.value)


def test_one_attack_that_could_not_be_measured_keeps_a_limit_from_passing() -> None:
    both = [attack("Org. to released", 0.1, tpir=0.04), attack("inverter", 0.1)]
    with pytest.raises(RecipeError, match=r"cannot be judged: got 1 attacks without it, first inverter under net"):
        judged("tpir@fpir=0.01:0.05", result=SECTIONS | {"attacks": both})
    # One that is above the limit is named all the same.
    assert len(judged("tpir@fpir=0.01:0.03", result=SECTIONS | {"attacks": both})) == 1


def test_what_is_allowed_at_more_false_alarms_is_allowed_at_fewer() -> None:
    """Templates ask once a person: 1 % of 259 strangers cannot be measured, 10 of 259 can."""
    few = [{"target": 0.01, "measurable": False}]

    def template(value: float) -> dict[str, Any]:
        smallest = {"target": 10 / 259, "measurable": True} | rate(value)
        return attack("template", 0.1, open_set={"points": few, "smallest": smallest})

    single = attack("Org. to released", 0.1, tpir=0.04)
    assert judged("tpir@fpir=0.01:0.05", result=SECTIONS | {"attacks": [single, template(0.05)]}) == []
    with pytest.raises(RecipeError, match=r"first template under net .*: 0\.06 at 0\.03861"):
        judged("tpir@fpir=0.01:0.05", result=SECTIONS | {"attacks": [single, template(0.06)]})
    # The other way round it says nothing: more false alarms name more.
    with pytest.raises(RecipeError, match="cannot be judged"):
        judged("tpir@fpir=0.05:0.05", result=SECTIONS | {"attacks": [attack("template", 0.1), template(0.01)]})


def test_who_asks_no_strangers_is_told_not_judged() -> None:
    limits = read_limits(["tpir@fpir=0.01:0.06", "top2:0.3"])
    assert passed_over(limits, RESULT) == ("imitator under net (same photo included)",)
    assert passed_over(limits[1:], RESULT) == ()
    assert breaches(limits, RESULT) == ()


def test_a_rate_that_strangers_are_too_few_for_does_not_pass() -> None:
    with pytest.raises(RecipeError, match="cannot be judged"):
        judged("tpir@fpir=0.01:0.5", result=SECTIONS | {"attacks": [attack("Org. to released", 0.1)]})


@pytest.mark.parametrize(
    "text",
    [
        *("top2", "top0:0.1", "topx:0.1", "top2:1.1", "top2:-0.1", "top2:nan", "tpir:0.1", "tar@far=2:0.1", ":"),
        *("metadata:0.1", "metadata:critical", "eer:0.2"),
    ],
)
def test_what_is_no_limit(text: str) -> None:
    with pytest.raises(RecipeError, match="--max: got") as raised:
        read_limits([text])
    assert "\n" not in str(raised.value)


def test_a_limit_that_an_audit_will_not_measure_is_refused_before_it_begins() -> None:
    alone, quick, full = (AuditSpec(suite=suite) for suite in ("retrieval", "quick", "full"))
    demand_measured(read_limits(["top2:0.1", "tpir@fpir=0.01:0.1"]), alone)
    demand_measured(read_limits(["tar@far=0.001:0.1", "dsys:0.1", "metadata:note", "tpir@fpir=0.001:0.1"]), quick)
    demand_measured(read_limits(["tpr@fpr=0.001:0.1", "auc:0.6"]), full)
    for text, spec in (
        ("top5:0.1", full),
        ("tpir@fpir=0.02:0.1", full),
        ("tar@far=0.01:0.1", alone),
        ("dsys:0.1", alone),
        ("metadata:note", alone),
        ("auc:0.6", quick),
        ("metadata:note", AuditSpec(suite="quick", attackers=("template",))),
    ):
        with pytest.raises(RecipeError, match=f"--max {text.partition(':')[0]} cannot be judged"):
            demand_measured(read_limits([text]), spec)
