"""Writes a release with a known answer, with its way back, so that an audit can be run on it end to end.

Like `mask`: records re-keyed and shuffled, people renumbered, the map in `OUT.private`; only what the plant keeps on
purpose stays. Unlike `mask`: everything follows from a seed, so that anybody can make the same release again.
"""

import csv
import io
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image as PillowImage

from facemae.errors import DataError, OutputExists
from facemae.faces.codec import encode_png
from facemae.faces.faceset import FaceSet
from facemae.faces.masks import permutation, seed_bytes
from facemae.faces.planted import Changed, Plant, file_secret, shown
from facemae.faces.record import key_of
from facemae.faces.writer import FaceSetWriter
from facemae.spec.execution import Execution
from facemae.spec.manifest import digest_of, hash_path, write_json
from facemae.stages.linkage import MAP, REQUEST
from facemae.stages.mask import private_of
from facemae.stages.stage import naming_full_disk, open_stage

LINKAGE = "linkage.csv"
"""In the private folder of a planted folder: original_path,released_path, as `audit` takes it of any tool."""

_STAMP = 10**18
"""Time of change of every planted file in ns (9 September 2001), unless the plant tells times."""

_ARTIST, _DESCRIPTION, _TAKEN = 0x013B, 0x010E, 0x0132


@dataclass(frozen=True)
class _Release:
    """What one plant makes of one set: ``order[j]`` is the original behind released record j."""

    originals: FaceSet
    donors: FaceSet | None
    plant: Plant
    source: np.ndarray
    order: np.ndarray
    people: np.ndarray
    secret: bytes
    key: bytes

    @classmethod
    def of(cls, originals: FaceSet, donors: FaceSet | None, plant: Plant, seed: int, key: int | None) -> "_Release":
        secret = seed_bytes(seed)
        source = shown(plant, originals.identities, donors.identities if donors else np.empty(0, np.int32), secret)
        count, people = len(originals), originals.num_identities
        kept = "order" in plant.keeps
        order = np.arange(count) if kept else permutation(secret, "order", count)
        numbers = np.arange(people) if "numbers" in plant.keeps else permutation(secret, "people", people)
        return cls(originals, donors, plant, source, order, numbers, secret, seed_bytes(seed if key is None else key))

    def pictures(self) -> Callable[[int], np.ndarray]:
        """Original number to the picture that is released for it."""
        change = Changed(self.plant, self.originals.size[0], self.key, self.secret)

        def picture(i: int) -> np.ndarray:
            if self.source[i] < 0:
                return change(self.originals.image(i), i)
            assert self.donors is not None  # `shown` has refused a plant that needs some
            return change(self.donors.image(int(self.source[i])), i)

        return picture

    def person(self, i: int) -> int:
        return int(self.people[self.originals.identities[i]])


def plant_set(
    faces: Path,
    donors: Path | None,
    out: Path,
    plant: Plant,
    *,
    seed: int,
    key: int | None = None,
    execution: Execution | None = None,
) -> Path:
    """Write ``plant`` as a face set of kind baseline, and `OUT.private` as `mask` does: `read_linkage` takes both.

    ``donors``: photos of other people; None for a plant that shows nobody else. ``key``: seed of the scramble alone
    (``seed`` by default), so that an attacker's public people can go through the very process of a release.

    Raises:
        DataError: a plant that needs files, donors that are too few, of another size or among the originals.
        OutputExists: OUT holds another result.
    """
    if plant.needs_files:
        raise DataError(f"{plant.name} keeps what only files have", remedy="write it as a folder")
    originals, strangers = _opened(faces, donors, plant)
    spec = {"plant": plant.name, "change": plant.change, "strength": plant.strength}
    parents = {"faces": originals.digest} | ({"donors": strangers.digest} if strangers else {})
    request = digest_of("planted", spec | {"seed": seed, "key": key}, parents)
    private = private_of(Path(out))
    release = _Release.of(originals, strangers, plant, seed, key)
    with open_stage(
        "planted", out, spec=spec, parents={"request": request}, existing=_released(private, request)
    ) as stage:
        if stage.finished:
            return Path(out)
        writer, picture = FaceSetWriter(stage.directory), release.pictures()
        with (execution or Execution()).progress.task("planted", len(originals), "images") as task:
            for i in map(int, release.order):
                writer.add(encode_png(picture(i)), release.person(i))
                task.advance()
        writer.finish()
        # A new root, as a masked set is: nothing in it tells what it was made from.
        digest = hash_path(stage.directory)
        _keep(private, release, request, digest)
        facts = {"records": len(originals), "identities": originals.num_identities, "size": list(originals.size)}
        stage.publish("baseline", facts, digest=digest)
    return Path(out)


def plant_folder(
    faces: Path,
    donors: Path | None,
    out: Path,
    plant: Plant,
    *,
    seed: int,
    key: int | None = None,
    execution: Execution | None = None,
) -> Path:
    """Write ``plant`` as another tool would: a folder per person; `OUT.private/linkage.csv` is the way back.

    Names mean nothing, files carry nothing and have one time, unless the plant keeps them on purpose.

    Raises:
        DataError: as `plant_set`; originals without file names. OutputExists: OUT is there.
    """
    originals, strangers = _opened(faces, donors, plant)
    out = Path(os.path.abspath(out))
    if out.exists():
        raise OutputExists(f"{out} exists", remedy="name another OUT or remove it")
    files = originals.source_files()
    if files is None:
        raise DataError(f"{faces} has no file names", needed="a set made by `facemae import`")
    release = _Release.of(originals, strangers, plant, seed, key)
    partial, picture = out.with_name(f".{out.name}.partial"), release.pictures()
    shutil.rmtree(partial, ignore_errors=True)
    pairs: list[tuple[str, str]] = []
    try:
        with naming_full_disk(out), (execution or Execution()).progress.task("planted", len(originals), "images") as t:
            for place, i in enumerate(map(int, release.order)):
                name = _file_name(release, files[i], place, i)
                _write_file(partial / name, picture(i), release.plant, files[i], i)
                pairs.append((files[i], name))
                t.advance()
            write_pairs(private_of(out), pairs)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return out


def _opened(faces: Path, donors: Path | None, plant: Plant) -> tuple[FaceSet, FaceSet | None]:
    originals = FaceSet.open(faces, kind="original")
    strangers = FaceSet.open(donors, kind="original") if donors else None
    if originals.size[0] != originals.size[1] or (strangers and strangers.size != originals.size):
        raise DataError(
            "photos that do not fit", got=[each.size for each in (originals, strangers) if each], needed="squares alike"
        )
    if strangers and originals.people and strangers.people:
        shared = sorted({*originals.people.identities} & {*strangers.people.identities})
        if shared:
            raise DataError(f"{donors} shares people with {faces}", got=f"{len(shared)}, first {shared[0]!r}")
    if plant.expects.get("group_sizes") == "found" and len(np.unique(np.bincount(originals.identities))) < 2:
        raise DataError(
            f"{plant.name} has nothing to tell", got="as many photos of everybody", needed="unequal numbers"
        )
    return originals, strangers


def _file_name(release: _Release, file: str, place: int, i: int) -> str:
    if "names" in release.plant.keeps:
        return str(PurePosixPath(file).with_suffix(".png"))
    name = key_of(place) if "order" in release.plant.keeps else file_secret(release.secret, i)
    suffix = ".jpg" if "exif" in release.plant.keeps else ".png"
    return f"{release.person(i):06d}/{name}{suffix}"


def _write_file(path: Path, picture: np.ndarray, plant: Plant, file: str, i: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if "exif" in plant.keeps:
        exif = PillowImage.Exif()
        exif[_ARTIST] = PurePosixPath(file).parent.name
        exif[_DESCRIPTION] = file
        exif[_TAKEN] = f"2001:09:{1 + i % 28:02d} 01:46:40"
        stream = io.BytesIO()
        PillowImage.fromarray(picture).save(stream, "JPEG", quality=95, exif=exif)
        path.write_bytes(stream.getvalue())
    else:
        path.write_bytes(encode_png(picture))
    stamp = _STAMP + (i * 10**9 if "times" in plant.keeps else 0)
    os.utime(path, ns=(stamp, stamp))


def _released(private: Path, request: str) -> str | None:
    """The digest of what this request released before; None where nothing was.

    Raises:
        OutputExists: the folder is the way back of another release.
    """
    try:
        kept = json.loads((private / REQUEST).read_bytes())
        if kept["request"] == request:
            return str(kept["released"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        pass
    raise OutputExists(
        f"{private} is the way back of another release", remedy="name another OUT, or remove it together with OUT"
    )


def _keep(private: Path, release: _Release, request: str, digest: str) -> None:
    """What `read_linkage` looks for: which set this is the way back of, and the map."""
    originals, files = release.originals, release.originals.source_files()
    private.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (private / MAP).open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
        rows = csv.writer(stream)
        rows.writerow(["released_key", "original_key", "original_path", "released_identity", "original_identity"])
        for place, i in enumerate(map(int, release.order)):
            path = files[i] if files else ""
            rows.writerow([key_of(place), key_of(i), path, release.person(i), int(originals.identities[i])])
    content = {"plant": release.plant.name, "request": request, "released": digest, "secret": release.secret.hex()}
    write_json(private / REQUEST, content)


def write_pairs(private: Path, pairs: list[tuple[str, str]]) -> None:
    """`LINKAGE` in ``private``: the file of the original, and of what was released for it."""
    private.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (private / LINKAGE).open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
        csv.writer(stream).writerows([("original_path", "released_path"), *pairs])
