"""A table of the paper, or one's own, as data: the stages it rests on, its rows, its claims."""

from collections.abc import Iterable, Iterator
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from facemae.spec.manifest import Frozen
from facemae.spec.normalisation import Normalisation
from facemae.spec.recipe import SECTIONS, AuditSpec
from facemae.spec.validation import Mistakes, demand

Verb = Literal["import", "mask", "pretrain", "reconstruct", "recognize"]

TAKES: dict[str, tuple[str, ...]] = {
    "import": ("photos",),
    "mask": ("originals",),
    "pretrain": ("originals",),
    "reconstruct": ("model", "masked set"),
    "recognize": ("face set",),
}
"""What the inputs of each verb are, in its order; import takes any number of sources."""


class StageCall(Frozen):
    """One directory to be made.

    Inputs are names of other stages, ``data:FILE`` for a file in the data folder, ``package:NAME`` for weights that
    come with the package, or (import) the word ``synthetic``.
    A name may go on with a path inside that stage's directory; ``NAME.private`` is a masked set's private folder.
    """

    verb: Verb
    inputs: tuple[str, ...]
    settings: dict[str, Any] = {}
    phi: str | None = None
    init: str | None = None
    like: str | None = None
    landmarks: str | None = None

    @field_validator("inputs")
    @classmethod
    def _inputs_fit(cls, inputs: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        verb = info.data.get("verb")
        if verb is None:  # the verb is the mistake
            return inputs
        wanted = TAKES[verb]
        if len(inputs) < len(wanted) or (len(inputs) > len(wanted) and verb != "import"):
            at_least = "at least " if verb == "import" else ""
            raise ValueError(f"{verb} takes {at_least}{len(wanted)}: {', '.join(wanted)}")
        return inputs

    @field_validator("settings")
    @classmethod
    def _settings_fit(cls, settings: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if "verb" in info.data:  # else the verb is the mistake
            demand(SECTIONS[info.data["verb"]], settings)
        return settings

    def needs(self) -> tuple[str, ...]:
        """Everything this stage reads, as written."""
        return tuple(name for name in (*self.inputs, self.phi, self.init, self.like, self.landmarks) if name)


class Protocol(Frozen):
    """A verification benchmark: a set and its pair list."""

    name: str
    faces: str
    pairs: str


class Row(Frozen):
    """One row: the set its recognisers are trained on, which is the set that is released and audited.

    ``linkage`` is missing only for the originals themselves. ``imitation``: the same process with other masks.
    """

    label: str
    train: str
    weights: str = ""
    linkage: str | None = None
    imitation: str | None = None
    imitation_linkage: str | None = None
    paper: dict[str, float] = {}


class Claim(Frozen):
    """Row ``a`` is claimed greater than row ``b`` (or equal within half a point) on ``metric``.

    Metrics: the name of a protocol, or ``leakage:JUDGE:K`` ("Org. to released"; "Org. to Org." for an unlinked row).
    """

    claim: str
    a: str
    b: str
    metric: str
    kind: Literal["greater", "no_effect"] = "greater"


class Judge(Frozen):
    """A network that judges leakage; ``loss_network`` marks phi, which the generator was trained against.

    ``normalize`` is this judge's input normalisation, instead of that of `[verify]` and `[audit]`.
    """

    name: str
    source: str
    normalize: Normalisation | None = None
    loss_network: bool = False


class Picture(Frozen):
    """One column of the picture grid; every set shows the same photos, found through ``linkage``."""

    label: str
    faces: str
    linkage: str | None = None


class Table(Frozen):
    """Everything `reproduce` needs; ``original`` is the set that the rows protect."""

    title: str
    note: str = ""
    data: str = ""
    seeds: tuple[int, ...] = (0, 1, 2)
    original: str
    nonmembers: str | None = None
    recognize: dict[str, Any] = {}
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

    @model_validator(mode="after")
    def _all_named(self) -> "Table":
        mistakes = [
            *_twice(
                "rows are labelled", (row.label for row in self.rows), "a row's label names the directory of its audit"
            ),
            *_twice("judges are called", (judge.name for judge in self.judges), "each needs a name of its own"),
            *_twice("protocols are called", (item.name for item in self.protocols), "each needs a name of its own"),
        ]
        unknown = sorted({name for name in self.references() if not self.knows(name)})
        if unknown:
            mistakes.append(f"no stage is called {', '.join(unknown)}; stages are {', '.join(sorted(self.stages))}")
        labels = {row.label for row in self.rows}
        ks = AuditSpec.model_validate(self.audit).k
        metrics = {f"leakage:{judge.name}:{k}" for judge in self.judges for k in ks}
        metrics |= {protocol.name for protocol in self.protocols}
        for claim in self.claims:
            if not {claim.a, claim.b} <= labels:
                mistakes.append(f"claim {claim.claim!r} compares rows that the table does not have")
            if claim.metric not in metrics:
                mistakes.append(f"claim {claim.claim!r} is about {claim.metric!r}, not {', '.join(sorted(metrics))}")
        if mistakes:
            raise Mistakes(mistakes)
        return self

    def references(self) -> list[str]:
        """Everything that the table reads, as written."""
        used: list[str | None] = [self.original, self.nonmembers]
        used += [name for call in self.stages.values() for name in call.needs()]
        used += [name for protocol in self.protocols for name in (protocol.faces, protocol.pairs)]
        used += [judge.source for judge in self.judges]
        for row in self.rows:
            used += [row.train, row.linkage, row.imitation, row.imitation_linkage]
        for picture in self.pictures:
            used += [picture.faces, picture.linkage]
        return [name for name in used if name is not None]

    def knows(self, name: str) -> bool:
        """Whether ``name`` is a file of the data folder or of the package, ``synthetic``, or leads to a stage."""
        return name.startswith(("data:", "package:")) or name == "synthetic" or stage_name(name) in self.stages


def slug(label: str) -> str:
    """A label as part of a directory's name: ``75 % masked`` is ``75---masked``."""
    return "".join(letter if letter.isalnum() else "-" for letter in label.lower()).strip("-")


def _twice(what: str, names: Iterable[str], why: str) -> Iterator[str]:
    """One line for every group of names that are the same, or the same once they name a directory."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(slug(name), []).append(name)
    for group in groups.values():
        if len(group) > 1:
            yield f"{len(group)} {what} {', '.join(map(repr, group))}; {why}"


def stage_name(name: str) -> str:
    """The stage that a reference leads to: ``people/pairs/lfw.csv`` and ``people.private`` lead to ``people``."""
    return name.split("/")[0].removesuffix(".private")
