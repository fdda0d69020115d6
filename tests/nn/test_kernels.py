"""The fast kernels equal torch's own, in value and in every gradient."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from facemae.nn.kernels import Conv2d, PReLU, clip, convolve, prelu


def _random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.double, generator=torch.Generator().manual_seed(len(shape))).requires_grad_()


@pytest.mark.parametrize("slopes", [1, 4])
def test_prelu_has_the_right_gradients(slopes: int) -> None:
    x, slope = _random(2, 4, 3, 2), torch.tensor([0.25, -0.3, 1.7, 0.0], dtype=torch.double)[:slopes].requires_grad_()
    assert torch.autograd.gradcheck(prelu, (x, slope))
    torch.testing.assert_close(prelu(x, slope), F.prelu(x, slope))


def test_prelu_module_keeps_its_key_and_its_gradient_in_channels_last() -> None:
    own, theirs = PReLU(4), torch.nn.PReLU(4)
    own.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 4, 5, 5).to(memory_format=torch.channels_last)
    own(x).square().sum().backward()
    theirs(x).square().sum().backward()
    torch.testing.assert_close(own.weight.grad, theirs.weight.grad)


@pytest.mark.parametrize(
    "shape", [(2, 16, 6, 6), (3, 16, 5, 5), (2, 96, 4, 4), (1, 600, 2, 2), (2, 16, 1, 1), (0, 4, 3, 3)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_prelu_in_channels_last_equals_that_of_torch_in_float64(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(3)
    x, grad = (
        torch.randn(shape, generator=draw).to(dtype).to(memory_format=torch.channels_last).requires_grad_()
        for _ in range(2)
    )
    slope = torch.linspace(-0.5, 1.5, shape[1]).to(dtype).requires_grad_()
    y = prelu(x, slope)
    assert y.is_contiguous(memory_format=torch.channels_last)
    exact_x, exact_slope = (tensor.detach().double().requires_grad_() for tensor in (x, slope))
    exact = F.prelu(exact_x, exact_slope)
    ours = torch.autograd.grad(y, (x, slope), grad)
    theirs = torch.autograd.grad(exact, (exact_x, exact_slope), grad.double())
    torch.testing.assert_close(y.double(), exact, **_close(dtype))
    for mine, wanted in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.double(), wanted, **_close(dtype))


def test_prelu_takes_a_gradient_in_another_layout() -> None:
    x = torch.randn(2, 16, 4, 4).to(memory_format=torch.channels_last).requires_grad_()
    slope, grad = torch.linspace(0.1, 0.9, 16), torch.randn(2, 16, 4, 4)
    torch.testing.assert_close(
        torch.autograd.grad(prelu(x, slope), x, grad), torch.autograd.grad(F.prelu(x, slope), x, grad)
    )


def _close(dtype: torch.dtype) -> dict[str, float]:
    return {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 0.02, "atol": 0.05}


@pytest.mark.parametrize("overwrite", [False, True])
def test_clip_has_the_right_gradient(overwrite: bool) -> None:
    x = _random(3, 7)
    assert torch.autograd.gradcheck(lambda t: clip(2 * t, -0.5, 0.7, overwrite=overwrite), (x,))


def test_clip_overwrites_only_when_told() -> None:
    x = torch.tensor([-1.0, 9.0])
    assert clip(x, 0.0, 6.0).tolist() == [0.0, 6.0]
    assert x.tolist() == [-1.0, 9.0]
    clip(x, 0.0, 6.0, overwrite=True)
    assert x.tolist() == [0.0, 6.0]


@pytest.mark.parametrize(("stride", "padding", "size"), [((2, 2), (1, 1), 8), ((2, 3), (0, 1), 9), ((3, 2), (2, 0), 7)])
def test_strided_depthwise_gradients_equal_those_of_float32(
    stride: tuple[int, int], padding: tuple[int, int], size: int
) -> None:
    x, weight, bias = (torch.randn(*shape).bfloat16() for shape in ((2, 4, size, size), (4, 1, 3, 3), (4,)))
    results = []
    for dtype in (torch.float32, torch.bfloat16):
        leaves = [tensor.to(dtype).requires_grad_() for tensor in (x, weight, bias)]
        y = convolve(*leaves, stride=stride, padding=padding, groups=4)
        y.float().square().sum().backward()
        results.append([y, *(leaf.grad for leaf in leaves)])
    for exact, fast in zip(*results, strict=True):
        assert exact is not None
        assert fast is not None
        torch.testing.assert_close(fast.float(), exact, rtol=0.03, atol=0.03 * exact.abs().max().item())


def test_convolution_module_follows_autocast() -> None:
    conv = Conv2d(6, 6, 3, 2, 1, groups=6)
    x = torch.randn(2, 6, 9, 9, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        y = conv(x)
    assert y.dtype == torch.bfloat16
    y.float().sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == torch.float32
    torch.testing.assert_close(y.float(), F.conv2d(x, conv.weight, conv.bias, 2, 1, 1, 6), rtol=0.02, atol=0.02)
