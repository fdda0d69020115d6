"""The attackers of the package on planted releases: each owns what its plant leaves it, and no more.

Public people go through the very process of a release: the same key, other strangers, other coins.
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from audit_plants import Town, donors_of, own_seed, retrieval

from facemae.attacks import (
    Attacker,
    CrossMatcher,
    Imitator,
    Inverter,
    Owned,
    Parrot,
    Pixels,
    Released,
    Selection,
    Visible,
)
from facemae.faces.faceset import FaceSet
from facemae.faces.planted import Attack, Plant
from facemae.spec.recipe import MaskSpec, RecognizeSpec
from facemae.stages.linkage import read_linkage
from facemae.stages.mask import mask, private_of
from facemae.stages.planted import plant_set

MODEST = RecognizeSpec(backbone="iresnet18", width=16, input_size=64, embedding=128, batch=64, lr=1.0, precision="fp32")
"""The network that parrots train here: 20 seconds of one core for 60 iterations."""

ATTACKERS: dict[Attack, Callable[[], Attacker]] = {
    "inverter": lambda: Inverter(width=8),
    "parrot": lambda: Parrot(MODEST),
    "imitating_parrot": lambda: Parrot(MODEST, masks=1),
    "imitator": lambda: Imitator(masks=2),
    "cross_matcher": CrossMatcher,
    "visible": Visible,
    "pixels": Pixels,
}

LEARNERS: frozenset[Attack] = frozenset({"inverter", "parrot", "imitating_parrot"})
"""Who trains a network on pictures, for 15 seconds to a minute: asked in the first repetitions only."""

NO_PUBLIC: frozenset[Attack] = frozenset({"pixels", "imitator"})
"""Who is asked for what they find without any public people."""

STEPS: dict[tuple[str, Attack], int] = {
    ("folded", "inverter"): 150,
    ("tinted", "parrot"): 100,
    ("replaced", "parrot"): 60,
    ("scrambled", "imitating_parrot"): 30,
    ("turned", "cross_matcher"): 100,
    ("replaced", "cross_matcher"): 100,
}
"""Steps of training, where they are not those of `Sizes`: chosen on people of no repetition of the bench."""

CELL = 8
"""Side in pixels of what a mask hides or shows."""


def attacked(town: Town, plant: Plant, released: Released, watcher: Attack) -> dict[str, Any]:
    """Retrieval by one attacker: what is found with the own photo left out and let in, and the seconds it took."""
    began = time.process_time()
    place = town.directory / f"attack-{plant.name}-{watcher}"
    shutil.rmtree(place, ignore_errors=True)
    process = Process(town, plant, place)
    owned = Owned(
        town.judge,
        town.execution,
        town.cache,
        protected=None if watcher in NO_PUBLIC else process(FaceSet.open(town.public), 1000 + town.seed),
        process=process,
        seed=town.seed,
        steps=STEPS.get((plant.name, watcher), town.sizes.steps),
    )
    if plant.behind:
        released = process.behind(released, own_seed(town, plant))
    fitted = ATTACKERS[watcher]().fit(owned)
    probes, gallery = fitted.probes(released.original), fitted.gallery(released)
    sides = probes.vectors, probes.person, gallery.vectors, gallery.person
    found = retrieval(town, sides, np.argsort(released.photo)[:, None])
    shutil.rmtree(place, ignore_errors=True)
    return found | {
        "chosen": fitted.chosen,
        "tried": dict(fitted.tried),
        "seconds": round(time.process_time() - began, 1),
    }


class Process:
    """The process of a planted release on other photos: the release's key, and a seed for all else."""

    def __init__(self, town: Town, plant: Plant, place: Path) -> None:
        # The process alone: nothing comes along with the pictures, and nothing is expected of them.
        self._town, self._plant, self._place = town, replace(plant, keeps=frozenset(), expects={}), place
        self._key = own_seed(town, plant)

    def __call__(self, photos: FaceSet, seed: int) -> Released:
        """All photos of a set as they would be released."""
        out = self._place / f"{photos.digest[:12]}-{seed}"
        how = {"seed": seed, "key": self._key, "execution": self._town.execution}
        plant_set(photos.directory, donors_of(self._town, self._plant), out, self._plant, **how)
        faces = FaceSet.open(out)
        released = Released(faces, photos, read_linkage(private_of(out), photos, faces))
        return self.behind(released, seed) if self._plant.behind else released

    def behind(self, released: Released, seed: int) -> Released:
        """The same release in the order of a masked set of its originals, which is said to be what it was made from."""
        photos = released.original
        out = self._place / f"{photos.digest[:12]}-{seed}-masked"
        spec = MaskSpec(ratio=1 - self._plant.behind, cell=CELL, seed=seed)
        masked = FaceSet.open(mask(photos.directory, out, spec, self._town.execution))
        photo = read_linkage(private_of(out), photos, masked)
        # Every photo has one record on either side.
        return Released(Selection(released.faces, np.argsort(released.photo)[photo]), photos, photo, masked)
