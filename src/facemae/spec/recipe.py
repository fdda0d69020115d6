"""WHAT is asked of each verb, as one TOML file with a section a verb.

The defaults are the paper's setting wherever it states one (section 4.2, appendix A.1) and our reading of it where it
does not. A section holds only what changes the result: devices, workers and paths of inputs are given on the command
line. `docs/recipes.md` lists every key.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from facemae.spec.manifest import NEWER, Frozen, Grown
from facemae.spec.normalisation import Normalisation

Ratio = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Precision = Literal["auto", "fp32", "bf16"]
Engine = Literal["torch", "openvino"]
SplitName = Literal["P1", "P2", "P3", "D-in", "D-out"]


class SyntheticSpec(Frozen):
    """Procedural people number ``first`` … ``first + identities - 1`` with ``photos`` pictures each."""

    identities: Positive = 200
    photos: Positive = 20
    first: Annotated[int, Field(ge=0)] = 0
    seed: int = 0


class ImportSpec(Frozen):
    """`import`: photos to a FaceSet of originals. ``size``: resize or align to that many pixels (synthetic: 112)."""

    layout: Literal["auto", "folder", "flat", "cfp", "agedb"] = "auto"
    size: Positive | None = None
    split: SplitName | None = None
    limit: Share = 0.01
    synthetic: SyntheticSpec = SyntheticSpec()


class ExportSpec(Frozen):
    """`export`: a FaceSet to something other tools read. ``keep_names``: originals keep their people's names."""

    format: Literal["folder", "webdataset"] = "folder"
    keep_names: bool = False


class MaskSpec(Frozen):
    """`mask`: what leaves the house.

    ``method`` "cells" keeps a random share 1 - ``ratio`` of the cells (``cell`` pixels of the native image; 8 at 112 is
    the paper's 16 at 224). "blur" makes the classic baseline instead: a Gaussian of ``sigma`` pixels.
    """

    method: Literal["cells", "blur"] = "cells"
    ratio: Ratio = 0.75
    cell: Positive = 8
    sigma: Annotated[float, Field(gt=0)] | None = None
    seed: int | None = None


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


class Margin(Frozen):
    """The additive margin of the classifier head."""

    kind: Literal["arcface", "cosface"] = "arcface"
    margin: Annotated[float, Field(ge=0)] = 0.5
    scale: Annotated[float, Field(gt=0)] = 64.0
    gradient: Literal["exact", "straight_through"] = "exact"


class Classifier(Frozen):
    """How the class centres are held: on every process, or ``sharded`` over them.

    ``rate``: share of its centres that a process of a sharded classifier compares with in one step; those of the people
    in the batch are always among them.
    """

    sharded: bool = False
    rate: Annotated[float, Field(gt=0, le=1)] = 1.0

    @model_validator(mode="after")
    def _only_shards_are_sampled(self) -> "Classifier":
        if self.rate < 1 and not self.sharded:
            raise ValueError("rate below 1 needs sharded=true")
        return self


class RecognizeSpec(Grown):
    """`recognize`: appendix A.1 by iterations: decay at 20/28/32 of 34 epochs, one epoch of warm-up.

    Learning rate = lr * batch / 512, as in the InsightFace code of the paper's time. ``width``: the backbone's own (64;
    mbf2 128) where it is not given.
    """

    backbone: Literal["iresnet18", "iresnet34", "iresnet50", "iresnet100", "iresnet200", "mbf", "mbf2"] = "iresnet50"
    width: Annotated[int, Field(gt=0, multiple_of=16)] | None = None
    input_size: Positive = 112
    embedding: Positive = 512
    margin: Margin = Margin()
    classifier: Annotated[Classifier, NEWER] = Classifier()
    iterations: Positive = 32572
    batch: Positive = 512
    lr: Annotated[float, Field(gt=0)] = 0.1
    momentum: Share = 0.9
    weight_decay: Weight = 5e-4
    warmup: Share = 1 / 34
    decay: tuple[Share, ...] = (20 / 34, 28 / 34, 32 / 34)
    clip: Annotated[float, Field(gt=0)] = 5.0
    flip: bool = True
    precision: Precision = "auto"
    seed: int = 0


class EmbedSpec(Grown):
    """`embed`: raw vectors of every image and of its mirror image.

    ``normalize``: None is what the network's file tells, which a plain ONNX graph does not; our own recognisers always
    use their own.
    """

    normalize: Normalisation | None = None
    precision: Precision = "fp32"
    engine: Annotated[Engine, NEWER] = "torch"


class VerifySpec(Frozen):
    """`verify`: ten folds, flip-sum, as InsightFace does it; intervals by bootstrap over people."""

    normalize: Normalisation | None = None
    far: Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(min_length=1)] = (1e-1, 1e-2, 1e-3)
    replicates: Positive = 1000
    precision: Precision = "fp32"
    seed: int = 0


class AuditSpec(Frozen):
    """`audit`: closed-set retrieval (Eq. 3) with chance, control and curves over the number of identities."""

    normalize: Normalisation | None = None
    k: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1, 2, 3, 4)
    identities: tuple[Positive, ...] = ()
    draws: Annotated[int, Field(ge=20)] = 20
    same_photo: Literal["exclude", "include", "both"] = "both"
    replicates: Positive = 1000
    seed: int = 0


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


SECTIONS: dict[str, type[Frozen]] = {
    field.alias or name: field.annotation  # type: ignore[misc]
    for name, field in Recipe.model_fields.items()
}
