"""`import`: photos, from wherever they lie, to a FaceSet of originals."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from facemae.errors import DataError, StageError
from facemae.faces import FaceSetWriter, People, decode, encode_jpeg, in_split, write_pairs_csv, write_people
from facemae.faces.importers import ALIGNED_SIZE, ImportReport, import_photos, open_source, read_landmarks
from facemae.faces.synthetic import KINDS, identity_name, protocol_pairs, render_photo
from facemae.spec.execution import Execution
from facemae.spec.manifest import FACE_KINDS, read_manifest
from facemae.spec.recipe import ImportSpec, SyntheticSpec
from facemae.stages.inputs import hash_with_progress
from facemae.stages.stage import Stage, open_stage

SYNTHETIC = "synthetic"
"""The source that is no path: procedural people."""

FEW = 64
"""Below so many pictures, starting processes takes longer than drawing."""


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
        parents = {f"source{i}": _bytes_digest(Path(source), execution) for i, source in enumerate(sources)}
        parents |= {"landmarks": _bytes_digest(Path(landmarks), execution)} if landmarks else {}
        settings = spec.model_dump(exclude={"synthetic"})
    with open_stage("import", out, spec=settings, parents=parents) as stage:
        if stage.finished:
            return Path(out)
        if parents:
            _from_photos(stage, sources, spec, execution, landmarks)
        else:
            _from_synthetic(stage, spec, execution)
    return Path(out)


def _bytes_digest(source: Path, execution: Execution) -> str:
    """The hash of a source's own bytes, whatever it holds: a ``manifest.json`` among photos says nothing to us."""
    if not source.exists():
        raise DataError(f"nothing at {source}", remedy="check the path")
    try:
        kind = read_manifest(source).kind
    except (StageError, OSError):  # not one of our directories, as it should be
        try:
            return hash_with_progress(source, execution)
        except OSError as error:
            raise DataError(f"{error.filename or source} cannot be read", got=error.strerror) from None
    known = kind in FACE_KINDS
    raise DataError(
        f"{source} is {'a face set' if known else 'a finished facemae directory'} already",
        got=f"kind {kind}",
        needed="photos",
        remedy="give it to the next verb as it is, or `facemae export` it and import the folder" if known else None,
    )


def _from_photos(
    stage: Stage, sources: Sequence[str], spec: ImportSpec, execution: Execution, landmarks: Path | None
) -> None:
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
            execution=execution,
        )
    _publish(stage, writer, report)


def _from_synthetic(stage: Stage, spec: ImportSpec, execution: Execution) -> None:
    wanted = spec.synthetic
    numbers = range(wanted.first, wanted.first + wanted.identities)
    people = [i for i in numbers if spec.split is None or in_split(identity_name(i), spec.split)]
    if not people:
        raise DataError(
            f"no synthetic person falls into {spec.split}", got=f"{wanted.identities} people", needed="more"
        )
    writer = FaceSetWriter(stage.directory)
    files, numbered, extras = [], [], []
    with execution.progress.task("import", len(people) * wanted.photos, "images") as task:
        for number, faces in enumerate(_photos(people, wanted, spec.size or ALIGNED_SIZE)):
            name = identity_name(people[number])
            for photo, (image, facts) in enumerate(faces):
                writer.add(image, number, extras=facts)
                files.append(f"{name}/{name}_{photo + 1:04d}.jpg")
                numbered.append(number)
                extras.append(facts)
            task.advance(wanted.photos)
    names = tuple(identity_name(i) for i in people)
    protocols = _write_protocols(stage.directory / "pairs", numbered, extras, People(names, tuple(files)))
    _publish(stage, writer, ImportReport(len(files), names, tuple(files), (), 0), protocols=protocols)


def _photos(people: list[int], wanted: SyntheticSpec, size: int) -> Iterator[list[tuple[bytes, dict[str, Any]]]]:
    """The photos of one person after another, drawn on all cores; each depends on its own numbers only."""
    draw = partial(_draw_person, photos=wanted.photos, seed=wanted.seed, size=size)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cores == 1 or len(people) * wanted.photos < FEW:
        yield from map(draw, people)
        return
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as pool:
        yield from pool.map(draw, people, chunksize=1)


def _draw_person(identity: int, *, photos: int, seed: int, size: int) -> list[tuple[bytes, dict[str, Any]]]:
    faces = [render_photo(identity, photo, seed=seed, size=size) for photo in range(photos)]
    # As a camera stores it: the JPEG artefacts are part of what every later stage sees.
    return [(encode_jpeg(face.image, 95), face.extras) for face in faces]


def _write_protocols(directory: Path, people: list[int], extras: list[dict[str, Any]], names: People) -> list[str]:
    """`pairs/KIND.csv` for each protocol that the photos allow; returns their names."""
    directory.mkdir()
    written = []
    for kind in KINDS:
        try:
            pairs = protocol_pairs(kind, people, extras)
        except DataError:
            continue
        write_pairs_csv(directory / f"{kind}.csv", pairs, names)
        written.append(kind)
    return written


def _publish(stage: Stage, writer: FaceSetWriter, report: ImportReport, **more: Any) -> None:
    records = writer.finish()
    write_people(stage.directory, People(report.identities, report.files))
    facts: dict[str, Any] = {
        "records": records,
        "identities": len(report.identities),
        "size": list(_size(stage.directory)),
        "unreadable": report.unreadable,
        "skipped": [skip._asdict() for skip in report.skipped],
    }
    stage.publish("original", facts | more)


def _size(directory: Path) -> tuple[int, int]:
    row = np.load(directory / "index.npy", mmap_mode="r")[0]
    with (directory / "shards" / "00000.tar").open("rb") as stream:
        stream.seek(int(row["offset"]))
        image = decode(stream.read(int(row["length"])))
    return image.shape[0], image.shape[1]
