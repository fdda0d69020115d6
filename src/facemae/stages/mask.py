"""`mask`: the only door out. Visible cells leave, re-keyed and shuffled; the way back stays in OUT.private."""

import csv
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from facemae.errors import Damaged, OutputExists, RecipeError
from facemae.faces.codec import encode_png
from facemae.faces.faceset import FaceSet
from facemae.faces.masks import kept_cells, permutation, record_seeds, seed_bytes, visible_cells
from facemae.faces.record import key_of
from facemae.faces.regions import region_cells
from facemae.faces.writer import FaceSetWriter
from facemae.spec.execution import Execution
from facemae.spec.manifest import digest_of, hash_file, write_json
from facemae.spec.recipe import MaskSpec
from facemae.stages.distortion import Distortion, demand_strength, distortion
from facemae.stages.stage import Stage, open_stage


def private_of(out: Path) -> Path:
    """Where the secret and the map back to people stay: `OUT.private` beside OUT."""
    return out.with_name(out.name + ".private")


def mask(faces: Path, out: Path, spec: MaskSpec, execution: Execution, *, like: Path | None = None) -> Path:
    """Write the masked set (or a classic baseline) of ``faces`` to ``out`` and the way back to `OUT.private`.

    ``like``: a set whose sharpness the blurred baseline takes on, instead of ``spec.sigma``.

    The new order, keys and person numbers follow from a secret that is drawn once (or from ``spec.seed``, for
    experiments) and kept in the private folder; the public manifest holds neither it nor anything of the originals.

    Raises:
        RecipeError: cells that do not tile the image, nothing left visible, a method without its strength, or a key
            of another method.
        OutputExists: OUT or OUT.private belongs to another request.
        Damaged: OUT.private cannot be read.
    """
    originals = FaceSet.open(faces, kind="original")
    reference = FaceSet.open(like) if like else None
    _demand_cells(spec)
    demand_strength(spec, originals, reference.directory if reference else None)
    cells = Cells(spec, originals.size) if spec.method == "cells" else None
    public = {key: value for key, value in spec.model_dump().items() if key != "seed"}
    parents = {"faces": originals.digest} | ({"like": reference.digest} if reference else {})
    request = digest_of("mask", spec.model_dump(), parents)
    private = Private.find(private_of(Path(out)), request, spec.seed)
    with open_stage("mask", out, spec=public, parents={"request": request}, existing=private.released) as stage:
        if not stage.finished:
            # The secret is on disk before anything that depends on it, and never beside an OUT that is somebody else's.
            private.keep()
            _write(stage, originals, cells or distortion(spec, originals, reference), private, execution)
    return Path(out)


def _write(
    stage: Stage, originals: FaceSet, protect: "Cells | Distortion", private: "Private", execution: Execution
) -> None:
    order = permutation(private.secret, "order", len(originals))
    people = permutation(private.secret, "people", originals.num_identities)
    writer = FaceSetWriter(stage.directory)
    identities = np.asarray(originals.index["identity"])  # a view of the mapped index
    with execution.progress.task("mask", len(originals), "images") as task:
        for i in map(int, order):
            photo, extras = originals.image(i), None
            if isinstance(protect, Cells):
                shown, extras = protect(photo, key_of(i), private.secret)
            else:
                shown = protect(photo, key_of(i), private.secret)
            writer.add(encode_png(shown), int(people[identities[i]]), extras=extras)
            task.advance()
    writer.finish()
    private.write_map(originals, order, people)
    facts: dict[str, Any] = {
        "records": len(originals),
        "identities": originals.num_identities,
        "size": list(originals.size),
    }
    facts |= protect.facts()
    digest = bytes_digest(stage.directory, facts)
    private.remember(digest)
    stage.publish("masked" if isinstance(protect, Cells) else "baseline", facts, digest=digest)


class Cells:
    """The paper's mask on one grid: strips of visible cells, and what the manifest says of them.

    ``hidden``: cells of the region that no photo shows. The sums are for the mean colour of what is visible.

    Raises:
        RecipeError: cells that do not tile the image, a ratio that leaves none visible or is less than the region.
    """

    def __init__(self, spec: MaskSpec, size: tuple[int, int]) -> None:
        height, width = size
        if height != width or height % spec.cell:
            raise RecipeError(
                "mask.cell",
                got=f"{spec.cell} over images of {height}x{width}",
                needed="square images whose side is a multiple of the cell",
                remedy="import with --set size=112, or choose another cell",
            )
        self.grid, self.cell, self._fill = height // spec.cell, spec.cell, spec.fill
        count = self.grid * self.grid
        self.hidden = None if spec.region == "none" else region_cells(spec.region, size=height, cell=spec.cell)
        others = count if self.hidden is None else count - len(self.hidden)
        self.kept = kept_cells(count, spec.ratio) if spec.region_fill else others
        self._sums = np.zeros(3, np.int64)
        self._pixels = 0
        if self.kept == 0 and spec.region_fill:
            raise RecipeError("mask.ratio", got=spec.ratio, needed=f"a ratio that leaves one of {count} cells visible")
        if self.kept == 0:
            raise RecipeError("mask.cell", got=spec.cell, needed=f"cells of which some lie outside the {spec.region}")
        if self.kept > others:
            raise RecipeError(
                "mask.ratio",
                got=spec.ratio,
                needed=f"a ratio that hides the {count - others} of {count} cells of the {spec.region}",
            )

    def __call__(
        self, image: UInt8[np.ndarray, "s s 3"], key: str, secret: bytes
    ) -> tuple[UInt8[np.ndarray, "c kc 3"], dict[str, Any]]:
        """The visible cells side by side, and where they were."""
        grid, cell, kept = self.grid, self.cell, self.kept
        seeds = record_seeds(secret, "mask", [key])
        positions = visible_cells(seeds, grid * grid, kept, hidden=self.hidden)[0]
        cells = image.reshape(grid, cell, grid, cell, 3).transpose(0, 2, 1, 3, 4).reshape(grid * grid, cell, cell, 3)
        visible = cells[positions]
        self._sums += visible.sum(axis=(0, 1, 2), dtype=np.int64)
        self._pixels += kept * cell * cell
        strip = visible.transpose(1, 0, 2, 3).reshape(cell, kept * cell, 3)
        return np.ascontiguousarray(strip), {"positions": positions.tolist()}

    def facts(self) -> dict[str, Any]:
        """What is needed to read the strips; ``fill`` only where it is not the usual grey."""
        geometry: dict[str, Any] = {"grid": self.grid, "cell": self.cell, "kept": self.kept}
        if self._fill == "black":
            geometry["fill"] = [0, 0, 0]
        elif self._fill == "mean":
            geometry["fill"] = np.rint(self._sums / self._pixels).astype(int).tolist()
        return {"mask": geometry}


def _demand_cells(spec: MaskSpec) -> None:
    """Refuse what only `cells` can do."""
    asked = {"region": spec.region != "none", "region_fill": not spec.region_fill, "fill": spec.fill != "grey"}
    for key, given in asked.items():
        if given and spec.method != "cells":
            raise RecipeError(
                f"mask.{key}", got=f"{getattr(spec, key)} and method={spec.method}", needed="method=cells"
            )
    if not spec.region_fill and spec.region == "none":
        raise RecipeError("mask.region_fill", got="false and region=none", needed="a region that alone is hidden")


def bytes_digest(directory: Path, facts: dict[str, Any]) -> str:
    """The digest of a new root: its own bytes, so that no trace of the originals goes past it.

    A fill of its own counts as well: it is in no shard, and changes the pictures that later stages see.
    """
    files = [directory / "index.npy", *sorted((directory / "shards").glob("*.tar"))]
    content: list[Any] = [[file.name, hash_file(file)] for file in files]
    if "fill" in facts.get("mask", {}):
        content.append(["fill", facts["mask"]["fill"]])
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


@dataclass
class Private:
    """`OUT.private`: secret, map back and which request they belong to; readable by the owner only."""

    directory: Path
    secret: bytes
    request: str
    released: str | None

    @classmethod
    def find(cls, directory: Path, request: str, seed: int | None) -> "Private":
        """What is kept for this request, or a fresh secret; a request that released nothing gives way to another."""
        state = directory / "request.json"
        if state.exists():
            kept = cls._read(directory, state)
            if kept.request == request:
                return kept
            if kept.released is not None:
                raise OutputExists(
                    f"{directory} keeps the secret of another masked set",
                    remedy="name another OUT, or remove OUT and OUT.private together",
                )
        return cls(directory, os.urandom(32) if seed is None else seed_bytes(seed), request, None)

    @classmethod
    def _read(cls, directory: Path, state: Path) -> "Private":
        try:
            content = json.loads(state.read_bytes())
            secret, request, released = bytes.fromhex(content["secret"]), content["request"], content["released"]
        except (ValueError, KeyError, TypeError):
            raise Damaged(
                f"{state} is damaged",
                remedy="bring it back from a copy, or remove OUT and OUT.private together and mask again",
            ) from None
        return cls(directory, secret, request, released)

    def keep(self) -> None:
        """Write the secret, readable by the owner only."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.directory.chmod(0o700)
        content = {"request": self.request, "secret": self.secret.hex(), "released": self.released}
        write_json(self.directory / "request.json", content)
        (self.directory / "request.json").chmod(0o600)

    def remember(self, released: str) -> None:
        """Note the digest of the finished set, so that the same request is recognised later."""
        self.released = released
        self.keep()

    def write_map(self, originals: FaceSet, order: np.ndarray, people: np.ndarray) -> None:
        """`map.csv`: one row a released record, in its order."""
        files = originals.source_files()
        identities = np.asarray(originals.index["identity"])
        # A file name need not be UTF-8: its own bytes come out.
        with (self.directory / "map.csv").open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
            rows = csv.writer(stream)
            rows.writerow(["released_key", "original_key", "original_path", "released_identity", "original_identity"])
            for released, i in enumerate(map(int, order)):
                identity = int(identities[i])
                path = files[i] if files else ""
                rows.writerow([key_of(released), key_of(i), path, int(people[identity]), identity])
            stream.flush()
            os.fsync(stream.fileno())
