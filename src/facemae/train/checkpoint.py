"""Training state on disk: whole or absent, and enough to go on bit for bit."""

import io
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

FILE = "checkpoint.pt"


def save_checkpoint(directory: Path, state: dict[str, Any]) -> None:
    """Write ``state`` (tensors, numbers, text, nested) beside the old checkpoint, then replace it in one rename."""
    # Serialised in memory first: torch's own writer turns a full disk into a RuntimeError without an errno.
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_bytes(directory / FILE, buffer.getbuffer())


def load_checkpoint(directory: Path) -> dict[str, Any] | None:
    """The state of an interrupted run, or None; tensors come back on the CPU, and nothing in the file is executed."""
    path = directory / FILE
    if not path.exists():
        return None
    return torch.load(path, map_location="cpu", weights_only=True)


def drop_checkpoint(directory: Path) -> None:
    """Forget the training state of a finished run; its weights are stored apart."""
    (directory / FILE).unlink(missing_ok=True)


def all_finite(module: nn.Module) -> bool:
    """Whether every weight is a number: a state that is not must never replace an older checkpoint."""
    return all(bool(parameter.isfinite().all()) for parameter in module.parameters())


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write one file so that it is either whole or absent: sibling, fsync, rename."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)
