"""WHAT is asked of `recognize`: the one section of a recipe that is a recipe of its own field."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from facemae.spec.manifest import NEWER, Frozen, Grown
from facemae.spec.ranges import Positive, Precision, Share, Weight

Backbone = Literal[
    "iresnet18", "iresnet34", "iresnet50", "iresnet100", "iresnet200",
    "mbf", "mbf2", "mbf_large",
    "vit_t", "vit_s", "vit_b", "vit_l",
]  # fmt: skip


class Margin(Grown):
    """The additive margin of the classifier head.

    ``gradient`` is of arcface; ``h`` and ``t_alpha`` are of adaface: how far a feature norm moves the margin, and the
    weight of a new batch in the running statistics of norms. Cosines to other people above ``interclass_filter`` are
    left out of the loss; 0 filters nothing.
    """

    kind: Literal["arcface", "cosface", "adaface"] = "arcface"
    margin: Annotated[float, Field(ge=0)] = 0.5
    scale: Annotated[float, Field(gt=0)] = 64.0
    gradient: Literal["exact", "expanded", "unguarded", "straight_through"] = "exact"
    h: Annotated[Annotated[float, Field(gt=0)], NEWER] = 0.333
    t_alpha: Annotated[Annotated[float, Field(gt=0, le=1)], NEWER] = 0.01
    interclass_filter: Annotated[Share, NEWER] = 0.0


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

    Learning rate = lr * batch / 512, as in the InsightFace code of the paper's time (``lr_rule`` "linear"). ``width``:
    the backbone's own (64; mbf2 128, mbf_large 256) where it is not given.

    ``epochs`` instead of iterations: (images // batch) * epochs of them, with ``warmup_epochs`` and ``decay_epochs``
    instead of the shares ``warmup`` and ``decay``. ``schedule``: `train.schedule`. ``mixup`` "identity" learns from
    records that show two people; ``domain_mix``: in this share of the batches real photos are mixed in.
    """

    backbone: Backbone = "iresnet50"
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
    epochs: Annotated[Positive | None, NEWER] = None
    warmup_epochs: Annotated[Weight | None, NEWER] = None
    decay_epochs: Annotated[tuple[Weight, ...] | None, NEWER] = None
    schedule: Annotated[Literal["step", "step_epoch", "polynomial"], NEWER] = "step"
    lr_rule: Annotated[Literal["linear", "absolute"], NEWER] = "linear"
    optimizer: Annotated[Literal["sgd", "adamw"], NEWER] = "sgd"
    weight_decay_on: Annotated[Literal["all", "no_bias_bn"], NEWER] = "all"
    mixup: Annotated[Literal["none", "identity"], NEWER] = "none"
    domain_mix: Annotated[Share, NEWER] = 0.0

    @property
    def soft(self) -> bool:
        """Whether a face may show more than one person of the classifier."""
        return self.mixup != "none" or self.domain_mix > 0

    @model_validator(mode="after")
    def _one_length(self) -> "RecognizeSpec":
        # A recipe that spells out the default number of iterations can be extended by one that counts epochs.
        if self.epochs is not None and self.iterations != type(self).model_fields["iterations"].default:
            raise ValueError("epochs and iterations both given; give one of them")
        in_epochs = self.warmup_epochs is not None or self.decay_epochs is not None
        if self.epochs is None and (in_epochs or self.schedule == "step_epoch"):
            raise ValueError("warmup_epochs, decay_epochs and schedule step_epoch need epochs")
        if self.schedule == "step_epoch" and (self.warmup_epochs is None or self.decay_epochs is None):
            raise ValueError("schedule step_epoch needs warmup_epochs and decay_epochs")
        return self

    @model_validator(mode="after")
    def _what_shards_can(self) -> "RecognizeSpec":
        if self.classifier.sharded and self.soft:
            raise ValueError(
                "mixup and domain_mix need classifier.sharded=false: a sharded one takes one person a face"
            )
        if self.classifier.sharded and self.optimizer != "sgd":
            raise ValueError(
                f"optimizer {self.optimizer} needs classifier.sharded=false: a sharded one has its own SGD"
            )
        return self
