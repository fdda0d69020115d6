"""`export`: a face set to what other tools read; the only stage whose OUT is not one of our directories."""

import os
from pathlib import Path

from facemae.errors import OutputExists
from facemae.faces.exporters import export_folder, export_webdataset
from facemae.faces.faceset import FaceSet
from facemae.spec.recipe import ExportSpec


def export_faces(faces: Path, out: Path, spec: ExportSpec) -> int:
    """Write ``faces`` to ``out`` whole or not at all and return the number of images.

    Raises:
        OutputExists: there is something at ``out`` already.
    """
    photos = FaceSet.open(faces)
    out = Path(os.path.abspath(out))
    if out.exists():
        raise OutputExists(f"{out} exists", remedy="name another OUT or remove it")
    partial = out.parent / f".{out.name}.partial"
    partial.mkdir(parents=True, exist_ok=True)
    if spec.format == "folder":
        export_folder(photos, partial)
    else:
        export_webdataset(photos, partial)
    partial.rename(out)
    return len(photos)
