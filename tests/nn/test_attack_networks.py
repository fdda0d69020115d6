"""Networks of attackers: untrained they change nothing; the matcher's loss by hand."""

import math

import pytest
import torch

from facemae.nn.matcher import Matcher, matching_loss
from facemae.nn.unet import UNet


@pytest.mark.parametrize(("size", "fold"), [((32, 32), 2), ((23, 37), 2), ((23, 37), 1)])
def test_an_untrained_unet_changes_nothing_and_learns_everywhere(size: tuple[int, int], fold: int) -> None:
    torch.manual_seed(0)
    net, pictures = UNet(width=8, levels=3, fold=fold), torch.rand(2, 3, *size)
    assert torch.equal(net(pictures), pictures)
    torch.nn.init.normal_(net.last.weight)
    net(pictures).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in net.parameters())


def test_folded_pixels_come_out_where_they_went_in() -> None:
    """A correction that is the folded picture itself doubles the picture, odd sides and all."""
    net, pictures = UNet(width=16, levels=1), torch.rand(1, 3, 5, 6)
    net.first = torch.nn.Identity()  # type: ignore[assignment]
    net.last = torch.nn.Identity()  # type: ignore[assignment]
    torch.testing.assert_close(net(pictures), 2 * pictures)


def test_a_unet_sees_one_picture_at_a_time() -> None:
    torch.manual_seed(0)
    net, pictures = UNet(width=8), torch.rand(3, 3, 16, 16)
    torch.nn.init.normal_(net.last.weight)
    torch.testing.assert_close(net(pictures)[1:2], net(pictures[1:2]))


def test_an_untrained_matcher_changes_nothing() -> None:
    torch.manual_seed(0)
    vectors = torch.randn(4, 6)
    assert torch.equal(Matcher(6, hidden=3)(vectors), vectors)


def test_matching_loss_by_hand() -> None:
    """Cosines of rows 0 and 1: (1, 0), (0, 1) and of row 2, the same person as row 0: (1, 0, 1)."""
    rows = torch.tensor([[2.0, 0.0], [0.0, 3.0], [1.0, 0.0]])
    same = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
    found = matching_loss(rows, rows.clone(), same, temperature=0.5)
    # Rows 0 and 2: ln(e^2 + 1) - 2, the other row of their person left out.  Row 1: ln(e^2 + 2) - 2.
    wanted = (2 * (math.log(math.e**2 + 1) - 2) + math.log(math.e**2 + 2) - 2) / 3
    assert found.item() == pytest.approx(wanted, rel=1e-6)
