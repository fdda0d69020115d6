"""The attacker without any network: grey thumbnails laid over one another."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from facemae.attacks.attacker import Fitted, Owned, Rows
from facemae.attacks.vectors import RAW, vectors_through
from facemae.attacks.visible import Painted
from facemae.faces.faceset import FaceSet
from facemae.nn.embedder import Embedder, prepare

SIDE = 28
"""Pixels a side: two for every cell of a 14 x 14 grid."""

BLUR, REACH = 1.0, 3
"""Deviation of the Gaussian that is taken off, and how far it is added up, in pixels of the thumbnail."""


class _Detail(nn.Module):
    """x − G * x of the mean over colours, G a Gaussian: light and shade of a whole face go, edges stay."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        line = torch.exp(-(torch.arange(-REACH, REACH + 1.0) ** 2) / (2 * BLUR**2))
        line = line / line.sum()
        self.register_buffer("kernel", torch.outer(line, line)[None, None])

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b pixels"]:
        grey = images.mean(dim=1, keepdim=True)
        around = F.pad(grey, (REACH,) * 4, mode="reflect")
        return (grey - F.conv2d(around, self.kernel)).flatten(1)


@dataclass(frozen=True)
class Pixels:
    """cos(d(x), d(y)), d a grey thumbnail of ``SIDE`` x ``SIDE`` less its blur; hidden cells filled from those nearby.

    What it finds needs neither a network nor anything learned: mostly the very photo, and photos of one sitting. Twice
    the size finds a little more at four times the cost (docs/log.md).
    """

    name: str = "pixels"
    says: str = (
        "Somebody with photos of a person and no network at all lays them as small grey pictures over the released "
        "images and takes the most alike; success is an image of that person among them."
    )

    def fit(self, owned: Owned) -> Fitted:
        """Nothing to learn."""
        network = prepare(thumbnails(), owned.world.device)

        def vectors(faces: FaceSet) -> Rows:
            shown = Painted(faces, "smooth") if faces.kind == "masked" else faces
            # In half precision the same pixel would differ from itself; there is nothing to be won by it.
            return vectors_through(network, shown, cache=owned.cache, execution=owned.execution)

        return Fitted(ask=vectors, find=lambda released: vectors(released.faces))


def thumbnails() -> Embedder:
    """Pictures as rows of thumbnail pixels, in the form of a network, so that they are kept and shared as vectors."""
    return Embedder(_Detail(), input_size=SIDE, embedding=SIDE * SIDE, normalize=RAW).frozen()
