"""`pretrain`: the paper's training stage, on people other than those who are to be protected."""

import json
import shutil
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

from facemae.errors import RecipeError, StageError, WrongShapes
from facemae.faces.faceset import FaceSet
from facemae.nn.embedder import Embedder
from facemae.nn.keymaps import load_mae
from facemae.nn.mae import FaceMAE, Size, build_mae
from facemae.nn.mae_files import GEOMETRY, WEIGHTS, open_mae, read_geometry
from facemae.spec.execution import Execution
from facemae.spec.manifest import read_manifest
from facemae.spec.recipe import EmbedSpec, PretrainSpec
from facemae.stages.embed import open_embedder, vectors_of
from facemae.stages.inputs import source_digest
from facemae.stages.shared import open_shared
from facemae.train.checkpoint import drop_checkpoint, write_bytes
from facemae.train.precision import resolve
from facemae.train.pretrain import pretrain as train
from facemae.train.world import join


def pretrain(
    faces: Path,
    out: Path,
    spec: PretrainSpec,
    execution: Execution,
    *,
    phi: Path | None = None,
    init: Path | None = None,
    cache: Path | None = None,
) -> Path:
    """Train a FaceMAE on ``faces`` and write it to ``out``.

    ``phi``: the feature network of the loss, needed unless only the pixel weight is above 0. ``init``: weights to start
    from instead of random ones: a model directory of ours or of transformers (4.x, 5.x), a facebookresearch/mae file,
    or the checkpoint of a run that broke; where there is an encoder only, the decoder starts from random weights.
    ``cache``: where vectors of the real photos under ``phi`` are looked for and left for other runs.

    Raises:
        RecipeError: phi is missing.
        NonFiniteLoss: the last good checkpoint stays; ``init`` takes it, so that other settings can go on from there.
    """
    photos = FaceSet.open(faces, kind="original")
    if spec.loss.uses_phi and phi is None:
        raise RecipeError(
            "--phi",
            got="nothing",
            needed="a feature network, because loss.instance or loss.relation is above 0",
            remedy="or set loss.instance=0, loss.relation=0 and loss.pixel=1 for a plain MAE",
        )
    parents = {"faces": photos.digest}
    if spec.loss.uses_phi and phi is not None:
        parents["phi"] = source_digest(Path(phi), execution)
    if init is not None:
        parents["init"] = source_digest(Path(init), execution)
    world = join(execution.device)
    settings = spec.model_dump() | {"precision": resolve(spec.precision, world.device)}
    # Before there is a directory, so that weights that cannot be opened leave none; a finished OUT needs none of them.
    networks = None if Path(out).exists() else _networks(spec, phi, init)
    with open_shared("pretrain", out, spec=settings, parents=parents, resumable=True, world=world) as stage:
        if not stage.finished:
            model, net = networks or _networks(spec, phi, init)
            own = stage.directory / "vectors"
            vectors = _vectors(spec, phi, faces, cache or own, execution)
            facts = train(
                model,
                photos,
                spec,
                phi=net,
                features=vectors,
                directory=stage.directory,
                world=world,
                execution=execution,
            )
            if world.main:
                save_model(stage.directory, model)
                shutil.rmtree(own, ignore_errors=True)
                stage.publish("model", facts | {"native": list(photos.size), "parameters": _count(model)})
                drop_checkpoint(stage.out)
    return Path(out)


def save_model(directory: Path, model: FaceMAE) -> None:
    """`model.safetensors` under facebookresearch/mae's key names and `model.json`, the geometry."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    write_bytes(directory / WEIGHTS, safetensors.torch.save(state))
    (directory / GEOMETRY).write_text(json.dumps(model.size._asdict()) + "\n")


def load_model(directory: Path) -> FaceMAE:
    """The model that `pretrain` wrote.

    Raises:
        StageError: ``directory`` is not the output of `pretrain`.
        WeightsError and its kinds: it is damaged, or its weights are not those of its geometry.
    """
    directory = Path(directory)
    manifest = read_manifest(directory)
    if manifest.kind != "model":
        raise StageError(f"{directory} is not a model", got=manifest.kind, needed="the OUT of `facemae pretrain`")
    size = read_geometry(directory)
    model = load_mae(directory / WEIGHTS, heads=size.heads, decoder_heads=size.decoder_heads)
    if model.size != size:
        needed = f"{_geometry(size)}, as {GEOMETRY} says"
        raise WrongShapes(f"{directory / WEIGHTS} is another model", got=_geometry(model.size), needed=needed)
    return model


def _networks(spec: PretrainSpec, phi: Path | None, init: Path | None) -> tuple[FaceMAE, Embedder | None]:
    """The model as training begins, and the feature network where the loss has one."""
    torch.manual_seed(spec.seed)
    model = build_mae(spec.size, image_size=spec.image_size, patch_size=spec.patch_size)
    if init is not None:
        _start_from(model, Path(init))
    return model, open_embedder(phi, spec.normalize) if spec.loss.uses_phi and phi is not None else None


def _start_from(model: FaceMAE, init: Path) -> None:
    """Ours and whatever `open_mae` reads; a public encoder without its decoder gets a random one."""
    heads, decoder_heads = model.size.heads, model.size.decoder_heads
    loaded = open_mae(init, heads=heads, decoder_heads=decoder_heads, fresh_decoder=True)
    if loaded.size != model.size:
        raise RecipeError(f"--init {init} is another model", got=_geometry(loaded.size), needed=_geometry(model.size))
    model.load_state_dict(loaded.state_dict())


def _geometry(size: Size) -> str:
    encoder = f"{size.width}x{size.depth} of {size.heads} heads"
    decoder = f"{size.decoder_width}x{size.decoder_depth} of {size.decoder_heads}"
    return f"encoder {encoder}, decoder {decoder}, {size.image_size} px in patches of {size.patch_size}"


def _vectors(spec: PretrainSpec, phi: Path | None, faces: Path, cache: Path, execution: Execution) -> np.ndarray | None:
    """The vectors of the real photos under phi; they need no second look at any photo, ever."""
    if not spec.loss.uses_phi or phi is None:
        return None
    wanted = EmbedSpec(normalize=spec.normalize, precision=spec.precision)
    return vectors_of(phi, faces, wanted, execution, cache)


def _count(model: FaceMAE) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
