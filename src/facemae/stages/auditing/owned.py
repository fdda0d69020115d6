"""What the attackers of one audit own: judges, the process, public people; and who lacks what."""

import hashlib
from collections.abc import Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from facemae.attacks import Judge, Owned, Released
from facemae.attacks.vectors import fingerprint
from facemae.errors import DataError
from facemae.faces.faceset import FaceSet
from facemae.nn.embedder import prepare
from facemae.spec.manifest import FILE, read_manifest
from facemae.spec.recipe import AttackerName
from facemae.stages.auditing.inputs import demand_strangers
from facemae.stages.auditing.process import OwnersProcess, owners_process
from facemae.stages.auditing.scene import Scene
from facemae.stages.embed import open_embedder
from facemae.stages.linkage import read_linkage

_PAIRS = "--public, and --process or --public-released with --public-linkage"


class Belongings:
    """What is given, opened and checked when it is first asked for.

    Raises:
        DataError: public people who are among originals or strangers, or sets that do not belong to the release.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._judges: dict[str, Judge] = {}

    def lacking(self) -> dict[str, str]:
        """What each asked attacker misses, by name."""
        scene, inputs = self.scene, self.scene.inputs
        needs: dict[AttackerName, tuple[bool, str]] = {
            "imitator": (self.process is not None, "--process"),
            "visible": (self.release.masked is not None if scene.released else False, "--masked"),
            "membership": (
                None not in (inputs.process, inputs.trained, inputs.outsiders),
                "--process, --trained and --outsiders",
            ),
        }
        needs |= dict.fromkeys(("parrot", "cross-matcher", "inverter"), (self._protected is not None, _PAIRS))
        lacking: dict[str, str] = {} if scene.strangers is not None else {"open set": "--nonmembers"}
        for name in scene.spec.asked:
            there, what = needs.get(name, (True, ""))
            if not there:
                lacking[name] = what
            elif scene.released is None and name not in ("membership", "template"):
                lacking[name] = "a release that is not the originals themselves"
        return lacking

    def owned(self, judge: str) -> Owned:
        """All that an attacker who trusts this judge may own."""
        scene = self.scene
        return Owned(
            self.judge(judge),
            scene.execution,
            scene.cache,
            self._protected,
            self.process,
            seed=scene.spec.seed,
            steps=scene.spec.steps,
            precision=scene.spec.precision,
        )

    def judge(self, name: str) -> Judge:
        """One embedder as attackers hold it, its network loaded once."""
        if name not in self._judges:
            scene = self.scene
            how = scene.inputs.normalize.get(name, scene.spec.normalize)
            network = prepare(open_embedder(Path(scene.inputs.embedders[name]), how).frozen(), scene.world.device)
            one, both = partial(scene.vectors, name), partial(scene.views, name)
            self._judges[name] = Judge(name, network, fingerprint(network), one, both)
        return self._judges[name]

    @cached_property
    def release(self) -> Released:
        """The release with the visible patches behind it, where they are given; without one, the originals."""
        released, masked = self.scene.released, self._masked
        if released is None:
            return Released(self.scene.original, self.scene.original, self.scene.photos)
        return released if masked is None else Released(released.faces, released.original, released.photo, masked)

    @cached_property
    def _masked(self) -> FaceSet | None:
        if self.scene.inputs.masked is None or self.scene.released is None:
            return None
        masked = FaceSet.open(self.scene.inputs.masked, kind="masked")
        known = self.scene.released.faces.manifest.parents.get("masked")
        if known != masked.digest:
            raise DataError(
                f"--masked {masked.directory} is not what {self.scene.inputs.released} was made from",
                got=f"digest {masked.digest[:12]}",
                needed=known[:12] if known else "a release made by `facemae reconstruct`",
            )
        return masked

    @cached_property
    def process(self) -> OwnersProcess | None:
        """The owner's process, where it is known and asked for."""
        scene = self.scene
        if scene.released is None or scene.spec.suite != "full":
            return None
        model = scene.inputs.process
        how = {"cache": scene.cache, "execution": scene.execution, "world": scene.world}
        return owners_process(scene.released.faces, self._masked, model, **how)  # type: ignore[arg-type]

    @cached_property
    def _protected(self) -> Released | None:
        """Public people after the same process: as they are given, or made here."""
        scene, inputs = self.scene, self.scene.inputs
        if inputs.public is None or scene.released is None or scene.spec.suite != "full":
            return None
        public = FaceSet.open(inputs.public, kind="original")
        demand_strangers(public, scene.original, "--public", "people who are not in the release")
        if scene.strangers is not None:
            # Whoever has learned from a stranger knows them better than the members they are told apart from.
            needed = "people who are asked for nowhere"
            demand_strangers(public, scene.strangers, "--public", needed, whose="--nonmembers")
        if inputs.public_released is not None:
            if inputs.public_linkage is None:
                raise DataError("--public-released", got="no linkage for it", needed="--public-linkage")
            faces = FaceSet.open(inputs.public_released)
            return Released(faces, public, read_linkage(Path(inputs.public_linkage), public, faces))
        return None if self.process is None else self.process(public, _public_seed(scene.spec.seed))


def embedders(scene: Scene, trained_on: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Who judges, and what each was trained on: in the given words, else where one of the audit's sets served."""
    known = {scene.original.digest: "the originals themselves"}
    for option in ("public", "trained", "nonmembers", "outsiders"):
        path = getattr(scene.inputs, option)
        if path is not None:
            known[FaceSet.open(path).digest] = f"the set given as --{option}"
    for name, path in scene.inputs.embedders.items():
        yield {
            "name": name,
            "source": Path(path).name,
            "trained_on": trained_on.get(name) or known.get(_trained_on(Path(path))),
            "loss_network": name in scene.inputs.loss_networks,
        }


def _trained_on(embedder: Path) -> str:
    return read_manifest(embedder).parents.get("faces", "") if (embedder / FILE).is_file() else ""


def _public_seed(seed: int) -> int:
    """The seed of the public people's masks: a hash, so that it is nobody's plain number."""
    return int.from_bytes(hashlib.sha256(f"{seed}:public".encode()).digest()[:4], "big")
