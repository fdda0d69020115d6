"""How an embedder wants its pixels: a name, the numbers themselves, or nothing where the file of the network tells."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import Discriminator, Field, Tag

from facemae.spec.manifest import Frozen

Name = Literal["insightface", "imagenet", "pixels"]
Scale = Annotated[float, Field(gt=0)]


class Statistics(Frozen):
    """x -> (x - mean) / deviation for R, G and B of pixels in [0, 1]."""

    mean: tuple[float, float, float]
    deviation: tuple[Scale, Scale, Scale]


def _form(value: Any) -> str | None:
    if isinstance(value, Mapping | Statistics):
        return "(statistics)"
    return "(name)" if value in get_args(Name) else None


Normalisation = Annotated[
    Annotated[Name, Tag("(name)")] | Annotated[Statistics, Tag("(statistics)")],
    Discriminator(
        _form,
        custom_error_type="normalisation",
        custom_error_message=f"Input should be {', '.join(get_args(Name))} or {{mean=[r, g, b], deviation=[r, g, b]}}",
    ),
]
"""A name (to [-1, 1], to ImageNet's unit variance, to [0, 255]) or mean and deviation."""
