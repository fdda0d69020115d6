"""The masked autoencoder Î = D(E(γ(I))): visible patches and their positions in, the whole image out."""

from collections.abc import Mapping
from math import isqrt
from pathlib import Path
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from facemae.errors import RecipeError, WeightsError, WrongKeys, WrongShapes
from facemae.nn.patches import (
    denormalize,
    masked_positions,
    normalize,
    paste_patches,
    pixel_statistics,
    position_table,
    unpatchify,
)
from facemae.nn.vit import LAYER_NORM_EPS, Block


class Size(NamedTuple):
    """One row of :data:`SIZES`; ``image_size`` and ``patch_size`` are what the row was made for."""

    width: int
    depth: int
    heads: int
    decoder_width: int
    decoder_depth: int
    decoder_heads: int
    image_size: int
    patch_size: int


# base, large and huge are MAE's. tiny keeps its proportions, a decoder two thirds as wide and as deep; small's is
# half as wide and as deep, because at this size the decoder's 197 tokens would cost more than the encoder's 50.
SIZES: dict[str, Size] = {
    "tiny": Size(96, 6, 3, 64, 4, 2, image_size=112, patch_size=8),
    "small": Size(192, 6, 3, 96, 3, 3, image_size=112, patch_size=8),
    "base": Size(768, 12, 12, 512, 8, 16, image_size=224, patch_size=16),
    "large": Size(1024, 24, 16, 512, 8, 16, image_size=224, patch_size=16),
    "huge": Size(1280, 32, 16, 512, 8, 16, image_size=224, patch_size=14),
}


class PatchEmbed(nn.Module):
    """Patch rows to tokens with the weight of a p×p convolution of stride p, applied to the given rows only."""

    def __init__(self, width: int, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, kernel_size=patch_size, stride=patch_size)

    def forward(self, patches: Float[Tensor, "b k p"]) -> Float[Tensor, "b k d"]:
        weight = self.proj.weight.permute(0, 2, 3, 1).flatten(1)
        return F.linear(patches, weight, self.proj.bias)


class FaceMAE(nn.Module):
    """Î = D(E[γ(I)]), eq. 1: an encoder of visible patches and a lighter decoder of the whole grid.

    The model never sees an image, only the patches that γ left and where they were: a masked pixel is no input.
    Patches and images are in [0, 1]; ImageNet's mean and std are applied and undone inside. Parameter names
    and shapes are those of facebookresearch/mae. Source: paper section 3.2; He et al. 2021.

    Raises:
        RecipeError: sizes that do not divide one another.
    """

    def __init__(
        self,
        *,
        image_size: int = 224,
        patch_size: int = 16,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        decoder_width: int = 512,
        decoder_depth: int = 8,
        decoder_heads: int = 16,
    ) -> None:
        super().__init__()
        self.size = Size(width, depth, heads, decoder_width, decoder_depth, decoder_heads, image_size, patch_size)
        _check(self.size)
        self.image_size, self.patch_size, self.grid = image_size, patch_size, image_size // patch_size

        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = _frozen_positions(width, self.grid)
        self.patch_embed = PatchEmbed(width, patch_size)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)

        self.mask_token = nn.Parameter(torch.empty(1, 1, decoder_width))
        self.decoder_pos_embed = _frozen_positions(decoder_width, self.grid)
        self.decoder_embed = nn.Linear(width, decoder_width)
        self.decoder_blocks = nn.ModuleList(Block(decoder_width, decoder_heads) for _ in range(decoder_depth))
        self.decoder_norm = nn.LayerNorm(decoder_width, eps=LAYER_NORM_EPS)
        self.decoder_pred = nn.Linear(decoder_width, patch_size * patch_size * 3)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw fresh weights as facebookresearch/mae does: Xavier-uniform products, tokens N(0, 0.02)."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(self.patch_embed.proj.weight.flatten(1))
        nn.init.normal_(self.cls_token, std=0.02)
        nn.init.normal_(self.mask_token, std=0.02)

    def encode(self, visible: Float[Tensor, "b k p"], ids: Int[Tensor, "b k"]) -> Float[Tensor, "b k+1 d"]:
        """E: tokens, the class token first, from k visible patches in [0, 1] at positions ``ids``."""
        tokens = self.patch_embed(normalize(visible)) + self.pos_embed[0, 1:][ids]
        cls = (self.cls_token + self.pos_embed[:, :1]).expand(len(tokens), -1, -1)
        tokens = torch.cat([cls, tokens], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)

    def decode(self, latent: Float[Tensor, "b n d"], ids: Int[Tensor, "b k"]) -> Float[Tensor, "b l p"]:
        """D: every patch of the grid, in [0, 1] but not clamped, from the n = 1 + k tokens of :meth:`encode`."""
        tokens = self.decoder_embed(latent)
        # Slot 0 of the grid is the class token's, so one assignment puts it and the visible patches in place.
        slots = F.pad(ids + 1, (1, 0))
        grid = self.mask_token.to(tokens.dtype).expand(len(tokens), self.decoder_pos_embed.shape[1], -1)
        tokens = paste_patches(grid, tokens, slots) + self.decoder_pos_embed
        for block in self.decoder_blocks:
            tokens = block(tokens)
        return denormalize(self.decoder_pred(self.decoder_norm(tokens[:, 1:])))

    def forward(self, visible: Float[Tensor, "b k p"], ids: Int[Tensor, "b k"]) -> Float[Tensor, "b 3 h w"]:
        """Î = D(E(visible)): whole images of ``image_size``, in [0, 1] but not clamped.

        ``visible`` holds k patches of p = patch_size²·3 numbers in [0, 1], ``ids`` their positions 0 … l - 1,
        in the same and otherwise any order.
        """
        return unpatchify(self.decode(self.encode(visible, ids), ids), patch_size=self.patch_size)


def build_mae(size: str, *, image_size: int | None = None, patch_size: int | None = None) -> FaceMAE:
    """The model of one row of :data:`SIZES`, at the row's image and patch size or at the given ones.

    Raises:
        RecipeError: no row of that name, or sizes that do not divide one another.
    """
    if size not in SIZES:
        raise RecipeError("no such model size", got=size, needed=f"one of {', '.join(SIZES)}")
    row = SIZES[size]
    row = row._replace(image_size=image_size or row.image_size, patch_size=patch_size or row.patch_size)
    return FaceMAE(**row._asdict())


def infer_size(
    state: Mapping[str, Tensor],
    *,
    heads: int | None = None,
    decoder_heads: int | None = None,
    path: str | Path = "the state dict",
) -> Size:
    """The sizes behind a state dict in facebook's names; without a decoder, the decoder MAE gives that encoder.

    Raises:
        WrongKeys, WrongShapes: no masked autoencoder of square images.
        WeightsError: the heads are not given and no row of ``SIZES`` has that width and depth.
    """
    needed = ("pos_embed", "patch_embed.proj.weight")
    if missing := [key for key in needed if key not in state]:
        raise WrongKeys(f"{path} is no masked autoencoder", got=", ".join(list(state)[:3]), needed=", ".join(missing))
    positions, weight = (tuple(state[key].shape) for key in needed)
    grid = isqrt(max(positions[1] - 1, 0)) if len(positions) == 3 else 0
    if len(weight) != 4 or weight[1] != 3 or weight[2] != weight[3] or positions != (1, grid * grid + 1, weight[0]):
        raise WrongShapes(
            f"{path} is no autoencoder of square RGB images",
            got=f"positions {positions}, patches {weight}",
            needed="(1, n·n + 1, width) and (width, 3, p, p)",
        )
    encoders = {(row.width, row.depth): row for row in SIZES.values()}
    decoders = {(row.decoder_width, row.decoder_depth): row.decoder_heads for row in SIZES.values()}
    encoder = (weight[0], _depth(state, "blocks"))
    row = encoders.get(encoder, SIZES["base"])
    decoder = (row.decoder_width, row.decoder_depth)
    if "decoder_embed.weight" in state:
        shape = tuple(state["decoder_embed.weight"].shape)
        if len(shape) != 2 or shape[1] != weight[0]:
            wanted = f"(decoder width, {weight[0]})"
            raise WrongShapes(f"{path} does not fit FaceMAE at decoder_embed.weight", got=shape, needed=wanted)
        decoder = (shape[0], _depth(state, "decoder_blocks"))
    told = f"width {encoder[0]}, depth {encoder[1]}, decoder {decoder[0]} and {decoder[1]}"
    if min(*encoder, *decoder, grid, weight[2]) < 1:
        told += f", {grid}x{grid} patches of {weight[2]} pixels"
        raise WrongShapes(f"{path} is no masked autoencoder", got=told, needed="at least 1 of each")
    heads = heads or (row.heads if encoder in encoders else None)
    decoder_heads = decoder_heads or decoders.get(decoder)
    if not heads or not decoder_heads:
        raise WeightsError(
            f"{path} does not tell its number of attention heads",
            got=told,
            remedy="pass heads and decoder_heads; `facemae export` takes them as --set heads=N and decoder_heads=N",
        )
    return Size(*encoder, heads, *decoder, decoder_heads, grid * weight[2], weight[2])


def _depth(state: Mapping[str, Tensor], stack: str) -> int:
    return len({key.split(".")[1] for key in state if key.startswith(f"{stack}.")})


def pixel_loss(
    prediction: Float[Tensor, "b l d"],
    target: Float[Tensor, "b l d"],
    ids: Int[Tensor, "b k"],
    *,
    on: Literal["all", "masked"] = "masked",
    norm_pix: bool = False,
) -> Float[Tensor, ""]:
    """L = mean over patches j of ‖p_j - t_j‖²/d, with p, t = (prediction, target - mean)/std, ImageNet's.

    Prediction and target are patches in [0, 1]; ``ids`` names the visible ones. ``on="masked"`` averages over
    the patches that are not visible (MAE), ``"all"`` over every patch. With ``norm_pix`` each target patch is
    replaced by (t_j - mean(t_j))/√(var(t_j) + 1e-6), variance unbiased: good features, no usable pictures.
    Source: facebookresearch/mae, ``forward_loss``.
    """
    if norm_pix:
        target = normalize(target)
        variance, mean = torch.var_mean(target, dim=-1, keepdim=True)
        target = denormalize((target - mean) / (variance + 1e-6).sqrt())
    _, std = pixel_statistics(target)
    error = ((prediction - target) / std).square().mean(dim=-1)
    if on == "all":
        return error.mean()
    hidden = masked_positions(ids, error.shape[1])
    return (error * hidden).sum() / hidden.sum().clamp(min=1)


def _frozen_positions(width: int, grid: int) -> nn.Parameter:
    return nn.Parameter(position_table(width, grid).float()[None], requires_grad=False)


def _check(size: Size) -> None:
    if size.image_size % size.patch_size:
        raise RecipeError("patches do not tile the image", got=f"{size.patch_size} in {size.image_size} pixels")
    for what, width, heads in (
        ("encoder", size.width, size.heads),
        ("decoder", size.decoder_width, size.decoder_heads),
    ):
        if width % heads or width % 4:
            raise RecipeError(
                f"the {what}'s width does not fit",
                got=f"{width} with {heads} heads",
                needed="a multiple of the heads and of 4",
            )
