"""The folder that is released: data, card, Croissant metadata and what was measured; and the way back beside it."""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from facemae.errors import OutputExists, StageError
from facemae.faces.faceset import FaceSet
from facemae.faces.metadata import MetadataAudit, audit_metadata
from facemae.faces.record import key_of
from facemae.faces.traces import open_collection
from facemae.report.audit_page import CARD, write_audit_report
from facemae.spec.execution import Execution
from facemae.spec.manifest import read_manifest, write_json
from facemae.spec.recipe import ExportSpec, ProtectSpec
from facemae.spec.results import EVERYBODY
from facemae.stages.audit import RESULT
from facemae.stages.auditing.gate import breaches, read_limits
from facemae.stages.export import appearing, describe, write_data
from facemae.stages.linkage import MAP, REQUEST, read_linkage
from facemae.stages.mask import private_of
from facemae.stages.planted import write_pairs
from facemae.stages.released_words import leakage_section
from facemae.stages.stage import naming_full_disk


class NotReleased(StageError):
    """The gate says no: one line that names the attack and its number."""

    exit_code = 1


KEPT = "release.json"
"""In OUT.private: which request the release is, and what was told of it."""

DRAWN = "Synthetic people, drawn by facemae. Nobody real is shown."
"""The source of a release of drawn people, where its owner states none."""

AUDIT = "audit"
"""Where the release holds what was measured."""


@dataclass(frozen=True)
class Release:
    """What is to be released: the sets that it comes from, and what their audit found.

    ``dropped``: what became of the records that leaked most; None where nobody asked. ``limits``: what the gate held
    it to.
    """

    faces: Path
    masked: Path
    released: Path
    audit: Path
    found: dict[str, Any]
    dropped: dict[str, Any] | None
    limits: Sequence[str]


_MORE = "mask more, take another model, or try --drop-worst"


def demand_limits(found: dict[str, Any], limits: Sequence[str]) -> None:
    """The gate.

    Raises:
        NotReleased: the first limit that is passed, with the worst attack on it.
        RecipeError: a limit on something that the audit did not measure.
    """
    for breach in breaches(read_limits(limits), found):
        raise NotReleased(f"nothing is released: {breach.describe()}", remedy=f"all that was made is kept; {_MORE}")


def finished(out: Path, request: str, limits: Sequence[str]) -> dict[str, Any] | None:
    """What was told of this very release when it was made; None where there is none yet.

    It may have been made without these limits, so it is held to them by the audit that lies in it.

    Raises:
        NotReleased: what stands there passes a limit.
        OutputExists: OUT or OUT.private is of another request; or OUT is not as it was made.
    """
    private = private_of(out)
    try:
        kept = json.loads((private / KEPT).read_bytes())
        same, told = kept["request"] == request, dict(kept["told"])
    except (OSError, ValueError, KeyError, TypeError):
        same, told = not (out.exists() or private.exists()), {}
    if not out.exists():
        if same:
            return None
        # That release may have left for good: without its map nobody could take a person out of it any more.
        raise OutputExists(
            f"{private} is the way back of another release",
            remedy="name another OUT, or remove it if nothing of that release was ever handed out",
        )
    if not same:
        raise OutputExists(f"{out} is the release of another request", remedy="name another OUT or remove it")
    try:
        found = json.loads((out / AUDIT / RESULT).read_bytes())
    except (OSError, ValueError) as error:
        raise OutputExists(f"{out} is not as it was made", got=error, remedy="name another OUT or remove it") from None
    for breach in breaches(read_limits(limits), found):
        raise NotReleased(
            f"{out} stands already, made without this limit: {breach.describe()}",
            remedy=f"if nobody has it yet, remove it and {private}; {_MORE}",
        )
    return told


def write_release(release: Release, out: Path, spec: ProtectSpec, request: str, execution: Execution) -> dict[str, Any]:
    """Write ``out`` whole or not at all, `OUT.private` before it, and return what there is to say.

    The files as they would leave are looked at once more beside the originals (`audit_metadata`).

    Raises:
        NotReleased: a limit is passed, or something beside the pixels gives a photo or a person away.
        RecipeError: a limit on something that the audit did not measure.
        OutputExists: OUT.private is the way back of a release with other masks.
        DiskFull: no space is left; nothing stays at ``out``.
    """
    photos, private = FaceSet.open(release.released), private_of(out)
    told = _told(release, photos, out)
    export = ExportSpec(
        format=spec.format,
        card=True,
        license=spec.license,
        source=spec.source or _drawn(release.faces),
        consent=spec.consent,
    )
    with appearing(out) as partial, naming_full_disk(out):
        demand_limits(release.found, release.limits)  # in here: what a killed run left half written goes as well
        partial.mkdir()
        write_data(photos, partial, export)
        beside = _beside(release, photos, partial / "data", execution)
        demand_limits(release.found | {"metadata": beside.to_dict()}, release.limits)
        _demand_silence(beside)
        section = _measured(partial / AUDIT, release, beside)
        describe(photos, partial, out.name, export, leakage=section)
        _keep(private, release, partial / "data", {"request": request, "told": told}, spec.format)
    return told


def _drawn(faces: Path) -> str | None:
    return DRAWN if "synthetic" in read_manifest(faces).spec else None


def _told(release: Release, photos: FaceSet, out: Path) -> dict[str, Any]:
    counts = {"records": len(photos), "identities": photos.num_identities}
    gate = {"limits": list(release.limits), "dropped": release.dropped, "headline": release.found.get("headline")}
    return {"out": str(out), "private": str(private_of(out))} | counts | gate


def _measured(directory: Path, release: Release, beside: MetadataAudit) -> str:
    """What was measured as data and as a page, in ``directory``; what the card says of it."""
    directory.mkdir()
    # Rows by source are left out: these are called as the owner's folders are.
    rows = [row for row in release.found["attacks"] if row["subset"] == EVERYBODY]
    more = {"attacks": rows, "metadata": beside.to_dict(), "dropped": release.dropped, "limits": list(release.limits)}
    write_json(directory / RESULT, release.found | more)
    write_audit_report(directory, directory)
    card = (directory / CARD).read_text(encoding="utf-8")
    (directory / CARD).unlink()
    return leakage_section(card, release.dropped, release.limits)


def _beside(release: Release, photos: FaceSet, data: Path, execution: Execution) -> MetadataAudit:
    """The files as they would leave, beside the originals."""
    original = FaceSet.open(release.faces)
    photo = read_linkage(private_of(release.masked), original, photos)
    number = {key_of(i): i for i in range(len(photos))}
    with open_collection(release.faces) as ours, open_collection(data) as theirs:
        records = [number[PurePosixPath(name).stem] for name in theirs.names]
        return audit_metadata(ours, theirs, linked=photo[np.array(records)], execution=execution)


_REDRAW = "luck does that to a few honest releases in a hundred; order and numbers are drawn anew in another --work"


def _demand_silence(beside: MetadataAudit) -> None:
    """Refuse what gives a photo or a person away beside the pixels, whatever the limits."""
    for finding in beside.findings:
        if finding.severity == "critical":
            raise NotReleased(
                f"nothing is released: {finding.instrument} gives the originals away",
                got=f"{finding.what}: {finding.count} of {finding.of}",
                needed="none",
                remedy=_REDRAW if finding.instrument in ("order", "times", "label_order") else None,
            )


def _keep(private: Path, release: Release, data: Path, kept: dict[str, Any], format: str) -> None:
    """The way back, readable by the owner only and whole or not at all: the map, and a list of files if there are any.

    Raises:
        OutputExists: there is another one, made with other masks.
    """
    with appearing(private) as partial:
        partial.mkdir(mode=0o700)
        for name in (MAP, REQUEST):
            shutil.copyfile(private_of(release.masked) / name, partial / name)
        if format == "folder":
            _list_files(partial, release, data)
        write_json(partial / KEPT, kept)
        for path in partial.iterdir():
            os.chmod(path, 0o600)
        if private.exists():  # of a run that ended between here and the release; or the release was taken away
            if (private / MAP).read_bytes() != (partial / MAP).read_bytes():
                raise OutputExists(
                    f"{private} is the way back of a release with other masks",
                    remedy="name another OUT, or remove it if nothing of that release was ever handed out",
                )
            shutil.rmtree(private)


def _list_files(private: Path, release: Release, data: Path) -> None:
    original, released = FaceSet.open(release.faces), FaceSet.open(release.released)
    photo, files = read_linkage(private, original, released), original.source_files()
    number = {key_of(i): i for i in range(len(photo))}
    paths = sorted(path.relative_to(data).as_posix() for path in data.rglob("*") if path.is_file())
    if files is not None:
        write_pairs(private, [(files[int(photo[number[PurePosixPath(path).stem]])], path) for path in paths])
