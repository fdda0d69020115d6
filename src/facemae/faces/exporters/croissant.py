"""Croissant 1.0 metadata of an exported set, ``croissant.json``: what dataset search engines and loaders read.

Source: Croissant Format Specification 1.0 of MLCommons, with the limits and the sensitivity of its Responsible-AI
vocabulary 1.0.
"""

import json
from pathlib import Path
from typing import Any

from facemae.faces.exporters.card import NOT_STATED, CardFacts, description, limits
from facemae.spec.manifest import hash_file

# fmt: off
_TERMS = (
    "citeAs", "column", "equivalentProperty", "extract", "field", "fileProperty", "fileObject", "fileSet", "format",
    "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex",
    "repeated", "replace", "samplingRate", "separator", "source", "subField", "transform",
)
# fmt: on
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    **{term: f"cr:{term}" for term in _TERMS},
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "dct": "http://purl.org/dc/terms/",
    "sc": "https://schema.org/",
}
_IMAGES = ["image/jpeg", "image/png"]


def croissant(facts: CardFacts, directory: Path) -> dict[str, Any]:
    """The metadata of the set whose files lie in ``directory/data``; shards are named with their sha256.

    Paths are relative to the file itself, so that it stays true wherever the folder is published. What only the
    publisher knows and has not told is said to be so; a date of publication is not made up.
    """
    parts = {"folder": _folder, "webdataset": _webdataset, "parquet": _parquet}[facts.format]
    files, fields = parts(directory)
    content: dict[str, Any] = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": facts.name,
        "description": description(facts),
        "conformsTo": ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"],
        "license": facts.license or NOT_STATED,
        "creator": {"@type": "sc:Organization", "name": NOT_STATED},
        "keywords": ["face recognition", "facemae", facts.kind],
        "version": "1.0.0",
        "distribution": files,
        "recordSet": [_record_set("images", fields)] if fields else [],
        "rai:dataLimitations": list(limits(facts)),
        "rai:personalSensitiveInformation": ["Pictures of faces, labelled by person."],
        "rai:dataManipulationProtocol": f"facemae {facts.version}, stage {facts.stage}, digest {facts.digest}",
    }
    if facts.source is not None:
        content["isBasedOn"] = facts.source
    return content


def write_croissant(directory: Path, facts: CardFacts) -> Path:
    """``croissant.json`` beside the ``data`` that it describes; see `croissant`."""
    path = directory / "croissant.json"
    path.write_text(json.dumps(croissant(facts, directory), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def _parquet(directory: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    files = _objects(directory, "*.parquet", "application/x-parquet")
    shards = _file_set("shards", "application/x-parquet", ["data/*.parquet"])
    image = {"fileSet": {"@id": "shards"}, "extract": {"column": "image"}, "transform": {"jsonPath": "bytes"}}
    label = {"fileSet": {"@id": "shards"}, "extract": {"column": "label"}}
    return [*files, shards], [_field("image", "sc:ImageObject", image), _field("label", "sc:Integer", label)]


def _folder(directory: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    files = _file_set("pictures", _IMAGES, ["data/*/*.jpg", "data/*/*.png"])
    image = {"fileSet": {"@id": "pictures"}, "extract": {"fileProperty": "content"}}
    label = {
        "fileSet": {"@id": "pictures"},
        "extract": {"fileProperty": "fullpath"},
        "transform": {"regex": "^.*?data/([^/]+)/.*$"},
    }
    return [files], [_field("image", "sc:ImageObject", image), _field("label", "sc:Text", label)]


def _webdataset(directory: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The shards, their pictures and their keys; the label stands in ``<key>.cls``, as the description says."""
    files = _objects(directory, "*.tar", "application/x-tar")
    inside = [{"@id": file["@id"]} for file in files]
    pictures = _file_set("pictures", _IMAGES, ["*.jpg", "*.png"]) | {
        "containedIn": inside,
        "description": "<key>.jpg or .png; <key>.cls beside it holds the number of the person.",
    }
    image = {"fileSet": {"@id": "pictures"}, "extract": {"fileProperty": "content"}}
    key = {
        "fileSet": {"@id": "pictures"},
        "extract": {"fileProperty": "filename"},
        "transform": {"regex": "^([^.]+)"},
    }
    return [*files, pictures], [_field("image", "sc:ImageObject", image), _field("key", "sc:Text", key)]


def _objects(directory: Path, pattern: str, encoding: str) -> list[dict[str, Any]]:
    return [
        {
            "@type": "cr:FileObject",
            "@id": path.name,
            "name": path.name,
            "contentUrl": f"data/{path.name}",
            "contentSize": f"{path.stat().st_size} B",
            "encodingFormat": encoding,
            "sha256": hash_file(path),
        }
        for path in sorted((directory / "data").glob(pattern))
    ]


def _file_set(name: str, encoding: str | list[str], includes: list[str]) -> dict[str, Any]:
    return {"@type": "cr:FileSet", "@id": name, "name": name, "encodingFormat": encoding, "includes": includes}


def _record_set(name: str, fields: list[dict[str, Any]]) -> dict[str, Any]:
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "field": fields}


def _field(name: str, kind: str, source: dict[str, Any]) -> dict[str, Any]:
    return {"@type": "cr:Field", "@id": f"images/{name}", "name": name, "dataType": kind, "source": source}
