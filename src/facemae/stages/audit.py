"""`audit`: what somebody learns from a released set who holds other photos of its people (section 3.4, Eq. 3)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from facemae.errors import DataError, RecipeError
from facemae.faces.faceset import FaceSet
from facemae.measure import Leakage, OpenSet, leakage, max_statistic, nonmember_control
from facemae.spec.execution import Execution
from facemae.spec.manifest import write_json
from facemae.spec.recipe import AuditSpec, EmbedSpec
from facemae.stages.embed import vectors_of
from facemae.stages.inputs import source_digest
from facemae.stages.linkage import read_linkage
from facemae.stages.stage import open_stage

UNPROTECTED, RELEASED = "Org. to Org.", "Org. to released"
IMITATED = "released-by-same-process to released"
RESULT, REPLICATES = "audit.json", "replicates.npz"


@dataclass(frozen=True)
class Inputs:
    """Everything an audit looks at; paths of directories that other verbs wrote.

    ``imitation``: the same people's photos put through the same process again with other masks, as an attacker who owns
    the released model would do. ``nonmembers``: people who are not in the release.
    """

    original: Path
    released: Path
    linkage: Path | None
    embedders: Mapping[str, Path]
    imitation: Path | None = None
    imitation_linkage: Path | None = None
    nonmembers: Path | None = None


@dataclass(frozen=True)
class _Finding:
    attack: str
    embedder: str
    same_photo: str
    leakage: Leakage
    open_set: OpenSet | None


def audit(inputs: Inputs, out: Path, spec: AuditSpec, execution: Execution, *, cache: Path) -> dict[str, Any]:
    """Write `audit.json` to ``out`` and return it: leakage of every attack under every embedder.

    Attacks: "Org. to Org." (nothing protected), "Org. to released", "released-by-same-process to released" where an
    imitation is given. A set without linkage that is itself the original is audited against itself only.

    Raises:
        RecipeError: no embedder. DataError: the linkage does not fit, or names nobody.
    """
    if not inputs.embedders:
        raise RecipeError("--embedder", got="none", needed="at least one network that the attacker may use")
    parents = {name: source_digest(Path(path)) for name, path in _paths(inputs).items()}
    with open_stage("audit", out, spec=spec.model_dump(), parents=parents) as stage:
        if not stage.finished:
            auditor = _Auditor(inputs, spec, execution, cache)
            findings = [found for name, path in inputs.embedders.items() for found in auditor.attack(name, Path(path))]
            rows = [_row(finding) for finding in _family_wise(findings)]
            write_json(stage.directory / RESULT, {"attacks": rows})
            # Matched by people and seed over all audits of the same originals: paired intervals are made from these.
            np.savez(stage.directory / REPLICATES, *[finding.leakage.replicates for finding in findings])
            stage.publish("audit", {"attacks": len(rows)})
    return read_audit(out)


def read_audit(directory: Path) -> dict[str, Any]:
    """What `audit` wrote."""
    return json.loads((Path(directory) / RESULT).read_bytes())


class _Auditor:
    """Holds the sets of one audit and runs the attacks under one embedder after another."""

    def __init__(self, inputs: Inputs, spec: AuditSpec, execution: Execution, cache: Path) -> None:
        self._inputs, self._spec, self._execution, self._cache = inputs, spec, execution, cache
        self._original = FaceSet.open(inputs.original, kind="original")
        self._labels = self._original.identities.astype(np.int64)
        self._released = self._linked(inputs.released, inputs.linkage)
        self._imitation = self._linked(inputs.imitation, inputs.imitation_linkage) if inputs.imitation else None
        if inputs.imitation and self._imitation is None:
            raise DataError("--imitation", got="no linkage for it", needed="--imitation-linkage")

    def attack(self, judge: str, embedder: Path) -> list[_Finding]:
        """Every attack under ``embedder``, which results call ``judge``."""
        probes = self._vectors(embedder, self._inputs.original)
        own = np.arange(len(probes))
        everyone = (probes, self._labels)
        findings = [self._run(UNPROTECTED, judge, embedder, everyone, everyone, own, "exclude")]
        if self._released is None:
            return findings
        gallery = (self._vectors(embedder, self._inputs.released), self._labels[self._released])
        settings = ("exclude", "include") if self._spec.same_photo == "both" else (self._spec.same_photo,)
        for same_photo in settings:
            exclude = _own_release(own, self._released)
            findings.append(self._run(RELEASED, judge, embedder, everyone, gallery, exclude, same_photo))
        if self._imitation is not None and self._inputs.imitation is not None:
            imitated = (self._vectors(embedder, self._inputs.imitation), self._labels[self._imitation])
            exclude = _own_release(self._imitation, self._released)
            findings.append(self._run(IMITATED, judge, embedder, imitated, gallery, exclude, "exclude"))
        return findings

    def _run(
        self,
        name: str,
        judge: str,
        embedder: Path,
        probes: tuple[np.ndarray, np.ndarray],
        gallery: tuple[np.ndarray, np.ndarray],
        own: np.ndarray,
        same_photo: str,
    ) -> _Finding:
        spec = self._spec
        exclude = own if same_photo == "exclude" else None
        sizes = tuple(n for n in spec.identities if n <= len(np.unique(gallery[1])))
        found = leakage(
            *probes,
            *gallery,
            ks=spec.k,
            identities=sizes or None,
            draws=spec.draws,
            exclude=exclude,
            seed=spec.seed,
            replicates=spec.replicates,
        )
        # Strangers are plain photos, so they can be told from members only where members come as plain photos too.
        asked = self._inputs.nonmembers is not None and same_photo == "exclude" and name != IMITATED
        open_set = self._open_set(embedder, probes, gallery, own) if asked else None
        return _Finding(name, judge, same_photo, found, open_set)

    def _open_set(
        self,
        embedder: Path,
        probes: tuple[np.ndarray, np.ndarray],
        gallery: tuple[np.ndarray, np.ndarray],
        own: np.ndarray,
    ) -> OpenSet:
        assert self._inputs.nonmembers is not None
        strangers = FaceSet.open(self._inputs.nonmembers)
        # Numbers of another set say nothing about ours: shifted so that no stranger shares a member's number.
        numbers = strangers.identities.astype(np.int64) + int(self._labels.max()) + 1
        vectors = self._vectors(embedder, self._inputs.nonmembers)
        spec = self._spec
        return nonmember_control(
            *probes, vectors, numbers, *gallery, exclude=own, seed=spec.seed, replicates=spec.replicates
        )

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

    def _vectors(self, embedder: Path, faces: Path) -> np.ndarray:
        wanted = EmbedSpec(normalize=self._spec.normalize)
        raw = vectors_of(embedder, Path(faces), wanted, self._execution, self._cache)
        upright = np.asarray(raw[:, 0], dtype=np.float32)
        return upright / np.maximum(np.linalg.norm(upright, axis=1, keepdims=True), 1e-12)


def _own_release(probes: np.ndarray, released: np.ndarray) -> np.ndarray:
    """Row of the release that was made from the same original photo as each probe, -1 where there is none."""
    place = {int(original): row for row, original in enumerate(released)}
    return np.array([place.get(int(original), -1) for original in probes], dtype=np.int64)


def _family_wise(findings: list[_Finding]) -> list[_Finding]:
    """p-values for the maximum over all attacks, embedders and K of this audit."""
    observed = np.array([at.rate.value for finding in findings for at in finding.leakage.at])
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
        **finding.leakage.to_dict(),
        "open_set": finding.open_set.to_dict() if finding.open_set else None,
    }


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


def _foreign(linkage: Path | None) -> Path | None:
    return None if linkage is None or Path(linkage).is_dir() else linkage
