"""Which numbers a device computes in."""

from contextlib import AbstractContextManager, nullcontext

import torch


def resolve(precision: str, device: torch.device) -> str:
    """``fp32`` or ``bf16``; ``auto`` is bf16 where the hardware multiplies it (CUDA 8.0; CPU: AVX512-BF16, AMX)."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if torch.ops.mkldnn._is_mkldnn_bf16_supported() and _cpu_multiplies_bf16() else "fp32"


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """The context in which a model's body runs; losses and last layers leave it by themselves."""
    if resolve(precision, device) == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def _cpu_multiplies_bf16() -> bool:
    # oneDNN accepts bf16 on any AVX-512 machine and emulates it where the instructions are missing, at a loss.
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, check, bool)() for check in checks)
