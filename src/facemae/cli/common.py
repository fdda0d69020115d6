"""What the verbs share: execution, scratch space, and how results are said."""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facemae.errors import RecipeError

if TYPE_CHECKING:
    from facemae.spec.execution import Execution
    from facemae.spec.normalisation import Normalisation

ON_MANY = ("pretrain", "recognize", "reconstruct", "embed", "verify", "audit")
"""The verbs that `torchrun` may start in several processes; any other would do its work in each of them."""


def rank() -> int:
    """The number of this process among those that `torchrun` started; only number 0 prints results."""
    return int(os.environ.get("RANK", "0"))


def processes() -> int:
    """How many `torchrun` started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def demand_one_process(verb: str | None) -> None:
    """Refuse what several processes would all do at once.

    Raises:
        RecipeError: `torchrun` started several and the verb does not share its work.
    """
    if processes() > 1 and verb not in ON_MANY:
        raise RecipeError(
            f"{verb} under torchrun",
            got=f"{processes()} processes",
            needed=f"one ({', '.join(ON_MANY[:-1])} and {ON_MANY[-1]} take several)",
            remedy="run it as plain `facemae`",
        )


@contextmanager
def scratch(out: Path | None, cache: Path | None) -> Iterator[tuple[Path, Path]]:
    """OUT and the embeddings' place; what was not named lives in a temporary directory.

    Several processes meet in these places: OUT has to be named then, and embeddings lie beside it until all is done.

    Raises:
        RecipeError: several processes and no OUT.
    """
    if processes() > 1:
        if out is None:
            raise RecipeError("OUT", got="nothing", needed="a directory that all processes see")
        kept = cache or out.with_name(f".{out.name}.vectors")
        yield out, kept
        if cache is None and rank() == 0:
            shutil.rmtree(kept, ignore_errors=True)
        return
    with tempfile.TemporaryDirectory(prefix="facemae-") as scratch:
        yield out or Path(scratch) / "out", cache or Path(scratch) / "vectors"


def execution(device: str = "auto", workers: int = 0, batch: int = 64) -> "Execution":
    """How a verb runs, with bars on the terminal of the first process."""
    from facemae.cli.bars import Bars
    from facemae.spec.execution import Execution, Silent

    return Execution(device=device, workers=workers, batch=batch, progress=Bars() if rank() == 0 else Silent())


def with_seed(settings: list[str] | None, seed: int | None, key: str = "seed") -> list[str]:
    """`--set` texts, and `--seed` as one more of them."""
    return [*(settings or []), *([f"{key}={seed}"] if seed is not None else [])]


def say(result: Any, as_json: bool, text: str) -> None:
    """Print the result as JSON or as text, once however many processes there are."""
    if rank() == 0:
        print(json.dumps(result, indent=1, sort_keys=True) if as_json else text)


def tell(line: str) -> None:
    """One line beside the results, on standard error."""
    print(f"facemae: {' '.join(line.split())}", file=sys.stderr)


def networks(texts: Sequence[str]) -> "tuple[dict[str, Path], dict[str, Normalisation]]":
    """`[NAME=]PATH[@NORMALISATION]` texts to paths and normalisations by name; a file's name is that without suffix.

    Raises:
        RecipeError: two of one name, or a normalisation that is none.
    """
    paths: dict[str, Path] = {}
    normalize: dict[str, Normalisation] = {}
    for text in texts:
        name, path, given = _network(text)
        if name in paths:
            raise RecipeError(
                f"two networks are called {name}",
                got=f"{paths[name]} and {path}",
                needed="a name for each",
                remedy=f"name one: --embedder NAME={path}",
            )
        paths[name] = path
        if given is not None:
            normalize[name] = given
    return paths, normalize


def _network(text: str) -> "tuple[str, Path, Normalisation | None]":
    from facemae.spec.reading import parse_settings
    from facemae.spec.recipe import EmbedSpec
    from facemae.spec.validation import build

    name, equals, rest = text.partition("=")
    # A path may hold both signs itself: what exists as it stands is taken as it stands.
    if not equals or "/" in name or "@" in name or Path(text).exists():
        name, rest = "", text
    given = None
    if not Path(rest).exists():
        path, sign, after = rest.rpartition("@")
        if sign:
            given = build(EmbedSpec, parse_settings([f"normalize={after}"]), f"--embedder {text}").normalize
            rest = path
    found = Path(rest)
    return name or (found.stem if found.is_file() else found.absolute().name), found, given


def report_stage(out: Path, as_json: bool) -> None:
    """Say what a finished directory is."""
    from facemae.spec.manifest import read_manifest

    if rank() > 0:  # on another machine OUT may not be there at all
        return
    manifest = read_manifest(out)
    say(manifest.model_dump(by_alias=True), as_json, f"{manifest.kind} in {out} (digest {manifest.digest[:12]})")


def report_set(out: Path, as_json: bool) -> None:
    """Say what a finished face set holds, and what was left out of it."""
    from facemae.spec.manifest import read_manifest

    if rank() > 0:
        return
    manifest = read_manifest(out)
    facts, skipped = manifest.facts, len(manifest.facts.get("skipped", []))
    left_out = f", {skipped} files left out (facemae show {out})" if skipped else ""
    text = f"{manifest.kind} set in {out}: {facts['records']} images of {facts['identities']} people{left_out}"
    say(manifest.model_dump(by_alias=True), as_json, text)


def manifest_lines(manifest: dict[str, Any]) -> list[str]:
    """What a directory is, its facts, and what was left out of it."""
    facts = {key: value for key, value in manifest["facts"].items() if key != "skipped"}
    lines = [f"{manifest['kind']} made by {manifest['stage']}, digest {manifest['digest'][:12]}"]
    lines += [f"{key}: {value}" for key, value in facts.items()]
    return lines + [f"skipped {skip['path']}: {skip['reason']}" for skip in manifest["facts"].get("skipped", [])]


def verification_lines(result: dict[str, Any]) -> list[str]:
    """Accuracy and TAR@FAR with their intervals."""
    rate = result["accuracy"]
    head = f"accuracy {rate['value']:.2%} [{rate['low']:.2%}, {rate['high']:.2%}] on {result['pairs']} pairs"
    return [head, *(tar_line(point) for point in result["tar"])]


def tar_line(point: dict[str, Any]) -> str:
    """One TAR@FAR, or that it is not measurable."""
    if not point["measurable"]:
        smallest = point["smallest_measurable"]
        return f"TAR@FAR={point['target']:g} not measurable here (smallest: {smallest:.2g})" if smallest else "no TAR"
    return f"TAR@FAR={point['target']:g} {point['value']:.2%} [{point['low']:.2%}, {point['high']:.2%}]"


def attack_lines(attack: dict[str, Any]) -> list[str]:
    """One line for each K of an attack."""
    source = "" if attack["subset"] == "all" else f" | from {attack['subset']}"
    head = f"{attack['attack']} | {attack['embedder']} | same photo {attack['same_photo']}d{source}"
    return [
        f"{head} | K={at['k']}: {at['value']:.2%} [{at['low']:.2%}, {at['high']:.2%}]"
        f" {at['hits']}/{at['trials']}, chance {at['chance']:.2%}, {at['verdict']}"
        for at in attack["at"]
    ]
