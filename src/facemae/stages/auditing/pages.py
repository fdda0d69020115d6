"""The pages of a finished audit, written beside it: for reading, and no part of the result."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from facemae.attacks import unit_rows
from facemae.errors import DataError
from facemae.faces.codec import encode_png
from facemae.faces.faceset import FaceSet
from facemae.report import utility_points, write_audit_report
from facemae.spec.execution import Execution
from facemae.spec.recipe import AuditSpec
from facemae.spec.results import Results, read_results
from facemae.stages.auditing.inputs import Inputs, brought_in
from facemae.stages.embed import vectors_of
from facemae.stages.exposure import Seen, exposure
from facemae.stages.linkage import read_linkage
from facemae.train.world import join


def write_pages(
    out: Path,
    inputs: Inputs,
    spec: AuditSpec,
    execution: Execution,
    *,
    cache: Path,
    faces: int = 0,
    published: Sequence[Path] = (),
) -> None:
    """Write `audit.html`, `audit.md` and `audit-card.md` into the finished audit ``out``.

    ``faces``: so many of the most exposed records stand in the page as pictures; none of them in the other files.
    ``published``: results whose rows stand in the plane of utility and privacy.

    Raises:
        DataError: one of ``published`` is no results file, or pictures are asked for of a release without linkage.
    """
    utility = utility_points([_published(path) for path in published])
    shown = _most_exposed(inputs, spec, execution, cache, faces) if faces else None
    write_audit_report(out, out, utility=utility, faces=shown)


def _published(path: Path) -> Results:
    try:
        return read_results(path)
    except (OSError, ValueError):
        raise DataError(f"--beside {path}", needed="a results file of `facemae reproduce`") from None


def _most_exposed(inputs: Inputs, spec: AuditSpec, execution: Execution, cache: Path, count: int) -> dict[int, bytes]:
    """PNGs of the records that another photo of their person finds most surely, under any network; surest first."""
    linkage = inputs.linkage
    if linkage is None:
        raise DataError("--show-faces", got="no linkage", needed="--linkage: what leads from records to photos")
    inputs = brought_in(inputs, cache=cache, execution=execution, world=join(execution.device))
    original, released = FaceSet.open(inputs.original), FaceSet.open(inputs.released)
    photo, labels = read_linkage(Path(linkage), original, released), original.identities.astype(np.int64)
    exposed = np.full(len(released), -np.inf)
    for name, embedder in inputs.embedders.items():
        wanted = spec.looking(inputs.normalize.get(name))
        photos, records = (
            unit_rows(vectors_of(Path(embedder), faces.directory, wanted, execution, cache)[:, 0])
            for faces in (original, released)
        )
        seen = Seen(photos, records, photo, labels)
        exposed = np.maximum(exposed, exposure(seen, np.ones(len(labels), np.bool_), own_photo=False))
    order = np.argsort(-exposed, kind="stable")[:count]
    kept = order[np.isfinite(exposed[order])].tolist()
    return {record: encode_png(image) for record, image in zip(kept, released.images(kept), strict=True)}
