"""`recognize`: train a recogniser on any set of faces, protected or not, with one recipe."""

from pathlib import Path

import torch

from facemae.faces.faceset import FaceSet
from facemae.nn.backbones import build_backbone, own_width
from facemae.nn.embedder import Embedder, save_recogniser
from facemae.spec.execution import Execution
from facemae.spec.recipe import RecognizeSpec
from facemae.stages.shared import open_shared
from facemae.train.checkpoint import drop_checkpoint
from facemae.train.mixup import demand_real
from facemae.train.precision import resolve
from facemae.train.recognize import recognize as train
from facemae.train.schedule import Schedule
from facemae.train.world import join


def recognize(faces: Path, out: Path, spec: RecognizeSpec, execution: Execution, *, real: Path | None = None) -> Path:
    """Train on ``faces`` (a masked set is seen as its visible cells on grey) and write the recogniser to ``out``.

    ``real``: a set that is mixed into the batches where the spec has a ``domain_mix``. What counts epochs says in its
    manifest how many iterations they were.
    """
    photos, others = FaceSet.open(faces), FaceSet.open(real) if real else None
    demand_real(spec, others is not None)
    world = join(execution.device)
    width = spec.width or own_width(spec.backbone)
    settings = spec.model_dump() | {"precision": resolve(spec.precision, world.device), "width": width}
    if spec.epochs is not None:
        settings["iterations"] = Schedule(spec, len(photos)).total
    parents = {"faces": photos.digest} | ({"real": others.digest} if others else {})
    with open_shared("recognize", out, spec=settings, parents=parents, resumable=True, world=world) as stage:
        if not stage.finished:
            torch.manual_seed(spec.seed)
            config = {
                "backbone": spec.backbone,
                "width": width,
                "input_size": spec.input_size,
                "embedding": spec.embedding,
                "normalize": "insightface",
            }
            net = build_backbone(spec.backbone, width=width, input_size=spec.input_size, embedding=spec.embedding)
            embedder = Embedder(net, input_size=spec.input_size, embedding=spec.embedding)
            facts = train(
                embedder, photos, spec, directory=stage.directory, world=world, execution=execution, real=others
            )
            if world.main:
                save_recogniser(stage.directory, net, config)
                stage.publish("recogniser", facts)
                drop_checkpoint(stage.out)
    return Path(out)
