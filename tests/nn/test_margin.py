"""Margins: the golden gradients of arcface_torch's history, guards, and the head's arithmetic."""

import math

import pytest
import torch

from facemae.nn.margin import MarginHead, arcface, cosface


def _slope(theta: float, gradient: str) -> tuple[float, float]:
    cosine = torch.tensor([[math.cos(theta), 0.1]], dtype=torch.double, requires_grad=True)
    logits = arcface(cosine, torch.tensor([0]), gradient=gradient)  # type: ignore[arg-type]
    logits[0, 0].backward()
    assert cosine.grad is not None
    return logits[0, 0].item(), cosine.grad[0, 0].item()


@pytest.mark.parametrize(("theta", "exact"), [(0.3, 155.36), (0.8, 85.97), (math.acos(0.3), 65.81), (2.2, 33.83)])
def test_gradients_of_both_variants(theta: float, exact: float) -> None:
    value, slope = _slope(theta, "exact")
    assert slope == pytest.approx(exact, abs=0.006)
    through, straight = _slope(theta, "straight_through")
    assert straight == pytest.approx(64.0)
    assert value == pytest.approx(64 * math.cos(theta + 0.5), abs=1e-6)
    assert through == pytest.approx(value, abs=1e-6)


def test_beyond_pi_the_logit_goes_on_falling() -> None:
    # Without the guard the derivative at θ = 2.7 would be −8.74: a wrong face would be pushed further away.
    value, slope = _slope(2.7, "exact")
    assert slope == pytest.approx(64.0)
    assert value == pytest.approx(64 * (math.cos(2.7) - 0.5 * math.sin(math.pi - 0.5)))
    edge = [_slope(math.pi - 0.5 + step, "exact")[0] for step in (-1e-6, 1e-6)]
    assert edge[1] < edge[0]


@pytest.mark.parametrize("gradient", ["exact", "straight_through"])
def test_no_nan_where_the_cosine_is_one(gradient: str) -> None:
    cosine = torch.tensor([[1.0, 0.2], [-1.0, 0.3], [1.0000002, -1.0000002]], requires_grad=True)
    arcface(cosine, torch.tensor([0, 0, 1]), gradient=gradient).sum().backward()  # type: ignore[arg-type]
    assert cosine.grad is not None
    assert torch.isfinite(cosine.grad).all()


def test_only_the_true_class_changes_and_minus_one_means_none() -> None:
    cosine = torch.tensor([[0.5, 0.2, -0.1], [0.4, 0.3, 0.6]])
    logits = arcface(cosine, torch.tensor([1, -1]))
    expected = 64 * cosine
    expected[0, 1] = 64 * math.cos(math.acos(0.2) + 0.5)
    torch.testing.assert_close(logits, expected)
    assert cosface(cosine, torch.tensor([1, -1]), margin=0.35)[0, 1].item() == pytest.approx(
        64 * (0.2 - 0.35), abs=1e-4
    )


def test_head_is_cross_entropy_over_normalised_centres() -> None:
    torch.manual_seed(0)
    head = MarginHead(5, 8, margin=0.0, scale=10.0)
    faces, labels = torch.randn(6, 8), torch.tensor([0, 1, 2, 3, 4, 0])
    unit = faces / faces.norm(dim=1, keepdim=True)
    centres = head.weight / head.weight.norm(dim=1, keepdim=True)
    expected = -torch.log_softmax(10 * unit @ centres.T, 1)[torch.arange(6), labels].mean()
    torch.testing.assert_close(head(3 * faces, labels), expected)
    assert head(faces.bfloat16(), labels).dtype == torch.float32
    assert list(head.state_dict()) == ["weight"]


def test_centres_start_small() -> None:
    torch.manual_seed(0)
    assert MarginHead(200, 64).weight.std().item() == pytest.approx(0.01, rel=0.05)


def test_a_margin_makes_the_loss_larger() -> None:
    torch.manual_seed(0)
    faces, labels = torch.randn(6, 8), torch.arange(6)
    losses = []
    for kind, margin in (("arcface", 0.0), ("arcface", 0.5), ("cosface", 0.4)):
        torch.manual_seed(1)
        losses.append(MarginHead(6, 8, kind=kind, margin=margin)(faces, labels).item())  # type: ignore[arg-type]
    assert losses[0] < losses[1]
    assert losses[0] < losses[2]
