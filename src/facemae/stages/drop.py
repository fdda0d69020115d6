"""A masked set once more, without the records that an audit found most exposed, or with other masks for them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from facemae.faces.codec import encode_png
from facemae.faces.faceset import FaceSet
from facemae.faces.record import key_of
from facemae.faces.writer import FaceSetWriter
from facemae.spec.execution import Execution
from facemae.spec.manifest import digest_of
from facemae.spec.recipe import MaskSpec
from facemae.spec.validation import build
from facemae.stages.linkage import read_linkage
from facemae.stages.mask import Cells, Private, bytes_digest, private_of
from facemae.stages.stage import Stage, open_stage


def drop(
    faces: Path,
    masked: Path,
    out: Path,
    rows: Sequence[int],
    execution: Execution,
    *,
    how: Literal["remask", "remove"],
) -> Path:
    """Write ``masked`` to ``out`` with records ``rows`` masked by a fresh secret, or without them; and `OUT.private`.

    Order and person numbers stay those of ``masked`` (a person of whom nothing is left gives up the number), and so do
    the bytes of all other records: published in its place, never beside it.

    Raises:
        DataError: the way back of ``masked`` is missing or another's. OutputExists: OUT holds another request.
    """
    originals, before = FaceSet.open(faces, kind="original"), FaceSet.open(masked, kind="masked")
    linked = read_linkage(private_of(Path(masked)), originals, before)
    chosen = np.zeros(len(before), np.bool_)
    chosen[list(rows)] = True
    settings = {"how": how, "rows": np.flatnonzero(chosen).tolist()}
    request = digest_of("drop", settings, {"faces": originals.digest, "masked": before.digest})
    private = Private.find(private_of(Path(out)), request, None)
    # The settings of the masked set: whoever repeats the process reads them there.
    with open_stage(
        "mask", out, spec=before.manifest.spec, parents={"request": request}, existing=private.released
    ) as stage:
        if not stage.finished:
            private.keep()
            _write(stage, originals, before, linked, chosen, private, how, execution)
    return Path(out)


def _write(
    stage: Stage,
    originals: FaceSet,
    before: FaceSet,
    linked: np.ndarray,
    chosen: np.ndarray,
    private: Private,
    how: str,
    execution: Execution,
) -> None:
    kept = np.flatnonzero(~chosen) if how == "remove" else np.arange(len(before))
    left, number = np.unique(before.identities[kept], return_inverse=True)
    cells = Cells(build(MaskSpec, before.manifest.spec, "mask"), originals.size)
    writer = FaceSetWriter(stage.directory)
    with execution.progress.task("mask", len(kept), "images") as task:
        for i, person in zip(map(int, kept), map(int, number), strict=True):
            if chosen[i]:
                strip, extras = cells(originals.image(int(linked[i])), key_of(int(linked[i])), private.secret)
                writer.add(encode_png(strip), person, extras=extras)
            else:
                record = before.record(i)
                writer.add(record.image, person, extras=record.extras)
            task.advance()
    writer.finish()
    people = np.full(originals.num_identities, -1, np.int64)
    people[originals.identities[linked[kept]]] = number
    private.write_map(originals, linked[kept], people)
    facts = {
        "records": len(kept),
        "identities": len(left),
        "size": list(before.size),
        "again": {"how": how, "records": int(chosen.sum())},
        # With the colour of the set before: the other records were painted on it when they were judged.
        "mask": before.manifest.facts["mask"],
    }
    digest = bytes_digest(stage.directory, facts)
    private.remember(digest)
    stage.publish("masked", facts, digest=digest)
