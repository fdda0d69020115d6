"""Names of a masked autoencoder's tensors: facebookresearch/mae's, ours too, and those of transformers' ViTMAE."""

import re
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from facemae.errors import WrongShapes

Names = Literal["facebook", "transformers4", "transformers5"]

# One row a module: its name in facebookresearch/mae, in transformers < 5 and from 5 on. q, k and v are one
# tensor in the first and three in the others. save_pretrained of 5.23 writes a decoder name of its own.
OUTER = (
    ("cls_token", "vit.embeddings.cls_token"),
    ("pos_embed", "vit.embeddings.position_embeddings"),
    ("patch_embed.proj", "vit.embeddings.patch_embeddings.projection"),
    ("norm", "vit.layernorm"),
    ("mask_token", "decoder.mask_token"),
    *((name, f"decoder.{name}") for name in ("decoder_pos_embed", "decoder_embed", "decoder_norm", "decoder_pred")),
)
STACKS = (
    ("blocks", "vit.encoder.layer", "vit.layers"),
    ("decoder_blocks", "decoder.decoder_layers", "decoder.decoder_layers", "decoder.decoder_encoder.layer"),
)
INNER = (
    ("norm1", "layernorm_before", "layernorm_before"),
    ("attn.q", "attention.attention.query", "attention.q_proj"),
    ("attn.k", "attention.attention.key", "attention.k_proj"),
    ("attn.v", "attention.attention.value", "attention.v_proj"),
    ("attn.proj", "attention.output.dense", "attention.o_proj"),
    ("norm2", "layernorm_after", "layernorm_after"),
    ("mlp.fc1", "intermediate.dense", "mlp.fc1"),
    ("mlp.fc2", "output.dense", "mlp.fc2"),
)


def from_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """ViTMAE's names (4.x or 5.x, with or without ``vit.``) to facebook's; facebook's own pass unchanged.

    Raises:
        WrongShapes: q, k and v of a block cannot stand in one tensor.
    """
    if any(key.startswith("embeddings.") for key in state):
        state = {f"vit.{key}": value for key, value in state.items()}
    outer = {row[1]: row[0] for row in OUTER}
    stacks = {name: row[0] for row in STACKS for name in row[1:]}
    inner = {name: row[0] for row in INNER for name in row[1:]}
    renamed = {_rename(key, outer, stacks, inner): value for key, value in state.items()}
    for key in [key for key in renamed if ".attn.q." in key]:
        parts = [key.replace(".attn.q.", f".attn.{part}.") for part in "qkv"]
        if all(part in renamed for part in parts):
            renamed[key.replace(".attn.q.", ".attn.qkv.")] = _joined([renamed.pop(part) for part in parts], key)
    return renamed


def _joined(parts: list[Tensor], key: str) -> Tensor:
    try:
        return torch.cat(parts)
    except (RuntimeError, TypeError):
        got = ", ".join(f"{tuple(part.shape)} {part.dtype}".replace("torch.", "") for part in parts)
        raise WrongShapes(f"q, k and v do not fit together at {key}", got=got, needed="one shape and type") from None


def to_transformers(state: Mapping[str, Tensor], *, names: Names = "transformers5") -> dict[str, Tensor]:
    """Facebook's names to those of transformers' ViTMAEForPreTraining, 4.x or 5.x."""
    column = {"transformers4": 1, "transformers5": 2}[names]
    split: dict[str, Tensor] = {}
    for key, value in state.items():
        if ".attn.qkv." in key:
            parts = zip("qkv", value.chunk(3), strict=True)
            split |= {key.replace(".qkv.", f".{part}."): rows.clone() for part, rows in parts}
        else:
            split[key] = value
    stacks = {row[0]: row[column] for row in STACKS}
    inner = {row[0]: row[column] for row in INNER}
    return {_rename(key, dict(OUTER), stacks, inner): value for key, value in split.items()}


def _rename(key: str, outer: Mapping[str, str], stacks: Mapping[str, str], inner: Mapping[str, str]) -> str:
    name, dot, kind = key.rpartition(".")
    if key in outer:
        return outer[key]
    if name in outer:
        return f"{outer[name]}.{kind}"
    parts = re.fullmatch(r"(.+?)\.(\d+)\.(.+)", name)
    if parts and parts[1] in stacks and parts[3] in inner:
        return f"{stacks[parts[1]]}.{parts[2]}.{inner[parts[3]]}{dot}{kind}"
    return key
