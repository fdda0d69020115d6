"""Was somebody's photo among those that trained the model itself? Scores for members and for people who were not.

    loss(I)     = mean over M masks of the squared error on hidden patches
    distance(I) = mean over M masks of ‖φ(Î) − φ(I)‖, unit vectors
    score       = − loss, − distance, or how much lower they are than under a reference model of other people

Whoever trained on a photo restores it better; a reference takes away that some photos are easy for every model.
Source: Yeom et al. 2018 (loss threshold); Watson et al. 2022 (difficulty calibration).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from facemae.attacks.attacker import Judge
from facemae.attacks.vectors import fingerprint
from facemae.errors import DataError, RecipeError
from facemae.faces.faceset import FaceSet
from facemae.faces.masks import kept_cells, record_seeds, seed_bytes, visible_cells
from facemae.faces.record import key_of
from facemae.nn.mae import FaceMAE
from facemae.nn.patches import enlarge_cells, gather_patches, masked_positions, patchify, pixel_statistics
from facemae.spec.execution import Execution
from facemae.spec.manifest import digest_of
from facemae.train.loader import to_unit
from facemae.train.precision import autocast, resolve
from facemae.train.pretrain import native_cell
from facemae.train.world import join, of_all

CHUNK = 64

SAYS = (
    "Somebody with a photo and the released model asks whether that photo was among those that trained it; success is "
    "to tell such photos from those of people who were not."
)


@dataclass(frozen=True)
class Attacked:
    """``model``: whose training set is asked about. ``reference``: a model of the same grid that saw neither side.

    ``phi``: the network of the distance; without one there are only losses. ``masks``: M, the same for every model;
    ``ratio``: share of hidden cells, as in training. ``cache``: where errors are kept, so that another release by the
    same model finds them.
    """

    model: FaceMAE
    reference: FaceMAE | None = None
    phi: Judge | None = None
    masks: int = 8
    ratio: float = 0.75
    seed: int = 0
    precision: str = "fp32"
    cache: Path | None = None


@dataclass(frozen=True)
class MembershipScores:
    """One score a photo, higher where membership is likelier; no member shares a number with anybody else."""

    members: Float[np.ndarray, " m"]
    nonmembers: Float[np.ndarray, " n"]
    member_people: Int64[np.ndarray, " m"]
    nonmember_people: Int64[np.ndarray, " n"]


def membership_scores(
    attacked: Attacked, members: FaceSet, nonmembers: FaceSet, *, execution: Execution
) -> dict[str, MembershipScores]:
    """Scores by name: "loss", "phi-distance", and each "…, calibrated" where there is a reference.

    ``members`` (P1) trained the model, ``nonmembers`` (P3) are other people's photos from the same sources; none of
    them may be known to the reference. Nothing is learned or chosen here.

    Raises:
        RecipeError: the reference cuts pictures into other cells than the model, or the pictures do not fit the grid.
        DataError: somebody, by name, is on both sides.
    """
    if attacked.reference is not None and attacked.reference.grid != attacked.model.grid:
        grids = attacked.reference.grid, attacked.model.grid
        raise RecipeError("the reference model", got=f"a grid of {grids[0]}", needed=f"{grids[1]}, as the model's")
    _demand_apart(members, nonmembers)
    inside, outside = (_scores(attacked, faces, execution) for faces in (members, nonmembers))
    people = members.identities.astype(np.int64)
    others = nonmembers.identities.astype(np.int64) + int(people.max(initial=-1)) + 1
    return {name: MembershipScores(inside[name], outside[name], people, others) for name in inside}


def _demand_apart(members: FaceSet, nonmembers: FaceSet) -> None:
    if members.people is None or nonmembers.people is None:
        return
    shared = sorted({*members.people.identities} & {*nonmembers.people.identities})
    if shared:
        raise DataError(
            f"{nonmembers.directory} shares people with {members.directory}",
            got=f"{len(shared)}, first {shared[0]!r}",
            needed="people whose photos the model never saw",
        )


def _scores(attacked: Attacked, faces: FaceSet, execution: Execution) -> dict[str, np.ndarray]:
    own = _errors(attacked, attacked.model, faces, execution)
    scores = {name: -error for name, error in own.items()}
    if attacked.reference is not None:
        usual = _errors(attacked, attacked.reference, faces, execution)
        scores |= {f"{name}, calibrated": usual[name] - error for name, error in own.items()}
    return scores


def _errors(
    attacked: Attacked, model: FaceMAE, faces: FaceSet, execution: Execution
) -> Mapping[str, Float[np.ndarray, " n"]]:
    """Errors of one model on every photo, averaged over the masks, from the cache where they are there."""
    world = join(execution.device)
    if attacked.cache is None:
        return _computed(attacked, model, faces, execution)
    settings = {
        "masks": attacked.masks,
        "ratio": attacked.ratio,
        "seed": attacked.seed,
        "precision": resolve(attacked.precision, world.device),
    }
    parents = {"model": fingerprint(model), "faces": faces.digest}
    parents |= {"phi": attacked.phi.fingerprint} if attacked.phi else {}
    place = attacked.cache / f"membership-{digest_of('membership-errors', settings, parents)[:16]}.npz"
    if of_all(place.exists(), world)[0]:
        with np.load(place) as kept:
            return dict(kept)
    found = _computed(attacked, model, faces, execution)
    if world.main:
        attacked.cache.mkdir(parents=True, exist_ok=True)
        whole = place.with_suffix(".whole.npz")
        np.savez(whole, **found)  # type: ignore[arg-type]
        whole.rename(place)
    return found


@torch.no_grad()
def _computed(
    attacked: Attacked, model: FaceMAE, faces: FaceSet, execution: Execution
) -> Mapping[str, Float[np.ndarray, " n"]]:
    device = join(execution.device).device
    model = model.to(device).eval()
    cell = native_cell(model.image_size, model.patch_size, faces.size)
    phi = attacked.phi
    real = None if phi is None else torch.from_numpy(np.array(phi.vectors(faces))).to(device)
    sums = {name: np.zeros(len(faces)) for name in ("loss", *(("phi-distance",) if phi else ()))}
    with execution.progress.task("membership", len(faces) * attacked.masks, "images") as task:
        for start in range(0, len(faces), CHUNK):
            rows = range(start, min(start + CHUNK, len(faces)))
            cells = patchify(to_unit(faces.images(rows), device), patch_size=cell)
            patches = enlarge_cells(cells, factor=model.patch_size // cell)
            for mask in range(attacked.masks):
                ids = torch.from_numpy(_visible(attacked, model, rows, mask)).to(device)
                with autocast(attacked.precision, device):
                    prediction = model(gather_patches(patches, ids), ids).float()
                    seen = None if phi is None else phi.network(prediction).float()
                sums["loss"][start : rows.stop] += _hidden_error(model, prediction, patches, ids).cpu().numpy()
                if seen is not None and real is not None:
                    apart = F.normalize(seen) - F.normalize(real[start : rows.stop])
                    sums["phi-distance"][start : rows.stop] += apart.norm(dim=1).cpu().numpy()
                task.advance(len(rows))
    return {name: total / attacked.masks for name, total in sums.items()}


def _visible(attacked: Attacked, model: FaceMAE, rows: range, mask: int) -> np.ndarray:
    """The m-th mask of each record: keyed, so that every model is asked with the same."""
    cells = model.grid**2
    seeds = record_seeds(seed_bytes(attacked.seed), "attack:membership", [key_of(i) for i in rows], mask)
    return visible_cells(seeds, cells, kept_cells(cells, attacked.ratio))


def _hidden_error(model: FaceMAE, prediction: Tensor, patches: Tensor, ids: Tensor) -> Float[Tensor, " b"]:
    """Squared error in ImageNet's units, mean over the hidden patches: `nn.mae.pixel_loss` picture by picture."""
    _, std = pixel_statistics(patches)
    error = ((patchify(prediction, patch_size=model.patch_size) - patches) / std).square().mean(dim=2)
    hidden = masked_positions(ids, error.shape[1])
    return (error * hidden).sum(1) / hidden.sum(1)
