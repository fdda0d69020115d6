"""Masked autoencoders as other tools keep them: directories read, and the files of each format made."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from facemae.errors import WeightsError
from facemae.nn.keymaps import load_mae, mae_state, noted_heads
from facemae.nn.mae import SIZES, FaceMAE, Size
from facemae.nn.patches import IMAGENET_MEAN, IMAGENET_STD
from facemae.nn.vit import LAYER_NORM_EPS
from facemae.nn.vitmae_names import Names
from facemae.spec.formats import MaeFormat

WEIGHTS, GEOMETRY, CONFIG = "model.safetensors", "model.json", "config.json"
# The first that is there is read; the second is what transformers wrote before safetensors.
READ = (WEIGHTS, "pytorch_model.bin")

TIMM = {"base": "vit_base_patch16_224", "large": "vit_large_patch16_224", "huge": "vit_huge_patch14_224"}


def open_mae(
    path: str | Path, *, heads: int | None = None, decoder_heads: int | None = None, fresh_decoder: bool = False
) -> FaceMAE:
    """The model at ``path``: a file that `load_mae` reads, or a directory of ours, of transformers or of timm.

    A directory tells its heads; ``heads`` and ``decoder_heads`` serve where it does not. ``fresh_decoder``: as there.

    Raises:
        WeightsError and its kinds: no weights, damaged, unsafe, or another architecture.
    """
    path = Path(path)
    if not path.is_dir():
        return load_mae(path, heads=heads, decoder_heads=decoder_heads, fresh_decoder=fresh_decoder)
    weights = next((path / name for name in READ if (path / name).is_file()), None)
    if weights is None:
        raise WeightsError(f"{path} holds no masked autoencoder", needed=f"{' or '.join(READ)} in it")
    told = _told_heads(path)
    return load_mae(
        weights, heads=told[0] or heads, decoder_heads=told[1] or decoder_heads, fresh_decoder=fresh_decoder
    )


def read_geometry(directory: Path) -> Size:
    """The sizes in our `model.json`.

    Raises:
        WeightsError: it is missing or damaged.
    """
    path = directory / GEOMETRY
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        if unknown := sorted(told.keys() ^ set(Size._fields)):
            raise WeightsError(f"{path} is damaged", got=f"unknown or missing {', '.join(unknown)[:120]}")
        return Size(**{name: _positive(told[name]) for name in Size._fields})
    except FileNotFoundError:
        raise WeightsError(f"{directory} is not whole", needed=f"{GEOMETRY} in it", remedy="copy it again") from None
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise WeightsError(f"{path} is damaged", needed=f"a JSON object of {', '.join(Size._fields)}") from None


def mae_files(model: FaceMAE, form: MaeFormat) -> dict[str, bytes]:
    """Names and contents of the files of a format.

    facebook: {"model": state dict} by ``torch.save``, as facebookresearch/mae's own demo and fine-tuning read it.
    transformers: ViTMAEForPreTraining's directory with the names of 4.x, which 5.x reads too; transformers5: with
    those of 5.x. timm: the encoder alone, because timm takes whatever holds a mask token for DINOv2.
    """
    if form == "facebook":
        return {"mae.pth": saved({"model": mae_state(model)})}
    if form == "timm":
        return {CONFIG: _text(timm_config(model.size)), WEIGHTS: _tensors(model, encoder_only=True)}
    if form == "safetensors":
        return {GEOMETRY: _text(model.size._asdict()), WEIGHTS: _tensors(model)}
    names: Names = "transformers4" if form == "transformers" else "transformers5"
    return {
        CONFIG: _text(transformers_config(model.size)),
        "preprocessor_config.json": _text(_preprocessing(model.size)),
        WEIGHTS: _tensors(model, names=names),
    }


def transformers_config(size: Size) -> dict[str, Any]:
    """What ViTMAEConfig is made from; its own default of ``layer_norm_eps``, 1e-12, is not MAE's."""
    return {
        "architectures": ["ViTMAEForPreTraining"],
        "model_type": "vit_mae",
        "image_size": size.image_size,
        "patch_size": size.patch_size,
        "num_channels": 3,
        "hidden_size": size.width,
        "num_hidden_layers": size.depth,
        "num_attention_heads": size.heads,
        "intermediate_size": 4 * size.width,
        "decoder_hidden_size": size.decoder_width,
        "decoder_num_hidden_layers": size.decoder_depth,
        "decoder_num_attention_heads": size.decoder_heads,
        "decoder_intermediate_size": 4 * size.decoder_width,
        "hidden_act": "gelu",
        "qkv_bias": True,
        "layer_norm_eps": LAYER_NORM_EPS,
        "mask_ratio": 0.75,
        "norm_pix_loss": False,
    }


def timm_config(size: Size) -> dict[str, Any]:
    """What ``timm.create_model("local-dir:…")`` and ``"hf-hub:…"`` build from: an architecture, with these sizes."""
    row = next((name for name, row in SIZES.items() if name in TIMM and row[:3] == size[:3]), "base")
    return {
        "architecture": TIMM[row],
        "num_classes": 0,
        "num_features": size.width,
        "global_pool": "token",
        "model_args": {
            "img_size": size.image_size,
            "patch_size": size.patch_size,
            "embed_dim": size.width,
            "depth": size.depth,
            "num_heads": size.heads,
        },
        "pretrained_cfg": {
            "custom_load": False,
            "input_size": [3, size.image_size, size.image_size],
            "fixed_input_size": True,
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "mean": list(IMAGENET_MEAN),
            "std": list(IMAGENET_STD),
            "num_classes": 0,
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        },
    }


def saved(content: object) -> bytes:
    """What ``torch.save`` writes; in memory, because its own writer hides the errno of a full disk."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _preprocessing(size: Size) -> dict[str, Any]:
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": size.image_size, "width": size.image_size},
        "resample": 2,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(IMAGENET_MEAN),
        "image_std": list(IMAGENET_STD),
    }


def _tensors(model: FaceMAE, *, names: Names = "facebook", encoder_only: bool = False) -> bytes:
    state = mae_state(model, names=names, encoder_only=encoder_only)
    return safetensors.torch.save(state, metadata=noted_heads(model))


def _text(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(dict(content), indent=2) + "\n").encode()


def _told_heads(directory: Path) -> tuple[int | None, int | None]:
    """Heads of encoder and decoder as our `model.json` or the `config.json` of transformers or timm tells them."""
    path = next((directory / name for name in (GEOMETRY, CONFIG) if (directory / name).is_file()), None)
    if path is None:
        return None, None
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        if path.name == GEOMETRY:
            return _number(told["heads"]), _number(told["decoder_heads"])
        if "architecture" in told:
            return _number(told.get("model_args", {}).get("num_heads")), None
        _demand_vit_mae(told, path)
        return _number(told.get("num_attention_heads", 12)), _number(told.get("decoder_num_attention_heads", 16))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise WeightsError(f"{path} is damaged", needed="a JSON object of the model's sizes") from None


def _demand_vit_mae(told: Mapping[str, Any], path: Path) -> None:
    """Refuse a configuration whose model no shape would give away."""
    for key, wanted in (("model_type", "vit_mae"), ("hidden_act", "gelu"), ("num_channels", 3), ("qkv_bias", True)):
        if told.get(key, wanted) != wanted:
            raise WeightsError(f"{path} describes another model", got=f"{key} {told[key]}", needed=wanted)


def _number(value: object) -> int | None:
    return None if value is None else _positive(value)


def _positive(value: object) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(value)
    return value
