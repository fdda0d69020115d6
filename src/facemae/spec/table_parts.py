"""What a table is put together from: stages, protocols, rows, claims, judges, pictures."""

from typing import Any, Literal

from pydantic import ValidationInfo, field_validator

from facemae.spec.manifest import Frozen
from facemae.spec.normalisation import Normalisation
from facemae.spec.recipe import SECTIONS
from facemae.spec.validation import demand

Verb = Literal["import", "mask", "pretrain", "reconstruct", "recognize"]

TAKES: dict[str, tuple[str, ...]] = {
    "import": ("photos",),
    "mask": ("originals",),
    "pretrain": ("originals",),
    "reconstruct": ("model", "masked set"),
    "recognize": ("face set",),
}
"""What the inputs of each verb are, in its order; import takes any number of sources."""

FALL = "fall:"
"""Begins the metric of claims that a leakage falls further than another as the people grow in number."""

HALF_ERROR = "half-error:"
"""Begins the metric of claims that one row has less than half of another's error."""

EVERY_PROTOCOL = {"accuracy": "", "half-error": HALF_ERROR}
"""Metrics that stand for every protocol, and how those of a single one begin."""


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

    ``recogniser``: one of the table's variants instead of its own recogniser. ``real``: photos that are mixed into the
    set's where the recogniser has a ``domain_mix``. ``imitation``: the same people through an attacker's process,
    instead of what the table names for this set. ``audit``: false for sets of nobody's photos. ``stand_in``: what the
    set is in the place of, where the method's own cannot be had: verdicts on such a row are marked.
    """

    label: str
    train: str
    weights: str = ""
    recogniser: str | None = None
    real: str | None = None
    imitation: str | None = None
    audit: bool = True
    stand_in: str = ""
    paper: dict[str, float] = {}


class Claim(Frozen):
    """Row ``a`` is claimed greater than row ``b`` (equal within half a point, or no better) on ``metric``.

    Metrics: the name of a protocol; ``half-error:PROTOCOL``, the same against row ``b`` with half of its error;
    ``leakage:JUDGE:K`` ("Org. to released"; "Org. to Org." for an unlinked row); or ``fall:JUDGE:K``, what of it is
    lost from the fewest to all people of the audit's curve. ``accuracy`` and ``half-error`` stand for every protocol of
    the table, ``leakage:*:K`` and ``fall:*:K`` for every judge.
    """

    claim: str
    a: str
    b: str
    metric: str
    kind: Literal["greater", "no_effect", "no_gain"] = "greater"


class Judge(Frozen):
    """A network that judges leakage; ``loss_network`` marks phi, which the generator was trained against.

    ``normalize`` is this judge's input normalisation, instead of that of `[verify]` and `[audit]`. ``trained_on``: on
    whose photos, in words, where the table's own stages do not tell.
    """

    name: str
    source: str
    normalize: Normalisation | None = None
    loss_network: bool = False
    trained_on: str = ""


class Picture(Frozen):
    """One column of the picture grid; every set shows the same photos. ``boxes``: framed eyes and mouth."""

    label: str
    faces: str
    boxes: bool = False


def slug(label: str) -> str:
    """A label as part of a directory's name: ``75 % masked`` is ``75---masked``."""
    return "".join(letter if letter.isalnum() else "-" for letter in label.lower()).strip("-")


def stage_name(name: str) -> str:
    """The stage that a reference leads to: ``people/pairs/lfw.csv`` and ``people.private`` lead to ``people``."""
    return name.split("/")[0].removesuffix(".private")
