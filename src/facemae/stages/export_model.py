"""`export` of what was trained: masked autoencoders, recognisers and class centres, to the files of other tools."""

import os
from collections.abc import Iterable
from pathlib import Path

import safetensors.torch

from facemae.errors import OutputExists, RecipeError, StageError, WeightsError
from facemae.nn.embedder import CONFIG, Embedder, load_embedder
from facemae.nn.keymaps import load_mae, load_state
from facemae.nn.mae import FaceMAE
from facemae.nn.mae_files import mae_files, open_mae, saved
from facemae.nn.recogniser_files import recogniser_files
from facemae.nn.vitmae_names import from_transformers
from facemae.spec.manifest import FILE, read_manifest
from facemae.spec.recipe import ExportSpec
from facemae.stages.export import appearing, demand_format
from facemae.stages.model_card import model_card
from facemae.stages.pretrain import load_model
from facemae.stages.stage import naming_full_disk
from facemae.train.class_centres import Centres, holds_centres, read_class_centres, split_class_centres

Trained = FaceMAE | Embedder | Centres
Files = Iterable[tuple[str, bytes]]

KINDS: dict[type, str] = {FaceMAE: "model", Embedder: "recogniser", Centres: "class centres"}
# An OUT that ends so is one file; the others are directories with a model card.
SUFFIXES = {
    "facebook": (".pth", ".pt"),
    "insightface": (".pth", ".pt"),
    "onnx": (".onnx",),
    "safetensors": (".safetensors",),
}


def export_model(source: Path, out: Path, spec: ExportSpec) -> list[str]:
    """Write ``source`` to ``out`` whole or not at all and return the names of the files.

    ``source``: the OUT of `pretrain` or `recognize`, a checkpoint that either of them could start from, or the folder
    of InsightFace's PartialFC files. ``out``: a directory, ready for a model hub, or one file where its name ends as
    the format's files do.

    Raises:
        RecipeError: a format that ``source`` cannot have, one of several files into one, or heads for what has none or
            tells its own.
        WeightsError and its kinds, StageError: ``source`` is nothing of the kind, damaged or unsafe.
        OutputExists: there is something at ``out`` already.
        DiskFull: no space is left; nothing stays at ``out``.
    """
    source, out = Path(source), Path(os.path.abspath(out))
    if out.exists():
        raise OutputExists(f"{out} exists", remedy="name another OUT or remove it")
    single = _demand_suffix(out, spec.format)
    trained = open_trained(source, heads=spec.heads, decoder_heads=spec.decoder_heads)
    demand_format(spec, KINDS[type(trained)])
    _demand_heads(spec, trained, source)
    with appearing(out) as partial, naming_full_disk(out):
        if single:
            # The weights come last, behind what describes them.
            partial.write_bytes(list(_files(trained, spec))[-1][1])
            return [out.name]
        partial.mkdir(parents=True)
        for name, content in _files(trained, spec):
            (partial / name).write_bytes(content)
        if not isinstance(trained, Centres):
            (partial / "README.md").write_text(model_card(source, trained, spec.format), encoding="utf-8")
        return sorted(path.name for path in partial.iterdir())


def open_trained(source: Path, *, heads: int | None = None, decoder_heads: int | None = None) -> Trained:
    """The model, recogniser or class centres at ``source``; see `export_model`.

    ``heads`` and ``decoder_heads`` are for a masked autoencoder whose file does not tell them.
    """
    if source.is_dir() and not (source / FILE).exists() and holds_centres(source):
        return read_class_centres(source)
    if (source / FILE).is_file():
        kind = read_manifest(source).kind
        if kind == "model":
            return load_model(source)
        if kind != "recogniser":
            raise StageError(f"{source} holds no weights", got=f"kind {kind}", needed="a model or a recogniser")
        return load_embedder(source)
    if source.suffix.lower() == ".onnx":
        raise WeightsError(f"{source} is an ONNX graph already", needed="weights in safetensors or .pth")
    if source.is_dir():
        if (source / CONFIG).is_file():
            return load_embedder(source)
        return open_mae(source, heads=heads, decoder_heads=decoder_heads)
    if "cls_token" in from_transformers(load_state(source)):
        return load_mae(source, heads=heads, decoder_heads=decoder_heads)
    return load_embedder(source)


def _demand_heads(spec: ExportSpec, trained: Trained, source: Path) -> None:
    for key in ("heads", "decoder_heads"):
        given = getattr(spec, key)
        if given is not None and not isinstance(trained, FaceMAE):
            raise RecipeError(f"export.{key}", got=KINDS[type(trained)], needed="a masked autoencoder")
        if given is not None and given != (own := getattr(trained.size, key)):  # type: ignore[union-attr]
            raise RecipeError(
                f"export.{key}", got=given, needed=f"{own}, as {source} tells itself", remedy="leave it out"
            )


def _files(trained: Trained, spec: ExportSpec) -> Files:
    if isinstance(trained, FaceMAE):
        return mae_files(trained, spec.format).items()  # type: ignore[arg-type]
    if isinstance(trained, Embedder):
        return recogniser_files(trained, spec.format).items()  # type: ignore[arg-type]
    if spec.format == "safetensors":
        return [("class_centres.safetensors", safetensors.torch.save(trained.rows))]
    return ((name, saved(content)) for name, content in split_class_centres(trained, spec.ranks))


def _demand_suffix(out: Path, form: str) -> bool:
    """Whether OUT is one file."""
    suffix = out.suffix.lower()
    if suffix not in {suffix for suffixes in SUFFIXES.values() for suffix in suffixes}:
        return False
    wanted = SUFFIXES.get(form, ())
    if suffix not in wanted:
        needed = f"a directory{''.join(f' or a {suffix}' for suffix in wanted)} for format {form}"
        raise RecipeError("OUT", got=out.name, needed=needed)
    return True
