"""Matrix products that nominate nearest faces, the fastest that this processor has."""

import numpy as np
import torch
from jaxtyping import Float32

from facemae.measure.retrieval import FLOAT32, Product, error_bound
from facemae.train.precision import resolve


def fastest_product() -> Product:
    """In bf16 where the processor multiplies it, else float32; `topk` finds the same faces either way."""
    return BFLOAT16 if resolve("auto", torch.device("cpu")) == "bf16" else FLOAT32


def bfloat16_error(dimension: int) -> float:
    """((1 + u)³ (1 + γ) − 1), u = 2⁻⁸: both factors and the score are rounded to 8 bits, the sum is one in float32.

    For unit rows with norms up to 1 + 1e-4; γ is taken twice, for processors that cut instead of rounding.
    """
    unit = 2.0**-8
    return 1.001 * ((1 + unit) ** 3 * (1 + 2 * error_bound(dimension)) - 1)


def _multiply(x: Float32[np.ndarray, "q d"], y: Float32[np.ndarray, "g d"]) -> Float32[np.ndarray, "q g"]:
    queries, rows = (torch.from_numpy(part).bfloat16() for part in (x, y))
    return torch.mm(queries, rows.T).float().numpy()


BFLOAT16 = Product(_multiply, bfloat16_error)
