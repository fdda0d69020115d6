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

from facemae.errors import DataError, MissingPairs, StageError
from facemae.faces import FaceSetWriter, People, decode, encode_jpeg, in_split, in_subset, write_pairs_csv, write_people
from facemae.faces.importers import (
    ALIGNED_SIZE,
    ImportReport,
    Source,
    import_photos,
    open_source,
    pair_rows,
    read_landmarks,
)
from facemae.faces.importers.insightface_bin import PEOPLE
from facemae.faces.importers.protocol import write_pair_rows
from facemae.faces.importers.recordio import index_beside
from facemae.faces.people import PeopleWriter
from facemae.faces.synthetic import KINDS, Mix, draw_mix, identity_name, protocol_pairs, render_photo
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
        indices = ((f"source{i}.idx", index_beside(Path(source))) for i, source in enumerate(sources))
        parents |= {name: _bytes_digest(index, execution) for name, index in indices if index is not None}
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
    with ExitStack() as stack:
        opened = [stack.enter_context(open_source(source, layout=spec.layout, label=spec.label)) for source in sources]
        people = stack.enter_context(PeopleWriter(stage.directory))
        writer = FaceSetWriter(stage.directory)
        pairs = _Pairs(opened)

        def note(file: str) -> None:
            people.add(file)
            pairs.seen(file)

        report = import_photos(
            opened,
            writer,
            landmarks=read_landmarks(Path(landmarks)) if landmarks else None,
            size=spec.size,
            keep=partial(_wanted, spec=spec) if spec.split or spec.subset else None,
            note=note,
            limit=spec.limit,
            execution=execution,
        )
        people.finish(report.identities)
    _publish(stage, writer, report, **pairs.write(stage.directory))


class _Pairs:
    """The pair lists of the sources, which need every one of their photos."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._lists = pair_rows(sources)
        self._missing = {file for rows in self._lists.values() for row in rows for file in row[:2]}

    def seen(self, file: str) -> None:
        """A photo came in."""
        self._missing.discard(file)

    def write(self, directory: Path) -> dict[str, Any]:
        """`pairs/NAME.csv` for each list; returns what the manifest says of them.

        Raises:
            MissingPairs: a photo of a list did not come in.
        """
        if not self._lists:
            return {}
        if self._missing:
            raise MissingPairs(
                "photos of a verification file are left out",
                got=f"{len(self._missing)}, first {min(self._missing)}",
                needed="all of them",
                remedy="import it without split or subset, and fetch it again where photos cannot be read",
            )
        (directory / "pairs").mkdir()
        for name, rows in self._lists.items():
            write_pair_rows(directory / "pairs" / f"{name}.csv", rows)
        return {"protocols": list(self._lists), "people": PEOPLE}


def _wanted(name: str, spec: ImportSpec) -> bool:
    subset = spec.subset
    inside = subset is None or in_subset(name, subset.part, subset.parts)
    return inside and (spec.split is None or in_split(name, spec.split))


def _from_synthetic(stage: Stage, spec: ImportSpec, execution: Execution) -> None:
    wanted = spec.synthetic
    numbers = range(wanted.first, wanted.first + wanted.identities)
    people = [i for i in numbers if _wanted(identity_name(i), spec)]
    if not people:
        raise DataError(
            f"no synthetic person falls into {spec.split or 'the subset'}",
            got=f"{wanted.identities} people",
            needed="more",
        )
    if wanted.mixed and len(people) < 2:
        raise DataError("nobody to mix with", got="1 synthetic person", needed="at least two, or mixed=0")
    writer = FaceSetWriter(stage.directory)
    files, numbered, extras = [], [], []
    mixes = [_mixes(people, number, wanted) for number in range(len(people))]
    number_of = {person: number for number, person in enumerate(people)}
    with execution.progress.task("import", len(people) * wanted.photos, "images") as task:
        for number, faces in enumerate(_photos(people, mixes, wanted, spec.size or ALIGNED_SIZE)):
            name = identity_name(people[number])
            for photo, (image, facts) in enumerate(faces):
                mix = mixes[number][photo]
                if mix is not None:
                    other = [number_of[mix.other], round(1 - mix.weight, 2)]
                    facts = facts | {"mix": [[number, mix.weight], other]}
                writer.add(image, number, extras=facts)
                files.append(f"{name}/{name}_{photo + 1:04d}.jpg")
                numbered.append(number)
                extras.append(facts)
            task.advance(wanted.photos)
    names = tuple(identity_name(i) for i in people)
    # Pairs are of one person or of two: a set with mixed photos is for training only.
    pairs = stage.directory / "pairs"
    protocols = [] if wanted.mixed else _write_protocols(pairs, numbered, extras, People(names, tuple(files)))
    write_people(stage.directory, People(names, tuple(files)))
    _publish(stage, writer, ImportReport(len(files), names, (), 0), protocols=protocols)


def _mixes(people: list[int], place: int, wanted: SyntheticSpec) -> list[Mix | None]:
    """Who is mixed into each photo of people[place]: somebody into the last of them."""
    pure = wanted.photos - wanted.mixed
    mixed = [draw_mix(people, place, photo, seed=wanted.seed) for photo in range(pure, wanted.photos)]
    return [None] * pure + mixed


def _photos(
    people: list[int], mixes: list[list[Mix | None]], wanted: SyntheticSpec, size: int
) -> Iterator[list[tuple[bytes, dict[str, Any]]]]:
    """The photos of one person after another, drawn on all cores; each depends on its own numbers only."""
    draw = partial(_draw_person, seed=wanted.seed, size=size)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cores == 1 or len(people) * wanted.photos < FEW:
        yield from map(draw, people, mixes)
        return
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as pool:
        yield from pool.map(draw, people, mixes, chunksize=1)


def _draw_person(identity: int, mixes: list[Mix | None], *, seed: int, size: int) -> list[tuple[bytes, dict[str, Any]]]:
    faces = [render_photo(identity, photo, seed=seed, size=size, mix=mix) for photo, mix in enumerate(mixes)]
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
