"""`recognize`: train a recogniser on any set of faces, protected or not, with one recipe."""

from pathlib import Path

import torch

from facemae.faces.faceset import FaceSet
from facemae.nn.embedder import Embedder, build_backbone, own_width, save_recogniser
from facemae.spec.execution import Execution
from facemae.spec.recipe import RecognizeSpec
from facemae.stages.shared import open_shared
from facemae.train.checkpoint import drop_checkpoint
from facemae.train.precision import resolve
from facemae.train.recognize import recognize as train
from facemae.train.world import join


def recognize(faces: Path, out: Path, spec: RecognizeSpec, execution: Execution) -> Path:
    """Train on ``faces`` (a masked set is seen as its visible cells on grey) and write the recogniser to ``out``."""
    photos = FaceSet.open(faces)
    world = join(execution.device)
    width = spec.width or own_width(spec.backbone)
    settings = spec.model_dump() | {"precision": resolve(spec.precision, world.device), "width": width}
    parents = {"faces": photos.digest}
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
            facts = train(embedder, photos, spec, directory=stage.directory, world=world, execution=execution)
            if world.main:
                save_recogniser(stage.directory, net, config)
                stage.publish("recogniser", facts)
                drop_checkpoint(stage.out)
    return Path(out)
