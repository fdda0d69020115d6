"""What the verbs share: execution, scratch space, and how results are said."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from facemae.spec.execution import Execution


@contextmanager
def scratch(out: Path | None, cache: Path | None) -> Iterator[tuple[Path, Path]]:
    """OUT and the embeddings' place; what was not named lives in a temporary directory."""
    with tempfile.TemporaryDirectory(prefix="facemae-") as scratch:
        yield out or Path(scratch) / "out", cache or Path(scratch) / "vectors"


def execution(device: str = "auto", workers: int = 0, batch: int = 64) -> Execution:
    """How a verb runs, with bars on the terminal."""
    from facemae.cli.bars import Bars

    return Execution(device=device, workers=workers, batch=batch, progress=Bars())


def with_seed(settings: list[str] | None, seed: int | None, key: str = "seed") -> list[str]:
    """`--set` texts, and `--seed` as one more of them."""
    return [*(settings or []), *([f"{key}={seed}"] if seed is not None else [])]


def say(result: Any, as_json: bool, text: str) -> None:
    """Print the result as JSON or as text."""
    print(json.dumps(result, indent=1, sort_keys=True) if as_json else text)


def report_stage(out: Path, as_json: bool) -> None:
    """Say what a finished directory is."""
    from facemae.spec.manifest import read_manifest

    manifest = read_manifest(out)
    say(manifest.model_dump(by_alias=True), as_json, f"{manifest.kind} in {out} (digest {manifest.digest[:12]})")


def report_set(out: Path, as_json: bool) -> None:
    """Say what a finished face set holds, and what was left out of it."""
    from facemae.spec.manifest import read_manifest

    manifest = read_manifest(out)
    facts, skipped = manifest.facts, len(manifest.facts.get("skipped", []))
    left_out = f", {skipped} files left out (facemae show {out})" if skipped else ""
    text = f"{manifest.kind} set in {out}: {facts['records']} images of {facts['identities']} people{left_out}"
    say(manifest.model_dump(by_alias=True), as_json, text)


def tar_line(point: dict[str, Any]) -> str:
    """One TAR@FAR, or that it is not measurable."""
    if not point["measurable"]:
        smallest = point["smallest_measurable"]
        return f"TAR@FAR={point['target']:g} not measurable here (smallest: {smallest:.2g})" if smallest else "no TAR"
    return f"TAR@FAR={point['target']:g} {point['value']:.2%} [{point['low']:.2%}, {point['high']:.2%}]"


def attack_lines(attack: dict[str, Any]) -> list[str]:
    """One line for each K of an attack."""
    head = f"{attack['attack']} | {attack['embedder']} | same photo {attack['same_photo']}d"
    return [
        f"{head} | K={at['k']}: {at['value']:.2%} [{at['low']:.2%}, {at['high']:.2%}]"
        f" {at['hits']}/{at['trials']}, chance {at['chance']:.2%}, {at['verdict']}"
        for at in attack["at"]
    ]
