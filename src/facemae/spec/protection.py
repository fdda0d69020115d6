"""WHAT is asked of `protect` itself; the stages that it calls have sections of their own."""

from typing import Annotated, Literal

from pydantic import Field

from facemae.spec.manifest import Frozen


class ProtectSpec(Frozen):
    """`protect`: the form of the release, what its card quotes, and what becomes of the records that leak most.

    ``drop_worst``: that share of the records is masked again with a fresh secret (``drop`` "remask") or left out
    ("remove"), chosen by how clearly ``drop_by`` finds them: another photo of the person, or their own one.
    """

    format: Literal["folder", "parquet", "webdataset"] = "folder"
    license: str | None = None
    source: str | None = None
    consent: str | None = None
    drop_worst: Annotated[float, Field(ge=0, lt=1)] = 0.0
    drop: Literal["remask", "remove"] = "remask"
    drop_by: Literal["another photo", "own photo"] = "another photo"
