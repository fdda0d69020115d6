"""`reconstruct`: masked set to the set that is released. Originals cannot enter here."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from facemae.errors import RecipeError
from facemae.faces.codec import encode_jpeg, encode_png
from facemae.faces.faceset import FaceSet
from facemae.faces.writer import FaceSetWriter
from facemae.nn.mae import FaceMAE
from facemae.nn.patches import enlarge_cells, paste_patches, patchify, unpatchify
from facemae.spec.execution import Execution
from facemae.spec.recipe import ReconstructSpec
from facemae.stages.inputs import source_digest
from facemae.stages.pretrain import load_model
from facemae.stages.stage import open_stage
from facemae.train.precision import autocast, resolve
from facemae.train.world import join

CHUNK = 64
"""Images per forward pass, by record number and padded at the end: part of the result. Batch size, workers and
processes only group chunks, so they cannot change a byte (same machine type, threads and precision)."""


def reconstruct(model: Path, masked: Path, out: Path, spec: ReconstructSpec, execution: Execution) -> Path:
    """Write the reconstruction of every record of ``masked`` to ``out``, keys and person numbers unchanged.

    Raises:
        NotAFaceSet: ``masked`` is not a masked set.
        RecipeError: the model's grid is not the set's.
    """
    faces = FaceSet.open(masked, kind="masked")
    net = load_model(Path(model))
    _demand_fit(net, faces)
    device = join(execution.device).device
    parents = {"model": source_digest(Path(model)), "masked": faces.digest}
    settings = spec.model_dump() | {"precision": resolve(spec.precision, device)}
    with open_stage("reconstruct", out, spec=settings, parents=parents, resumable=True) as stage:
        if not stage.finished:
            records = _write(net.to(device).eval(), faces, stage.directory, spec, device, execution)
            grid, cell, _ = faces.cells
            facts = {"records": records, "identities": faces.num_identities, "size": [grid * cell, grid * cell]}
            stage.publish("reconstructed", facts | {"true_pixels": _share(faces) if spec.paste_visible else 0.0})
    return Path(out)


def _write(
    net: FaceMAE, faces: FaceSet, directory: Path, spec: ReconstructSpec, device: torch.device, execution: Execution
) -> int:
    encode = encode_png if spec.format == "png" else _encode_jpeg
    with closing(FaceSetWriter(directory)) as writer:
        done = len(writer)
        with execution.progress.task("reconstruct", len(faces), "images", done) as task:
            # A shard that fills up ends in the middle of a chunk: that chunk is computed whole and its rest is written.
            first = done // CHUNK * CHUNK
            for start, images in _chunks(net, faces, first, spec, device, group=max(1, execution.batch // CHUNK)):
                fresh = range(max(start, done), start + len(images))
                for i in fresh:
                    writer.add(encode(images[i - start]), int(faces.identities[i]))
                writer.flush()
                task.advance(len(fresh))
        return writer.finish()


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
    net: FaceMAE, faces: FaceSet, first: int, spec: ReconstructSpec, device: torch.device, *, group: int
) -> Iterator[tuple[int, np.ndarray]]:
    """(first record, images) chunk by chunk; ``group`` chunks are read at a time."""
    for block in range(first, len(faces), group * CHUNK):
        indices = range(block, min(block + group * CHUNK, len(faces)))
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
