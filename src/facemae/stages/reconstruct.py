"""`reconstruct`: masked set to the set that is released. Originals cannot enter here."""

import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from facemae.errors import RecipeError
from facemae.faces.codec import encode_jpeg, encode_png
from facemae.faces.faceset import FaceSet
from facemae.faces.writer import FaceSetWriter
from facemae.nn.mae import FaceMAE
from facemae.nn.openvino import compiled
from facemae.nn.patches import enlarge_cells, paste_patches, patchify, unpatchify
from facemae.spec.execution import Execution, Task
from facemae.spec.recipe import ReconstructSpec
from facemae.stages.inputs import source_digest
from facemae.stages.pretrain import load_model
from facemae.stages.shared import open_shared
from facemae.train.parts import Parts
from facemae.train.precision import autocast, resolve
from facemae.train.world import World, join, wait_for_all

CHUNK = 64
"""Images per forward pass, by record number and padded at the end: part of the result. Batch size, workers and
processes only group chunks, so they cannot change a byte (same machine type, threads and precision)."""


def reconstruct(model: Path, masked: Path, out: Path, spec: ReconstructSpec, execution: Execution) -> Path:
    """Write the reconstruction of every record of ``masked`` to ``out``, keys and person numbers unchanged.

    Several ranks make parts that the main one joins: the same bytes, whatever their number, and whatever number an
    interrupted run had. On several machines OUT has to lie on storage that all of them see.

    Raises:
        NotAFaceSet: ``masked`` is not a masked set.
        RecipeError: the model's grid is not the set's.
    """
    faces = FaceSet.open(masked, kind="masked")
    net = load_model(Path(model))
    _demand_fit(net, faces)
    world = join(execution.device)
    parents = {"model": source_digest(Path(model)), "masked": faces.digest}
    settings = spec.model_dump() | {"precision": resolve(spec.precision, world.device)}
    with open_shared("reconstruct", out, spec=settings, parents=parents, resumable=True, world=world) as stage:
        if not stage.finished:
            net = net.to(world.device).eval()
            if spec.engine == "openvino":
                compiled(net, precision=settings["precision"], device=world.device)
            work = _Reconstruction(net, faces, stage.directory, spec, world, execution)
            if world.size > 1:
                work.make_parts()
            if world.main:
                grid, cell, _ = faces.cells
                size = {"identities": faces.num_identities, "size": [grid * cell, grid * cell]}
                pixels = {"true_pixels": _share(faces) if spec.paste_visible else 0.0}
                stage.publish("reconstructed", {"records": work.join_parts()} | size | pixels)
    return Path(out)


@dataclass(frozen=True)
class _Reconstruction:
    """One set on its way: parts by several ranks, or all of it by one, through the one writer."""

    net: FaceMAE
    faces: FaceSet
    directory: Path
    spec: ReconstructSpec
    world: World
    execution: Execution

    @property
    def parts(self) -> Parts:
        return Parts(self.directory / "parts", len(self.faces), CHUNK)

    def make_parts(self) -> None:
        """This rank's share of what is missing; returns when every rank has made its own."""
        mine = self.parts.deal(self._written() if self.world.main else 0, self.world)
        with self.execution.progress.task("reconstruct", sum(len(span) for span in mine), "images") as task:
            for span in mine:
                with self.parts.making(span) as directory, closing(FaceSetWriter(directory)) as writer:
                    task.advance(len(writer))
                    self._compute(range(span.start + len(writer), span.stop), writer, task)
                    writer.finish()
        wait_for_all(self.world)

    def join_parts(self) -> int:
        """The set from the parts that there are, and from computing what is in none of them; how many records."""
        name, total = "reconstruct" if self.world.size == 1 else "join parts", len(self.faces)
        with closing(FaceSetWriter(self.directory)) as writer:
            with self.execution.progress.task(name, total, "images", len(writer)) as task:
                for span in self.parts.made():
                    if span.stop > len(writer):
                        self._compute(range(len(writer), span.start), writer, task)
                        self._append(span, writer, task)
                    shutil.rmtree(self.parts.path(span))
                self._compute(range(len(writer), total), writer, task)
            self.parts.drop()
            return writer.finish()

    def _written(self) -> int:
        """Records that an earlier run left in the set itself; one rank may look, for looking repairs."""
        with closing(FaceSetWriter(self.directory)) as writer:
            return len(writer)

    def _compute(self, records: range, writer: FaceSetWriter, task: Task) -> None:
        """Reconstruct these records: a chunk of which only the rest is wanted is computed whole."""
        if not records:
            return
        encode = encode_png if self.spec.format == "png" else _encode_jpeg
        group = max(1, self.execution.batch // CHUNK)
        span = range(records.start // CHUNK * CHUNK, records.stop)
        for start, images in _chunks(self.net, self.faces, span, self.spec, self.world.device, group=group):
            fresh = range(max(start, records.start), start + len(images))
            for i in fresh:
                writer.add(encode(images[i - start]), int(self.faces.identities[i]))
            writer.flush()
            task.advance(len(fresh))

    def _append(self, span: range, writer: FaceSetWriter, task: Task) -> None:
        """What the set does not hold yet of a part, image by image, against its checksums."""
        part = FaceSet(self.parts.path(span), self.faces.manifest)
        for i in range(max(0, len(writer) - span.start), len(part)):
            record = part.record(i)
            writer.add(record.image, record.identity)
            task.advance()
        writer.flush()


def _demand_fit(net: FaceMAE, faces: FaceSet) -> None:
    grid, cell, _ = faces.cells
    if net.grid != grid or net.patch_size % cell:
        raise RecipeError(
            f"the model cannot reconstruct {faces.directory}",
            got=f"{grid} cells a side of {cell} pixels",
            needed=f"{net.grid} cells a side, of {net.patch_size} pixels or a whole fraction of that",
            remedy="mask with another cell, or name another model",
        )


def _chunks(
    net: FaceMAE, faces: FaceSet, records: range, spec: ReconstructSpec, device: torch.device, *, group: int
) -> Iterator[tuple[int, np.ndarray]]:
    """(first record, images) chunk by chunk; ``group`` chunks are read at a time."""
    for block in range(records.start, records.stop, group * CHUNK):
        indices = range(block, min(block + group * CHUNK, records.stop))
        cells, positions = faces.visible(indices)
        for start in range(0, len(indices), CHUNK):
            part = slice(start, start + CHUNK)
            count = len(cells[part])
            pad = ((0, CHUNK - count), *[(0, 0)] * (cells.ndim - 1))
            padded = np.pad(cells[part], pad)
            ids = np.concatenate([positions[part], np.repeat(positions[:1], CHUNK - count, axis=0)])
            yield block + start, _predict(net, padded, ids, spec, device)[:count]


@torch.no_grad()
def _predict(
    net: FaceMAE, cells: np.ndarray, positions: np.ndarray, spec: ReconstructSpec, device: torch.device
) -> np.ndarray:
    """Visible cells (b k c c 3, 8 bits) to whole images (b h w 3, 8 bits) at native size."""
    cell = cells.shape[2]
    visible = torch.from_numpy(cells).to(device).flatten(2).float() / 255
    ids = torch.from_numpy(positions).to(device)
    with autocast(spec.precision, device):
        prediction = net(enlarge_cells(visible, factor=net.patch_size // cell), ids)
    images = _native(prediction.float(), net.grid * cell)
    if spec.paste_visible:
        patches = paste_patches(patchify(images, patch_size=cell), visible, ids)
        images = unpatchify(patches, patch_size=cell)
    return (images.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).contiguous().cpu().numpy()


def _native(images: Tensor, size: int) -> Tensor:
    if images.shape[-1] == size:
        return images
    return torch.nn.functional.interpolate(images, (size, size), mode="bilinear", antialias=True)


def _encode_jpeg(image: np.ndarray) -> bytes:
    return encode_jpeg(image, 100, subsampling="444")


def _share(faces: FaceSet) -> float:
    grid, _, kept = faces.cells
    return kept / (grid * grid)
