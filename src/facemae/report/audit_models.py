"""The parts of `audit.json` as typed models: whatever is missing is empty, whatever is unknown is ignored."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator

from facemae.spec.results import EVERYBODY


class Read(BaseModel):
    """Base of everything read; what a newer audit writes beside it is passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Rated(Read):
    """A rate with its interval."""

    value: float
    low: float
    high: float
    hits: int = 0
    trials: int = 0
    method: str = ""


class Controlled(Rated):
    """A rate beside what the same attack finds when it asks for the wrong people."""

    control: float
    control_low: float
    control_high: float
    p_value: float


class Half(Rated):
    """The rate of one half of the people."""

    chance: float


class AtK(Controlled):
    """An attack that is content with the right person among the K nearest."""

    k: int
    identities: int
    chance: float
    verdict: str
    halves: tuple[Half, ...] = ()


class CurvePoint(Rated):
    """The same for so many people."""

    k: int
    identities: int
    chance: float


class Operating(Read):
    """Successes at a target rate of false alarms; no rate where it cannot be measured here.

    ``actual`` is the rate of false alarms that the threshold truly has.
    """

    target: float
    measurable: bool = False
    actual: float | None = None
    rate: Rated | None = None
    chance: float | None = None
    verdict: str = ""

    @model_validator(mode="before")
    @classmethod
    def _gathered(cls, found: Any) -> Any:
        if not isinstance(found, dict):
            return found
        actual = next((found[name] for name in ("fpir", "far", "fpr") if name in found), None)
        return found | {"actual": actual, "rate": found if found.get("measurable") else None}


def with_smallest(points: tuple[Operating, ...], smallest: Operating | None) -> tuple[Operating, ...]:
    """Points by falling rates, with what the sample supports at the least where that is none of them."""
    if smallest is None or any(point.target == smallest.target for point in points):
        return points
    return tuple(sorted((*points, smallest), key=lambda point: -point.target))


class Area(Rated):
    """Members told from strangers by their best match, whomever it shows."""

    verdict: str = ""


class OpenSet(Read):
    """Members found while strangers stay silent; ``curve``: rate of false alarms, members named, low, high."""

    points: tuple[Operating, ...]
    nonmember_trials: int
    nonmember_people: int
    smallest_measurable: float | None
    auc: Area | None = None
    smallest: Operating | None = None
    curve: tuple[tuple[float, float, float, float], ...] = ()

    @property
    def told(self) -> tuple[Operating, ...]:
        """Every point, with that at the smallest measurable rate where nobody asked for it."""
        return with_smallest(self.points, self.smallest)


class Attack(Read):
    """One attacker with one network; ``subset``: by all probes, or by those of one source."""

    attack: str
    embedder: str
    same_photo: str
    subset: str = EVERYBODY
    at: tuple[AtK, ...]
    curve: tuple[CurvePoint, ...] = ()
    open_set: OpenSet | None = None

    def shown(self, k: int) -> AtK | None:
        """The result at K."""
        return next((at for at in self.at if at.k == k), None)


class LinkingOf(Read):
    """Pairs of a photo and a released image told as of one person or not."""

    attack: str
    embedder: str
    same_photo: str = "exclude"
    tar: tuple[Operating, ...]
    eer: Controlled
    smallest_measurable: float | None
    verdict: str
    people: int
    mated: int
    nonmated: int


class UnlinkabilityOf(Read):
    """How much scores tell of who is who."""

    attack: str
    embedder: str
    same_photo: str = "exclude"
    value: float
    low: float
    high: float
    control: float
    bound: float
    verdict: str
    people: int


class TemplateAt(Controlled):
    """All that the attacker holds of a person, averaged; None: all images."""

    k: int
    probe_images: int | None
    gallery_images: int | None
    identities: int
    chance: float
    verdict: str

    @property
    def whole(self) -> bool:
        """Whether all images are taken together on both sides."""
        return self.probe_images is self.gallery_images is None


class TemplatesOf(Read):
    """Every size of one template attack."""

    attack: str
    embedder: str
    same_photo: str = "exclude"
    at: tuple[TemplateAt, ...]


class MembershipOf(Read):
    """Who was in the training set of the model."""

    score: str
    auc: Controlled
    points: tuple[Operating, ...]
    members: int
    nonmembers: int
    smallest_measurable: float | None
    verdict: str
    smallest: Operating | None = None


class FindingOf(Read):
    """One thing that leaks beside the pixels."""

    instrument: str
    kind: str
    what: str
    count: int
    of: int
    severity: Literal["critical", "warning", "note"]
    examples: tuple[str, ...] = ()
    control: str = ""


class CheckOf(Read):
    """One question beside the pixels, and why it could not be asked."""

    instrument: str
    ran: bool
    why: str = ""


class MetadataOf(Read):
    """Everything beside the pixels."""

    files: int
    originals: int
    unreadable: int = 0
    findings: tuple[FindingOf, ...] = ()
    checks: tuple[CheckOf, ...] = ()


class AttackerOf(Read):
    """Who attacks and what they own, in one sentence; ``chosen`` is the best candidate on public people."""

    name: str
    says: str
    embedder: str = ""
    chosen: str = ""
    tried: dict[str, float] = {}


class NotRun(Read):
    """An attacker that was asked for or is known, and what was missing."""

    attacker: str
    needs: str


class EmbedderOf(Read):
    """A network in the attackers' hands; ``strength``: its own accuracy by protocol, where it is known."""

    name: str
    source: str = ""
    trained_on: str | None = None
    loss_network: bool | None = None
    strength: dict[str, Rated] = {}


class HeadlineOf(Half):
    """The worst case: chosen on one half of the people, told by the other."""

    attack: str
    embedder: str
    same_photo: str = "exclude"
    k: int | None = None
    measure: str = "retrieval"
    identities: int | None = None
    verdict: str
