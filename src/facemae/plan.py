"""A table to the stages it needs; those that are not finished are run, in the order their inputs ask for."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from facemae.errors import FaceMAEError, RecipeError
from facemae.faces.codec import encode_png
from facemae.faces.faceset import FaceSet
from facemae.report import PictureGrid, write_report
from facemae.spec.execution import Execution
from facemae.spec.manifest import FILE, digest_of, read_manifest
from facemae.spec.normalisation import Normalisation
from facemae.spec.reading import merge, read_toml
from facemae.spec.recipe import (
    AuditSpec,
    ImportSpec,
    MaskSpec,
    PretrainSpec,
    RecognizeSpec,
    ReconstructSpec,
    VerifySpec,
)
from facemae.spec.results import Results
from facemae.spec.table import Protocol, Row, StageCall, Table, slug, stage_name
from facemae.spec.validation import build
from facemae.stages.audit import Inputs, audit
from facemae.stages.import_ import import_faces
from facemae.stages.linkage import read_linkage
from facemae.stages.mask import mask, private_of
from facemae.stages.pretrain import pretrain
from facemae.stages.recognize import recognize
from facemae.stages.reconstruct import reconstruct
from facemae.stages.tabulate import Made, tabulate, training_of
from facemae.stages.verify import verify
from facemae.train.hardware import hardware

WEIGHTS = Path(__file__).parent / "weights"
"""Small networks trained on synthetic people; each directory says in its manifest how."""

PARTIAL = re.compile(r"\.(.+)\.[0-9a-f]{12}\.partial")
"""How `stages.stage` calls a directory that is not finished."""

SHOWN = 8
"""Faces in the picture grid."""


@dataclass(frozen=True)
class Job:
    """One directory of a table: its name, what it is called on screen, and how it is made."""

    name: str
    make: Callable[[], object]


@dataclass
class Plan:
    """The jobs of one table under one folder of runs."""

    table: Table
    runs: Path
    data: Path
    execution: Execution

    def path(self, name: str) -> Path:
        """Where a reference leads: a data file, weights of the package, a stage's directory, or a path inside it."""
        if name.startswith("data:"):
            return self.data / name.removeprefix("data:")
        if name.startswith("package:"):
            return WEIGHTS / name.removeprefix("package:")
        first, *inside = name.split("/")
        if first.endswith(".private"):
            return private_of(self.runs / first.removesuffix(".private"))
        return (self.runs / first).joinpath(*inside)

    def jobs(self) -> list[Job]:
        """Everything in an order in which inputs come first; recognisers of all rows before the audits."""
        table = self.table
        jobs = [Job(name, partial(self._stage, name, table.stages[name])) for name in self._ordered_stages()]
        for train, seed in dict.fromkeys((row.train, seed) for seed in table.seeds for row in table.rows):
            jobs.append(Job(f"recognize-{train}-s{seed}", partial(self._recognize, train, seed)))
        for judge, protocol in product(table.judges, table.protocols):
            name = f"judge-{judge.name}-{protocol.name}"
            jobs.append(Job(name, partial(self._verify, judge.source, protocol, name, normalize=judge.normalize)))
        if table.judges:
            jobs += [Job(f"audit-{slug(row.label)}", partial(self._audit, row)) for row in table.rows]
        return jobs

    def run(self, only: Sequence[str] = ()) -> list[str]:
        """Make what is missing and return the names of all jobs that are there now.

        ``only`` names jobs (``*`` stands for anything), for work in pieces.

        Raises:
            RecipeError: nothing is called so.
        """
        every = self.jobs()
        unknown = [name for name in only if not any(fnmatchcase(job.name, name) for job in every)]
        if unknown:
            raise RecipeError("--only", got=", ".join(unknown), needed=f"one of {', '.join(job.name for job in every)}")
        jobs = [job for job in every if not only or any(fnmatchcase(job.name, name) for name in only)]
        self.runs.mkdir(parents=True, exist_ok=True)
        with self.execution.progress.task("reproduce", len(jobs), "stages") as task:
            for job in jobs:
                task.advance(0, job.name)
                job.make()
                task.advance()
        return [job.name for job in jobs]

    def leftovers(self) -> list[Path]:
        """Unfinished directories beside finished ones: other settings began them, and nothing goes on with them."""
        named = [(path, PARTIAL.fullmatch(path.name)) for path in sorted(self.runs.glob(".*.partial"))]
        return [path for path, name in named if name and (self.runs / name[1] / FILE).is_file()]

    def publish(self, out: Path, command: str) -> Results:
        """Tabulate what is there and write `results.json`, `results.md` and `report.html` to ``out``.

        The digest of the results covers the table and the digest of every directory that it rests on.
        """
        table = self.table
        rows, judges, paired, claims = tabulate(table, self._located())
        results = Results(
            title=table.title,
            note=table.note,
            command=command,
            digest=digest_of("table", table.model_dump(mode="json"), self._digests()),
            hardware=hardware(),
            rows=rows,
            judges=judges,
            paired=paired,
            claims=claims,
            training=tuple(training_of(n, self.path(n)) for n, c in table.stages.items() if c.verb == "pretrain"),
            lineage=tuple(self._lineage(name) for name in self._ordered_stages()),
        )
        out.mkdir(parents=True, exist_ok=True)
        write_report(out, results, self._pictures())
        return results

    # ---- jobs -------------------------------------------------------------------------------

    def _stage(self, name: str, call: StageCall) -> None:
        out, inputs = self.runs / name, [self.path(item) for item in call.inputs]
        landmarks, like, phi, init = (
            self.path(item) if item else None for item in (call.landmarks, call.like, call.phi, call.init)
        )
        origin = f"stage {name}"
        if call.verb == "import":
            sources = ["synthetic"] if call.inputs == ("synthetic",) else [str(path) for path in inputs]
            spec = build(ImportSpec, call.settings, origin)
            import_faces(sources, out, spec, self.execution, landmarks=landmarks)
        elif call.verb == "mask":
            mask(inputs[0], out, build(MaskSpec, call.settings, origin), self.execution, like=like)
        elif call.verb == "pretrain":
            spec_p = build(PretrainSpec, call.settings, origin)
            pretrain(inputs[0], out, spec_p, self.execution, phi=phi, init=init, cache=self.runs / "vectors")
        elif call.verb == "reconstruct":
            reconstruct(inputs[0], inputs[1], out, build(ReconstructSpec, call.settings, origin), self.execution)
        else:
            recognize(inputs[0], out, self._recogniser(call.settings, origin), self.execution)

    def _recogniser(self, settings: dict[str, Any], origin: str) -> RecognizeSpec:
        return build(RecognizeSpec, merge(self.table.recognize, settings), origin)

    def _recognize(self, train: str, seed: int) -> None:
        name = f"recognize-{train}-s{seed}"
        recognize(self.path(train), self.runs / name, self._recogniser({"seed": seed}, name), self.execution)
        for protocol in self.table.protocols:
            self._verify(name, protocol, _verification(train, seed, protocol.name))

    def _verify(self, embedder: str, protocol: Protocol, name: str, *, normalize: Normalisation | None = None) -> None:
        own = {} if normalize is None else {"normalize": normalize}
        spec = build(VerifySpec, {**self.table.verify, **own}, "verify")
        faces, pairs = self.path(protocol.faces), self.path(protocol.pairs)
        verify(self.path(embedder), faces, pairs, self.runs / name, spec, self.execution, cache=self.runs / "vectors")

    def _audit(self, row: Row) -> None:
        table = self.table
        inputs = Inputs(
            original=self.path(table.original),
            released=self.path(row.train),
            linkage=self.path(row.linkage) if row.linkage else None,
            embedders={judge.name: self.path(judge.source) for judge in table.judges},
            imitation=self.path(row.imitation) if row.imitation else None,
            imitation_linkage=self.path(row.imitation_linkage) if row.imitation_linkage else None,
            nonmembers=self.path(table.nonmembers) if table.nonmembers else None,
            normalize={judge.name: judge.normalize for judge in table.judges if judge.normalize is not None},
        )
        spec = build(AuditSpec, table.audit, "audit")
        audit(inputs, self.runs / f"audit-{slug(row.label)}", spec, self.execution, cache=self.runs / "vectors")

    # ---- what is where ----------------------------------------------------------------------

    def _ordered_stages(self) -> list[str]:
        stages = self.table.stages
        ordered: list[str] = []

        def visit(name: str, trail: tuple[str, ...]) -> None:
            if name in trail:
                raise RecipeError("stages need one another in a circle", got=" -> ".join((*trail, name)))
            if name in ordered or name not in stages:
                return
            for needed in stages[name].needs():
                visit(stage_name(needed), (*trail, name))
            ordered.append(name)

        for name in stages:
            visit(name, ())
        return ordered

    def _located(self) -> Made:
        table = self.table
        return Made(
            verifications={
                (row.train, seed, protocol.name): self.runs / _verification(row.train, seed, protocol.name)
                for row in table.rows
                for seed in table.seeds
                for protocol in table.protocols
            },
            audits={row.label: self.runs / f"audit-{slug(row.label)}" for row in table.rows} if table.judges else {},
            judged={
                (judge.name, protocol.name): self.runs / f"judge-{judge.name}-{protocol.name}"
                for judge in table.judges
                for protocol in table.protocols
            },
            sets={row.train: self.path(row.train) for row in table.rows},
            protocol_files={p.name: (self.path(p.faces), self.path(p.pairs)) for p in table.protocols},
        )

    def _digests(self) -> dict[str, str]:
        """Digest of everything that was made, by the name of its directory."""
        made, seeds = self._located(), self.table.seeds
        recognisers = {f"recognize-{row.train}-s{seed}" for row in self.table.rows for seed in seeds}
        directories = [self.runs / name for name in (*self._ordered_stages(), *sorted(recognisers))]
        directories += [*made.verifications.values(), *made.judged.values(), *made.audits.values()]
        return {path.name: read_manifest(path).digest for path in directories}

    def _lineage(self, name: str) -> dict[str, Any]:
        manifest = read_manifest(self.runs / name)
        call = self.table.stages[name]
        return {"stage": name, "verb": call.verb, "inputs": list(call.needs()), "digest": manifest.digest}

    def _pictures(self) -> PictureGrid | None:
        """The same photos in every set: linkage brings the shuffled ones back into the order of the first column."""
        if not self.table.pictures:
            return None
        original = FaceSet.open(self.path(self.table.pictures[0].faces))
        shown = np.linspace(0, len(original) - 1, SHOWN).astype(int).tolist()
        columns = []
        for picture in self.table.pictures:
            faces = FaceSet.open(self.path(picture.faces))
            place = {i: i for i in shown}
            if picture.linkage:
                linked = read_linkage(self.path(picture.linkage), original, faces).tolist()
                place = {original_row: row for row, original_row in enumerate(linked)}
            columns.append([encode_png(faces.image(place[i])) for i in shown])
        labels = tuple(picture.label for picture in self.table.pictures)
        return PictureGrid(labels=labels, rows=tuple(zip(*columns, strict=True)))


def read_table(source: str) -> Table:
    """A table recipe by file or by name, validated as a whole."""
    return build(Table, read_toml(source), source)


def _verification(train: str, seed: int, protocol: str) -> str:
    return f"verify-{train}-s{seed}-{protocol}"


def find_data(table: Table, data: Path | None, source: str) -> Path:
    """The data folder: given, or what the table says, relative to the working directory.

    Raises:
        FaceMAEError: the table needs one and it is not there.
    """
    folder = data or Path(table.data)
    wanted = sorted({name for name in table.references() if name.startswith("data:")})
    missing = [name.removeprefix("data:") for name in wanted if not (folder / name.removeprefix("data:")).exists()]
    if missing:
        raise FaceMAEError(
            f"{source} needs data that is not here",
            got=f"no {', '.join(missing)} in {folder}",
            remedy="name the folder that holds them with --data",
        )
    return folder
