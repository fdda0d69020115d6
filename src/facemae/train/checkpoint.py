"""Training state on disk: whole or absent, and enough to go on bit for bit, on any number of ranks.

`checkpoint.pt` holds what every rank has alike. Rows that are split over the ranks (`share_of`) lie beside it, one
`checkpoint.STEP.NAME.RANK.npy` each, and are split anew by whoever reads them. A checkpoint is its `checkpoint.pt`: the
rows of all ranks are on disk before one rename replaces it, and those of the checkpoint before are removed afterwards.

Why not torch.distributed.checkpoint: it unpickles `.metadata` without restriction (a crafted file ran a command when it
was loaded, torch 2.13), and a full disk becomes a `CheckpointException` without the system's errno. Here `.pt` is read
with ``weights_only=True`` and `.npy` without pickle. Of the ranks it asks the same: one directory that all of them see.
"""

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from facemae.errors import Damaged
from facemae.train.world import World, share_of, wait_for_all

FILE = "checkpoint.pt"


def save_checkpoint(
    directory: Path, state: Mapping[str, Any], *, world: World | None = None, rows: Mapping[str, Tensor] | None = None
) -> None:
    """Write ``state`` (``step``, tensors, numbers, text, nested) beside the old checkpoint, then replace that.

    With ``rows``, float32 of this rank's share each, every rank of ``world`` must call; without, the main one alone.
    """
    content = dict(state)
    if rows is not None:
        assert world is not None
        for name, share in rows.items():
            _write_rows(directory / f"checkpoint.{content['step']}.{name}.{world.rank}.npy", share)
        wait_for_all(world)
        if not world.main:
            return
        content["ranks"] = world.size
    # Serialised in memory first: torch's own writer turns a full disk into a RuntimeError without an errno.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_bytes(directory / FILE, buffer.getbuffer())
    _drop_rows(directory, keep=content["step"] if rows is not None else None)


def load_checkpoint(directory: Path) -> dict[str, Any] | None:
    """The state of an interrupted run, or None; tensors come back on the CPU, and nothing in the file is executed."""
    path = directory / FILE
    if not path.exists():
        return None
    return torch.load(path, map_location="cpu", weights_only=True)


def load_rows(
    directory: Path, state: Mapping[str, Any], name: str, *, count: int, wanted: range
) -> Float[np.ndarray, "n d"]:
    """Rows ``wanted`` of the ``count`` rows that the ranks of an interrupted run left under ``name``.

    Raises:
        Damaged: a file holds other rows than those of its rank.
    """
    parts = []
    for rank in range(state["ranks"]):
        held = share_of(count, rank, state["ranks"])
        path = directory / f"checkpoint.{state['step']}.{name}.{rank}.npy"
        share = np.load(path, mmap_mode="r", allow_pickle=False)
        if len(share) != len(held) or share.dtype != np.float32:
            raise Damaged(f"{path} is not of this run", got=f"{len(share)} rows", needed=len(held))
        parts.append(share[max(wanted.start - held.start, 0) : max(wanted.stop - held.start, 0)])
    return np.concatenate(parts)


def drop_checkpoint(directory: Path) -> None:
    """Forget the training state of a finished run; its weights are stored apart."""
    (directory / FILE).unlink(missing_ok=True)
    _drop_rows(directory, keep=None)


def all_finite(module: nn.Module) -> bool:
    """Whether every weight is a number: a state that is not must never replace an older checkpoint."""
    return all(bool(parameter.isfinite().all()) for parameter in module.parameters())


def write_bytes(path: Path, *data: bytes | memoryview) -> None:
    """Write one file so that it is either whole or absent: sibling, fsync, rename."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as stream:
        for part in data:
            stream.write(part)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)


def _write_rows(path: Path, rows: Tensor) -> None:
    array = np.ascontiguousarray(rows.detach().cpu().numpy())
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    # Not by np.save, whose error for a full disk does not tell that it is one.
    write_bytes(path, header.getbuffer(), array.reshape(-1).view(np.uint8).data)


def _drop_rows(directory: Path, *, keep: int | None) -> None:
    """Remove the rows of every step but ``keep``, and what an interrupted save left half."""
    for path in [*directory.glob("checkpoint.*.npy"), *directory.glob(".checkpoint.*.npy.partial")]:
        if path.name.startswith(".") or path.name.split(".")[1] != str(keep):
            path.unlink(missing_ok=True)
