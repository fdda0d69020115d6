"""How long a recogniser is trained on a set, and at which learning rate: shares of all iterations, or epochs."""

import math
from dataclasses import dataclass

from facemae.errors import RecipeError
from facemae.spec.recipe import RecognizeSpec
from facemae.train.optim import polynomial, stepped, stepped_by_epoch


@dataclass(frozen=True)
class Schedule:
    """The learning rates of ``spec`` on a set of ``images``.

    Where the spec counts epochs, an epoch is images // batch iterations, and epoch e begins at iteration
    e * images // batch, as arcface_torch computes both. So it counts its steps; its loader starts every epoch anew,
    ours goes on with the images that did not fill a batch.

    Raises:
        RecipeError: epochs of a set that does not fill one batch.
    """

    spec: RecognizeSpec
    images: int

    def __post_init__(self) -> None:
        if self.spec.epochs is not None and self.images < self.spec.batch:
            raise RecipeError(
                "recognize.epochs",
                got=f"{self.images} images at batch={self.spec.batch}",
                needed="at least one whole batch",
                remedy="set batch lower, or iterations instead of epochs",
            )

    @property
    def total(self) -> int:
        """Iterations in all: the spec's own, or (images // batch) * epochs."""
        spec = self.spec
        return spec.iterations if spec.epochs is None else self.images // spec.batch * spec.epochs

    @property
    def warmup(self) -> int:
        """Iterations of warm-up: round(share * total), or int((images // batch) * epochs)."""
        if self.spec.warmup_epochs is None:
            return round(self.spec.warmup * self.total)
        return int(self.images // self.spec.batch * self.spec.warmup_epochs)

    @property
    def points(self) -> list[int]:
        """Iterations from which the rate is a tenth of what it was: floor(share * total), or e * images // batch.

        Epochs 20, 28 and 32 of 490,623 images at 512 are 19164, 26830 and 30663; as shares of 34 epochs of 958 whole
        iterations they are 19160, 26824 and 30656.
        """
        if self.spec.decay_epochs is None:
            return [math.floor(share * self.total) for share in self.spec.decay]
        return [int(epoch * self.images // self.spec.batch) for epoch in self.spec.decay_epochs]

    def rate(self, step: int) -> float:
        """lr * batch / 512 * factor, or lr * factor where the spec says so, of the iteration ``step`` (from 0)."""
        spec = self.spec
        full = spec.lr * spec.batch / 512 if spec.lr_rule == "linear" else spec.lr
        return full * self._factor(step)

    def _factor(self, step: int) -> float:
        spec = self.spec
        if spec.schedule == "polynomial":
            return polynomial(step, self.total, self.warmup)
        if spec.schedule == "step_epoch":
            assert spec.warmup_epochs is not None
            assert spec.decay_epochs is not None
            return stepped_by_epoch(step // (self.images // spec.batch), spec.warmup_epochs, spec.decay_epochs)
        return stepped(step, self.warmup, self.points)
