"""The dataset card of an exported set, ``README.md``, as the Hugging Face hub and people read it.

A card is public. It tells what the manifest says of the set as a whole, chosen field by field, and nothing of single
records: no names, no source paths, no parents.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from facemae.errors import DataError
from facemae.faces.faceset import FaceSet
from facemae.spec.manifest import Kind

Format = Literal["folder", "webdataset", "parquet"]

NOT_STATED = "not stated by the publisher"
_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))

_DRAWN = "Synthetic people, drawn by a procedural generator. Nobody real is shown."
_WHAT = {
    "original": "Photos of people as they were imported. Nothing in them is hidden.",
    "masked": "Face photos of which only some cells are visible; the rest of each photo was removed before it left its "
    "owner. Order, keys and person numbers are new.",
    "reconstructed": "Faces that a masked autoencoder (FaceMAE) predicted from the visible cells of masked photos. "
    "They take the place of the photos for training face recognition, and give the people in them away less.",
    "baseline": "Face photos under a classic distortion, for comparison. The distortion is no protection.",
}
_LIMITS = {
    "original": ("The people in these photos can be recognised by anybody.",),
    "masked": (
        "The visible cells are true pixels of the photos.",
        "All pictures of a person share a label, and different cells are visible in each: together they show more "
        "than one of them.",
    ),
    "reconstructed": (
        "Giving away less is not giving away nothing: some people may be found again by whoever has other photos of "
        "them. How many is a matter of measurement.",
        "All pictures of a person share a label: together they tell more than one of them.",
        "Parts of a face that were hidden are invented. Nothing may be concluded from them about the person.",
    ),
    "baseline": (
        "Networks undo or see through such distortions. Treat these pictures like the photos themselves.",
        "All pictures of a person share a label: together they tell more than one of them.",
    ),
}
_LOADING = {
    "folder": "`data/` holds a folder per person. `datasets.load_dataset(FOLDER)` or any image-folder reader opens it.",
    "webdataset": "`data/` holds WebDataset shards: `<key>.jpg` or `.png`, and the person's number in `<key>.cls`.",
    "parquet": "`data/` holds Parquet files of an `image` and a `label`. `datasets.load_dataset(FOLDER)` opens them.",
}
_FILES = {"folder": "data/**", "webdataset": "data/*.tar", "parquet": "data/train-*"}


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What a card says: of the set (from its manifest), and what only its publisher knows (None: not stated).

    ``made``: the settings of the stage that made the set, with what it counted. ``named``: labels are names of people.
    ``drawn``: the pictures show procedural people.
    """

    name: str
    kind: Kind
    stage: str
    made: Mapping[str, Any]
    records: int
    identities: int
    size: tuple[int, int]
    digest: str
    version: str
    format: Format
    named: bool = False
    drawn: bool = False
    license: str | None = None
    source: str | None = None
    consent: str | None = None


def card_facts(
    faces: FaceSet,
    *,
    name: str,
    format: Format,
    named: bool = False,
    license: str | None = None,
    source: str | None = None,
    consent: str | None = None,
) -> CardFacts:
    """The facts of ``faces`` that may be published."""
    manifest = faces.manifest
    counted = {key: manifest.facts[key] for key in ("mask", "sigma", "true_pixels") if key in manifest.facts}
    made = {key: value for key, value in (dict(manifest.spec) | counted).items() if key not in ("seed", "synthetic")}
    return CardFacts(
        name=name,
        kind=faces.kind,
        stage=manifest.stage,
        made=made,
        records=len(faces),
        identities=faces.num_identities,
        size=faces.size,
        digest=faces.digest,
        version=manifest.facemae,
        format=format,
        named=named,
        drawn="synthetic" in manifest.spec,
        license=_line(license),
        source=_line(source),
        consent=_line(consent),
    )


def dataset_card(facts: CardFacts, *, leakage: str | None = None) -> str:
    """The card as Markdown with a YAML head; ``leakage``: what was measured, as Markdown without a heading.

    Raises:
        DataError: huggingface_hub is not installed.
    """
    height, width = facts.size
    rows = [
        ("Images", f"{facts.records:,}"),
        ("People", f"{facts.identities:,}, labelled by {'name' if facts.named else 'number'}"),
        ("Size", f"{width} × {height} pixels"),
        ("License", facts.license or NOT_STATED),
        ("Source of the photos", facts.source or NOT_STATED),
        ("Consent of the people shown", facts.consent or NOT_STATED),
    ]
    made = [
        ("stage", facts.stage),
        *((key, _value(value)) for key, value in sorted(facts.made.items()) if value is not None),
    ]
    sections = [
        f"# {facts.name}",
        _what(facts),
        _table("", "", rows),
        "## How it was made",
        f"facemae {facts.version}, digest `{facts.digest}`.",
        _table("setting", "value", made),
        "## Known limits",
        "\n".join(f"- {limit}" for limit in limits(facts)),
        "## Leakage",
        leakage
        or "Not measured for this card. `facemae audit` measures how many people can be found again, and by whom.",
        "## Use",
        _LOADING[facts.format],
        "Meant for training and testing face recognition. Not for finding out who is shown.",
    ]
    return f"---\n{_head(facts)}\n---\n\n" + "\n\n".join(sections) + "\n"


def write_card(directory: Path, facts: CardFacts, *, leakage: str | None = None) -> Path:
    """``README.md`` in ``directory``; see `dataset_card`."""
    path = directory / "README.md"
    path.write_text(dataset_card(facts, leakage=leakage), encoding="utf-8")
    return path


def description(facts: CardFacts) -> str:
    """The set in two sentences."""
    return f"{_what(facts)} {facts.records:,} images of {facts.identities:,} people."


def limits(facts: CardFacts) -> tuple[str, ...]:
    """What a user has to know before trusting the set, one sentence each."""
    if facts.drawn:
        return ("Drawn faces vary less than photographed ones: results on them say little about results on people.",)
    return _LIMITS[facts.kind]


def _what(facts: CardFacts) -> str:
    return _DRAWN if facts.drawn else _WHAT[facts.kind]


def _head(facts: CardFacts) -> str:
    try:
        from huggingface_hub import DatasetCardData
    except ImportError as error:
        raise DataError(
            "a dataset card needs huggingface_hub", got=_line(str(error)), remedy="pip install 'facemae[hub]'"
        ) from None
    extra: dict[str, Any] = {}
    if facts.license is not None and not _is_identifier(facts.license):
        extra["license_name"] = facts.license
    data = DatasetCardData(
        license=None if facts.license is None else "other" if extra else facts.license.lower(),
        size_categories=next((name for most, name in _SIZES if facts.records < most), "n>10M"),
        task_categories=["image-classification"],
        pretty_name=facts.name,
        tags=["face-recognition", "facemae", facts.kind],
        configs=[{"config_name": "default", "data_files": [{"split": "train", "path": _FILES[facts.format]}]}],
        **extra,
    )
    return str(data.to_yaml())


def _is_identifier(license: str) -> bool:
    """Whether a licence is given as SPDX and the hub spell them (``cc-by-nc-4.0``), not as a sentence or an address."""
    return (
        len(license) < 40 and license.isascii() and all(part.isalnum() for part in license.replace(".", "-").split("-"))
    )


def _table(left: str, right: str, rows: list[tuple[str, str]]) -> str:
    lines = [f"| {left} | {right} |", "|---|---|"]
    # What an owner types may hold either sign; in Markdown the one ends a cell and the other begins a tag.
    return "\n".join(
        lines + [f"| {key} | {value.replace('|', '&#124;').replace('<', '&lt;')} |" for key, value in rows]
    )


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_value(part)}" for key, part in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(_value, value)) if isinstance(value, list | tuple) else str(value)


def _line(text: str | None) -> str | None:
    return (" ".join(text.split()) or None) if text is not None else None
