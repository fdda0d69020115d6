"""The schema of published results: what was written reads back, and nothing else is let in."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from facemae.spec.results import (
    ClaimResult,
    CurveResult,
    JudgeResult,
    LeakageResult,
    OpenSetResult,
    PairedResult,
    RateResult,
    Results,
    RowResult,
    SeedResult,
    read_results,
    write_results,
)

SHARE = st.floats(0, 1)


def full() -> Results:
    curve = CurveResult(k=1, identities=10, value=0.5, low=0.4, high=0.6, chance=0.1)
    leak = LeakageResult(
        attack="Org. to released", embedder="judge", same_photo="exclude", k=1, identities=80, value=0.25, low=0.2,
        high=0.3, hits=20, trials=80, chance=0.0125, control=0.01, verdict="leaks", curve=(curve,),
    )  # fmt: skip
    open_set = OpenSetResult(
        attack="a",
        embedder="judge",
        fpir=0.01,
        value=None,
        low=None,
        high=None,
        nonmember_trials=50,
        nonmember_people=5,
    )
    row = RowResult(
        label="FaceMAE",
        weights="instance 1, relation 1",
        trained_on="by-facemae",
        accuracy={"LFW": RateResult(value=0.9, low=0.88, high=0.92, hits=1800, trials=2000, method="bootstrap")},
        seeds={"LFW": (SeedResult(seed=0, accuracy=0.9), SeedResult(seed=1, accuracy=0.91))},
        leakage=(leak,),
        open_set=(open_set,),
        sharpness=12.5,
        paper={"LFW": 99.23},
    )
    paired = PairedResult(
        a="FaceMAE", b="MAE", metric="LFW", value=0.1, low=0.05, high=0.15, smallest_resolvable=0.05, method="paired"
    )
    return Results(
        title="Demo – Zoë",
        note="n",
        command="facemae demo",
        digest="ab" * 32,
        hardware={"threads": 2},
        rows=(row,),
        judges=(JudgeResult(name="judge", loss_network=False, accuracy={"LFW": 0.95}),),
        paired=(paired,),
        claims=(ClaimResult(claim="c", metric="LFW", a="FaceMAE", b="MAE", verdict="supported"),),
        training=({"stage": "facemae", "losses": [1.0, 0.5]},),
        lineage=({"stage": "people", "digest": "00"},),
    )


def test_round_trip(tmp_path: Path) -> None:
    write_results(tmp_path / "results.json", full())
    assert read_results(tmp_path / "results.json") == full()
    assert json.loads((tmp_path / "results.json").read_text("utf-8"))["schema"] == 1


@given(value=SHARE, low=SHARE, high=SHARE)
def test_rates_keep_every_bit(value: float, low: float, high: float) -> None:
    rate = RateResult(value=value, low=low, high=high, hits=1, trials=2, method="Wilson")
    assert RateResult.model_validate_json(rate.model_dump_json()) == rate


@pytest.mark.parametrize(
    ("old", "new"),
    [('"hits": 1800', '"hits": 1800.5'), ('"fpir": 0.01', '"fpir": "0.01"'), ('"command"', '"comand"'), ("[", "{")],
)
def test_another_schema_is_refused(tmp_path: Path, old: str, new: str) -> None:
    write_results(tmp_path / "results.json", full())
    text = (tmp_path / "results.json").read_text("utf-8")
    assert old in text
    (tmp_path / "results.json").write_text(text.replace(old, new, 1), "utf-8")
    with pytest.raises(ValidationError):
        read_results(tmp_path / "results.json")


def test_nan_is_never_published(tmp_path: Path) -> None:
    rate = RateResult(value=float("nan"), low=0.0, high=1.0, hits=0, trials=0, method="none")
    row = full().rows[0].model_copy(update={"accuracy": {"LFW": rate}})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_results(tmp_path / "results.json", full().model_copy(update={"rows": (row,)}))
    assert not (tmp_path / "results.json").exists()
