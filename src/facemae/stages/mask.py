"""`mask`: the only door out. Visible cells leave, re-keyed and shuffled; the way back stays in OUT.private."""

import csv
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facemae.errors import Damaged, OutputExists, RecipeError
from facemae.faces.codec import encode_png
from facemae.faces.distort import blur, matching_sigma, sharpness
from facemae.faces.faceset import FaceSet
from facemae.faces.masks import kept_cells, permutation, record_seeds, seed_bytes, visible_cells
from facemae.faces.record import key_of
from facemae.faces.writer import FaceSetWriter
from facemae.spec.execution import Execution
from facemae.spec.manifest import digest_of, hash_file, write_json
from facemae.spec.recipe import MaskSpec
from facemae.stages.stage import Stage, open_stage


def private_of(out: Path) -> Path:
    """Where the secret and the map back to people stay: `OUT.private` beside OUT."""
    return out.with_name(out.name + ".private")


def mask(faces: Path, out: Path, spec: MaskSpec, execution: Execution, *, like: Path | None = None) -> Path:
    """Write the masked set (or the blurred baseline) of ``faces`` to ``out`` and the way back to `OUT.private`.

    ``like``: a set whose sharpness the blurred baseline takes on, instead of ``spec.sigma``.

    The new order, keys and person numbers follow from a secret that is drawn once (or from ``spec.seed``, for
    experiments) and kept in the private folder; the public manifest holds neither it nor anything of the originals.

    Raises:
        RecipeError: cells that do not tile the image, nothing left visible, blur without sigma, sigma without blur.
        OutputExists: OUT or OUT.private belongs to another request.
        Damaged: OUT.private cannot be read.
    """
    originals = FaceSet.open(faces, kind="original")
    reference = FaceSet.open(like) if like else None
    geometry = _geometry(originals, spec, reference)
    public = {key: value for key, value in spec.model_dump().items() if key != "seed"}
    parents = {"faces": originals.digest} | ({"like": reference.digest} if reference else {})
    request = digest_of("mask", spec.model_dump(), parents)
    private = _Private.find(private_of(Path(out)), request, spec.seed)
    with open_stage("mask", out, spec=public, parents={"request": request}, existing=private.released) as stage:
        if not stage.finished:
            # The secret is on disk before anything that depends on it, and never beside an OUT that is somebody else's.
            private.keep()
            sigma = spec.sigma if reference is None else _sigma_of(originals, reference)
            _write(stage, originals, geometry, sigma, private, execution)
    return Path(out)


def _write(
    stage: Stage,
    originals: FaceSet,
    geometry: dict[str, int],
    sigma: float | None,
    private: "_Private",
    execution: Execution,
) -> None:
    order = permutation(private.secret, "order", len(originals))
    people = permutation(private.secret, "people", originals.num_identities)
    writer = FaceSetWriter(stage.directory)
    with execution.progress.task("mask", len(originals), "images") as task:
        for i in order.tolist():
            identity = int(people[originals.identities[i]])
            image = originals.image(i)
            if geometry:
                strip, positions = _strip(image, key_of(i), geometry, private.secret)
                writer.add(encode_png(strip), identity, extras={"positions": positions})
            else:
                assert sigma is not None
                writer.add(encode_png(blur(image, sigma)), identity)
            task.advance()
    writer.finish()
    private.write_map(originals, order, people)
    facts: dict[str, Any] = {
        "records": len(originals),
        "identities": originals.num_identities,
        "size": list(originals.size),
    }
    facts |= {"mask": geometry} if geometry else {"sigma": sigma}
    digest = _bytes_digest(stage.directory)
    private.remember(digest)
    stage.publish("masked" if geometry else "baseline", facts, digest=digest)


def _sigma_of(originals: FaceSet, reference: FaceSet) -> float:
    def sample(faces: FaceSet) -> np.ndarray:
        return faces.images(np.linspace(0, len(faces) - 1, min(256, len(faces))).astype(int).tolist())

    sigma = matching_sigma(sample(originals), sharpness(sample(reference)))
    if sigma == 0:
        raise RecipeError(
            f"--like {reference.directory}", got="a set at least as sharp as the originals", needed="a softer one"
        )
    return sigma


def _geometry(originals: FaceSet, spec: MaskSpec, reference: FaceSet | None) -> dict[str, int]:
    if spec.method == "blur":
        if (spec.sigma is None) == (reference is None):
            raise RecipeError("mask.sigma", got=spec.sigma, needed="for blur either a width in pixels or --like SET")
        return {}
    if spec.sigma is not None or reference is not None:
        given = f"sigma={spec.sigma}" if reference is None else f"--like {reference.directory}"
        raise RecipeError("mask.method", got=f"cells and {given}", needed="method=blur, or neither sigma nor --like")
    height, width = originals.size
    if height != width or height % spec.cell:
        raise RecipeError(
            "mask.cell",
            got=f"{spec.cell} over images of {height}x{width}",
            needed="square images whose side is a multiple of the cell",
            remedy="import with --set size=112, or choose another cell",
        )
    grid = height // spec.cell
    kept = kept_cells(grid * grid, spec.ratio)
    if kept == 0:
        raise RecipeError(
            "mask.ratio", got=spec.ratio, needed=f"a ratio that leaves one of {grid * grid} cells visible"
        )
    return {"grid": grid, "cell": spec.cell, "kept": kept}


def _strip(image: np.ndarray, key: str, geometry: dict[str, int], secret: bytes) -> tuple[np.ndarray, list[int]]:
    """The visible cells side by side, and where they were."""
    grid, cell, kept = geometry["grid"], geometry["cell"], geometry["kept"]
    positions = visible_cells(record_seeds(secret, "mask", [key]), grid * grid, kept)[0]
    cells = image.reshape(grid, cell, grid, cell, 3).transpose(0, 2, 1, 3, 4).reshape(grid * grid, cell, cell, 3)
    strip = cells[positions].transpose(1, 0, 2, 3).reshape(cell, kept * cell, 3)
    return np.ascontiguousarray(strip), positions.tolist()


def _bytes_digest(directory: Path) -> str:
    """The digest of a new root: its own bytes, so that no trace of the originals goes past it."""
    files = [directory / "index.npy", *sorted((directory / "shards").glob("*.tar"))]
    return hashlib.sha256(json.dumps([[file.name, hash_file(file)] for file in files]).encode()).hexdigest()


@dataclass
class _Private:
    """`OUT.private`: secret, map back and which request they belong to; readable by the owner only."""

    directory: Path
    secret: bytes
    request: str
    released: str | None

    @classmethod
    def find(cls, directory: Path, request: str, seed: int | None) -> "_Private":
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
    def _read(cls, directory: Path, state: Path) -> "_Private":
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
        files = originals.people.files if originals.people else None
        with (self.directory / "map.csv").open("w", newline="", encoding="utf-8") as stream:
            rows = csv.writer(stream)
            rows.writerow(["released_key", "original_key", "original_path", "released_identity", "original_identity"])
            for released, i in enumerate(order.tolist()):
                identity = int(originals.identities[i])
                path = files[i] if files else ""
                rows.writerow([key_of(released), key_of(i), path, int(people[identity]), identity])
            stream.flush()
            os.fsync(stream.fileno())
