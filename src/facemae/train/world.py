"""The ranks of a run: every word spoken between processes is in this file.

A run started by ``torchrun`` has ``size`` ranks; anything else is a world of one, where all of this is a no-op.
"""

import atexit
import ctypes
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Float, Int64
from torch import Tensor, nn

from facemae.errors import RecipeError

T = TypeVar("T")

PATIENCE = timedelta(hours=12)
"""How long a rank waits for the others: the main rank may have to embed a whole set before the first step."""


@dataclass(frozen=True)
class World:
    """Who and where this process is."""

    rank: int
    size: int
    device: torch.device

    @property
    def main(self) -> bool:
        """Whether this rank writes files and reports."""
        return self.rank == 0


def join(device: str = "auto") -> World:
    """The world of this process; starts the process group when ``torchrun`` made several.

    Raises:
        RecipeError: "cuda" was asked for and there is none.
    """
    if device not in ("auto", "cpu") and not device.startswith("cuda"):
        raise RecipeError("--device", got=repr(device), needed="auto, cpu or cuda")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise RecipeError("--device cuda", got="no CUDA device", remedy="use --device cpu or auto")
    cuda = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    local = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(local)
    else:
        _keep_freed_memory()
    if size > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if cuda else "gloo", timeout=PATIENCE)
        atexit.register(leave)
    return World(rank, size, local)


def leave() -> None:
    """End the words between processes, if there are any; every process of a run calls this when all have finished.

    At the end of a process it happens by itself: gloo's threads abort a process that they outlive.
    """
    if dist.is_initialized():
        dist.destroy_process_group()


def _keep_freed_memory() -> None:
    """Ask glibc to reuse freed blocks instead of returning them to the kernel, where there is glibc.

    A step allocates the same hundred tensors again and again; those over 32 MB would be mapped and faulted in anew each
    time, which takes longer than the arithmetic on them (PReLU forward of 51 MB: 93 ms against 19 ms).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):
        return
    m_trim_threshold, m_mmap_max = -1, -4
    mallopt(m_mmap_max, 0)
    mallopt(m_trim_threshold, 2**31 - 1)


class _Gather(torch.autograd.Function):
    """Forward: concatenate the rows of all ranks. Backward: sum the gradients of all ranks, keep our own rows."""

    @staticmethod
    def forward(ctx, rows: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.rows = rows.shape[0]
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        gradient = gradient.contiguous()
        dist.all_reduce(gradient, op=dist.ReduceOp.SUM)
        start = dist.get_rank() * ctx.rows
        return gradient[start : start + ctx.rows]


def gather_rows(rows: Float[Tensor, "n d"], world: World) -> Float[Tensor, "m d"]:
    """Rows of all ranks in rank order, with gradient; every rank must bring the same number of rows."""
    return rows if world.size == 1 else _Gather.apply(rows)


def gather_labels(labels: Int64[Tensor, " n"], world: World) -> Int64[Tensor, " m"]:
    """Labels of all ranks in rank order; every rank must bring the same number."""
    if world.size == 1:
        return labels
    parts = [torch.empty_like(labels) for _ in range(world.size)]
    dist.all_gather(parts, labels.contiguous())
    return torch.cat(parts)


def sum_over_ranks(values: Tensor, world: World) -> Tensor:
    """``values`` itself, overwritten by its sum over the ranks; no gradient flows."""
    if world.size > 1:
        dist.all_reduce(values, op=dist.ReduceOp.SUM)
    return values


def max_over_ranks(values: Tensor, world: World) -> Tensor:
    """``values`` itself, overwritten by its largest value over the ranks; no gradient flows."""
    if world.size > 1:
        dist.all_reduce(values, op=dist.ReduceOp.MAX)
    return values


def all_agree(answer: bool, world: World) -> bool:
    """Whether every rank says yes: how ranks that must act together come to one decision."""
    if world.size == 1:
        return answer
    said = torch.tensor(int(answer), device=world.device)
    dist.all_reduce(said, op=dist.ReduceOp.MIN)
    return bool(said.item())


def share_of(count: int, rank: int, size: int) -> range:
    """Which of ``count`` rows rank r of W holds: count // W of them, one more on the first count mod W ranks."""
    each, more = divmod(count, size)
    start = each * rank + min(rank, more)
    return range(start, start + each + (rank < more))


def mean_over_ranks(values: Sequence[float], world: World) -> list[float]:
    """The mean of each value over the ranks."""
    if world.size == 1:
        return list(values)
    total = torch.tensor(values, dtype=torch.float64, device=world.device)
    dist.all_reduce(total)
    return (total / world.size).tolist()


def parallel(module: nn.Module, world: World) -> nn.Module:
    """The module wrapped for gradient averaging; batch-norm statistics stay each rank's own."""
    if world.size == 1:
        return module
    ids = [world.device.index] if world.device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(module, device_ids=ids, broadcast_buffers=False)


def wait_for_all(world: World) -> None:
    """Return when every rank has come here."""
    if world.size > 1:
        dist.barrier()


def of_all(value: T, world: World) -> list[T]:
    """The value that each rank brings, in rank order, once every rank has come here; the first is the main rank's."""
    values: list[Any] = [value] * world.size
    if world.size > 1:
        dist.all_gather_object(values, value)
    return values
