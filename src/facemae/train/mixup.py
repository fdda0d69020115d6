"""Faces that show several people: mixed identities of a generated set, real photos mixed into it (SynFace).

Source: Qiu et al., SynFace, ICCV 2021, section 3.3; haibo-qiu/SynFace.
"""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from facemae.errors import RecipeError
from facemae.faces.faceset import FaceSet
from facemae.faces.mixes import read_mixes
from facemae.spec.recipe import RecognizeSpec
from facemae.train.loader import Batch, Sight, batches, to_unit
from facemae.train.world import World

LEVELS = 20
"""Real photos are mixed in by one of the weights 0, 1/20, …, 1."""


def synthetic_weight(seed: int, step: int, share: float) -> float:
    """λ of a step, a function of seed and step: 1 but in a ``share`` of the steps, where it is any of 0, .05, …, 1."""
    drawn = hashlib.sha256(f"{seed}:domain:{step}".encode()).digest()
    if int.from_bytes(drawn[:8], "big") / 2**64 >= share:
        return 1.0
    return int.from_bytes(drawn[8:16], "big") % (LEVELS + 1) / LEVELS


class Mixer:
    """What a recogniser learns from: images of a batch, the people they show, and in which shares.

        image  = λ·image + (1 − λ)·real        labels = (people of the face, real person)
        shares = (λ·shares of the face, 1 − λ)

    Real people are numbered behind those of ``faces``. Without mixup and ``domain_mix`` images and labels are those of
    the batch, and there are no shares.

    Raises:
        RecipeError: `domain_mix` without ``real`` photos, or photos without it.
        DataError: `mixup` of identities in a set that tells of none.
    """

    def __init__(
        self,
        faces: FaceSet,
        real: FaceSet | None,
        spec: RecognizeSpec,
        *,
        steps: Sequence[int],
        world: World,
        workers: int = 0,
    ) -> None:
        demand_real(spec, real is not None)
        self._spec, self._first_real = spec, faces.num_identities
        self._mixes = read_mixes(faces) if spec.mixup == "identity" else None
        self._real: Iterator[Batch] = iter(())
        if real is not None:
            # Other flips and another order than those of the faces.
            seed = int.from_bytes(hashlib.sha256(f"{spec.seed}:real".encode()).digest()[:4], "big")
            sight = Sight(seed=seed, flip=spec.flip, size=spec.input_size)
            mixed = [step for step in steps if self._weight(step) < 1]
            self._real = batches(real, sight, batch=spec.batch, steps=mixed, world=world, workers=workers)

    def __call__(
        self, step: int, images: Float[Tensor, "b 3 h w"], batch: Batch
    ) -> tuple[Float[Tensor, "b 3 h w"], Int64[Tensor, "..."], Float[Tensor, "b k"] | None]:
        """Images, labels (b, k) and shares (b, k) of ``step``; labels (b,) and None where each shows one person."""
        device = images.device
        if not self._spec.soft:
            return images, torch.from_numpy(batch.labels).to(device), None
        people, shares = batch.labels[:, None], np.ones((len(batch.labels), 1), np.float32)
        if self._mixes is not None:
            people, shares = (part[batch.indices] for part in self._mixes)
        own = self._weight(step)
        if own < 1:
            real = next(self._real)
            images = own * images + (1 - own) * to_unit(real.images, device)
            people = np.concatenate([people, self._first_real + real.labels[:, None]], axis=1)
            shares = np.concatenate([own * shares, np.full_like(shares[:, :1], 1 - own)], axis=1)
        return images, torch.from_numpy(people).to(device), torch.from_numpy(shares.astype(np.float32)).to(device)

    def _weight(self, step: int) -> float:
        return synthetic_weight(self._spec.seed, step, self._spec.domain_mix)


def demand_real(spec: RecognizeSpec, given: bool) -> None:
    """Refuse `domain_mix` without a set of real photos, and such a set without it.

    Raises:
        RecipeError: one of the two is missing.
    """
    if spec.domain_mix and not given:
        needed = "a set of real photos to mix in"
        raise RecipeError("recognize.domain_mix", got=spec.domain_mix, needed=needed, remedy="name it with --real")
    if given and not spec.domain_mix:
        remedy = "add --set domain_mix=1 to mix it into every batch, as SynFace does"
        raise RecipeError("--real", got="domain_mix=0, which uses no real photos", remedy=remedy)
