"""`audit`: what somebody learns from a released set who holds other photos of its people (section 3.4, Eq. 3)."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from facemae.errors import RecipeError
from facemae.spec.execution import Execution
from facemae.spec.manifest import write_json
from facemae.spec.recipe import AuditSpec
from facemae.stages.auditing.beside import beside_the_pixels
from facemae.stages.auditing.headline import headline
from facemae.stages.auditing.inputs import Inputs as Inputs
from facemae.stages.auditing.inputs import brought_in
from facemae.stages.auditing.owned import embedders
from facemae.stages.auditing.scene import Finding, Scene
from facemae.stages.auditing.suite import Suite
from facemae.stages.inputs import source_digest
from facemae.stages.shared import open_shared
from facemae.train.world import join

RESULT, REPLICATES = "audit.json", "replicates.npz"

VERSION = 3
"""Part of an audit's settings: raised whenever the same request gives other numbers or another file than before."""

SUITE_VERSION = 8
"""The same for what the suites "quick" and "full" add to retrieval."""

SECTIONS: dict[str, Any] = {
    "attacks": [],
    "linking": [],
    "unlinkability": [],
    "templates": [],
    "membership": [],
    "metadata": None,
    "attackers": [],
    "embedders": [],
    "not_run": [],
    "headline": None,
    "headline_same_photo": None,
}
"""Every key of a result, as it stands where nobody asked for it."""


def audit(inputs: Inputs, out: Path, spec: AuditSpec, execution: Execution, *, cache: Path) -> dict[str, Any]:
    """Write `audit.json` to ``out`` and return it: what every attack finds under every embedder.

    Attacks of any suite: "Org. to Org." (nothing protected), "Org. to released", "released-by-same-process to released"
    where an imitation is given; "quick" and "full" add those of `spec.recipe.SUITES`. A set without linkage that is
    itself the original is audited against itself only. Where the originals were imported from several sources, every
    attack is also told for the probes of each source alone. Folders and archives of photos are imported into ``cache``.
    Several ranks share the embedding, the search and the learning and give the same bytes as one; all see OUT and
    ``cache``.

    Raises:
        RecipeError: no embedder. DataError: the linkage does not fit, or names nobody; non-members who are members.
    """
    if not inputs.embedders:
        raise RecipeError("--embedder", got="none", needed="at least one network that the attacker may use")
    world = join(execution.device)
    given, inputs = inputs, brought_in(inputs, cache=cache, execution=execution, world=world)
    parents = {name: source_digest(Path(path)) for name, path in inputs.paths().items()}
    settings = spec.model_dump() | {"version": VERSION} | inputs.settings(spec)
    settings |= {} if spec.suite == "retrieval" else {"suite_version": SUITE_VERSION}
    with open_shared("audit", out, spec=settings, parents=parents, world=world) as stage:
        if not stage.finished:
            suite = Suite(Scene(inputs, spec, execution, cache, world))
            suite.run()
            if world.main:
                content = _content(suite, given)
                write_json(stage.directory / RESULT, content)
                # Matched by people and seed over all audits of the same originals: paired intervals come from these.
                _write_replicates(stage.directory / REPLICATES, suite.found.attacks)
                stage.publish("audit", {"attacks": len(content["attacks"])})
    return read_audit(out)


def replicates_of(number: int) -> tuple[str, str]:
    """Names in the file of replicates for attack ``number``: of everybody, and of the second half of the people."""
    return f"all{number}", f"second{number}"


def read_audit(directory: Path) -> dict[str, Any]:
    """What `audit` wrote; what an older one did not know of stands as not asked for."""
    return SECTIONS | json.loads((Path(directory) / RESULT).read_bytes())


def _content(suite: Suite, given: Inputs) -> dict[str, Any]:
    scene, found = suite.scene, suite.found.adjusted()
    told: dict[str, Any] = found.sections()
    if scene.spec.suite == "retrieval":
        return SECTIONS | told
    first, last, protected = scene.settings[0], scene.settings[-1], scene.released is not None
    return (
        SECTIONS
        | told
        | {
            "metadata": beside_the_pixels(scene, given) if "metadata" in scene.spec.asked else None,
            "attackers": suite.told,
            "embedders": list(embedders(scene, scene.spec.trained_on)),
            "not_run": suite.not_run,
            "headline": headline(found.attacks, first, protected=protected),
            "headline_same_photo": headline(found.attacks, last, protected=protected) if last != first else None,
        }
    )


def _write_replicates(path: Path, findings: list[Finding]) -> None:
    named: dict[str, Any] = {}
    for number, finding in enumerate(findings):
        everybody, second = replicates_of(number)
        named |= {everybody: finding.leakage.replicates, second: finding.leakage.second}
    np.savez(path, **named)
