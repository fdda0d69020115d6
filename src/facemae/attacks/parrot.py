"""The attacker who trains their own recogniser on protected faces, as McPherson et al. (2016) did."""

from dataclasses import dataclass

import numpy as np
import torch

from facemae.attacks.attacker import Fitted, Owned, Released, Rows
from facemae.attacks.imitator import imitated
from facemae.attacks.public import Selection
from facemae.attacks.vectors import own_vectors, workshop
from facemae.faces.faceset import FaceSet
from facemae.nn.backbones import build_backbone, own_width
from facemae.nn.embedder import Embedder, prepare
from facemae.spec.recipe import RecognizeSpec
from facemae.train.recognize import recognize
from facemae.train.world import of_all

MODEST = RecognizeSpec(backbone="mbf", batch=128)
"""How the parrot trains where nothing else is asked for; its iterations are the attacker's budget."""


@dataclass(frozen=True)
class Parrot:
    """An embedder trained on protected public faces with their people's numbers takes the place of the network.

    ``masks`` above 0: photos go through the process so often before they are asked for (`imitator`).
    """

    spec: RecognizeSpec = MODEST
    masks: int = 0

    @property
    def name(self) -> str:
        """Parrot, or one who imitates as well."""
        return "imitating parrot" if self.masks else "parrot"

    @property
    def says(self) -> str:
        """Who attacks, what they own, what success means."""
        through = ", puts the photos of whom they look for through the same process" if self.masks else ""
        return (
            "Somebody with public photos that went through the same process trains a face recogniser on the results"
            f"{through} and looks for a person among the released images with it; success is an image of that person "
            "among the nearest."
        )

    def fit(self, owned: Owned) -> Fitted:
        """Train on every protected public record; what was trained before with the same settings is taken as it is.

        Raises:
            RecipeError: no protected public people, or no process although ``masks`` ask for one.
            NonFiniteLoss: with the iteration; the last checkpoint stays.
        """
        public = owned.public(self.name)
        process = owned.converter(self.name) if self.masks else None
        network = self._trained(owned, public)

        def vectors(faces: FaceSet) -> Rows:
            return own_vectors(owned, network, faces)

        def ask(photos: FaceSet) -> Rows:
            if process is None:
                return vectors(photos)
            return imitated(photos, process, vectors, masks=self.masks, seed=owned.seed)

        return Fitted(ask=ask, find=lambda released: vectors(released.faces), chosen=self.spec.backbone)

    def _trained(self, owned: Owned, public: Released) -> Embedder:
        # Enlarging pictures would teach nothing; networks halve their side four times.
        size = min(self.spec.input_size, max(16, public.original.size[0] // 16 * 16))
        own = {"iterations": owned.steps, "epochs": None, "seed": owned.seed, "input_size": size}
        spec = self.spec.model_copy(update=own)
        directory = workshop(owned, "parrot", spec.model_dump(), public)
        # The attacker knows whom public photos show, whatever numbers the process gave them.
        faces = Selection(public.faces, np.arange(len(public.faces)), public.person)
        torch.manual_seed(owned.seed)
        width = spec.width or own_width(spec.backbone)
        body = build_backbone(spec.backbone, width=width, input_size=spec.input_size, embedding=spec.embedding)
        network = Embedder(body, input_size=spec.input_size, embedding=spec.embedding)
        recognize(network, faces, spec, directory=directory, world=owned.world, execution=owned.execution)
        # Every rank has batch statistics of its own; vectors that ranks share have to come from one network.
        learned = {name: tensor.cpu() for name, tensor in network.state_dict().items()}
        network.load_state_dict(of_all(learned, owned.world)[0])
        return prepare(network.frozen(), owned.world.device)
