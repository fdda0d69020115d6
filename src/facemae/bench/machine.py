"""How fast this machine multiplies matrices, in each number type: the floor under every stage."""

from collections.abc import Callable

import numpy as np
import torch

from facemae.bench.pairs import Basis, Contender, Lap, seconds
from facemae.bench.workspace import Workspace

GROUP = "matrix product"
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
GIGA = 1e9
UNIT = "GFLOP/s"


def matrix_products(work: Workspace) -> list[Contender]:
    """Square products of every size and number type; a unit is 1e9 operations, so a rate is in GFLOP/s.

    On the processor numpy's library takes part too: on some machines it is the faster one, and retrieval runs in it.
    """
    contenders = []
    for dtype, kind in TYPES.items():
        for n in work.sizes.matrices:
            a, b = (torch.randn(n, n, device=work.device, dtype=kind) for _ in range(2))
            contenders.append(_product(work, f"{GROUP} {dtype} {n}", dtype, n, _fixed(torch.mm, a, b)))
            if dtype == "fp32" and work.device.type == "cpu":
                x, y = a.numpy(), b.numpy()
                contenders.append(_product(work, f"{GROUP} {dtype} {n}, numpy", dtype, n, _fixed(np.matmul, x, y)))
    return contenders


def fastest(contenders: list[Contender], laps: dict[str, list[Lap]], basis: Basis) -> dict[str, Contender]:
    """The best matrix product of each number type."""
    best: dict[str, Contender] = {}
    for contender in sorted(contenders, key=lambda each: seconds(laps[each.name], basis).median):
        best.setdefault(contender.dtype, contender)
    return best


def _product(work: Workspace, name: str, dtype: str, n: int, call: Callable[[], object]) -> Contender:
    return Contender(name, dtype, work.repeated(call, 2 * n**3 / GIGA), operations=GIGA)


def _fixed(function: Callable[..., object], *arguments: object) -> Callable[[], object]:
    return lambda: function(*arguments)
