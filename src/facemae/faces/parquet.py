"""What reading and writing of Hugging Face image sets share: the library, and the features in a file's metadata.

`datasets` keeps the types of its columns as JSON under the key ``huggingface`` of the schema's metadata; without it an
image is a structure of bytes and a class is a bare number.
"""

import json
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from facemae.errors import DataError

_KEY = b"huggingface"


def load_pyarrow() -> tuple[ModuleType, ModuleType]:
    """``pyarrow`` and ``pyarrow.parquet``.

    Raises:
        DataError: pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise DataError(
            "Parquet needs pyarrow", got=" ".join(str(error).split()), remedy="pip install 'facemae[parquet]'"
        ) from None
    return pyarrow, pyarrow.parquet


def features_metadata(classes: Sequence[str]) -> dict[bytes, bytes]:
    """Schema metadata that makes `datasets` open ``image`` as an Image and ``label`` as a ClassLabel."""
    features = {"image": {"_type": "Image"}, "label": {"names": list(classes), "_type": "ClassLabel"}}
    content = {"info": {"features": features}}
    return {_KEY: json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()}


def read_features(metadata: Mapping[bytes, bytes] | None) -> dict[str, dict[str, Any]]:
    """The features by column; empty where a file says nothing, or nothing that can be read."""
    try:
        features = json.loads((metadata or {}).get(_KEY, b"{}"))["info"]["features"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return {}
    if not isinstance(features, dict):
        return {}
    return {name: feature for name, feature in features.items() if isinstance(feature, dict)}
