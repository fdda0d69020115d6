"""What files carry, what lies beside them, archive headers and group sizes, summed up as findings."""

from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath

import numpy as np

from facemae.faces.traces.collection import Collection
from facemae.faces.traces.finding import Finding, Severity, examples
from facemae.faces.traces.names import Hashes, Names
from facemae.faces.traces.scan import Scan

_CARRIED: dict[str, tuple[Severity, str]] = {
    "exif.gps": ("critical", "files tell the place"),
    "exif.serial": ("critical", "files tell numbers of a camera or picture, or hold a maker's own block"),
    "exif.person": ("critical", "files name an artist, owner or author"),
    "thumbnail": ("critical", "files hold a thumbnail, which editing leaves as it was"),
    "second_picture": ("critical", "files hold more than one picture"),
    "trailing": ("critical", "bytes follow the end of the picture"),
    "exif.text": ("warning", "EXIF holds texts"),
    "exif.date": ("warning", "EXIF tells dates"),
    "exif.broken": ("warning", "EXIF cannot be read"),
    "xmp": ("warning", "files hold XMP"),
    "iptc": ("warning", "files hold IPTC or Photoshop fields"),
    "comment": ("warning", "files hold comments"),
    "text": ("warning", "PNG text"),
    "date": ("warning", "PNG tells a time"),
    "extras": ("warning", "records hold facts beside the picture"),
    "unknown": ("warning", "files hold parts of unknown kinds"),
    "exif.device": ("warning", "EXIF tells camera or software"),
    "icc": ("warning", "colour profiles"),
    "exif.other": ("note", "EXIF holds other fields"),
}
_NEVER_PLAIN = {"exif.gps", "exif.serial", "thumbnail", "second_picture", "trailing"}
_TELLING_FILES = {"thumbs.db", "ehthumbs.db", ".ds_store", ".picasa.ini", "picasa.ini", "people.json", "linkage.csv"}
_TELLING_FILES |= {"map.csv", "identities.csv", "identity_celeba.txt"}


def carried_findings(theirs: Scan, released: Collection, names: Names, hashes: Hashes) -> Iterator[Finding]:
    """One finding a kind; what is the same in every file parts nobody from anybody, and is a note."""
    holders: dict[str, set[int]] = {}
    texts: dict[str, set[str]] = {}
    named = set()
    for i, items in theirs.items.items():
        for item in items:
            holders.setdefault(item.kind, set()).add(i)
        for kind in {item.kind for item in items}:
            texts.setdefault(kind, set()).add("\n".join(sorted(item.text for item in items if item.kind == kind)))
        if any(names.knows(item.text) or hashes.holds_surely(item.text) for item in items):
            named.add(i)
    for kind, rows in holders.items():
        severity, what = _CARRIED[kind]
        alike = len(rows) == len(released) > 1 and len(texts[kind]) == 1
        if alike and kind not in _NEVER_PLAIN:
            severity, what = "note", f"{what}, the same in every file"
        yield _finding("carried", kind, what, rows, released, severity)
    if named:
        yield _finding("carried", "name", "texts inside files name a person or file", named, released, "critical")


def beside_findings(released: Collection, names: Names) -> Iterator[Finding]:
    """Files that are no photos: lists, thumbnails of file managers, what was forgotten."""
    if not released.beside:
        return
    telling = [
        file
        for file in released.beside
        if PurePosixPath(file).name.lower() in _TELLING_FILES or PurePosixPath(file).name.startswith("._")
    ]
    telling += [file for file in released.beside if file not in telling and names.knows(file)]
    for files, severity, what in (
        (telling, "critical", "files beside the photos that list, show or name originals"),
        ([file for file in released.beside if file not in telling], "note", "files beside the photos"),
    ):
        if files:
            kind = "telling file" if severity == "critical" else "file"
            yield Finding(
                "beside",
                kind,
                what,
                len(files),
                len(released.beside),
                examples(files),
                severity,  # type: ignore[arg-type]
            )


def archive_findings(released: Collection) -> Iterator[Finding]:
    """Owners and remarks in the headers of an archive."""
    for kind, what in (("owner", "members tell who packed them"), ("comment", "headers hold remarks")):
        files = [header.path or "(archive)" for header in released.headers if getattr(header, kind)]
        if files:
            yield Finding("archive", kind, what, len(files), len(released.headers), examples(files), "warning")


def size_findings(original: Collection, released: Collection) -> Iterator[Finding]:
    """People known by how many photos they have: one on each side, and no other, has that number."""
    ours, theirs = Counter(original.person.tolist()), Counter(released.person.tolist())
    alone = {size for size, people in Counter(ours.values()).items() if people == 1}
    alone &= {size for size, people in Counter(theirs.values()).items() if people == 1}
    # One person on both sides is no choice at all.
    if alone and len(ours) > 1 and len(theirs) > 1:
        shown = [who for who, size in theirs.items() if size in alone]
        rows = set(np.flatnonzero(np.isin(released.person, shown)).tolist())
        what = (
            f"photos of {len(shown)} people with a number of photos that nobody else has: who knows the number knows "
            f"the person"
        )
        yield _finding("group_sizes", "unique size", what, rows, released, "note")


def _finding(
    instrument: str, kind: str, what: str, rows: set[int], released: Collection, severity: Severity
) -> Finding:
    shown = examples(released.names[i] for i in rows)
    return Finding(instrument, kind, what, len(rows), len(released), shown, severity)  # type: ignore[arg-type]
