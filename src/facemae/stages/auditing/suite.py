"""Which attackers and measures run, on what they may own; what cannot run is said, never dropped."""

from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

from facemae.attacks import (
    Attacked,
    Attacker,
    CrossMatcher,
    Fitted,
    Imitator,
    Inverter,
    Parrot,
    Pixels,
    Retrieval,
    Template,
    Visible,
    membership_scores,
)
from facemae.attacks.template import Group
from facemae.faces.faceset import FaceSet
from facemae.measure import linking, membership, pair_scores, template_leakage, unlinkability
from facemae.spec.recipe import AttackerName
from facemae.spec.results import IMITATED, ITS_OWN, NO_NETWORK, RELEASED
from facemae.stages.auditing.family import Found, Head
from facemae.stages.auditing.owned import Belongings
from facemae.stages.auditing.process import ratio_of
from facemae.stages.auditing.scene import Scene, Sides, own_photos
from facemae.stages.pretrain import load_model

SIZES: tuple[tuple[int | None, int | None], ...] = ((1, 1), (2, 2), (4, 4), (8, 8), (1, None), (None, None))
"""How many photos of a person are asked with, and how many images of one are searched together; None: all."""

GROUPS: tuple[Group, ...] = ("labels", "none")
"""What an attacker takes together of the release: images under one number, and nothing, as where it has no numbers."""


@dataclass
class Suite:
    """All of one audit's attacks. ``found`` grows; ``told`` says of every attacker who they were and what they chose.

    Raises:
        DataError: as `Belongings`.
    """

    scene: Scene
    found: Found = field(default_factory=Found)
    told: list[dict[str, Any]] = field(default_factory=list)
    not_run: list[dict[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._have = Belongings(self.scene)

    def run(self) -> None:
        """Every attack that is asked for and can be run; several ranks share the search and the learning."""
        scene, spec = self.scene, self.scene.spec
        if spec.suite == "retrieval":
            for name in scene.inputs.embedders:
                self._retrieval(name)
            return
        lacking = self._have.lacking()
        self.not_run = [{"attacker": name, "needs": needs} for name, needs in lacking.items()]
        asked = [name for name in spec.asked if name not in lacking]
        # First, for it takes minutes where the others take hours, and refuses what does not belong together.
        if "membership" in asked:
            self._membership()
        for number, name in enumerate(scene.inputs.embedders):
            self._retrieval(name)
            if scene.released is not None:
                self._say(RELEASED, Retrieval.says, name, None)
            for attacker in asked:
                # Whoever trains a network of their own, or needs none, does so once, whatever the judges are.
                if attacker not in ("parrot", "pixels") or number == 0:
                    self._attack(attacker, name)

    # ---- attacks ------------------------------------------------------------------------------------------------

    def _retrieval(self, judge: str) -> None:
        for sides, settings in self.scene.retrieval(judge):
            for same_photo in settings:
                self.found.attacks += self.scene.leakage(sides, same_photo)
            if self.scene.spec.suite != "retrieval":
                self._measure(sides, settings[0])
                if sides.attack == IMITATED and "include" in self.scene.settings:
                    # Two releases of one photo: what releasing the same photos again would add.
                    self._measure(sides, "include")
                self._templates(sides, settings)
        joined = self.scene.joined(judge)
        if joined is not None and self.scene.spec.suite != "retrieval":
            for same_photo in self.scene.settings:
                self._measure(joined, same_photo)

    def _attack(self, attacker: AttackerName, judge: str) -> None:
        if attacker == "template":
            self._pooled(Retrieval(), Retrieval().fit(self._have.owned(judge)), judge)
        elif attacker == "pixels":
            self._by(Pixels(), judge, self.scene.settings, called=NO_NETWORK)
        elif attacker == "parrot":
            self._by(Parrot(), judge, self.scene.settings, called=ITS_OWN)
            if self._have.process is not None:
                self._by(Parrot(masks=self.scene.spec.masks), judge, self.scene.settings, called=ITS_OWN)
        else:
            plain: dict[str, Attacker] = {
                "imitator": Imitator(masks=self.scene.spec.masks),
                "cross-matcher": CrossMatcher(),
                "inverter": Inverter(),
                "visible": Visible(),
            }
            if attacker in plain:
                self._by(plain[attacker], judge, self.scene.settings)

    def _by(
        self,
        attacker: Attacker,
        judge: str,
        settings: tuple[str, ...],
        *,
        called: str | None = None,
    ) -> None:
        """One attacker: fitted once, then asked image by image, and with all images of a person together."""
        fitted = attacker.fit(self._have.owned(judge))
        sides = self._asked(attacker, fitted, called or judge, settings)
        if sides is not None:
            self._measure(sides, settings[0])
        if "template" in self.scene.spec.asked:
            self._pooled(attacker, fitted, called or judge)

    def _pooled(self, attacker: Attacker, fitted: Fitted, embedder: str) -> None:
        """The same attacker with all photos of a person taken together, and all images under one number or none."""
        for group, same_photo in product(GROUPS, self.scene.settings):
            template = Template(attacker, group=group, same_photo=same_photo)  # type: ignore[arg-type]
            self._asked(template, template.over(fitted, seed=self.scene.spec.seed), embedder, (same_photo,))

    def _asked(self, attacker: Attacker, fitted: Fitted, embedder: str, settings: tuple[str, ...]) -> Sides | None:
        """Members and strangers asked for alike; None where nobody has anything to find."""
        scene, released = self.scene, self._have.release
        probes, gallery = fitted.probes(scene.original), fitted.gallery(released)
        if not len(np.intersect1d(probes.person, gallery.person)):
            needs = "people with several photos, some for either side"
            self.not_run.append({"attacker": attacker.name, "needs": needs})
            return None
        strangers = fitted.probes(scene.strangers) if scene.strangers is not None else None
        sides = Sides(attacker.name, embedder, probes, gallery, strangers)
        for same_photo in settings:
            self.found.attacks += scene.leakage(sides, same_photo)
        self._say(attacker.name, attacker.says, embedder, fitted)
        return sides

    def _say(self, name: str, says: str, embedder: str, fitted: Fitted | None) -> None:
        chosen, tried = (fitted.chosen, dict(fitted.tried)) if fitted else ("", {})
        row = {"name": name, "says": says, "embedder": embedder, "chosen": chosen, "tried": tried}
        if row not in self.told:
            self.told.append(row)

    # ---- measures: computed on one rank, for nothing in them is shared -------------------------------------------

    def _measure(self, sides: Sides, same_photo: str) -> None:
        """Linking and unlinkability; of the originals themselves they are the level that protection has to lower."""
        if not self.scene.world.main:
            return
        spec, probes, gallery = self.scene.spec, sides.probes, sides.gallery
        own = own_photos(probes.photo, gallery.photo) if same_photo == "exclude" else None
        scores = pair_scores(
            probes.vectors, probes.person, gallery.vectors, gallery.person, exclude=own, seed=spec.seed
        )
        how = {"seed": spec.seed, "replicates": spec.replicates}
        head = {"attack": sides.attack, "embedder": sides.embedder}
        self.found.linking.append((head | {"same_photo": same_photo}, linking(scores, fars=spec.fars, **how)))
        self.found.unlinkability.append((head | {"same_photo": same_photo}, unlinkability(scores, **how)))

    def _templates(self, sides: Sides, settings: tuple[str, ...]) -> None:
        if not self.scene.world.main or "template" not in self.scene.spec.asked:
            return
        spec, probes, gallery = self.scene.spec, sides.probes, sides.gallery
        for same_photo in settings:
            apart = same_photo == "exclude"
            found = template_leakage(
                probes.vectors,
                probes.person,
                gallery.vectors,
                gallery.person,
                query_photo=probes.photo if apart else None,
                gallery_photo=gallery.photo if apart else None,
                ks=spec.k,
                sizes=SIZES,
                draws=spec.draws,
                seed=spec.seed,
                replicates=spec.replicates,
            )
            head: Head = {"attack": sides.attack, "embedder": sides.embedder, "same_photo": same_photo}
            self.found.templates.append((head, found))

    def _membership(self) -> None:
        scene, inputs, spec = self.scene, self.scene.inputs, self.scene.spec
        assert inputs.process is not None
        assert inputs.trained is not None
        assert inputs.outsiders is not None
        marked = [name for name in inputs.embedders if name in inputs.loss_networks]
        attacked = Attacked(
            load_model(inputs.process),
            load_model(inputs.reference) if inputs.reference else None,
            self._have.judge(marked[0]) if marked else None,
            masks=spec.masks,
            ratio=ratio_of(inputs.process),
            seed=spec.seed,
            precision=spec.precision,
            cache=scene.cache,
        )
        # Not the strangers of the open set: those are like the people of the release, not like those of the model.
        members, others = (FaceSet.open(path, kind="original") for path in (inputs.trained, inputs.outsiders))
        for name, scores in membership_scores(attacked, members, others, execution=scene.execution).items():
            if scene.world.main:
                found = membership(
                    scores.members,
                    scores.member_people,
                    scores.nonmembers,
                    scores.nonmember_people,
                    fprs=spec.false_alarms,
                    seed=spec.seed,
                    replicates=spec.replicates,
                )
                self.found.membership.append(({"score": name}, found))
