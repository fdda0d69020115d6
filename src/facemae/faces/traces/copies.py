"""Copies of originals in a release, with the false alarms of the check counted on pictures that are none."""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from facemae.faces.traces.collection import Collection
from facemae.faces.traces.duplicates import Copy, Originals, thumbnail
from facemae.faces.traces.finding import Finding, Severity, examples
from facemae.faces.traces.scan import Scan

PAST_DOUBT = 0.8
"""Correlation of fine detail that only copies reach: encoded anew they stay above 0.88, no stranger came above 0.65."""

TRIED = 1000
"""Pictures on which false alarms are counted, at most."""


@dataclass(frozen=True)
class FalseAlarms:
    """Pictures taken for a copy of a photo that they cannot be one of: ``hits`` of ``trials``, and whose they are.

    ``closest``: the largest correlation of fine detail among them; copies have 0.6 or more.
    """

    hits: int
    trials: int
    closest: float
    among: str

    def to_dict(self) -> dict[str, Any]:
        """The fields."""
        return asdict(self)

    def p_value(self, count: int, of: int) -> float:
        """P(X >= count), X binomial of ``of`` trials at (hits + 1) / (trials + 1)."""
        return binomial_tail(count, of, (self.hits + 1) / (self.trials + 1))


def copy_findings(
    original: Collection, released: Collection, ours: Scan, theirs: Scan, strangers: Collection | None, seed: int
) -> tuple[list[Finding], FalseAlarms]:
    """Identical files, identical pixels, copies in other encodings, and thumbnails that show an original."""
    known = Originals(ours.thumbs(), _reader(original))
    alarm = _false_alarms(known, original, ours, strangers, seed)
    contents, pixels = set(ours.content), set(ours.pixels) - {b""}
    same_file = [i for i, digest in enumerate(theirs.content) if digest in contents and digest != _NOTHING]
    same_pixels = [i for i in _without(len(released), same_file) if theirs.pixels[i] in pixels]
    rest = _without(len(released), same_file, same_pixels)
    thumbs, read = theirs.thumbs()[rest], _reader(released)
    copies = known.copies(thumbs, lambda i: read(rest[i]))
    near = [i for i, copy in zip(rest, copies, strict=True) if copy.same]
    closest = _closest(copies)
    findings = [
        _copied("identical file", "files are byte for byte an original", same_file, released, None, _DIGEST),
        _copied("identical pixels", "pictures have every pixel of an original", same_pixels, released, None, _DIGEST),
        _copied(
            "near copy",
            "pictures are so like one original that they pass for it encoded, resized, mirrored or turned anew",
            near,
            released,
            alarm,
            "",
            closest,
        ),
    ]
    shown, closest = _inside(known, theirs)
    inside = "files hold a small picture of an original"
    findings.append(_copied("picture inside", inside, shown, released, alarm, "", closest))
    return [finding for finding in findings if finding.count], alarm


def binomial_tail(count: int, trials: int, rate: float) -> float:
    """P(X >= count) for X binomial, summed term by term."""
    if count <= 0 or rate >= 1:
        return 1.0

    def term(k: int) -> float:
        ways = math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1)
        return math.exp(ways + k * math.log(rate) + (trials - k) * math.log1p(-rate))

    return min(1.0, math.fsum(term(k) for k in range(count, trials + 1)))


_DIGEST = "equal SHA-256: no false alarms"
_NOTHING = hashlib.sha256(b"").digest()[:16]


def _false_alarms(
    known: Originals, original: Collection, ours: Scan, strangers: Collection | None, seed: int
) -> FalseAlarms:
    random = np.random.default_rng(seed)
    if strangers is not None and len(strangers):
        chosen = np.sort(random.permutation(len(strangers))[:TRIED])
        read = _reader(strangers)
        thumbs = np.stack([thumbnail(read(int(i))) for i in chosen])
        copies, among = known.copies(thumbs, lambda i: read(int(chosen[i]))), "people outside"
    else:
        chosen = np.sort(random.permutation(len(original))[:TRIED])
        read = _reader(original)
        own = original.person
        copies = known.copies(
            ours.thumbs()[chosen], lambda i: read(int(chosen[i])), banned=lambda i: own == own[chosen[i]]
        )
        among = "originals among those of other people"
    return FalseAlarms(sum(c.same for c in copies), len(copies), max((c.detail for c in copies), default=0.0), among)


def _inside(known: Originals, theirs: Scan) -> tuple[list[int], float]:
    if not theirs.inside:
        return [], 0.0
    pictures = [pixels for _, pixels in theirs.inside]
    copies: Sequence[Copy] = known.copies(np.stack([thumbnail(one) for one in pictures]), lambda i: pictures[i])
    shown = {i for (i, _), copy in zip(theirs.inside, copies, strict=True) if copy.same}
    return sorted(shown), _closest(copies)


def _closest(copies: Sequence[Copy]) -> float:
    """The largest correlation of fine detail among those that are copies."""
    return max((copy.detail for copy in copies if copy.same), default=0.0)


def _copied(
    kind: str,
    what: str,
    rows: Sequence[int],
    released: Collection,
    alarm: FalseAlarms | None,
    control: str,
    closest: float = 1.0,
) -> Finding:
    """``closest``: the largest correlation of fine detail among the copies."""
    p_value = alarm.p_value(len(rows), len(released)) if alarm else None
    if alarm:
        control = f"{alarm.hits} of {alarm.trials} {alarm.among} were taken for a copy, closest {alarm.closest:.2f}"
    return Finding(
        "duplicates",
        kind,
        what,
        len(rows),
        len(released),
        examples(released.names[i] for i in rows),
        _severity(p_value, closest),
        p_value,
        control,
    )


def _severity(p_value: float | None, closest: float) -> Severity:
    """As few as the check takes for copies where none can be are no accusation, unless one is a copy past doubt."""
    if p_value is None or p_value <= 0.05:
        return "critical"
    return "warning" if closest >= PAST_DOUBT else "note"


def _without(count: int, *taken: Sequence[int]) -> list[int]:
    gone = {i for rows in taken for i in rows}
    return [i for i in range(count) if i not in gone]


def _reader(collection: Collection) -> Callable[[int], np.ndarray]:
    def read(i: int) -> np.ndarray:
        pixels = collection.pixels(i)
        return np.zeros((1, 1, 3), np.uint8) if pixels is None else pixels

    return read
