"""WHAT is asked of each verb, as one TOML file with a section a verb.

The defaults are the paper's setting wherever it states one (section 4.2, appendix A.1) and our reading of it where it
does not. A section holds only what changes the result: devices, workers and paths of inputs are given on the command
line. `docs/recipes.md` lists every key.
"""

from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from facemae.spec.formats import MaeFormat, TrainedFormat
from facemae.spec.manifest import NEWER, Frozen, Grown
from facemae.spec.normalisation import Normalisation
from facemae.spec.protection import ProtectSpec as ProtectSpec
from facemae.spec.ranges import Engine, Positive, Precision, Ratio, Share, Weight
from facemae.spec.recognition import Classifier as Classifier
from facemae.spec.recognition import Margin as Margin
from facemae.spec.recognition import RecognizeSpec as RecognizeSpec

SplitName = Literal["P1", "P2", "P3", "D-in", "D-out"]


class SyntheticSpec(Grown):
    """Procedural people number ``first`` … ``first + identities - 1`` with ``photos`` pictures each.

    ``mixed``: in so many of them, the last ones, a second person of the set is mixed in (SynFace's identity mixup).
    """

    identities: Positive = 200
    photos: Positive = 20
    first: Annotated[int, Field(ge=0)] = 0
    seed: int = 0
    mixed: Annotated[int, Field(ge=0), NEWER] = 0

    @model_validator(mode="after")
    def _no_more_mixed_than_photos(self) -> "SyntheticSpec":
        if self.mixed > self.photos:
            raise ValueError(f"mixed {self.mixed} is more than photos {self.photos}")
        return self


class Subset(Frozen):
    """One of ``parts`` equal parts of the people, by a published hash of their names."""

    part: Annotated[int, Field(ge=0)]
    parts: Annotated[int, Field(gt=1)]

    @model_validator(mode="after")
    def _one_of_them(self) -> "Subset":
        if self.part >= self.parts:
            raise ValueError(f"part {self.part} of {self.parts}; parts count from 0")
        return self


class ImportSpec(Grown):
    """`import`: photos to a FaceSet of originals. ``size``: resize or align to that many pixels (synthetic: 112).

    ``label``: the column (Parquet) or JSON key (WebDataset) that holds the person, where it has no usual name.
    """

    layout: Literal["auto", "folder", "flat", "cfp", "agedb", "mixed", "webface", "webdataset"] = "auto"
    label: Annotated[str | None, NEWER] = None
    size: Positive | None = None
    split: SplitName | None = None
    subset: Annotated[Subset | None, NEWER] = None
    limit: Share = 0.01
    synthetic: SyntheticSpec = SyntheticSpec()

    @model_validator(mode="after")
    def _mixed_people_stay_together(self) -> "ImportSpec":
        if self.layout == "mixed" and (self.split is not None or self.subset is not None):
            part = "split" if self.split is not None else "subset"
            raise ValueError(f"layout mixed takes no {part}: the two people of a photo may fall into different parts")
        return self


class ExportSpec(Grown):
    """`export`: a FaceSet, or what was trained, to something other tools read.

    ``keep_names``: originals keep their people's names. ``ranks``: class centres are split over so many. ``pairs``: the
    list that becomes a verification file (format bin); without it all that the set has.

    ``card``: a dataset card and Croissant metadata beside the data; ``license``, ``source`` and ``consent`` are what
    the card quotes of the publisher.

    ``heads``, ``decoder_heads``: of a masked autoencoder of another tool, where its file does not tell them.
    """

    format: Literal["folder", "webdataset", "parquet", "recordio", "bin", TrainedFormat] = "folder"
    keep_names: bool = False
    ranks: Positive = 1
    pairs: str | None = None
    card: bool = False
    license: str | None = None
    source: str | None = None
    consent: str | None = None
    heads: Annotated[Positive | None, NEWER] = None
    decoder_heads: Annotated[Positive | None, NEWER] = None

    @model_validator(mode="after")
    def _heads_of_a_model(self) -> "ExportSpec":
        given = [key for key in ("heads", "decoder_heads") if getattr(self, key) is not None]
        if given and self.format not in get_args(MaeFormat):
            raise ValueError(f"{' and '.join(given)} given for format {self.format}, which no masked autoencoder has")
        return self

    @model_validator(mode="after")
    def _quoted_on_a_card(self) -> "ExportSpec":
        if not self.card and (given := [key for key in ("license", "source", "consent") if getattr(self, key)]):
            raise ValueError(f"{' and '.join(given)} given without card; card=true writes them down")
        return self

    @model_validator(mode="after")
    def _what_insightface_reads(self) -> "ExportSpec":
        if self.pairs is not None and self.format != "bin":
            raise ValueError(f"pairs given for format {self.format}; format=bin writes them")
        if self.card and self.format in ("recordio", "bin"):
            raise ValueError(f"card=true with format {self.format}, whose readers know none; take another format")
        return self


class MaskSpec(Grown):
    """`mask`: what leaves the house.

    ``method`` "cells" keeps a random share 1 - ``ratio`` of the cells (``cell`` pixels of the native image; 8 at 112 is
    the paper's 16 at 224). ``region`` is hidden first in every photo, and random cells after it up to the same ratio;
    without ``region_fill`` nothing but the region is hidden. ``fill`` stands in the hidden cells where a masked photo
    is seen as a picture: mid-grey, black, or the mean colour of all visible pixels of the set.

    The other methods make a classic baseline instead: "blur" a Gaussian of ``sigma`` pixels, "pixelate" squares of
    ``block`` pixels, "noise" of ``deviation`` grey levels, "windows" of ``side`` pixels about eyes and mouth corners.
    """

    method: Literal["cells", "blur", "pixelate", "noise", "windows"] = "cells"
    ratio: Ratio = 0.75
    cell: Positive = 8
    sigma: Annotated[float, Field(gt=0)] | None = None
    seed: int | None = None
    region: Annotated[Literal["none", "eyes", "mouth"], NEWER] = "none"
    region_fill: Annotated[bool, NEWER] = True
    fill: Annotated[Literal["grey", "black", "mean"], NEWER] = "grey"
    block: Annotated[Positive | None, NEWER] = None
    deviation: Annotated[Annotated[float, Field(gt=0)] | None, NEWER] = None
    side: Annotated[Positive | None, NEWER] = None


class Loss(Frozen):
    """total = pixel * MSE + instance * IM + relation * RM (Eq. 2); beta = relation / instance."""

    pixel: Weight = 0.0
    instance: Weight = 1.0
    relation: Weight = 1.0
    pixel_on: Literal["all", "masked"] = "all"
    relation_scope: Literal["global", "local"] = "global"

    @model_validator(mode="after")
    def _some_weight(self) -> "Loss":
        if self.pixel == self.instance == self.relation == 0:
            raise ValueError("all three loss weights are 0; give at least one of pixel, instance, relation")
        return self

    @property
    def uses_phi(self) -> bool:
        """Whether the feature network is needed at all."""
        return self.instance > 0 or self.relation > 0


class PretrainSpec(Frozen):
    """`pretrain`: the paper's training stage. Learning rate = base_lr * batch / 256 (batch over all ranks)."""

    size: Literal["tiny", "small", "base", "large", "huge"] = "base"
    image_size: Positive = 224
    patch_size: Positive = 16
    ratio: Ratio = 0.75
    loss: Loss = Loss()
    normalize: Normalisation | None = None
    epochs: Positive | None = None
    image_steps: Positive | None = None
    warmup: Share = 0.2
    batch: Positive = 256
    base_lr: Annotated[float, Field(gt=0)] = 1.5e-4
    weight_decay: Weight = 0.05
    betas: tuple[float, float] = (0.9, 0.95)
    clip: Annotated[float, Field(gt=0)] | None = None
    flip: bool = True
    precision: Precision = "auto"
    seed: int = 0

    @model_validator(mode="after")
    def _one_length(self) -> "PretrainSpec":
        if self.epochs is not None and self.image_steps is not None:
            raise ValueError("epochs and image_steps both given; give one of them")
        if self.image_size % self.patch_size:
            raise ValueError(f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}")
        return self


class ReconstructSpec(Grown):
    """`reconstruct`: prediction released as it is, or with the true visible patches pasted back."""

    paste_visible: bool = False
    format: Literal["png", "jpeg"] = "png"
    precision: Precision = "auto"
    engine: Annotated[Engine, NEWER] = "torch"


class EmbedSpec(Grown):
    """`embed`: raw vectors of every image and, unless ``mirrored`` is false, of its mirror image.

    ``normalize``: None is what the network's file tells, which a plain ONNX graph does not; our own recognisers always
    use their own.
    """

    normalize: Normalisation | None = None
    precision: Precision = "fp32"
    engine: Annotated[Engine, NEWER] = "torch"
    mirrored: Annotated[bool, NEWER] = True


class VerifySpec(Frozen):
    """`verify`: ten folds, flip-sum, as InsightFace does it; intervals by bootstrap over people."""

    normalize: Normalisation | None = None
    far: Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(min_length=1)] = (1e-1, 1e-2, 1e-3)
    replicates: Positive = 1000
    precision: Precision = "fp32"
    seed: int = 0


AttackerName = Literal[
    "template", "pixels", "imitator", "parrot", "cross-matcher", "inverter", "visible", "membership", "metadata"
]
FalseRate = Annotated[float, Field(gt=0, lt=1)]


class AuditSpec(Grown):
    """`audit`: closed-set retrieval (Eq. 3) with chance, control and curves over the number of identities.

    ``suite`` "retrieval" is that alone; "quick" adds everything that learns nothing (templates, pixels, linking,
    unlinkability, metadata), "full" every attacker whose inputs are given. ``attackers``: only these beside retrieval.
    ``steps`` and ``masks``: the budget of attackers who train, and passes through the process of those who imitate.
    ``fpirs``: None is 0.1 and 0.01, and in the larger suites 0.001. ``trained_on``: by embedder, what it was trained
    on, in words. ``precision``: of every network that only looks; those that attackers train always choose it
    themselves.
    """

    normalize: Normalisation | None = None
    k: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1, 2, 3, 4)
    identities: tuple[Positive, ...] = ()
    draws: Annotated[int, Field(ge=20)] = 20
    same_photo: Literal["exclude", "include", "both"] = "both"
    replicates: Positive = 1000
    seed: int = 0
    suite: Annotated[Literal["retrieval", "quick", "full"], NEWER] = "retrieval"
    attackers: Annotated[tuple[AttackerName, ...], NEWER] = ()
    steps: Annotated[Positive, NEWER] = 2000
    masks: Annotated[Positive, NEWER] = 8
    fars: Annotated[tuple[FalseRate, ...], NEWER] = (0.1, 0.01, 0.001)
    fpirs: Annotated[tuple[FalseRate, ...] | None, NEWER] = None
    trained_on: Annotated[dict[str, str], NEWER] = {}
    precision: Annotated[Precision, NEWER] = "fp32"

    @model_validator(mode="after")
    def _known_to_the_suite(self) -> "AuditSpec":
        if unknown := [name for name in self.attackers if name not in SUITES[self.suite]]:
            raise ValueError(f"attackers {', '.join(unknown)} given with suite {self.suite}; suite=full has them all")
        return self

    @property
    def asked(self) -> tuple[AttackerName, ...]:
        """The attackers beside retrieval, in the order of the suite."""
        return tuple(name for name in SUITES[self.suite] if not self.attackers or name in self.attackers)

    def looking(self, own: Normalisation | None, *, mirrored: bool = False) -> EmbedSpec:
        """How a judge looks at a set: with its ``own`` normalisation, else with that of all."""
        normalize = own if own is not None else self.normalize
        return EmbedSpec(normalize=normalize, precision=self.precision, mirrored=mirrored)

    @property
    def false_alarms(self) -> tuple[float, ...]:
        """Target rates of the open set and of membership."""
        if self.fpirs is not None:
            return self.fpirs
        return (0.1, 0.01) if self.suite == "retrieval" else (0.1, 0.01, 0.001)


SUITES: dict[str, tuple[AttackerName, ...]] = {
    "retrieval": (),
    "quick": ("template", "pixels", "metadata"),
    "full": get_args(AttackerName),
}


class Recipe(Frozen):
    """One section a verb; a section that is left out keeps its defaults."""

    imports: ImportSpec = Field(default=ImportSpec(), alias="import")
    export: ExportSpec = ExportSpec()
    mask: MaskSpec = MaskSpec()
    pretrain: PretrainSpec = PretrainSpec()
    reconstruct: ReconstructSpec = ReconstructSpec()
    recognize: RecognizeSpec = RecognizeSpec()
    embed: EmbedSpec = EmbedSpec()
    verify: VerifySpec = VerifySpec()
    audit: AuditSpec = AuditSpec()
    protect: ProtectSpec = ProtectSpec()


SECTIONS: dict[str, type[Frozen]] = {
    field.alias or name: field.annotation  # type: ignore[misc]
    for name, field in Recipe.model_fields.items()
}
