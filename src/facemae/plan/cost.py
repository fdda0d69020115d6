"""What a table costs before any of it is run: images through networks, and their operations.

    operations = 2 · multiply-adds · images · passes

Passes of a training step: 3 (forward, gradients of weights and of inputs); of phi inside a loss: 2 (its weights have no
gradients); of everything else 1. Losses, optimisers, decoding and writing are not counted, and neither are verification
and audits, which pass every photo through every judge once or twice.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from facemae.nn.backbones import build_backbone
from facemae.plan.sources import WEIGHTS
from facemae.spec.reading import merge
from facemae.spec.recipe import ImportSpec, MaskSpec, PretrainSpec, RecognizeSpec
from facemae.spec.table import Table
from facemae.spec.table_parts import Row, StageCall, stage_name
from facemae.spec.validation import build
from facemae.train.operations import mae_multiply_adds, multiply_adds
from facemae.train.schedule import Schedule

PHI = {"backbone": "iresnet50", "width": None, "input_size": 112, "embedding": 512}
"""The paper's feature network: what phi is reckoned as unless it comes with the package."""

EPOCHS = 200
"""Of a pretraining whose length the recipe leaves open."""


@dataclass(frozen=True)
class Cost:
    """One job: its images (or image-steps) and operations; None where the number of photos is unknown."""

    job: str
    images: int | None
    operations: float | None


def costs(table: Table) -> list[Cost]:
    """Every job of ``table`` that runs a network, in the order of the plan; recognisers once a seed."""
    found = [_stage(table, name, table.stages[name]) for name in table.order()]
    runs: dict[str, Row] = {}
    for row in table.rows:
        runs.setdefault(table.run_of(row), row)
    for seed in table.seeds:
        for name, row in runs.items():
            settings = merge(table.recognize, _variant(table, row))
            found.append(_recogniser(f"recognize-{name}-s{seed}", settings, _photos(table, row.train)))
    return [cost for cost in found if cost is not None]


def _variant(table: Table, row: Row) -> Mapping[str, object]:
    return table.recognisers[row.recogniser] if row.recogniser is not None else {}


def _stage(table: Table, name: str, call: StageCall) -> Cost | None:
    if call.verb == "pretrain":
        spec = build(PretrainSpec, call.settings, name)
        photos = _photos(table, call.inputs[0])
        images = spec.image_steps or (photos * (spec.epochs or EPOCHS) if photos else None)
        each = 3 * _mae(spec.size, spec.image_size, spec.patch_size, spec.ratio)
        each += 2 * _embedder(**_phi(call.phi or "")) if spec.loss.uses_phi else 0
        return _cost(name, images, each)
    if call.verb == "reconstruct" and (model := table.stages.get(stage_name(call.inputs[0]))) is not None:
        spec, masked = build(PretrainSpec, model.settings, name), table.stages.get(stage_name(call.inputs[1]))
        ratio = build(MaskSpec, masked.settings, name).ratio if masked is not None else spec.ratio
        return _cost(name, _photos(table, name), _mae(spec.size, spec.image_size, spec.patch_size, ratio))
    if call.verb == "recognize":
        return _recogniser(name, merge(table.recognize, call.settings), _photos(table, call.inputs[0]))
    return None


def _photos(table: Table, name: str) -> int | None:
    """How many photos a set will have: what the table says of its originals, or how many synthetic ones are drawn."""
    original = stage_name(table.original_of(name))
    call = table.stages.get(original)
    if original in table.photos or call is None or call.inputs != ("synthetic",):
        return table.photos.get(original)
    spec = build(ImportSpec, call.settings, original)
    parted = spec.split is not None or spec.subset is not None
    return None if parted else spec.synthetic.identities * spec.synthetic.photos


def _phi(reference: str) -> dict[str, Any]:
    if not reference.startswith("package:"):
        return PHI
    told = json.loads((WEIGHTS / reference.removeprefix("package:") / "recogniser.json").read_bytes())
    return {key: told[key] for key in PHI}


def _recogniser(name: str, settings: Mapping[str, object], photos: int | None) -> Cost:
    spec = build(RecognizeSpec, settings, name)
    each = 3 * _embedder(spec.backbone, spec.width, spec.input_size, spec.embedding)
    if spec.epochs is not None and photos is None:
        return _cost(name, None, each)
    return _cost(name, Schedule(spec, photos or 0).total * spec.batch, each)


def _cost(name: str, images: int | None, each: int) -> Cost:
    return Cost(name, images, None if images is None else 2.0 * each * images)


@cache
def _mae(size: str, image_size: int, patch_size: int, ratio: float) -> int:
    return mae_multiply_adds(size, ratio=ratio, image_size=image_size, patch_size=patch_size)[0]


@cache
def _embedder(backbone: str, width: int | None, input_size: int, embedding: int) -> int:
    net = build_backbone(backbone, width=width, input_size=input_size, embedding=embedding).eval()
    return multiply_adds(net, lambda: net(torch.zeros(1, 3, input_size, input_size)))
