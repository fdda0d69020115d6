"""A small U-Net from protected pictures to what they were made from: the network of an attacker who inverts."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

GROUPS = 8
"""Channels are normalised in so many groups: unlike batch statistics, the same in training and in use."""


class _Twice(nn.Sequential):
    """Two 3 x 3 convolutions, each with group normalisation and SiLU."""

    def __init__(self, before: int, after: int) -> None:
        layers: list[nn.Module] = []
        for channels in (before, after):
            layers += [nn.Conv2d(channels, after, 3, padding=1, bias=False), nn.GroupNorm(GROUPS, after), nn.SiLU()]
        super().__init__(*layers)


class UNet(nn.Module):
    """Î = I' + D(E(I')): a correction of the picture I', with skips between layers of one size.

    Pictures are in [0, 1] and of any size; the result is not clamped. Squares of ``fold`` x ``fold`` pixels come in and
    go out as channels, which loses nothing and costs 1 / fold² of the time; ``width`` channels (a multiple of 8) at
    that size, doubled at each of ``levels`` - 1 halvings. The last layer starts at 0, so an untrained network changes
    nothing. Source: Ronneberger et al. 2015; group normalisation (Wu and He 2018) in place of none; folded pixels as in
    Zhang et al. 2018 (FFDNet).
    """

    def __init__(self, *, width: int = 32, levels: int = 4, fold: int = 2) -> None:
        super().__init__()
        assert width % GROUPS == 0, f"{width} channels are no multiple of {GROUPS}"
        widths = [width * 2**level for level in range(levels)]
        self.fold = fold
        self.first = _Twice(3 * fold**2, width)
        self.shrink = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths))
        self.down = nn.ModuleList(_Twice(b, b) for b in widths[1:])
        self.up = nn.ModuleList(_Twice(a + b, a) for a, b in pairwise(widths))
        self.last = nn.Conv2d(width, 3 * fold**2, 1)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, pictures: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        height, width = pictures.shape[2:]
        whole = F.pad(pictures, (0, -width % self.fold, 0, -height % self.fold), mode="replicate")
        x = self.first(F.pixel_unshuffle(whole, self.fold).contiguous(memory_format=torch.channels_last))
        skips = []
        for shrink, down in zip(self.shrink, self.down, strict=True):
            skips.append(x)
            x = down(shrink(x))
        for up in reversed(self.up):
            skip = skips.pop()
            x = up(torch.cat([F.interpolate(x, skip.shape[2:]), skip], 1))
        change = F.pixel_shuffle(self.last(x), self.fold)[:, :, :height, :width]
        return pictures + change.to(pictures.dtype)
