"""What an audit looks at, and what of it enters its digest."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from facemae.errors import DataError
from facemae.faces.faceset import FaceSet
from facemae.spec.execution import Execution
from facemae.spec.manifest import FILE, hash_path
from facemae.spec.normalisation import Normalisation, Statistics
from facemae.spec.recipe import AuditSpec, ImportSpec
from facemae.stages.import_ import import_faces
from facemae.stages.linkage import private_folder
from facemae.train.parts import meet
from facemae.train.world import World


@dataclass(frozen=True)
class Inputs:
    """Everything an audit looks at; directories that other verbs wrote, or folders and archives of photos.

    ``imitation``: the same people's photos put through the same process again with other masks, as an attacker who owns
    the released model would do. ``other_release``: what another process, such as another model, made of the same
    photos, for whoever joins two releases. ``nonmembers``: people who are not in the release. ``normalize``: input
    normalisation of embedders, by name, instead of the settings' one. ``loss_networks``: names of embedders that the
    model was trained against.

    What attackers who learn may own: ``process``, the model with which whoever likes repeats the process; ``public``,
    photos of other people (P2); ``public_released`` with its linkage, what the same process made of them, where it
    cannot be repeated; ``masked``, the visible patches behind the release; ``trained``, photos on which the model was
    trained (P1), and ``outsiders`` (P3), photos of other people from where those came; ``reference``, a model that
    knows neither.
    """

    original: Path
    released: Path
    linkage: Path | None
    embedders: Mapping[str, Path]
    imitation: Path | None = None
    imitation_linkage: Path | None = None
    nonmembers: Path | None = None
    normalize: Mapping[str, Normalisation] = field(default_factory=dict)
    loss_networks: frozenset[str] = frozenset()
    process: Path | None = None
    public: Path | None = None
    public_released: Path | None = None
    public_linkage: Path | None = None
    masked: Path | None = None
    trained: Path | None = None
    reference: Path | None = None
    outsiders: Path | None = None
    other_release: Path | None = None
    other_linkage: Path | None = None

    def paths(self) -> dict[str, Path]:
        """What names the result, by name.

        Our own map follows from the masked set; hashing it into a result would let a guess of it be confirmed.
        """
        plain = [each.name for each in fields(self) if each.name not in ("embedders", "normalize", "loss_networks")]
        named = {name: getattr(self, name) for name in plain}
        named |= {name: _foreign(path) for name, path in named.items() if name.endswith("linkage")}
        named |= {f"embedder {name}": path for name, path in self.embedders.items()}
        return {name: Path(path) for name, path in named.items() if path is not None}

    def settings(self, spec: AuditSpec) -> dict[str, Any]:
        """What the paths do not tell; marks change nothing where only retrieval is asked for."""
        given = {name: _plain(how) for name, how in self.normalize.items()}
        marked = sorted(self.loss_networks) if spec.suite != "retrieval" else []
        return {"normalize_of": given} | ({"loss_networks": marked} if marked else {})


_SETS = (
    "original",
    "released",
    "imitation",
    "other_release",
    "nonmembers",
    "public",
    "public_released",
    "trained",
    "outsiders",
)


def brought_in(inputs: Inputs, *, cache: Path, execution: Execution, world: World) -> Inputs:
    """The same inputs with every plain folder or archive of photos imported into ``cache``.

    Raises:
        DataError: as `import_faces`, in its own words.
    """
    given = {name: getattr(inputs, name) for name in _SETS}
    made = {name: _set(Path(path), cache, execution, world) for name, path in given.items() if path is not None}
    return replace(inputs, **made)  # type: ignore[arg-type]


def _set(path: Path, cache: Path, execution: Execution, world: World) -> Path:
    if (path / FILE).is_file():
        return path
    if not path.exists():
        raise DataError(f"nothing at {path}", remedy="check the path")
    out = cache / f"import-{hash_path(path)[:16]}"
    if world.main:
        import_faces([str(path)], out, ImportSpec(), execution)
    meet(out, world)
    return out


def demand_strangers(faces: FaceSet, known: FaceSet, option: str, needed: str, *, whose: str = "the originals") -> None:
    """Refuse people who are among the ``known``, which are ``whose``.

    Raises:
        DataError: somebody, by name.
    """
    if known.people and faces.people:
        shared = sorted({*known.people.identities} & {*faces.people.identities})
        if shared:
            raise DataError(
                f"{option} {faces.directory} shares people with {whose}",
                got=f"{len(shared)}, first {shared[0]!r}",
                needed=needed,
            )


def _plain(how: Normalisation) -> Any:
    return how.model_dump() if isinstance(how, Statistics) else how


def _foreign(linkage: Path | None) -> Path | None:
    return None if linkage is None or private_folder(linkage) else linkage
