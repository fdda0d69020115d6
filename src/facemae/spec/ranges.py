"""Numbers and words that several sections of a recipe take."""

from typing import Annotated, Literal

from pydantic import Field

Ratio = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Precision = Literal["auto", "fp32", "bf16"]
Engine = Literal["torch", "openvino"]
