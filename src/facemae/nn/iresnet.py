"""IResNet, the residual network of InsightFace's recognisers, key for key.

Against torchvision's ResNet: batch normalisation before the first convolution of a block, stride on the second one,
PReLU, and a projection in the first block of every stage, also where the shape does not change.
"""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from facemae.nn.kernels import PReLU

BLOCKS: dict[int, tuple[int, int, int, int]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 14, 3),
    100: (3, 13, 30, 3),
    200: (6, 26, 60, 6),
}


class Block(nn.Module):
    """x ↦ project(x) + bn3(conv2(prelu(bn2(conv1(bn1(x)))))), both convolutions 3×3, the stride on the second."""

    conv_then_norm: ClassVar = (("conv1", "bn2"), ("conv2", "bn3"), ("downsample.0", "downsample.1"))

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.prelu = PReLU(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn3(self.conv2(self.prelu(self.bn2(self.conv1(self.bn1(x))))))
        return y + (x if self.downsample is None else self.downsample(x))


class IResNet(nn.Module):
    """Images b 3 s s in [−1, 1] to raw embeddings b d; the last linear layer and its normalisation run in float32.

    `depth` is one of `BLOCKS`; the stages have `width` times 1, 2, 4 and 8 channels.
    Source: deepinsight/insightface, recognition/arcface_torch (64 channels, 112 px, 512-d).
    """

    conv_then_norm: ClassVar = (("conv1", "bn1"),)

    def __init__(self, depth: int, *, width: int = 64, input_size: int = 112, embedding: int = 512) -> None:
        super().__init__()
        self.depth, self.width, self.input_size, self.embedding = depth, width, input_size, embedding
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.prelu = PReLU(width)
        blocks = BLOCKS[depth]
        self.layer1 = _stage(width, width, blocks[0])
        self.layer2 = _stage(width, 2 * width, blocks[1])
        self.layer3 = _stage(2 * width, 4 * width, blocks[2])
        self.layer4 = _stage(4 * width, 8 * width, blocks[3])
        self.bn2 = nn.BatchNorm2d(8 * width)
        side = -(-input_size // 16)
        self.fc = nn.Linear(8 * width * side * side, embedding)
        self.features = nn.BatchNorm1d(embedding)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, 0.1)
        # A scale before the cosine would be cancelled; it is saved all the same.
        self.features.weight.requires_grad_(False)

    def forward(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b d"]:
        x = self.prelu(self.bn1(self.conv1(images)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        x = self.bn2(x).flatten(1)
        with torch.autocast(x.device.type, enabled=False):
            return self.features(self.fc(x if x.dtype == torch.float64 else x.float()))


def _stage(inputs: int, outputs: int, blocks: int) -> nn.Sequential:
    first = Block(inputs, outputs, 2)
    first.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, 2, bias=False), nn.BatchNorm2d(outputs))
    return nn.Sequential(first, *(Block(outputs, outputs, 1) for _ in range(blocks - 1)))
