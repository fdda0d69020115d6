"""`import`: photos, from wherever they lie, to a FaceSet of originals."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from facemae.errors import DataError
from facemae.faces.codec import decode, encode_jpeg
from facemae.faces.faceset import write_people
from facemae.faces.importers import ImportReport, import_photos, open_source, read_landmarks
from facemae.faces.record import People
from facemae.faces.splits import in_split
from facemae.faces.synthetic import SyntheticFace, identity_name, render_photo
from facemae.faces.writer import FaceSetWriter
from facemae.spec.execution import Execution
from facemae.spec.recipe import ImportSpec
from facemae.stages.inputs import source_digest
from facemae.stages.stage import Stage, open_stage

SYNTHETIC = "synthetic"
"""The source that is no path: procedural people."""


def import_faces(
    sources: Sequence[str], out: Path, spec: ImportSpec, execution: Execution, *, landmarks: Path | None = None
) -> Path:
    """Write the photos of ``sources`` (folders, tars, or the word "synthetic") to ``out``.

    ``landmarks``: a CSV or JSON file of five points a photo; the faces are then aligned to the ArcFace template.

    Raises:
        DataError and its kinds: see `facemae.faces.importers.import_photos`.
    """
    if list(sources) == [SYNTHETIC]:
        parents: dict[str, str] = {}
        settings = spec.model_dump()
    else:
        parents = {f"source{i}": source_digest(Path(source)) for i, source in enumerate(sources)}
        parents |= {"landmarks": source_digest(Path(landmarks))} if landmarks else {}
        settings = spec.model_dump(exclude={"synthetic"})
    with open_stage("import", out, spec=settings, parents=parents) as stage:
        if stage.finished:
            return Path(out)
        if parents:
            _from_photos(stage, sources, spec, landmarks)
        else:
            _from_synthetic(stage, spec, execution)
    return Path(out)


def _from_photos(stage: Stage, sources: Sequence[str], spec: ImportSpec, landmarks: Path | None) -> None:
    split = spec.split
    with ExitStack() as stack:
        opened = [stack.enter_context(open_source(source, layout=spec.layout)) for source in sources]
        writer = FaceSetWriter(stage.directory)
        report = import_photos(
            opened,
            writer,
            landmarks=read_landmarks(Path(landmarks)) if landmarks else None,
            size=spec.size,
            keep=(lambda name: in_split(name, split)) if split else None,
            limit=spec.limit,
        )
    _publish(stage, writer, report)


def _from_synthetic(stage: Stage, spec: ImportSpec, execution: Execution) -> None:
    wanted = spec.synthetic
    numbers = range(wanted.first, wanted.first + wanted.identities)
    people = [(i, identity_name(i)) for i in numbers if spec.split is None or in_split(identity_name(i), spec.split)]
    if not people:
        raise DataError(
            f"no synthetic person falls into {spec.split}", got=f"{wanted.identities} people", needed="more"
        )
    writer = FaceSetWriter(stage.directory)
    files = []
    with execution.progress.task("import", len(people) * wanted.photos, "images") as task:
        for number, (face, name, photo) in _photos(people, wanted.photos, wanted.seed, spec.size or 112):
            # As a camera stores it: the JPEG artefacts are part of what every later stage sees.
            writer.add(encode_jpeg(face.image, 95), number, extras=face.extras)
            files.append(f"{name}/{name}_{photo + 1:04d}.jpg")
            task.advance()
    names = tuple(name for _, name in people)
    _publish(stage, writer, ImportReport(len(files), names, tuple(files), (), 0))


def _photos(
    people: list[tuple[int, str]], photos: int, seed: int, size: int
) -> Iterator[tuple[int, tuple[SyntheticFace, str, int]]]:
    for number, (identity, name) in enumerate(people):
        for photo in range(photos):
            yield number, (render_photo(identity, photo, seed=seed, size=size), name, photo)


def _publish(stage: Stage, writer: FaceSetWriter, report: ImportReport) -> None:
    records = writer.finish()
    write_people(stage.directory, People(report.identities, report.files))
    facts: dict[str, Any] = {
        "records": records,
        "identities": len(report.identities),
        "size": list(_size(stage.directory)),
        "unreadable": report.unreadable,
        "skipped": [skip._asdict() for skip in report.skipped],
    }
    stage.publish("original", facts)


def _size(directory: Path) -> tuple[int, int]:
    import numpy as np

    row = np.load(directory / "index.npy", mmap_mode="r")[0]
    with (directory / "shards" / "00000.tar").open("rb") as stream:
        stream.seek(int(row["offset"]))
        image = decode(stream.read(int(row["length"])))
    return image.shape[0], image.shape[1]
