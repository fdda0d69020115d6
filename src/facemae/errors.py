"""Every error a person can meet, as one tree.

    FaceMAEError                    exit code 2, one line, no traceback
    ├── RecipeError                 a recipe, a setting or a command line is wrong (all mistakes at once)
    ├── DataError                   faces, pair lists, landmarks, linkage files
    │   ├── UnreadableImage         truncated, not an image, over the size limit
    │   ├── EmptyIdentity           a person whose folder holds no image
    │   ├── MixedSizes              images of several sizes where one is needed
    │   ├── TooManyUnreadable       more bad records than the limit allows
    │   ├── MissingPairs            a pair list names photos that the set does not hold
    │   ├── NotAFaceSet             a directory without a manifest, or of the wrong kind
    │   └── Damaged                 bytes on disk do not match their checksum
    ├── WeightsError                checkpoints and graphs
    │   ├── WrongKeys               names that are missing or unexpected
    │   ├── WrongShapes             a tensor of another shape than the model's
    │   ├── UnknownOperator         an ONNX operator we do not implement
    │   └── UnsafeFile              a pickle that wants to execute something
    ├── TrainingError
    │   └── NonFiniteLoss           NaN or infinity; the last checkpoint is kept
    └── StageError
        ├── OutputExists            OUT holds something else
        └── DiskFull                no space left; what was complete before stays complete

``assert`` is for our own mistakes and never reaches a person on purpose.
"""


class FaceMAEError(Exception):
    """One clear line: ``what: got …; needed …; remedy``.

    Every part but ``what`` is optional, and each is a phrase without a full stop. Names come from files that anybody
    may have made, so what cannot be printed is shown as an escape: the line stays one, and no terminal obeys it.
    """

    exit_code = 2

    def __init__(self, what: str, *, got: object = None, needed: object = None, remedy: str | None = None) -> None:
        parts = [
            f"got {got}" if got is not None else "",
            f"needed {needed}" if needed is not None else "",
            remedy or "",
        ]
        details = "; ".join(part for part in parts if part)
        line = f"{what}: {details}" if details else what
        super().__init__("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line))


class RecipeError(FaceMAEError):
    """A recipe, a setting or a command line is wrong."""


class DataError(FaceMAEError):
    """Faces, pair lists, landmarks or linkage files are wrong."""


class UnreadableImage(DataError):
    """Truncated, not an image, or over the size limit."""


class EmptyIdentity(DataError):
    """A person whose folder holds no image."""


class MixedSizes(DataError):
    """Images of several sizes where one is needed."""


class TooManyUnreadable(DataError):
    """More unreadable records than the limit allows."""


class MissingPairs(DataError):
    """A pair list names photos that the set does not hold."""


class NotAFaceSet(DataError):
    """A directory without a manifest, or a set of the wrong kind."""


class Damaged(DataError):
    """Bytes on disk do not match their checksum."""


class WeightsError(FaceMAEError):
    """A checkpoint or a graph cannot be used."""


class WrongKeys(WeightsError):
    """Names that are missing or unexpected."""


class WrongShapes(WeightsError):
    """A tensor of another shape than the model's."""


class UnknownOperator(WeightsError):
    """An ONNX operator that is not implemented."""


class UnsafeFile(WeightsError):
    """A pickle that wants to execute something."""


class TrainingError(FaceMAEError):
    """Training cannot go on."""


class NonFiniteLoss(TrainingError):
    """The loss is NaN or infinite; the last checkpoint is kept."""


class StageError(FaceMAEError):
    """A stage cannot write its output."""


class OutputExists(StageError):
    """OUT holds something else."""


class DiskFull(StageError):
    """No space left on the device; what was complete before stays complete."""
