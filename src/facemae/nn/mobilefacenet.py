"""MobileFaceNet as in InsightFace's arcface_torch (`mbf`, `mbf_large`), key for key, in all widths it has had."""

from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from facemae.nn.kernels import Conv2d, PReLU

BLOCKS = (1, 4, 6, 2)


class ConvBlock(nn.Module):
    """Convolution without bias, batch normalisation, and PReLU unless `linear`."""

    conv_then_norm: ClassVar = (("layers.0", "layers.1"),)

    def __init__(
        self, inputs: int, outputs: int, size: int, *, stride: int = 1, groups: int = 1, linear: bool = False
    ) -> None:
        super().__init__()
        padding = 1 if size == 3 else 0
        conv = Conv2d(inputs, outputs, size, stride, padding, groups=groups, bias=False)
        self.layers = nn.Sequential(conv, nn.BatchNorm2d(outputs), *([] if linear else [PReLU(outputs)]))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class DepthWise(nn.Module):
    """1×1 expansion to `middle` channels, 3×3 depthwise convolution, 1×1 linear projection; plus x where `residual`."""

    def __init__(self, inputs: int, outputs: int, middle: int, *, stride: int = 1, residual: bool = False) -> None:
        super().__init__()
        self.residual = residual
        self.layers = nn.Sequential(
            ConvBlock(inputs, middle, 1),
            ConvBlock(middle, middle, 3, stride=stride, groups=middle),
            ConvBlock(middle, outputs, 1, linear=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.residual else self.layers(x)


class Residual(nn.Module):
    """A row of residual `DepthWise` blocks of one shape."""

    def __init__(self, channels: int, middle: int, blocks: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(DepthWise(channels, channels, middle, residual=True) for _ in range(blocks)))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class GlobalDepthwise(nn.Module):
    """One depthwise window over the whole map, then a linear layer and its normalisation in float32."""

    def __init__(self, channels: int, side: int, embedding: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            ConvBlock(channels, channels, side, groups=channels, linear=True),
            nn.Flatten(),
            nn.Linear(channels, embedding, bias=False),
            nn.BatchNorm1d(embedding),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers[:2](x)
        with torch.autocast(x.device.type, enabled=False):
            return self.layers[2:](x if x.dtype == torch.float64 else x.float())


class MobileFaceNet(nn.Module):
    """Images b 3 s s in [−1, 1] to raw embeddings b d.

    `scale` multiplies the width: 1 in arcface_torch until 2022-03-28 (1.20 M parameters), 2 since (2.06 M), 4 in
    `mbf_large` (6.31 M). `blocks`: residual blocks before, between and after the three reductions; where the first is 1
    a convolution stands in its place.
    Source: Chen et al., MobileFaceNets, CCBR 2018; deepinsight/insightface, recognition/arcface_torch.
    """

    def __init__(
        self,
        *,
        scale: int = 1,
        blocks: tuple[int, int, int, int] = BLOCKS,
        input_size: int = 112,
        embedding: int = 512,
    ) -> None:
        super().__init__()
        self.scale, self.blocks, self.input_size, self.embedding = scale, blocks, input_size, embedding
        self.width = narrow = 64 * scale
        wide = 2 * narrow
        self.layers = nn.ModuleList(
            [
                ConvBlock(3, narrow, 3, stride=2),
                # 64 groups at every width: with scale 2 this convolution is not quite depthwise.
                ConvBlock(narrow, narrow, 3, groups=64) if blocks[0] == 1 else Residual(narrow, 128, blocks[0]),
                DepthWise(narrow, narrow, 128, stride=2),
                Residual(narrow, 128, blocks[1]),
                DepthWise(narrow, wide, 256, stride=2),
                Residual(wide, 256, blocks[2]),
                DepthWise(wide, wide, 512, stride=2),
                Residual(wide, 256, blocks[3]),
            ]
        )
        self.conv_sep = ConvBlock(wide, 512, 1)
        self.features = GlobalDepthwise(512, -(-input_size // 16), embedding)
        self.apply(_initialise)

    def forward(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b d"]:
        x: Any = images
        for layer in self.layers:
            x = layer(x)
        return self.features(self.conv_sep(x))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
