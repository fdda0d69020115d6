"""A table of the paper, or one's own, as data: the stages it rests on, its rows, its claims."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import Field, ValidationInfo, field_validator, model_validator

from facemae.errors import RecipeError
from facemae.spec.manifest import Frozen
from facemae.spec.recipe import SECTIONS, AuditSpec
from facemae.spec.table_parts import (
    EVERY_PROTOCOL,
    FALL,
    Claim,
    Judge,
    Picture,
    Protocol,
    Row,
    StageCall,
    slug,
    stage_name,
)
from facemae.spec.validation import Mistakes, demand


class Table(Frozen):
    """Everything `reproduce` needs.

    Which photos a row protects, and how its records lead back to them, follows from the stages that made its set.
    ``nonmembers``: people who are in none of the sets. ``public``: people from whom attackers learn, and
    ``outsiders`` others who trained no model, from where its photos came; ``reference``: a model of other people,
    beside which theirs is asked about its training photos; ``others``: what another process made of the same photos,
    by set; all for audits whose suite is "full". ``recognisers``: named changes to `[recognize]`. ``imitations``:
    what an attacker makes of the same people with other masks, by set. Without ``seeds`` nothing is trained on the
    rows: only their leakage is measured. ``files``: where each file of the data folder comes from. ``scale``: the
    name of the scale it runs on, if it has scales. ``photos``: how many a set of originals holds, for estimates
    before it is there.
    """

    title: str
    note: str = ""
    scale: str = ""
    data: str = ""
    files: dict[str, str] = {}
    photos: dict[str, int] = {}
    seeds: tuple[int, ...] = (0, 1, 2)
    nonmembers: str | None = None
    public: str | None = None
    outsiders: str | None = None
    reference: str | None = None
    recognize: dict[str, Any] = {}
    recognisers: dict[str, dict[str, Any]] = {}
    imitations: dict[str, str] = {}
    others: dict[str, str] = {}
    verify: dict[str, Any] = {}
    audit: dict[str, Any] = {}
    protocols: tuple[Protocol, ...]
    judges: tuple[Judge, ...] = ()
    rows: tuple[Row, ...] = Field(min_length=1)
    claims: tuple[Claim, ...] = ()
    pictures: tuple[Picture, ...] = ()
    stages: dict[str, StageCall]

    @field_validator("recognize", "verify", "audit")
    @classmethod
    def _section_fits(cls, settings: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        assert info.field_name is not None
        demand(SECTIONS[info.field_name], settings)
        return settings

    @field_validator("recognisers")
    @classmethod
    def _variants_fit(cls, variants: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for settings in variants.values():
            demand(SECTIONS["recognize"], settings)
        return variants

    @model_validator(mode="after")
    def _all_named(self) -> "Table":
        mistakes = [
            *_twice(
                "rows are labelled", (row.label for row in self.rows), "claims and figures name rows by their labels"
            ),
            *_twice("judges are called", (judge.name for judge in self.judges), "each needs a name of its own"),
            *_twice("protocols are called", (item.name for item in self.protocols), "each needs a name of its own"),
        ]
        named = [*self.wanted(), *self.imitations, *self.imitations.values(), *self.others, *self.others.values()]
        named += [name for call in self.stages.values() for name in call.needs()]
        unknown = sorted({name for name in named if not self.knows(name)})
        if unknown:
            mistakes.append(f"no stage is called {', '.join(unknown)}; stages are {', '.join(sorted(self.stages))}")
        mistakes += self._rows_fit()
        mistakes += self._claims_fit()
        if mistakes:
            raise Mistakes(mistakes)
        return self

    def wanted(self) -> list[str]:
        """What rows, protocols, judges and pictures are made from, as written."""
        used: list[str | None] = [self.nonmembers, self.public, self.outsiders, self.reference]
        used += [judge.source for judge in self.judges]
        used += [name for protocol in self.protocols for name in (protocol.faces, protocol.pairs)]
        used += [name for row in self.rows for name in (row.train, row.real)]
        used += [name for row in self.rows for name in (self.imitation_of(row), self.other_of(row))]
        used += [picture.faces for picture in self.pictures]
        return [name for name in used if name is not None]

    def order(self) -> list[str]:
        """The stages that the table rests on, each after those that it needs.

        Raises:
            RecipeError: stages need one another in a circle.
        """
        ordered: list[str] = []

        def visit(name: str, trail: tuple[str, ...]) -> None:
            if name in trail:
                raise RecipeError("stages need one another in a circle", got=" -> ".join((*trail, name)))
            if name in ordered or name not in self.stages:
                return
            for needed in self.stages[name].needs():
                visit(stage_name(needed), (*trail, name))
            ordered.append(name)

        for name in self.wanted():
            visit(stage_name(name), ())
        return ordered

    def read(self) -> list[str]:
        """Everything that making the table reads, as written."""
        return [*self.wanted(), *(needed for name in self.order() for needed in self.stages[name].needs())]

    def knows(self, name: str) -> bool:
        """Whether ``name`` is a file of the data folder or of the package, ``synthetic``, or leads to a stage."""
        return name.startswith(("data:", "package:")) or name == "synthetic" or stage_name(name) in self.stages

    def original_of(self, name: str) -> str:
        """The set of originals that ``name`` was made from: itself where nothing hides them."""
        call = self.stages.get(stage_name(name))
        if call is not None and call.verb == "mask":
            return call.inputs[0]
        return self.original_of(call.inputs[1]) if call is not None and call.verb == "reconstruct" else name

    def linkage_of(self, name: str) -> str | None:
        """The private folder of the masked set that ``name`` is or was made from; None for originals."""
        call = self.stages.get(stage_name(name))
        if call is not None and call.verb == "mask":
            return f"{stage_name(name)}.private"
        return self.linkage_of(call.inputs[1]) if call is not None and call.verb == "reconstruct" else None

    def imitation_of(self, row: Row) -> str | None:
        """What imitates a row's set: its own, else what the table names for that set."""
        return row.imitation or self.imitations.get(row.train)

    def other_of(self, row: Row) -> str | None:
        """What another process made of the photos of a row's set; None where the suite does not ask about it."""
        return self.others.get(row.train) if self.suite == "full" else None

    def run_of(self, row: Row) -> str:
        """The name of a row's recogniser runs: its set, what is mixed in, its variant where that changes anything."""
        faces = f"{row.train}-with-{slug(row.real)}" if row.real else row.train
        changed = row.recogniser is not None and self.recognisers[row.recogniser]
        return f"{faces}-{slug(row.recogniser or '')}" if changed else faces

    @property
    def suite(self) -> str:
        """How much the audits of the table ask."""
        return AuditSpec.model_validate(self.audit).suite

    def audit_of(self, row: Row) -> str:
        """The name of a row's audit: its suite unless that is Eq. 3 alone, its set, and an imitation of its own."""
        faces = row.train if self.suite == "retrieval" else f"{self.suite}-{row.train}"
        return f"{faces}-against-{row.imitation}" if row.imitation else faces

    def made_by(self, name: str) -> tuple[str | None, str | None]:
        """The model that reconstructed ``name`` and the masked set that it had; neither for all other sets."""
        call = self.stages.get(stage_name(name))
        return (call.inputs[0], call.inputs[1]) if call is not None and call.verb == "reconstruct" else (None, None)

    def trained_on(self, model: str | None) -> str | None:
        """The photos that trained ``model``; None where it is no stage of the table."""
        call = self.stages.get(stage_name(model)) if model else None
        return call.inputs[0] if call is not None and call.verb == "pretrain" else None

    def each_claim(self) -> Iterator[Claim]:
        """The claims, those about every protocol or every judge once for each."""
        for claim in self.claims:
            metrics = [claim.metric]
            if claim.metric in EVERY_PROTOCOL:
                metrics = [EVERY_PROTOCOL[claim.metric] + protocol.name for protocol in self.protocols]
            elif every := re.fullmatch(r"(leakage|fall):\*:(\d+)", claim.metric):
                metrics = [f"{every[1]}:{judge.name}:{every[2]}" for judge in self.judges]
            for metric in metrics:
                yield claim.model_copy(update={"metric": metric})

    def _rows_fit(self) -> Iterator[str]:
        for row in self.rows:
            if row.recogniser is not None and row.recogniser not in self.recognisers:
                known = ", ".join(sorted(self.recognisers)) or "none"
                yield f"row {row.label!r} wants recogniser {row.recogniser!r}; recognisers are {known}"
                continue
            mixes = {**self.recognize, **(self.recognisers[row.recogniser] if row.recogniser else {})}.get("domain_mix")
            if bool(mixes) != (row.real is not None):
                without = f"a recogniser with domain_mix={mixes} and no real" if mixes else "real without a domain_mix"
                yield f"row {row.label!r} has {without}; give both or none"

    def _claims_fit(self) -> Iterator[str]:
        rows = {row.label: row for row in self.rows}
        audit = AuditSpec.model_validate(self.audit)
        names = ("*", *(judge.name for judge in self.judges)) if self.judges else ()
        kinds = ("leakage", "fall") if audit.identities else ("leakage",)
        metrics = {f"{kind}:{name}:{k}" for kind in kinds for name in names for k in audit.k}
        if self.seeds:
            metrics |= EVERY_PROTOCOL.keys()
            metrics |= {start + item.name for start in EVERY_PROTOCOL.values() for item in self.protocols}
        for claim in self.claims:
            if not {claim.a, claim.b} <= rows.keys():
                yield f"claim {claim.claim!r} compares rows that the table does not have"
                continue
            if claim.metric not in metrics:
                known = ", ".join(sorted(metrics)) or "anything, for nothing is measured"
                yield f"claim {claim.claim!r} is about {claim.metric!r}, not {known}"
            if claim.metric.startswith(("leakage:", FALL)) and not (rows[claim.a].audit and rows[claim.b].audit):
                yield f"claim {claim.claim!r} is about the leakage of a row without an audit"


def _twice(what: str, names: Iterable[str], why: str) -> Iterator[str]:
    """One line for every group of names that are the same, or the same once they name a directory."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(slug(name), []).append(name)
    for group in groups.values():
        if len(group) > 1:
            yield f"{len(group)} {what} {', '.join(map(repr, group))}; {why}"
