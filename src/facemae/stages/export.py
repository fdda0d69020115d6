"""`export`: a face set to what other tools read; the only stage whose OUT is not one of our directories."""

import os
import shutil
from pathlib import Path

from facemae.errors import OutputExists, RecipeError
from facemae.faces import FaceSet
from facemae.faces.exporters import export_folder, export_webdataset
from facemae.spec.recipe import ExportSpec
from facemae.stages.stage import naming_full_disk


def export_faces(faces: Path, out: Path, spec: ExportSpec) -> int:
    """Write ``faces`` to ``out`` whole or not at all and return the number of images.

    Raises:
        RecipeError: names are to be kept in a format that has none.
        DataError: names are to be kept, and the set has none.
        OutputExists: there is something at ``out`` already.
        DiskFull: no space is left; nothing stays at ``out``.
    """
    if spec.keep_names and spec.format != "folder":
        raise RecipeError("export.keep_names", got=f"format {spec.format}", needed="format folder")
    photos = FaceSet.open(faces)
    out = Path(os.path.abspath(out))
    if out.exists():
        raise OutputExists(f"{out} exists", remedy="name another OUT or remove it")
    partial = out.parent / f".{out.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with naming_full_disk(out):
            partial.mkdir(parents=True)
            if spec.format == "folder":
                export_folder(photos, partial, keep_names=spec.keep_names)
            else:
                export_webdataset(photos, partial)
            partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return len(photos)
