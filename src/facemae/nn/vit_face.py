"""The vision transformers of InsightFace's arcface_torch (`vit_t`, `vit_s`, `vit_b`, `vit_l`), key for key.

Not those of the same names elsewhere: patches of 9 pixels, no class token, ReLU6, queries, keys and values without
bias, and a head that reads the tokens of all places at once, half of `vit_s`'s 76 million parameters.
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from facemae.errors import RecipeError
from facemae.nn.patches import gather_patches, paste_patches
from facemae.nn.vit import Attention, Mlp

PATCH, HEADS = 9, 8
EPS = 2e-5
"""Of the batch normalisations of the head."""


class FaceBlock(nn.Module):
    """x ← x + drop(Attention(LN(x))); x ← x + drop(Mlp(LN(x))), LayerNorm with eps 1e-5.

    In training `drop` leaves a branch out for a share ``drop_path`` of the images and scales it up for the others.
    """

    def __init__(self, width: int, heads: int, *, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.attn = Attention(width, heads, qkv_bias=False)
        self.mlp = Mlp(width, activation=F.relu6)
        self._drop_path = drop_path

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        x = x + self._drop(self.attn(self.norm1(x)))
        return x + self._drop(self.mlp(self.norm2(x)))

    def _drop(self, branch: Tensor) -> Tensor:
        if not self.training or self._drop_path == 0:
            return branch
        stays = torch.rand(len(branch), 1, 1, device=branch.device) >= self._drop_path
        return branch * (stays / (1 - self._drop_path)).to(branch.dtype)


class VitFace(nn.Module):
    """Images b 3 s s in [−1, 1] to raw embeddings b d; the head runs in float32.

    The last s mod ``patch_size`` rows and columns are not looked at. In training the blocks see a random share
    1 − ``masked`` of the tokens (the head gets ``mask_token`` for the others) and leave branches out at random, from
    none in the first block to ``drop_path`` in the last. Both draw from torch's own generator.

    The published models were trained with ``masked`` 0.1, those whose names say 005 too: there the ratio was never
    passed on. Under autocast the softmax is taken in that type, in arcface_torch in float32.
    Source: deepinsight/insightface, recognition/arcface_torch, since 2022-03-28; threads #2219 and #2291.
    """

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        heads: int = HEADS,
        patch_size: int = PATCH,
        input_size: int = 112,
        embedding: int = 512,
        drop_path: float = 0.1,
        masked: float = 0.1,
    ) -> None:
        super().__init__()
        self.width, self.input_size, self.embedding, self.masked = width, input_size, embedding, masked
        if input_size < patch_size:
            raise RecipeError("input_size", got=f"{input_size} pixels", needed=f"{patch_size} or more, a patch")
        places = (input_size // patch_size) ** 2
        self.pos_embed = nn.Parameter(torch.empty(1, places, width))
        self.mask_token = nn.Parameter(torch.empty(1, 1, width))
        self.patch_embed = nn.Sequential(OrderedDict(proj=nn.Conv2d(3, width, patch_size, patch_size)))
        drops = torch.linspace(0, drop_path, depth, device="cpu").tolist()
        self.blocks = nn.ModuleList(FaceBlock(width, heads, drop_path=drop) for drop in drops)
        self.norm = nn.LayerNorm(width)
        self.feature = nn.Sequential(
            nn.Linear(places * width, width, bias=False),
            nn.BatchNorm1d(width, eps=EPS),
            nn.Linear(width, embedding, bias=False),
            nn.BatchNorm1d(embedding, eps=EPS),
        )
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b d"]:
        x = self.patch_embed(images).flatten(2).transpose(1, 2) + self.pos_embed
        kept = self._kept(x) if self.training and self.masked > 0 else None
        if kept is not None:
            x = gather_patches(x, kept)
        for block in self.blocks:
            x = block(x)
        with torch.autocast(x.device.type, enabled=False):
            x = self.norm(x if x.dtype == torch.float64 else x.float())
            if kept is not None:
                x = paste_patches(self.mask_token.expand(len(x), self.pos_embed.shape[1], -1), x, kept)
            return self.feature(x.flatten(1))

    def _kept(self, x: Float[Tensor, "b n d"]) -> Int[Tensor, "b k"]:
        """For each image int(n·(1 − masked)) places in random order."""
        b, n, _ = x.shape
        return torch.rand(b, n, device=x.device).argsort(dim=1)[:, : int(n * (1 - self.masked))]
