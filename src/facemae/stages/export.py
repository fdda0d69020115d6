"""`export`: what other tools read; the only stage whose OUT is not one of our directories."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

from facemae.errors import OutputExists, RecipeError
from facemae.faces import FaceSet
from facemae.faces.exporters import (
    card_facts,
    export_bin,
    export_folder,
    export_parquet,
    export_recordio,
    export_webdataset,
    write_card,
    write_croissant,
)
from facemae.spec.formats import FORMATS_OF, TrainedFormat
from facemae.spec.manifest import FILE, read_manifest
from facemae.spec.recipe import ExportSpec
from facemae.stages.stage import naming_full_disk


def export(source: Path, out: Path, spec: ExportSpec) -> dict[str, Any]:
    """Write a face set, a model, a recogniser or class centres to ``out``, and return what there is to say of it.

    Raises: as `export_faces` and `export_model`.
    """
    if spec.format in get_args(TrainedFormat):
        # Not before it is asked for: sets need no torch.
        from facemae.stages.export_model import export_model

        if given := next((key for key in ("keep_names", "card", "pairs") if getattr(spec, key)), None):
            raise RecipeError(f"export.{given}", got=f"format {spec.format}", needed="a format of face sets")
        return {"files": export_model(source, out, spec)}
    if (source / FILE).is_file():
        demand_format(spec, read_manifest(source).kind)
    return {"records": export_faces(source, out, spec)}


def demand_format(spec: ExportSpec, kind: str) -> None:
    """Refuse a format that a kind of thing which was trained cannot have.

    Raises:
        RecipeError: with those that it can have.
    """
    formats = FORMATS_OF.get(kind)
    if formats and spec.format not in formats:
        raise RecipeError("export.format", got=f"{spec.format} for a {kind}", needed=f"one of {', '.join(formats)}")


def export_faces(faces: Path, out: Path, spec: ExportSpec) -> int:
    """Write ``faces`` to ``out`` whole or not at all and return the number of images.

    Raises:
        RecipeError: names are to be kept in a format that has none.
        DataError: names are to be kept, and the set has none; or folds of a list do not fit format bin.
        MissingPairs: format bin, and the set has no such list.
        OutputExists: there is something at ``out`` already.
        DiskFull: no space is left; nothing stays at ``out``.
    """
    if spec.keep_names and spec.format != "folder":
        raise RecipeError("export.keep_names", got=f"format {spec.format}", needed="format folder")
    photos = FaceSet.open(faces)
    if spec.ranks != 1:
        raise RecipeError("export.ranks", got=f"format {spec.format}", needed="format partial_fc")
    out = Path(os.path.abspath(out))
    if os.path.lexists(out):
        raise OutputExists(f"{out} exists", remedy="name another OUT or remove it")
    with appearing(out) as partial, naming_full_disk(out):
        partial.mkdir()
        write_data(photos, partial, spec)
        if spec.card:
            describe(photos, partial, out.name, spec)
    return len(photos)


@contextmanager
def appearing(out: Path) -> Iterator[Path]:
    """A sibling that becomes ``out`` when the block ends, and is gone where it fails."""
    partial = out.with_name(f".{out.name}.partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise OutputExists(f"{out} cannot be made", got="a file where its folder would be") from None
    _remove(partial)
    try:
        yield partial
        partial.rename(out)
    finally:
        _remove(partial)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_data(photos: FaceSet, directory: Path, spec: ExportSpec) -> None:
    """The pictures alone, in ``directory/data`` where a card stands beside them."""
    # Where the hub looks for data; beside a card it is the only folder.
    directory = directory / "data" if spec.card or spec.format == "parquet" else directory
    if spec.format == "folder":
        export_folder(photos, directory, keep_names=spec.keep_names)
    elif spec.format == "parquet":
        export_parquet(photos, directory)
    elif spec.format == "recordio":
        export_recordio(photos, directory)
    elif spec.format == "bin":
        export_bin(photos, directory, pairs=spec.pairs)
    else:
        export_webdataset(photos, directory)


def describe(photos: FaceSet, directory: Path, name: str, spec: ExportSpec, *, leakage: str | None = None) -> None:
    """`README.md` and `croissant.json` beside the data; ``leakage``: what the card says was measured, Markdown."""
    facts = card_facts(
        photos,
        name=name,
        format=spec.format,  # type: ignore[arg-type]  # those of sets; `export` sends the others elsewhere
        named=spec.keep_names,
        license=spec.license,
        source=spec.source,
        consent=spec.consent,
    )
    write_card(directory, facts, leakage=leakage)
    write_croissant(directory, facts)
