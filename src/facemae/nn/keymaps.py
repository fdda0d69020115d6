"""Weights on disk: read safely, check against a module, translate between the names of public tools."""

import argparse
import pickle
import re
import warnings
from collections.abc import Mapping, Sequence
from math import isqrt
from pathlib import Path
from typing import Literal

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from facemae.errors import UnsafeFile, WeightsError, WrongKeys, WrongShapes
from facemae.nn.mae import SIZES, FaceMAE, Size

# Names under which training scripts keep the weights of interest beside optimiser states and arguments.
WRAPPERS = ("model", "state_dict", "state_dict_backbone")
# What DistributedDataParallel and torch.compile put before every name.
PREFIXES = ("module.", "_orig_mod.")
# How torch's restricted unpickler names what it would not touch.
REFUSED = re.compile(r"GLOBAL (\S+)|class (\S+)|Unsupported (operand \d+)")

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
DECODER = ("mask_token", "decoder_")


def load_state(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint without executing anything in it.

    Safetensors files, and whatever ``torch.save`` wrote: a plain state dict or one under ``model``,
    ``state_dict`` or ``state_dict_backbone``. ``module.`` and ``_orig_mod.`` before every name are removed.
    An ``argparse.Namespace`` beside the weights (facebookresearch/mae) is tolerated and dropped.

    Raises:
        UnsafeFile: the pickle names anything but tensors, plain containers and ``argparse.Namespace``.
        WeightsError: the file is missing, damaged or holds no tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"no weights at {path}", remedy="check the path")
    if _is_safetensors(path):
        return _strip_prefixes(_read_safetensors(path))
    return _strip_prefixes(_unwrap(_read_torch(path), path))


def check_state(module: nn.Module, state: Mapping[str, Tensor], path: str | Path = "the state dict") -> None:
    """Compare a state dict with a module, names first and then shapes.

    Raises:
        WrongKeys: names are missing or unexpected (up to three of each are shown).
        WrongShapes: a tensor has another shape than the module's.
    """
    own = module.state_dict()
    missing = [key for key in own if key not in state]
    unexpected = [key for key in state if key not in own]
    if missing or unexpected:
        raise WrongKeys(
            f"{path} does not fit {type(module).__name__}",
            got=f"{len(unexpected)} unexpected names ({_some(unexpected)})" if unexpected else None,
            needed=f"{len(missing)} missing names ({_some(missing)})" if missing else None,
            remedy="use a checkpoint of this architecture",
        )
    wrong = [key for key, value in own.items() if value.shape != state[key].shape]
    if wrong:
        raise WrongShapes(
            f"{path} does not fit {type(module).__name__} at {_some(wrong)}",
            got=tuple(state[wrong[0]].shape),
            needed=tuple(own[wrong[0]].shape),
            remedy="use a checkpoint of this size",
        )


def load_mae(
    source: str | Path | Mapping[str, Tensor],
    *,
    heads: int | None = None,
    decoder_heads: int | None = None,
    fresh_decoder: bool = False,
) -> FaceMAE:
    """The model in a checkpoint of facemae, facebookresearch/mae or transformers' ViTMAE (4.x and 5.x names).

    All sizes but the heads follow from the shapes. Heads come from the arguments, else from what
    :func:`save_mae` noted in a safetensors file, else from the row of ``SIZES`` with that width and depth.
    A file with an encoder only is refused unless ``fresh_decoder`` lets the decoder start from random weights.

    Raises:
        UnsafeFile, WeightsError: see :func:`load_state`; also when no source tells the number of heads.
        WrongKeys, WrongShapes: the tensors are not those of a masked autoencoder.
    """
    path: str | Path = "the state dict"
    noted: dict[str, int] = {}
    if isinstance(source, str | Path):
        path, source = source, load_state(source)
        noted = _noted_heads(Path(path))
    state = from_transformers(source)
    heads, decoder_heads = heads or noted.get("heads"), decoder_heads or noted.get("decoder_heads")
    size = infer_size(state, heads=heads, decoder_heads=decoder_heads, path=path)
    model = FaceMAE(**size._asdict())
    if not any(key.startswith(DECODER) for key in state):
        if not fresh_decoder:
            raise WrongKeys(f"{path} holds an encoder only", needed="the decoder too", remedy="use a full checkpoint")
        state = {**{k: v for k, v in model.state_dict().items() if k.startswith(DECODER)}, **state}
    check_state(model, state, path)
    model.load_state_dict(state)
    return model


def save_mae(model: FaceMAE, path: str | Path, *, names: Names = "facebook", encoder_only: bool = False) -> None:
    """Write the weights, as safetensors or, for ``.pth``, ``.pt`` and ``.bin``, by ``torch.save``.

    Under facebook's names a ``.pth`` holds ``{"model": …}`` as theirs do. ``encoder_only`` leaves the mask
    token and the decoder out, which is what timm needs. Reading the file back gives the same bytes.
    """
    path = Path(path)
    state = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    if encoder_only:
        state = {key: value for key, value in state.items() if not key.startswith(DECODER)}
    if names != "facebook":
        state = to_transformers(state, names=names)
    if path.suffix == ".safetensors":
        noted = {"heads": str(model.size.heads), "decoder_heads": str(model.size.decoder_heads), "format": "pt"}
        safetensors.torch.save_file(state, path, metadata=noted)
    elif path.suffix in (".pth", ".pt", ".bin"):
        torch.save({"model": state} if names == "facebook" else state, path)
    else:
        raise WeightsError("no such weights format", got=path.name, needed=".safetensors, .pth, .pt or .bin")


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
        raise WrongKeys(f"{path} is no masked autoencoder", got=_some(list(state)), needed=_some(missing))
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
        decoder = (state["decoder_embed.weight"].shape[0], _depth(state, "decoder_blocks"))
    heads = heads or (row.heads if encoder in encoders else None)
    decoder_heads = decoder_heads or decoders.get(decoder)
    if not heads or not decoder_heads:
        raise WeightsError(
            f"{path} does not tell its number of attention heads",
            got=f"width {encoder[0]}, depth {encoder[1]}, decoder {decoder[0]} and {decoder[1]}",
            remedy="pass heads and decoder_heads",
        )
    return Size(*encoder, heads, *decoder, decoder_heads, grid * weight[2], weight[2])


def from_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """ViTMAE's names (4.x or 5.x, with or without ``vit.``) to facebook's; facebook's own pass unchanged."""
    if any(key.startswith("embeddings.") for key in state):
        state = {f"vit.{key}": value for key, value in state.items()}
    outer = {row[1]: row[0] for row in OUTER}
    stacks = {name: row[0] for row in STACKS for name in row[1:]}
    inner = {name: row[0] for row in INNER for name in row[1:]}
    renamed = {_rename(key, outer, stacks, inner): value for key, value in state.items()}
    for key in [key for key in renamed if ".attn.q." in key]:
        parts = [key.replace(".attn.q.", f".attn.{part}.") for part in "qkv"]
        if all(part in renamed for part in parts):
            renamed[key.replace(".attn.q.", ".attn.qkv.")] = torch.cat([renamed.pop(part) for part in parts])
    return renamed


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


def _depth(state: Mapping[str, Tensor], stack: str) -> int:
    return len({key.split(".")[1] for key in state if key.startswith(f"{stack}.")})


def _noted_heads(path: Path) -> dict[str, int]:
    if not _is_safetensors(path):
        return {}
    with safetensors.safe_open(path, framework="pt") as file:
        noted = file.metadata() or {}
    return {key: int(noted[key]) for key in ("heads", "decoder_heads") if noted.get(key, "").isdecimal()}


def _is_safetensors(path: Path) -> bool:
    # Eight bytes of length, then a JSON object.
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, ValueError) as error:
        raise WeightsError(f"{path} is not a readable safetensors file", got=_line(error)) from None


def _read_torch(path: Path) -> object:
    with path.open("rb") as file:
        if not file.read(2).startswith((b"PK", b"\x80")):
            raise WeightsError(f"{path} is not a checkpoint", got="an unknown format", needed="safetensors or .pth")
    try:
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        refused = REFUSED.search(str(error))
        raise UnsafeFile(
            f"{path} is not a plain checkpoint and was not opened",
            got=next(filter(None, refused.groups())).rstrip(".,") if refused else "a pickle of another kind",
            needed="tensors and plain containers",
            remedy="ask its author for safetensors, or for the state dict alone",
        ) from None
    except (RuntimeError, EOFError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise WeightsError(f"{path} is not a readable checkpoint", got=_line(error)) from None


def _unwrap(loaded: object, path: Path) -> dict[str, Tensor]:
    for name in WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(name), Mapping):
            loaded = loaded[name]
    tensors = {k: v for k, v in loaded.items() if isinstance(v, Tensor)} if isinstance(loaded, Mapping) else {}
    if not tensors or not all(isinstance(key, str) for key in tensors):
        raise WeightsError(
            f"{path} holds no named tensors",
            got=type(loaded).__name__,
            needed=f"a state dict, plain or under {', '.join(WRAPPERS)}",
        )
    return tensors


def _strip_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in PREFIXES:
        if state and all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _some(names: Sequence[str], limit: int = 3) -> str:
    return ", ".join(names[:limit]) + (", …" if len(names) > limit else "")


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
