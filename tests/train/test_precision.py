"""Which numbers a device computes in."""

import pytest
import torch

from facemae.train import precision
from facemae.train.precision import autocast, resolve

CPU = torch.device("cpu")


@pytest.mark.parametrize("asked", ["fp32", "bf16"])
def test_what_is_asked_for_is_taken(asked: str) -> None:
    assert resolve(asked, CPU) == asked


@pytest.mark.parametrize(("multiplies", "taken"), [(True, "bf16"), (False, "fp32")])
def test_auto_on_a_cpu_follows_its_instructions(multiplies: bool, taken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        taken = "fp32"
    monkeypatch.setattr(precision, "_cpu_multiplies_bf16", lambda: multiplies)
    assert resolve("auto", CPU) == taken


@pytest.mark.parametrize(("supported", "taken"), [(True, "bf16"), (False, "fp32")])
def test_auto_on_cuda_asks_the_device(supported: bool, taken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supported)
    assert resolve("auto", torch.device("cuda")) == taken


def test_products_are_rounded_in_bf16_only() -> None:
    a = torch.full((2, 2), 1.001)
    with autocast("fp32", CPU):
        exact = a @ torch.eye(2)
    with autocast("bf16", CPU):
        rounded = a @ torch.eye(2)
    assert exact.dtype == torch.float32
    assert torch.equal(exact, a)
    assert rounded.dtype == torch.bfloat16
    assert rounded[0, 0].item() == 1.0
