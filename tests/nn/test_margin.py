"""Margins: the golden gradients of arcface_torch's history, guards, and the head's arithmetic."""

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from facemae.nn.margin import MarginHead, Qualities, adaface, arcface, cosface, margin_of, mixed_margin
from facemae.spec.recipe import Margin


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


# d(logit)/d(cos) at s = 64, m = 0.5: since December 2022, and the derivative of cos(θ + m).
GOLDEN = [(0.3, 64, 155.36), (0.8, 64, 85.97), (1.2661, 64, 65.81), (2.2, 64, 33.83), (2.7, 64, -8.74)]


@pytest.mark.parametrize(("theta", "straight", "exact"), GOLDEN)
def test_golden_gradients_of_insightfaces_history(theta: float, straight: float, exact: float) -> None:
    assert _slope(theta, "unguarded")[1] == pytest.approx(exact, abs=0.006)
    assert _slope(theta, "straight_through")[1] == pytest.approx(straight)
    guarded = 64.0 if theta + 0.5 > math.pi else exact
    for name in ("exact", "expanded"):
        assert _slope(theta, name)[1] == pytest.approx(guarded, abs=0.006)
    # 2021's own way, through acos; theirs has no line, as the logits of 2022-12 have none.
    cosine = torch.tensor(math.cos(theta), dtype=torch.double, requires_grad=True)
    logit = 64 * torch.cos(torch.acos(cosine) + 0.5)
    logit.backward()
    assert cosine.grad is not None
    for name in ("unguarded", "straight_through"):
        assert _slope(theta, name)[0] == pytest.approx(logit.item(), abs=1e-9)
    assert _slope(theta, "unguarded")[1] == pytest.approx(cosine.grad.item(), abs=1e-6)


@pytest.mark.parametrize("gradient", ["exact", "expanded", "unguarded", "straight_through"])
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


def test_spec_and_head_have_the_same_defaults() -> None:
    # A recipe's newer settings are left out where they are the defaults: the head must then mean the same.
    head = MarginHead(2, 3, kind="adaface")
    spec = Margin(kind="adaface")
    assert head.quality is not None
    assert (head.margin, head.scale, head.gradient) == (spec.margin, spec.scale, spec.gradient)
    assert (head.quality.h, head.quality.t_alpha) == (spec.h, spec.t_alpha)
    assert head.interclass_filter == spec.interclass_filter
    assert set(spec.model_dump()) == {"kind", "margin", "scale", "gradient"}


# ---- AdaFace -------------------------------------------------------------------------------------------------------


def test_quality_by_hand() -> None:
    quality = Qualities(h=0.5, t_alpha=0.25)
    norms = torch.tensor([4.0, 8.0, 12.0])
    quality.observe(norms)
    # Mean 8, unbiased deviation 4: a quarter of the way from 20 and 100.
    assert (quality.norm_mean.item(), quality.norm_deviation.item()) == (17.0, 76.0)
    found = quality(torch.tensor([17.0, 17.0 + 76.001, 1000.0, 0.0]))
    # 100 is the largest norm it believes in.
    assert found.tolist() == pytest.approx([0.0, 0.5, 0.5 * 83 / 76.001, 0.5 * (0.001 - 17) / 76.001], abs=1e-6)
    for _ in range(200):
        quality.observe(norms)
    assert quality(torch.tensor([16.0])).item() == pytest.approx(1.0, abs=1e-3)  # two deviations above the mean
    assert quality(torch.tensor([0.0, 90.0])).tolist() == pytest.approx([-1, 1], abs=1e-3)
    assert list(quality.state_dict()) == ["norm_mean", "norm_deviation"]
    quality.observe(torch.tensor([5.0]))  # one face alone has no deviation
    assert quality.norm_deviation.isfinite()


def test_adaface_by_hand() -> None:
    cosine = torch.tensor([[0.3, 0.6], [0.3, 0.6], [0.3, 0.6]], dtype=torch.double)
    logits = adaface(cosine, torch.tensor([0, 0, -1]), torch.tensor([1.0, -0.5, 1.0]), margin=0.4, scale=10.0)
    theta = math.acos(0.3)
    wanted = [10 * (math.cos(theta - 0.4) - 0.8), 10 * (math.cos(theta + 0.2) - 0.2), 3.0]
    assert logits[:, 0].tolist() == pytest.approx(wanted)
    assert logits[:, 1].tolist() == pytest.approx([6.0] * 3)


def test_adaface_turns_into_arcface_and_cosface() -> None:
    cosine, labels = torch.rand(5, 4, dtype=torch.double) * 1.6 - 0.8, torch.arange(5) % 4
    low, middle = -torch.ones(5), torch.zeros(5)
    torch.testing.assert_close(adaface(cosine, labels, low, margin=0.5), arcface(cosine, labels, margin=0.5))
    torch.testing.assert_close(adaface(cosine, labels, middle, margin=0.5), cosface(cosine, labels, margin=0.5))


def numpy_adaface(
    vectors: np.ndarray, weight: np.ndarray, labels: np.ndarray, state: list[float], m: float, s: float
) -> float:
    """The loss of one batch as mk-minchul/AdaFace has it; ``state`` is mean and deviation, brought forward."""
    norms = np.linalg.norm(vectors, axis=1)
    cosine = (vectors / norms[:, None]) @ (weight / np.linalg.norm(weight, axis=1, keepdims=True)).T
    cosine, norms = cosine.clip(-1 + 1e-3, 1 - 1e-3), norms.clip(1e-3, 100)
    state[0] = 0.01 * norms.mean() + 0.99 * state[0]
    state[1] = 0.01 * norms.std(ddof=1) + 0.99 * state[1]
    z = (0.333 * (norms - state[0]) / (state[1] + 1e-3)).clip(-1, 1)
    rows = np.arange(len(labels))
    angle = (np.arccos(cosine[rows, labels]) - m * z).clip(1e-3, np.pi - 1e-3)
    cosine[rows, labels] = np.cos(angle) - (m + m * z)
    logits = s * cosine
    peak = logits.max(1, keepdims=True)
    total = np.log(np.exp(logits - peak).sum(1)) + peak[:, 0]
    return float((total - logits[rows, labels]).mean())


def test_adaface_head_is_the_published_one() -> None:
    torch.manual_seed(3)
    head, state, random = MarginHead(7, 5, kind="adaface", margin=0.4), [20.0, 100.0], np.random.default_rng(0)
    for _ in range(4):
        vectors, labels = random.normal(0, 12, (9, 5)), random.integers(0, 7, 9)
        vectors[0] = 500 * head.weight[int(labels[0])].detach().numpy()  # a cosine of one, a norm above most
        wanted = numpy_adaface(vectors, head.weight.detach().double().numpy(), labels, state, 0.4, 64.0)
        found = head(torch.tensor(vectors, dtype=torch.float32), torch.tensor(labels))
        assert found.item() == pytest.approx(wanted, rel=1e-5)
    assert head.quality is not None
    assert [head.quality.norm_mean.item(), head.quality.norm_deviation.item()] == pytest.approx(state, rel=1e-6)
    assert list(head.state_dict()) == ["weight", "quality.norm_mean", "quality.norm_deviation"]


def test_adaface_learns_its_statistics_in_training_only_and_from_everyone() -> None:
    seen: list[tuple[int, ...]] = []

    def gather(norms: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(norms.shape))
        return torch.cat([norms, torch.full((3, 1), 50.0)])

    head = MarginHead(4, 5, kind="adaface", gather=gather)
    vectors, labels = torch.randn(6, 5), torch.arange(6) % 4
    head(vectors, labels)
    assert seen == [(6, 1)]
    assert head.quality is not None
    everyone = torch.cat([vectors.norm(dim=1), torch.full((3,), 50.0)])
    assert head.quality.norm_mean.item() == pytest.approx(0.99 * 20 + 0.01 * everyone.mean().item(), rel=1e-6)
    before = head.quality.norm_mean.clone()
    head.eval()(vectors, labels)
    assert torch.equal(head.quality.norm_mean, before)


@pytest.mark.parametrize("q", [-0.7, 0.0, 0.9])
def test_adafaces_gradient_in_closed_form(q: float) -> None:
    theta = 1.1
    cosine = torch.tensor([[math.cos(theta)]], dtype=torch.double, requires_grad=True)
    adaface(cosine, torch.tensor([0]), torch.tensor([q])).sum().backward()
    assert cosine.grad is not None
    assert cosine.grad.item() == pytest.approx(64 * math.sin(theta - 0.4 * q) / math.sin(theta))


# ---- mixtures ------------------------------------------------------------------------------------------------------


def outputs_mixed(cosine: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor, margin: Any) -> torch.Tensor:
    """SynFace as it is published: whole outputs and whole losses, mixed."""
    columns = range(labels.shape[1])
    output = sum(weights[:, k : k + 1] * margin(cosine, labels[:, k]) for k in columns)
    terms = [weights[:, k] * F.cross_entropy(output, labels[:, k], reduction="none") for k in columns]
    return torch.stack(terms).sum(0).mean()


@pytest.mark.parametrize("kind", ["arcface", "cosface", "adaface"])
def test_soft_labels_are_synfaces_mixed_outputs(kind: Any) -> None:
    torch.manual_seed(1)
    head = MarginHead(6, 8, kind=kind, margin=0.4, scale=30.0).double().eval()
    faces = torch.randn(7, 8, dtype=torch.float32)
    labels = torch.randint(0, 6, (7, 3))
    labels[0] = torch.tensor([2, 2, 5])  # a person mixed with himself
    weights = torch.rand(7, 3).double()
    weights /= weights.sum(1, keepdim=True)
    quality = None if head.quality is None else head.quality(faces.norm(dim=1))
    how = {"margin": 0.4, "scale": 30.0} | ({} if quality is None else {"quality": quality})

    def margin(cosine: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return {"arcface": arcface, "cosface": cosface, "adaface": adaface}[kind](cosine, label, **how)

    mine, theirs = faces.clone().requires_grad_(), faces.clone().requires_grad_()
    loss = head(mine, labels, weights)
    wanted = outputs_mixed(head.cosine(theirs), labels, weights, margin)
    loss.backward()
    wanted.backward()
    torch.testing.assert_close(loss, wanted, check_dtype=False, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-5)


def test_a_soft_label_by_hand() -> None:
    cosine = torch.tensor([[0.5, 0.2, -0.1]], dtype=torch.double)
    logits = mixed_margin(
        cosine,
        torch.tensor([[0, 1]]),
        torch.tensor([[0.75, 0.25]]),
        margin_of("cosface", 0.4),
        scale=10.0,
    )
    assert logits[0].tolist() == pytest.approx([2.0, 1.0, -1.0])  # 5 - 0.75 * 4, 2 - 0.25 * 4


@pytest.mark.parametrize("kind", ["arcface", "cosface", "adaface"])
def test_a_mixture_of_one_is_that_person(kind: Any) -> None:
    torch.manual_seed(2)
    head = MarginHead(5, 8, kind=kind).eval()
    faces, labels = torch.randn(6, 8), torch.tensor([0, 1, 2, 3, 4, 0])
    pairs, weights = torch.stack([labels, (labels + 1) % 5], 1), torch.tensor([[1.0, 0.0]]).expand(6, 2)
    torch.testing.assert_close(head(faces, pairs, weights), head(faces, labels))


# ---- interclass filter ---------------------------------------------------------------------------------------------


def test_likely_twins_are_left_out() -> None:
    head = MarginHead(4, 3, kind="cosface", margin=0.1, scale=10.0, interclass_filter=0.4)
    plain = MarginHead(4, 3, kind="cosface", margin=0.1, scale=10.0)
    centres = torch.tensor([[1.0, 0, 0], [0.9, 0.1, 0], [0.3, 1.0, 0], [0, 0, 1.0]])
    for one in (head, plain):
        one.load_state_dict({"weight": centres})
    faces, labels = torch.tensor([[1.0, 0, 0]]).requires_grad_(), torch.tensor([0])
    logits = head.logits(faces, labels)
    wanted = plain.logits(faces, labels).detach().clone()
    wanted[0, 1] = 0.0  # 0.99 alike; his own centre stays, and so does the third, 0.29 alike
    torch.testing.assert_close(logits.detach(), wanted)
    logits[0, 1].backward()
    assert faces.grad is not None
    assert faces.grad.abs().max() == 0
    # Of a mixture both people stay.
    mixed = head.logits(faces, torch.tensor([[0, 1]]), torch.tensor([[0.5, 0.5]]))
    assert mixed[0, 1].item() == pytest.approx(10 * (0.9 / math.hypot(0.9, 0.1) - 0.05), abs=1e-4)
