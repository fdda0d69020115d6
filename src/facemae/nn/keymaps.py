"""Weights on disk: read safely, check against a module, masked autoencoders of public tools in and out."""

import argparse
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from facemae.errors import UnsafeFile, WeightsError, WrongKeys, WrongShapes
from facemae.nn.mae import FaceMAE, infer_size
from facemae.nn.vitmae_names import Names, from_transformers, to_transformers

# Names under which training scripts keep the weights of interest beside optimiser states and arguments.
WRAPPERS = ("model", "state_dict", "state_dict_backbone")
# What DistributedDataParallel and torch.compile put before every name.
PREFIXES = ("module.", "_orig_mod.")
# How torch's restricted unpickler names what it would not touch.
REFUSED = re.compile(r"GLOBAL (\S+)|class (\S+)|Unsupported (operand \d+)")

DECODER = ("mask_token", "decoder_")
# What weights are stored in; narrower numbers are no weights without a scale that stands elsewhere.
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def load_state(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint without executing anything in it.

    Safetensors files, and whatever ``torch.save`` wrote: a plain state dict or one under ``model``,
    ``state_dict`` or ``state_dict_backbone``. ``module.`` and ``_orig_mod.`` before every name are removed.
    An ``argparse.Namespace`` beside the weights (facebookresearch/mae) is tolerated and dropped.

    Raises:
        UnsafeFile: the pickle names anything but tensors, plain containers and ``argparse.Namespace``.
        WeightsError: the file is missing, damaged or holds no tensors, or some that are sparse, quantised or empty.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"no weights at {path}", remedy="check the path")
    if _is_safetensors(path):
        return _strip_prefixes(_read_safetensors(path))
    return _strip_prefixes(_unwrap(read_torch(path), path))


def check_state(
    module: nn.Module,
    state: Mapping[str, Tensor],
    path: str | Path = "the state dict",
    *,
    lacking: tuple[str, ...] = (),
) -> None:
    """Compare a state dict with a module: names first, then shapes, then whether the numbers can be weights.

    ``lacking``: names that begin so may be missing.

    Raises:
        WrongKeys: names are missing or unexpected (up to three of each are shown).
        WrongShapes: a tensor has another shape than the module's.
        WeightsError: a tensor is sparse, quantised, without memory, not of floating-point numbers or not finite.
    """
    own = module.state_dict()
    missing = [key for key in own if key not in state and not key.startswith(lacking)]
    unexpected = [key for key in state if key not in own]
    if missing or unexpected:
        raise WrongKeys(
            f"{path} does not fit {type(module).__name__}",
            got=f"{len(unexpected)} unexpected names ({_some(unexpected)})" if unexpected else None,
            needed=f"{len(missing)} missing names ({_some(missing)})" if missing else None,
            remedy="use a checkpoint of this architecture",
        )
    _demand_dense(state, path)
    wrong = [key for key, value in state.items() if value.shape != own[key].shape]
    if wrong:
        raise WrongShapes(
            f"{path} does not fit {type(module).__name__} at {_some(wrong)}",
            got=tuple(state[wrong[0]].shape),
            needed=tuple(own[wrong[0]].shape),
            remedy="use a checkpoint of this size",
        )
    _demand_numbers({key: value for key, value in state.items() if own[key].is_floating_point()}, path)


def _demand_dense(state: Mapping[str, Tensor], path: str | Path) -> None:
    """Refuse tensors that are no plain block of memory, which a pickle without any code can hold as well."""
    for name, tensor in state.items():
        kinds = {
            "a sparse tensor": tensor.is_nested or tensor.layout != torch.strided,
            "a quantised tensor": tensor.is_quantized,
            "a tensor without content": tensor.is_meta,
        }
        if got := next((kind for kind, so in kinds.items() if so), None):
            needed = "plain tensors of floating-point numbers"
            raise WeightsError(f"{path} does not hold weights at {name}", got=got, needed=needed)


def _demand_numbers(state: Mapping[str, Tensor], path: str | Path) -> None:
    """Refuse what would load without a word and make another network; one look at each number, no copy."""
    for name, tensor in state.items():
        if tensor.dtype not in FLOATS:
            got = str(tensor.dtype).removeprefix("torch.")
            raise WeightsError(f"{path} does not hold weights at {name}", got=got, needed="floating-point numbers")
        # NaN is the smallest and the largest of all; as float32, for that is what a number too large becomes later.
        if tensor.numel() and not all(bound.float().isfinite() for bound in tensor.detach().aminmax()):
            remedy = "use a checkpoint from before training broke"
            raise WeightsError(f"{path} does not hold weights at {name}", got="NaN or infinity", remedy=remedy)


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
    fresh = not any(key.startswith(DECODER) for key in state)
    if fresh and not fresh_decoder:
        raise WrongKeys(f"{path} holds an encoder only", needed="the decoder too", remedy="use a full checkpoint")
    # First without memory, for the sizes are the file's own word until its tensors are seen to have them.
    with torch.device("meta"):
        blank = FaceMAE(**size._asdict())
    check_state(blank, state, path, lacking=DECODER if fresh else ())
    model = FaceMAE(**size._asdict()) if fresh else blank.to_empty(device="cpu")
    model.load_state_dict(state, strict=not fresh)
    return model


def save_mae(model: FaceMAE, path: str | Path, *, names: Names = "facebook", encoder_only: bool = False) -> None:
    """Write the weights, as safetensors or, for ``.pth``, ``.pt`` and ``.bin``, by ``torch.save``.

    Under facebook's names a ``.pth`` holds ``{"model": …}`` as theirs do. ``encoder_only`` leaves the mask
    token and the decoder out, which is what timm needs. Reading the file back gives the same bytes.
    """
    path = Path(path)
    state = mae_state(model, names=names, encoder_only=encoder_only)
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(state, path, metadata=noted_heads(model))
    elif path.suffix in (".pth", ".pt", ".bin"):
        torch.save({"model": state} if names == "facebook" else state, path)
    else:
        raise WeightsError("no such weights format", got=path.name, needed=".safetensors, .pth, .pt or .bin")


def mae_state(model: FaceMAE, *, names: Names = "facebook", encoder_only: bool = False) -> dict[str, Tensor]:
    """The tensors of a model under the names of a tool, on the CPU; ``encoder_only`` as in :func:`save_mae`."""
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    if encoder_only:
        state = {key: value for key, value in state.items() if not key.startswith(DECODER)}
    return state if names == "facebook" else to_transformers(state, names=names)


def noted_heads(model: FaceMAE) -> dict[str, str]:
    """What no shape tells, as metadata of a safetensors file."""
    return {"heads": str(model.size.heads), "decoder_heads": str(model.size.decoder_heads), "format": "pt"}


def _noted_heads(path: Path) -> dict[str, int]:
    if not _is_safetensors(path):
        return {}
    with safetensors.safe_open(path, framework="pt") as file:
        noted = file.metadata() or {}
    # More than nine digits are no number of heads, and thousands of them raise an error of Python's own.
    return {
        key: int(noted[key]) for key in ("heads", "decoder_heads") if re.fullmatch("[0-9]{1,9}", noted.get(key, ""))
    }


def _is_safetensors(path: Path) -> bool:
    # Eight bytes of length, then a JSON object.
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, ValueError) as error:
        raise WeightsError(f"{path} is not a readable safetensors file", got=_line(error)) from None


def read_torch(path: Path, *, mapped: bool = False) -> object:
    """What ``torch.save`` wrote: tensors and plain containers; nothing in the file is executed.

    ``mapped`` leaves the tensors on disk until they are read, in a file of today's format.

    Raises:
        UnsafeFile, WeightsError: see :func:`load_state`.
    """
    with path.open("rb") as file:
        start = file.read(2)
    if not start.startswith((b"PK", b"\x80")):
        raise WeightsError(f"{path} is not a checkpoint", got="an unknown format", needed="safetensors or .pth")
    if start == b"PK":
        _demand_stored(path)
    try:
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped and start == b"PK")
    except pickle.UnpicklingError as error:
        refused = REFUSED.search(str(error))
        raise UnsafeFile(
            f"{path} is not a plain checkpoint and was not opened",
            got=next(filter(None, refused.groups())).rstrip(".,") if refused else "a pickle of another kind",
            needed="tensors and plain containers",
            remedy="ask its author for safetensors, or for the state dict alone",
        ) from None
    except Exception as error:  # a broken file raises anything from EOFError to struct.error, and assertions of torch's
        raise WeightsError(f"{path} is not a readable checkpoint", got=_line(error)) from None


def demand_in_file(tensors: Iterable[Tensor], path: Path) -> None:
    """Refuse tensors that a file does not hold: views that repeat one number cost it nothing, and a copy everything.

    Half as much again is free, for weights that two names share.

    Raises:
        WeightsError: together they are larger than the file.
    """
    claimed, size = sum(tensor.numel() * tensor.element_size() for tensor in tensors), path.stat().st_size
    if claimed > 1.5 * size:
        raise WeightsError(f"{path} is not a checkpoint", got=f"{claimed} bytes of tensors in a file of {size}")


def _demand_stored(path: Path) -> None:
    """torch never compresses; a small file that unpacks into much memory is none of its own."""
    try:
        with zipfile.ZipFile(path) as archive:
            packed = next((entry for entry in archive.infolist() if entry.compress_type != zipfile.ZIP_STORED), None)
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise WeightsError(f"{path} is not a readable checkpoint", got=_line(error)) from None
    if packed is not None:
        raise WeightsError(f"{path} is not a checkpoint", got="a compressed archive", needed="what torch.save writes")


def _unwrap(loaded: object, path: Path) -> dict[str, Tensor]:
    for name in WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(name), Mapping):
            loaded = loaded[name]
    tensors = {k: v for k, v in loaded.items() if isinstance(v, Tensor)} if isinstance(loaded, Mapping) else {}
    _demand_dense(tensors, path)
    demand_in_file(tensors.values(), path)
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
