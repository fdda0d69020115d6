"""What a person reads when something is wrong."""

from hypothesis import given
from hypothesis import strategies as st

from facemae.errors import FaceMAEError


def test_the_parts_stand_in_their_order() -> None:
    error = FaceMAEError("mask.ratio", got=2, needed="less than 1", remedy="try 0.75")
    assert str(error) == "mask.ratio: got 2; needed less than 1; try 0.75"
    assert str(FaceMAEError("mask.ratio")) == "mask.ratio"


def test_names_from_files_cannot_break_the_line_or_steer_a_terminal() -> None:
    assert str(FaceMAEError("a\nb", got="\x1b[31mred é β 75 %")) == r"a\nb: got \x1b[31mred é β 75 %"


@given(st.text(), st.text())
def test_one_line_whatever_the_names(what: str, got: str) -> None:
    assert len(str(FaceMAEError(what, got=got)).splitlines()) <= 1
    assert str(FaceMAEError(what, got=got)).isprintable()
