"""The class centres of InsightFace's PartialFC, read from the files of its ranks and split anew over any number.

Version 1 leaves `rank_R_softmax_weight.pt` and `rank_R_softmax_weight_mom.pt`, bare tensors; version 2 a
`checkpoint_gpu_R.pt` with the backbone, the centres as `state_dict_softmax_fc.weight`, and one optimiser for both,
whose last parameter they are. Neither resumes on another number of GPUs (insightface #1811, #2027).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from facemae.errors import RecipeError, WeightsError, WrongKeys, WrongShapes
from facemae.nn.keymaps import demand_in_file, read_torch
from facemae.train.world import share_of

V1, V2 = re.compile(r"rank_(\d+)_softmax_weight\.pt"), re.compile(r"checkpoint_gpu_(\d+)\.pt")

WEIGHT, MOMENTUM = "weight", "momentum"


class Centres(NamedTuple):
    """The rows of all ranks in the order of the classes: "weight" (classes, d), and what an optimiser keeps of each.

    ``checkpoint`` is what lies beside them in the first file of version 2, and None for version 1.
    """

    rows: dict[str, Tensor]
    checkpoint: Mapping[str, Any] | None


def holds_centres(directory: Path) -> bool:
    """Whether a directory has files of either version."""
    names = [path.name for path in directory.iterdir()] if directory.is_dir() else []
    return any(V1.fullmatch(name) or V2.fullmatch(name) for name in names)


def read_class_centres(directory: str | Path) -> Centres:
    """Every class's centre, whatever the number of ranks that left them; nothing in the files is executed.

    Raises:
        WeightsError and its kinds: a rank is missing, holds other rows than its share, or is damaged or unsafe.
    """
    directory = Path(directory)
    for pattern, read in ((V2, _read_v2), (V1, _read_v1)):
        found = {int(match[1]): path for path in directory.iterdir() if (match := pattern.fullmatch(path.name))}
        if not found:
            continue
        missing = next((rank for rank in range(len(found)) if rank not in found), None)
        if missing is not None:
            needed = f"those of all ranks from 0 to {max(found)}"
            raise WeightsError(f"{directory} lacks the file of rank {missing}", needed=needed)
        paths = [found[rank] for rank in sorted(found)]
        shards, checkpoint = read(paths)
        return Centres(_joined(shards, paths), checkpoint)
    raise WeightsError(f"{directory} holds no class centres", needed="rank_0_softmax_weight.pt or checkpoint_gpu_0.pt")


def split_class_centres(centres: Centres, ranks: int) -> Iterator[tuple[str, object]]:
    """Name and content of each file that ``ranks`` ranks of the same version of PartialFC resume from.

    Raises:
        RecipeError: more ranks than classes.
    """
    count = len(centres.rows[WEIGHT])
    if ranks > count:
        raise RecipeError("export.ranks", got=ranks, needed=f"at most {count}, the number of classes")
    for rank in range(ranks):
        share = share_of(count, rank, ranks)
        # Copies, for a view would take the whole tensor with it into the file.
        rows = {name: tensor[share.start : share.stop].clone() for name, tensor in centres.rows.items()}
        if centres.checkpoint is not None:
            yield f"checkpoint_gpu_{rank}.pt", _with_rows(centres.checkpoint, rows)
            continue
        yield f"rank_{rank}_softmax_weight.pt", rows[WEIGHT]
        if MOMENTUM in rows:
            yield f"rank_{rank}_softmax_weight_mom.pt", rows[MOMENTUM]


def _read_v1(paths: Sequence[Path]) -> tuple[list[dict[str, object]], None]:
    shards: list[dict[str, object]] = []
    momenta = [path.with_name(f"{path.stem}_mom.pt") for path in paths]
    kept = [path for path in momenta if path.is_file()]
    if kept and len(kept) < len(momenta):
        missing = next(path for path in momenta if path not in kept)
        raise WeightsError(f"no {missing.name} beside {kept[0].name}", needed="the momentum of all ranks or of none")
    for path, momentum in zip(paths, momenta, strict=True):
        shards.append({WEIGHT: read_torch(path, mapped=True)})
        if kept:
            shards[-1][MOMENTUM] = read_torch(momentum, mapped=True)
    return shards, None


def _read_v2(paths: Sequence[Path]) -> tuple[list[dict[str, object]], Mapping[str, Any]]:
    loaded = [read_torch(path, mapped=True) for path in paths]
    shards: list[dict[str, object]] = []
    for path, content in zip(paths, loaded, strict=True):
        try:
            weight = content["state_dict_softmax_fc"][WEIGHT]  # type: ignore[index]
            kept = _optimiser_rows(content, weight)  # type: ignore[arg-type]
        except (KeyError, TypeError, IndexError, AttributeError):
            raise WrongKeys(f"{path} is no checkpoint of PartialFC", needed=f"state_dict_softmax_fc.{WEIGHT}") from None
        shards.append({WEIGHT: weight} | kept)
    assert isinstance(loaded[0], Mapping)
    return shards, loaded[0]


def _last_parameter(checkpoint: Mapping[str, Any]) -> Mapping[Any, Any]:
    """What the optimiser keeps of the centres, its last parameter; empty where it keeps nothing."""
    optimiser = checkpoint.get("state_optimizer")
    if not optimiser:
        return {}
    kept: Mapping[Any, Any] = optimiser["state"].get(optimiser["param_groups"][-1]["params"][-1], {})
    return kept


def _optimiser_rows(checkpoint: Mapping[str, Any], weight: Tensor) -> dict[str, object]:
    kept = _last_parameter(checkpoint)
    return {name: value for name, value in kept.items() if isinstance(value, Tensor) and value.shape == weight.shape}


def _with_rows(checkpoint: Mapping[str, Any], rows: Mapping[str, Tensor]) -> dict[str, Any]:
    """``checkpoint`` with other rows; all else is kept."""
    content = dict(checkpoint) | {"state_dict_softmax_fc": {WEIGHT: rows[WEIGHT]}}
    kept = _last_parameter(checkpoint)
    if kept:
        optimiser = dict(checkpoint["state_optimizer"])
        last = optimiser["param_groups"][-1]["params"][-1]
        own = {name: rows.get(name, value) for name, value in kept.items()}
        content["state_optimizer"] = optimiser | {"state": {**optimiser["state"], last: own}}
    return content


def _joined(shards: Sequence[Mapping[str, object]], paths: Sequence[Path]) -> dict[str, Tensor]:
    """The rows of all ranks behind one another, each seen to be the share of its rank."""
    joined = {}
    for name in shards[0]:
        parts: list[Tensor] = []
        for shard, path in zip(shards, paths, strict=True):
            part = shard.get(name)
            if not isinstance(part, Tensor) or part.ndim != 2 or not part.is_floating_point():
                raise WrongShapes(f"{path} holds no rows of {name}", needed="a tensor of (classes, embedding)")
            demand_in_file([part], path.with_name(f"{path.stem}_mom.pt") if name == MOMENTUM else path)
            parts.append(part)
        width, count = parts[0].shape[1], sum(len(part) for part in parts)
        for rank, (part, path) in enumerate(zip(parts, paths, strict=True)):
            wanted = (len(share_of(count, rank, len(parts))), width)
            if tuple(part.shape) != wanted:
                raise WrongShapes(f"{path} is not rank {rank} of {len(parts)}", got=tuple(part.shape), needed=wanted)
        joined[name] = torch.cat(parts)
    return joined
