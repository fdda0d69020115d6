"""The formats in which `export` writes what was trained."""

from typing import Literal, get_args

MaeFormat = Literal["facebook", "transformers", "transformers5", "timm", "safetensors"]
RecogniserFormat = Literal["insightface", "onnx", "safetensors"]
CentresFormat = Literal["partial_fc", "safetensors"]
TrainedFormat = Literal[MaeFormat, RecogniserFormat, CentresFormat]

FORMATS_OF: dict[str, tuple[str, ...]] = {
    "model": get_args(MaeFormat),
    "recogniser": get_args(RecogniserFormat),
    "class centres": get_args(CentresFormat),
}
