"""The attacker without any network: grey thumbnails laid over one another."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from facemae.attacks.attacker import Fitted, Owned, Rows, unit_rows
from facemae.attacks.public import Trial, best_of, split
from facemae.attacks.vectors import RAW, vectors_through
from facemae.attacks.visible import Painted
from facemae.faces.faceset import FaceSet
from facemae.nn.embedder import Embedder, prepare


class Thumbnail(NamedTuple):
    """``side``: pixels a side; ``blur``: deviation in pixels of the Gaussian that is taken off."""

    side: int
    blur: float

    def __str__(self) -> str:
        return f"{self.side} x {self.side}, blur {self.blur:g}"


THUMBNAILS = (Thumbnail(28, 1.0), Thumbnail(56, 2.0))
"""Two pixels for every cell of a 14 x 14 grid, the choice of who has nobody to ask; and twice as many."""

REACH = 3
"""How far a Gaussian is added up, in deviations."""


class _Detail(nn.Module):
    """x − G * x of the mean over colours, G a Gaussian: light and shade of a whole face go, edges stay."""

    kernel: Tensor

    def __init__(self, blur: float) -> None:
        super().__init__()
        self.reach = round(REACH * blur)
        line = torch.exp(-(torch.arange(-self.reach, self.reach + 1.0) ** 2) / (2 * blur**2))
        line = line / line.sum()
        self.register_buffer("kernel", torch.outer(line, line)[None, None])

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b pixels"]:
        grey = images.mean(dim=1, keepdim=True)
        around = F.pad(grey, (self.reach,) * 4, mode="reflect")
        return (grey - F.conv2d(around, self.kernel)).flatten(1)


@dataclass(frozen=True)
class Pixels:
    """cos(d(x), d(y)), d a grey thumbnail less its blur; hidden cells filled from those nearby.

    What it finds needs neither a network nor anything learned: mostly the very photo, and photos of one sitting. Which
    of ``thumbnails`` is chosen by how soon public people's own pictures come, the first where there are no such people.
    """

    thumbnails: tuple[Thumbnail, ...] = THUMBNAILS
    name: str = "pixels"
    says: str = (
        "Somebody with photos of a person and no network at all lays them as small grey pictures over the released "
        "images and takes the most alike; success is an image of that person among them."
    )

    def fit(self, owned: Owned) -> Fitted:
        """Choose the thumbnail on public people, where there are some."""
        tried: dict[str, float] = {}
        chosen = self.thumbnails[0]
        if owned.protected is not None and len(self.thumbnails) > 1:
            tried = {str(each): _own_first(owned, each) for each in self.thumbnails}
            chosen = {str(each): each for each in self.thumbnails}[best_of(tried)]
        return Fitted(
            ask=lambda photos: _laid_out(owned, chosen, photos),
            find=lambda released: _laid_out(owned, chosen, released.faces),
            chosen=str(chosen),
            tried=tried,
        )


def _own_first(owned: Owned, size: Thumbnail) -> float:
    """How soon a photo finds what was made of itself among public people held out: that is what pixels are good at."""
    public = owned.public("pixels")
    held = split(public, owned.seed).held
    probes = unit_rows(_laid_out(owned, size, public.original))[public.photo[held]]
    gallery = unit_rows(_laid_out(owned, size, public.faces))[held]
    return Trial.of(public, held).score(probes, gallery, other_photo=False)


def _laid_out(owned: Owned, size: Thumbnail, faces: FaceSet) -> Rows:
    shown = Painted(faces, "smooth") if faces.kind == "masked" else faces
    network = prepare(thumbnails(size), owned.world.device)
    # In half precision the same pixel would differ from itself; there is nothing to be won by it.
    return vectors_through(network, shown, cache=owned.cache, execution=owned.execution)


def thumbnails(size: Thumbnail) -> Embedder:
    """Pictures as rows of thumbnail pixels, in the form of a network, so that they are kept and shared as vectors."""
    body = _Detail(size.blur)
    return Embedder(body, input_size=size.side, embedding=size.side**2, normalize=RAW).frozen()
