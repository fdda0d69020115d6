"""A table to the stages it needs; those that are not finished are run, in the order their inputs ask for."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from facemae.errors import RecipeError
from facemae.plan.pictures import picture_grid
from facemae.plan.sources import WEIGHTS
from facemae.report import write_report
from facemae.spec.execution import Execution
from facemae.spec.manifest import FILE, digest_of, read_manifest
from facemae.spec.normalisation import Normalisation
from facemae.spec.reading import merge
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
from facemae.spec.table import Table
from facemae.spec.table_parts import Protocol, Row, StageCall, stage_name
from facemae.spec.validation import build
from facemae.stages.audit import Inputs, audit
from facemae.stages.import_ import import_faces
from facemae.stages.mask import mask, private_of
from facemae.stages.pretrain import pretrain
from facemae.stages.recognize import recognize
from facemae.stages.reconstruct import reconstruct
from facemae.stages.tabulate import Made, tabulate, training_of
from facemae.stages.verify import verify
from facemae.train.hardware import hardware

PARTIAL = re.compile(r"\.(.+)\.[0-9a-f]{12}\.partial")
"""How `stages.stage` calls a directory that is not finished."""


@dataclass(frozen=True)
class Job:
    """One directory of a table: its name, which is also shown on screen, how it is made, and the jobs before it."""

    name: str
    make: Callable[[], object]
    needs: frozenset[str] = frozenset()


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
        jobs = [
            Job(name, partial(self._stage, name, table.stages[name]), self._stages(table.stages[name].needs()))
            for name in table.order()
        ]
        exams = [part for protocol in table.protocols for part in (protocol.faces, protocol.pairs)]
        for seed, row in product(table.seeds, _once(table.run_of, table.rows)):
            name = _recogniser(table.run_of(row), seed)
            jobs.append(Job(name, partial(self._recognize, row, seed), self._stages([row.train, row.real, *exams])))
        for judge, protocol in product(table.judges, table.protocols):
            name = f"judge-{judge.name}-{protocol.name}"
            make = partial(self._verify, judge.source, protocol, name, normalize=judge.normalize)
            jobs.append(Job(name, make, self._stages([judge.source, *exams])))
        judges = [judge.source for judge in table.judges]
        for row in _once(table.audit_of, [row for row in table.rows if row.audit and judges]):
            sides = [row.train, table.original_of(row.train), table.imitation_of(row), table.other_of(row)]
            sides += [table.nonmembers]
            needs = self._stages([*judges, *sides, *self._owned(row).values()])
            jobs.append(Job(self._audit_name(row), partial(self._audit, row), needs))
        return jobs

    def chosen(self, only: Sequence[str] = ()) -> list[Job]:
        """All jobs, or those that ``only`` names (``*`` stands for anything), for work in pieces.

        Raises:
            RecipeError: nothing is called so.
        """
        every = self.jobs()
        unknown = [name for name in only if not any(fnmatchcase(job.name, name) for job in every)]
        if unknown:
            raise RecipeError("--only", got=", ".join(unknown), needed=f"one of {', '.join(job.name for job in every)}")
        return [job for job in every if not only or any(fnmatchcase(job.name, name) for name in only)]

    def run(self, only: Sequence[str] = ()) -> list[str]:
        """Make what is missing and return the names of all jobs that are there now.

        ``only`` names jobs, as `chosen` takes them. Raises: what the stages raise.
        """
        jobs = self.chosen(only)
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

    def results(self, command: str) -> Results:
        """Everything that is there as one table; its digest covers the table and every directory that it rests on."""
        table = self.table
        rows, judges, paired, claims = tabulate(table, self._located())
        return Results(
            title=table.title,
            note=table.note,
            command=command,
            digest=digest_of("table", table.model_dump(mode="json"), self._digests()),
            hardware=hardware(),
            rows=rows,
            judges=judges,
            paired=paired,
            claims=claims,
            training=tuple(training_of(n, self.path(n)) for n in table.order() if table.stages[n].verb == "pretrain"),
            lineage=tuple(self._lineage(name) for name in table.order()),
        )

    def publish(self, out: Path, command: str, *, name: str | None = None) -> Results:
        """Write `results` and their page to ``out``; see `facemae.report.write_report`."""
        results = self.results(command)
        out.mkdir(parents=True, exist_ok=True)
        write_report(out, results, picture_grid(self.table, self.path), name=name)
        return results

    def audit_directory(self, row: Row) -> Path:
        """Where the audit of a row's set lies."""
        return self.runs / self._audit_name(row)

    # ---- jobs -------------------------------------------------------------------------------

    def _stages(self, names: Iterable[str | None]) -> frozenset[str]:
        """The stages that these references lead to."""
        return frozenset(stage_name(name) for name in names if name and stage_name(name) in self.table.stages)

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

    def _recogniser(self, settings: Mapping[str, Any], origin: str) -> RecognizeSpec:
        return build(RecognizeSpec, merge(self.table.recognize, settings), origin)

    def _recognize(self, row: Row, seed: int) -> None:
        run = self.table.run_of(row)
        name = _recogniser(run, seed)
        variant = self.table.recognisers[row.recogniser] if row.recogniser is not None else {}
        spec = self._recogniser({**variant, "seed": seed}, name)
        real = self.path(row.real) if row.real else None
        recognize(self.path(row.train), self.runs / name, spec, self.execution, real=real)
        for protocol in self.table.protocols:
            self._verify(name, protocol, _verification(run, seed, protocol.name))

    def _verify(self, embedder: str, protocol: Protocol, name: str, *, normalize: Normalisation | None = None) -> None:
        own = {} if normalize is None else {"normalize": normalize}
        spec = build(VerifySpec, {**self.table.verify, **own}, "verify")
        faces, pairs = self.path(protocol.faces), self.path(protocol.pairs)
        verify(self.path(embedder), faces, pairs, self.runs / name, spec, self.execution, cache=self.runs / "vectors")

    def _audit(self, row: Row) -> None:
        table, imitation, other = self.table, self.table.imitation_of(row), self.table.other_of(row)
        inputs = Inputs(
            original=self.path(table.original_of(row.train)),
            released=self.path(row.train),
            linkage=self._linkage(row.train),
            embedders={judge.name: self.path(judge.source) for judge in table.judges},
            imitation=self.path(imitation) if imitation else None,
            imitation_linkage=self._linkage(imitation) if imitation else None,
            other_release=self.path(other) if other else None,
            other_linkage=self._linkage(other) if other else None,
            nonmembers=self.path(table.nonmembers) if table.nonmembers else None,
            normalize={judge.name: judge.normalize for judge in table.judges if judge.normalize is not None},
            loss_networks=frozenset(judge.name for judge in table.judges if judge.loss_network),
            **{name: self.path(owned) for name, owned in self._owned(row).items()},
        )
        spec = build(AuditSpec, table.audit | self._trained_on(), "audit")
        audit(inputs, self.audit_directory(row), spec, self.execution, cache=self.runs / "vectors")

    def _owned(self, row: Row) -> dict[str, str]:
        """What attackers who learn may own, where the whole suite is asked for."""
        table = self.table
        if table.suite != "full":
            return {}
        model, masked = table.made_by(row.train)
        owned = {"process": model, "masked": masked, "trained": table.trained_on(model)}
        owned |= {"public": table.public}
        if owned["trained"]:
            owned |= {"outsiders": table.outsiders, "reference": table.reference}
        return {option: name for option, name in owned.items() if name}

    def _trained_on(self) -> dict[str, Any]:
        """Who taught the judges, where an audit tells of it."""
        told = {judge.name: judge.trained_on for judge in self.table.judges if judge.trained_on}
        return {"trained_on": told} if self.table.suite != "retrieval" and told else {}

    def _linkage(self, name: str) -> Path | None:
        linkage = self.table.linkage_of(name)
        return self.path(linkage) if linkage else None

    def _audit_name(self, row: Row) -> str:
        return f"audit-{self.table.audit_of(row)}"

    # ---- what is where ----------------------------------------------------------------------

    def _located(self) -> Made:
        table = self.table
        return Made(
            verifications={
                (row.label, seed, protocol.name): self.runs / _verification(table.run_of(row), seed, protocol.name)
                for row in table.rows
                for seed in table.seeds
                for protocol in table.protocols
            },
            audits={r.label: self.audit_directory(r) for r in table.rows if r.audit and table.judges},
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
        recognisers = {_recogniser(self.table.run_of(row), seed) for row in self.table.rows for seed in seeds}
        directories = [self.runs / name for name in (*self.table.order(), *sorted(recognisers))]
        directories += [*made.verifications.values(), *made.judged.values(), *made.audits.values()]
        return {path.name: read_manifest(path).digest for path in directories}

    def _lineage(self, name: str) -> dict[str, Any]:
        manifest = read_manifest(self.runs / name)
        call = self.table.stages[name]
        return {"stage": name, "verb": call.verb, "inputs": list(call.needs()), "digest": manifest.digest}


def _once(named: Callable[[Row], str], rows: Sequence[Row]) -> list[Row]:
    """The first row of every name: rows that share a set share its runs."""
    return list({named(row): row for row in reversed(rows)}.values())[::-1]


def _recogniser(run: str, seed: int) -> str:
    return f"recognize-{run}-s{seed}"


def _verification(run: str, seed: int, protocol: str) -> str:
    return f"verify-{run}-s{seed}-{protocol}"
