"""The schema of published results: what was written reads back, and nothing else is let in."""

import json
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from facemae.spec.results import RateResult, Results, read_results, write_results

SHARE = st.floats(0, 1)


def example(kind: Any) -> Any:
    """A value of this type with every field, every dictionary and every list filled."""
    arguments = get_args(kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind(**{name: example(field.annotation) for name, field in kind.model_fields.items()})
    if get_origin(kind) in (Union, UnionType):
        return example(next(choice for choice in arguments if choice is not NoneType))
    if get_origin(kind) is dict:
        return {"Zoë": example(arguments[1])}
    if get_origin(kind) is tuple:
        return (example(arguments[0]), example(arguments[0]))
    return {str: "Zoë – x", int: 3, float: 0.1, bool: True, Any: ["free", 1, None]}[kind]


FULL: Results = example(Results)


def test_round_trip_of_every_field(tmp_path: Path) -> None:
    write_results(tmp_path / "results.json", FULL)
    assert read_results(tmp_path / "results.json") == FULL
    content = json.loads((tmp_path / "results.json").read_text("utf-8"))
    assert content["schema"] == FULL.schema_version
    assert set(content) == {field.alias or name for name, field in Results.model_fields.items()}
    assert content["rows"][0]["leakage"][0]["value"] == 0.1


@given(value=SHARE, low=SHARE, high=SHARE)
def test_rates_keep_every_bit(value: float, low: float, high: float) -> None:
    rate = RateResult(value=value, low=low, high=high, hits=1, trials=2, method="Wilson")
    assert RateResult.model_validate_json(rate.model_dump_json()) == rate


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"hits": 3', '"hits": 3.5'),
        ('"value": 0.1', '"value": "0.1"'),
        ('"command"', '"comand"'),
        ('"verdict": "Zoë – x"', '"verdict": 3'),
        ("[", "{"),
    ],
)
def test_another_schema_is_refused(tmp_path: Path, old: str, new: str) -> None:
    write_results(tmp_path / "results.json", FULL)
    text = (tmp_path / "results.json").read_text("utf-8")
    assert old in text
    (tmp_path / "results.json").write_text(text.replace(old, new, 1), "utf-8")
    with pytest.raises(ValidationError):
        read_results(tmp_path / "results.json")


def test_nan_is_never_published(tmp_path: Path) -> None:
    rate = FULL.rows[0].accuracy["Zoë"].model_copy(update={"value": float("nan")})
    row = FULL.rows[0].model_copy(update={"accuracy": {"LFW": rate}})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_results(tmp_path / "results.json", FULL.model_copy(update={"rows": (row,)}))
    assert not (tmp_path / "results.json").exists()
