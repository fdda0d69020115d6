"""The people, the release and the strangers of one audit, and one attack on them."""

from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from facemae.attacks import Released, View, unit_rows
from facemae.errors import DataError
from facemae.faces.faceset import FaceSet
from facemae.measure import Leakage, OpenSet, first_half, leakage, nonmember_control
from facemae.spec.execution import Execution
from facemae.spec.recipe import AuditSpec
from facemae.spec.results import EVERYBODY, IMITATED, OTHER_PROCESS, RELEASED, UNPROTECTED
from facemae.stages.auditing.inputs import Inputs, demand_strangers
from facemae.stages.embed import vectors_of
from facemae.stages.linkage import read_linkage
from facemae.train.parts import by_ranks
from facemae.train.products import fastest_product
from facemae.train.world import World


@dataclass(frozen=True)
class Finding:
    """One attack by the probes of one subset, as a row of the result."""

    attack: str
    embedder: str
    same_photo: str
    subset: str
    leakage: Leakage
    open_set: OpenSet | None

    def to_dict(self) -> dict[str, Any]:
        """Keys of the fields but ``leakage``, whose own they are."""
        head = {name: getattr(self, name) for name in ("attack", "embedder", "same_photo", "subset")}
        return head | self.leakage.to_dict() | {"open_set": self.open_set.to_dict() if self.open_set else None}


@dataclass(frozen=True)
class Sides:
    """Who is asked for and what is searched, in one space; ``strangers`` are asked for as the members are."""

    attack: str
    embedder: str
    probes: View
    gallery: View
    strangers: View | None = None


class Scene:
    """The sets of an audit, opened and checked.

    Raises:
        DataError: the linkage does not fit; strangers who are members; an imitation or another release without
            linkage.
    """

    def __init__(self, inputs: Inputs, spec: AuditSpec, execution: Execution, cache: Path, world: World) -> None:
        self.inputs, self.spec, self.execution, self.cache, self.world = inputs, spec, execution, cache, world
        self._divide, self._product = partial(by_ranks, world=world), fastest_product()
        self.original = FaceSet.open(inputs.original, kind="original")
        self.labels = self.original.identities.astype(np.int64)
        self.first = first_half(int(self.labels.max()) + 1, spec.seed)
        self._sources = _sources(self.original)
        self.released = self._linked(inputs.released, inputs.linkage)
        self.imitation = self._linked(inputs.imitation, inputs.imitation_linkage) if inputs.imitation else None
        if inputs.imitation and self.imitation is None:
            raise DataError("--imitation", got="no linkage for it", needed="--imitation-linkage")
        self.other = self._linked(inputs.other_release, inputs.other_linkage) if inputs.other_release else None
        if inputs.other_release and self.other is None:
            raise DataError("--other-release", got="no linkage for it", needed="--other-linkage")
        self.strangers = FaceSet.open(inputs.nonmembers) if inputs.nonmembers else None
        if self.strangers is not None:
            demand_strangers(self.strangers, self.original, "--nonmembers", "people who are not in the release")

    @property
    def settings(self) -> tuple[str, ...]:
        """Whether a probe may find the release of its own photo, each way that is asked for.

        Where the originals are the release, to find one's own photo is to find itself: nobody asks.
        """
        if self.released is None:
            return ("exclude",)
        return ("exclude", "include") if self.spec.same_photo == "both" else (self.spec.same_photo,)

    @cached_property
    def photos(self) -> np.ndarray:
        """All originals, by number."""
        return np.arange(len(self.labels))

    def retrieval(self, judge: str) -> list[tuple[Sides, tuple[str, ...]]]:
        """The attacks that need nothing but an embedder, each with its same-photo settings."""
        everyone = self._view(judge, self.original, self.photos)
        unprotected = Sides(UNPROTECTED, judge, everyone, everyone, self._others(judge)), ("exclude",)
        if self.released is None:
            return [unprotected]
        gallery = self._view(judge, self.released.faces, self.released.photo)
        asked = [unprotected, (Sides(RELEASED, judge, everyone, gallery, self._others(judge)), self.settings)]
        if self.imitation is not None:
            # Strangers are plain photos, so they can be told from members only where members come as plain photos too.
            imitated = self._view(judge, self.imitation.faces, self.imitation.photo)
            asked.append((Sides(IMITATED, judge, imitated, gallery), ("exclude",)))
        return asked

    def joined(self, judge: str) -> Sides | None:
        """Pictures of the same people that another process released, against this release; None without those."""
        if self.other is None or self.released is None:
            return None
        theirs = self._view(judge, self.other.faces, self.other.photo)
        return Sides(OTHER_PROCESS, judge, theirs, self._view(judge, self.released.faces, self.released.photo))

    def leakage(self, sides: Sides, same_photo: str) -> list[Finding]:
        """One attack by everybody, then by the probes of each source."""
        spec, probes, gallery = self.spec, sides.probes, sides.gallery
        # Rows of several photos carry no number of one: who made them has kept the two sides apart.
        single = not (probes.photo < 0).any()
        own = own_photos(probes.photo, gallery.photo) if single and same_photo == "exclude" else None
        sizes = tuple(n for n in spec.identities if n <= len(np.unique(gallery.person)))
        found = leakage(
            probes.vectors,
            probes.person,
            gallery.vectors,
            gallery.person,
            ks=spec.k,
            identities=sizes or None,
            draws=spec.draws,
            exclude=own,
            behind=gallery.behind,
            first=self.first[probes.person],
            parts={source: mask[probes.photo] for source, mask in self._sources.items()} if single else {},
            seed=spec.seed,
            replicates=spec.replicates,
            divide=self._divide,
            product=self._product,
        )
        # A plain retrieval audit asks about strangers only whoever holds other photos, as the paper's question is.
        asked = sides.strangers is not None and (same_photo == "exclude" or spec.suite != "retrieval")
        open_set = self._open_set(sides, own) if asked else None
        head = sides.attack, sides.embedder, same_photo
        parts = [Finding(*head, source, part, None) for source, part in found.parts.items()]
        return [Finding(*head, EVERYBODY, found, open_set), *parts]

    def _open_set(self, sides: Sides, own: np.ndarray | None) -> OpenSet:
        assert sides.strangers is not None
        # Numbers of another set say nothing about ours: shifted so that no stranger shares a member's number.
        numbers = sides.strangers.person + int(self.labels.max()) + 1
        return nonmember_control(
            sides.probes.vectors,
            sides.probes.person,
            sides.strangers.vectors,
            numbers,
            sides.gallery.vectors,
            sides.gallery.person,
            fpirs=self.spec.false_alarms,
            exclude=own,
            behind=sides.gallery.behind,
            tested=self.spec.suite != "retrieval",
            seed=self.spec.seed,
            replicates=self.spec.replicates,
            divide=self._divide,
            product=self._product,
        )

    def vectors(self, judge: str, faces: FaceSet) -> np.ndarray:
        """Raw vectors of every record, kept in the cache."""
        return self.views(judge, faces, mirrored=False)[:, 0]

    def views(self, judge: str, faces: FaceSet, *, mirrored: bool = True) -> np.ndarray:
        """The same and, where ``mirrored``, those of the mirror images beside them."""
        wanted = self.spec.looking(self.inputs.normalize.get(judge), mirrored=mirrored)
        embedder = Path(self.inputs.embedders[judge])
        return vectors_of(embedder, faces.directory, wanted, self.execution, self.cache)

    def _view(self, judge: str, faces: FaceSet, photo: np.ndarray) -> View:
        group = faces.identities.astype(np.int64)
        return View(unit_rows(self.vectors(judge, faces)), self.labels[photo], photo, group)

    def _others(self, judge: str) -> View | None:
        if self.strangers is None:
            return None
        person = self.strangers.identities.astype(np.int64)
        rows = unit_rows(self.vectors(judge, self.strangers))
        return View(rows, person, np.arange(len(person)), person)

    def _linked(self, released: Path, linkage: Path | None) -> Released | None:
        faces = FaceSet.open(released)
        if linkage is None:
            if faces.digest != self.original.digest:
                raise DataError(
                    f"{released} cannot be audited without linkage",
                    needed="--linkage: the .private folder of its masked set, or a CSV original_path,released_path",
                )
            return None
        return Released(faces, self.original, read_linkage(Path(linkage), self.original, faces))


def own_photos(probes: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Rows of the gallery made from the same original photo as each probe, padded with -1 (probes x most rows)."""
    order = np.argsort(gallery, kind="stable")
    first, last = (np.searchsorted(gallery[order], probes, side=side) for side in ("left", "right"))
    place = first[:, None] + np.arange(max(1, int((last - first).max())))
    return np.where(place < last[:, None], order[np.minimum(place, len(order) - 1)], -1)


def _sources(original: FaceSet) -> dict[str, np.ndarray]:
    """Which photos were imported from which source; nothing where there was only one."""
    if "source1" not in original.manifest.parents or original.people is None:
        return {}
    # The importer puts the source's name in front of every file where there are several.
    source = np.array([file.partition("/")[0] for file in original.people.files])
    return {str(name): source == name for name in np.unique(source)}
