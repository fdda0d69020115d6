"""`audit`: what somebody learns from a released set who holds other photos of its people (section 3.4, Eq. 3)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from facemae.errors import DataError, RecipeError
from facemae.faces.faceset import FaceSet
from facemae.measure import Leakage, OpenSet, first_half, leakage, max_statistic, nonmember_control
from facemae.spec.execution import Execution
from facemae.spec.manifest import write_json
from facemae.spec.normalisation import Normalisation, Statistics
from facemae.spec.recipe import AuditSpec, EmbedSpec
from facemae.spec.results import EVERYBODY, IMITATED, RELEASED, UNPROTECTED
from facemae.stages.embed import vectors_of
from facemae.stages.inputs import source_digest
from facemae.stages.linkage import private_folder, read_linkage
from facemae.stages.shared import open_shared
from facemae.train.parts import by_ranks
from facemae.train.products import fastest_product
from facemae.train.world import World, join

RESULT, REPLICATES = "audit.json", "replicates.npz"

VERSION = 2
"""Part of an audit's settings: raised whenever the same request gives other numbers or another file than before."""


@dataclass(frozen=True)
class Inputs:
    """Everything an audit looks at; paths of directories that other verbs wrote.

    ``imitation``: the same people's photos put through the same process again with other masks, as an attacker who owns
    the released model would do. ``nonmembers``: people who are not in the release. ``normalize``: input
    normalisation of embedders, by name, instead of the settings' one.
    """

    original: Path
    released: Path
    linkage: Path | None
    embedders: Mapping[str, Path]
    imitation: Path | None = None
    imitation_linkage: Path | None = None
    nonmembers: Path | None = None
    normalize: Mapping[str, Normalisation] = field(default_factory=dict)


@dataclass(frozen=True)
class _Pictures:
    """One side of an attack: unit vectors, whom each shows, and the original photo behind it."""

    vectors: np.ndarray
    labels: np.ndarray
    photo: np.ndarray


@dataclass(frozen=True)
class _Finding:
    attack: str
    embedder: str
    same_photo: str
    subset: str
    leakage: Leakage
    open_set: OpenSet | None


def audit(inputs: Inputs, out: Path, spec: AuditSpec, execution: Execution, *, cache: Path) -> dict[str, Any]:
    """Write `audit.json` to ``out`` and return it: leakage of every attack under every embedder.

    Attacks: "Org. to Org." (nothing protected), "Org. to released", "released-by-same-process to released" where an
    imitation is given. A set without linkage that is itself the original is audited against itself only. Where the
    originals were imported from several sources, every attack is also told for the probes of each source alone.
    Several ranks share the embedding and the search and give the same bytes as one; all see OUT and ``cache``.

    Raises:
        RecipeError: no embedder. DataError: the linkage does not fit, or names nobody; non-members who are members.
    """
    if not inputs.embedders:
        raise RecipeError("--embedder", got="none", needed="at least one network that the attacker may use")
    parents = {name: source_digest(Path(path)) for name, path in _paths(inputs).items()}
    settings = spec.model_dump() | {"version": VERSION, "normalize_of": _plain(inputs.normalize)}
    world = join(execution.device)
    with open_shared("audit", out, spec=settings, parents=parents, world=world) as stage:
        if not stage.finished:
            auditor = _Auditor(inputs, spec, execution, cache, world)
            findings = [found for name in inputs.embedders for found in auditor.attack(name)]
            if world.main:
                rows = [_row(finding) for finding in _family_wise(findings)]
                write_json(stage.directory / RESULT, {"attacks": rows})
                # Matched by people and seed over all audits of the same originals: paired intervals come from these.
                _write_replicates(stage.directory / REPLICATES, findings)
                stage.publish("audit", {"attacks": len(rows)})
    return read_audit(out)


def replicates_of(number: int) -> tuple[str, str]:
    """Names in the file of replicates for attack ``number``: of everybody, and of the second half of the people."""
    return f"all{number}", f"second{number}"


def read_audit(directory: Path) -> dict[str, Any]:
    """What `audit` wrote."""
    return json.loads((Path(directory) / RESULT).read_bytes())


class _Auditor:
    """Holds the sets of one audit and runs the attacks under one embedder after another."""

    def __init__(self, inputs: Inputs, spec: AuditSpec, execution: Execution, cache: Path, world: World) -> None:
        self._inputs, self._spec, self._execution, self._cache = inputs, spec, execution, cache
        self._divide, self._product = partial(by_ranks, world=world), fastest_product()
        self._original = FaceSet.open(inputs.original, kind="original")
        self._labels = self._original.identities.astype(np.int64)
        self._first = first_half(int(self._labels.max()) + 1, spec.seed)
        self._sources = _sources(self._original)
        self._released = self._linked(inputs.released, inputs.linkage)
        self._imitation = self._linked(inputs.imitation, inputs.imitation_linkage) if inputs.imitation else None
        if inputs.imitation and self._imitation is None:
            raise DataError("--imitation", got="no linkage for it", needed="--imitation-linkage")
        self._strangers = self._opened_strangers(inputs.nonmembers) if inputs.nonmembers else None

    def attack(self, judge: str) -> list[_Finding]:
        """Every attack under the embedder that results call ``judge``."""
        everyone = self._pictures(judge, self._inputs.original, np.arange(len(self._labels)))
        findings = self._run(UNPROTECTED, judge, everyone, everyone, "exclude")
        if self._released is None:
            return findings
        gallery = self._pictures(judge, self._inputs.released, self._released)
        settings = ("exclude", "include") if self._spec.same_photo == "both" else (self._spec.same_photo,)
        for same_photo in settings:
            findings += self._run(RELEASED, judge, everyone, gallery, same_photo)
        if self._imitation is not None and self._inputs.imitation is not None:
            imitated = self._pictures(judge, self._inputs.imitation, self._imitation)
            findings += self._run(IMITATED, judge, imitated, gallery, "exclude")
        return findings

    def _run(self, name: str, judge: str, probes: _Pictures, gallery: _Pictures, same_photo: str) -> list[_Finding]:
        """One attack by everybody, then by the probes of each source."""
        spec = self._spec
        own = _own_pictures(probes.photo, gallery.photo)
        sizes = tuple(n for n in spec.identities if n <= len(np.unique(gallery.labels)))
        found = leakage(
            probes.vectors,
            probes.labels,
            gallery.vectors,
            gallery.labels,
            ks=spec.k,
            identities=sizes or None,
            draws=spec.draws,
            exclude=own if same_photo == "exclude" else None,
            first=self._first[probes.labels],
            parts={source: mask[probes.photo] for source, mask in self._sources.items()},
            seed=spec.seed,
            replicates=spec.replicates,
            divide=self._divide,
            product=self._product,
        )
        # Strangers are plain photos, so they can be told from members only where members come as plain photos too.
        asked = self._strangers is not None and same_photo == "exclude" and name != IMITATED
        open_set = self._open_set(judge, probes, gallery, own) if asked else None
        parts = [_Finding(name, judge, same_photo, source, part, None) for source, part in found.parts.items()]
        return [_Finding(name, judge, same_photo, EVERYBODY, found, open_set), *parts]

    def _open_set(self, judge: str, probes: _Pictures, gallery: _Pictures, own: np.ndarray) -> OpenSet:
        assert self._strangers is not None
        # Numbers of another set say nothing about ours: shifted so that no stranger shares a member's number.
        numbers = self._strangers.identities.astype(np.int64) + int(self._labels.max()) + 1
        return nonmember_control(
            probes.vectors,
            probes.labels,
            self._vectors(judge, self._strangers.directory),
            numbers,
            gallery.vectors,
            gallery.labels,
            exclude=own,
            seed=self._spec.seed,
            replicates=self._spec.replicates,
            divide=self._divide,
            product=self._product,
        )

    def _opened_strangers(self, nonmembers: Path) -> FaceSet:
        strangers = FaceSet.open(nonmembers)
        if self._original.people and strangers.people:
            shared = sorted({*self._original.people.identities} & {*strangers.people.identities})
            if shared:
                raise DataError(
                    f"--nonmembers {nonmembers} shares people with the originals",
                    got=f"{len(shared)}, first {shared[0]!r}",
                    needed="people who are not in the release",
                )
        return strangers

    def _linked(self, released: Path, linkage: Path | None) -> np.ndarray | None:
        faces = FaceSet.open(released)
        if linkage is None:
            if faces.digest != self._original.digest:
                raise DataError(
                    f"{released} cannot be audited without linkage",
                    needed="--linkage: the .private folder of its masked set, or a CSV original_path,released_path",
                )
            return None
        return read_linkage(Path(linkage), self._original, faces)

    def _pictures(self, judge: str, faces: Path, photo: np.ndarray) -> _Pictures:
        return _Pictures(self._vectors(judge, faces), self._labels[photo], photo)

    def _vectors(self, judge: str, faces: Path) -> np.ndarray:
        embedder = Path(self._inputs.embedders[judge])
        wanted = EmbedSpec(normalize=self._inputs.normalize.get(judge, self._spec.normalize))
        raw = vectors_of(embedder, Path(faces), wanted, self._execution, self._cache)
        upright = np.array(raw[:, 0], dtype=np.float32)
        upright /= np.maximum(np.linalg.norm(upright, axis=1, keepdims=True), 1e-12)
        return upright


def _sources(original: FaceSet) -> dict[str, np.ndarray]:
    """Which photos were imported from which source; nothing where there was only one."""
    if "source1" not in original.manifest.parents or original.people is None:
        return {}
    # The importer puts the source's name in front of every file where there are several.
    source = np.array([file.partition("/")[0] for file in original.people.files])
    return {str(name): source == name for name in np.unique(source)}


def _own_pictures(probes: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Rows of the gallery made from the same original photo as each probe, padded with -1 (probes x most rows)."""
    order = np.argsort(gallery, kind="stable")
    first, last = (np.searchsorted(gallery[order], probes, side=side) for side in ("left", "right"))
    place = first[:, None] + np.arange(max(1, int((last - first).max())))
    return np.where(place < last[:, None], order[np.minimum(place, len(order) - 1)], -1)


def _family_wise(findings: list[_Finding]) -> list[_Finding]:
    """p-values for the maximum over all attacks, embedders and K of this audit."""
    observed = np.array([at.excess for finding in findings for at in finding.leakage.at])
    permuted = np.concatenate([finding.leakage.permuted for finding in findings], axis=1)
    adjusted = iter(max_statistic(observed, permuted).tolist())
    return [
        replace(
            finding,
            leakage=replace(
                finding.leakage, at=tuple(replace(at, p_value=next(adjusted)) for at in finding.leakage.at)
            ),
        )
        for finding in findings
    ]


def _row(finding: _Finding) -> dict[str, Any]:
    return {
        "attack": finding.attack,
        "embedder": finding.embedder,
        "same_photo": finding.same_photo,
        "subset": finding.subset,
        **finding.leakage.to_dict(),
        "open_set": finding.open_set.to_dict() if finding.open_set else None,
    }


def _write_replicates(path: Path, findings: list[_Finding]) -> None:
    named: dict[str, Any] = {}
    for number, finding in enumerate(findings):
        everybody, second = replicates_of(number)
        named |= {everybody: finding.leakage.replicates, second: finding.leakage.second}
    np.savez(path, **named)


def _paths(inputs: Inputs) -> dict[str, Path]:
    named: dict[str, Path | None] = {
        "original": inputs.original,
        "released": inputs.released,
        # Our own map follows from the masked set; hashing it into a result would let a guess of it be confirmed.
        "linkage": _foreign(inputs.linkage),
        "imitation": inputs.imitation,
        "imitation_linkage": _foreign(inputs.imitation_linkage),
        "nonmembers": inputs.nonmembers,
    }
    named |= {f"embedder {name}": path for name, path in inputs.embedders.items()}
    return {name: Path(path) for name, path in named.items() if path is not None}


def _plain(normalize: Mapping[str, Normalisation]) -> dict[str, Any]:
    return {name: how.model_dump() if isinstance(how, Statistics) else how for name, how in normalize.items()}


def _foreign(linkage: Path | None) -> Path | None:
    return None if linkage is None or private_folder(linkage) else linkage
