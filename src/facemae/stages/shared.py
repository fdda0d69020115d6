"""A stage that several ranks make together."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from facemae.stages.stage import Stage, open_stage
from facemae.train.parts import meet
from facemae.train.world import World, of_all


@contextmanager
def open_shared(
    name: str, out: Path, *, spec: Mapping[str, Any], parents: Mapping[str, str], world: World, resumable: bool = False
) -> Iterator[Stage]:
    """`open_stage` on every rank: what the main rank finds finished is finished, and all leave when OUT is there.

    The main rank alone publishes. Another process may finish OUT while the main rank waits for its lock, so no other
    rank goes by what it sees itself.
    """
    with open_stage(name, out, spec=spec, parents=parents, resumable=resumable, main=world.main) as stage:
        finished = of_all(stage.finished, world)[0]
        stage.finished, stage.directory = finished, Path(out) if finished else stage.directory
        yield stage
        if not finished:
            meet(Path(out), world)
