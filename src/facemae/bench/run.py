"""A whole bench: groups of contenders, one after another, then the memory of the data stages, then the verdicts."""

import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from facemae.bench import networks, peers, stages
from facemae.bench.machine import GROUP, UNIT, fastest, matrix_products
from facemae.bench.memory import peaks
from facemae.bench.pairs import Absent, Basis, Contender, Lap, ahead, race, rate, seconds, share
from facemae.bench.result import Peak, Result, Row
from facemae.bench.targets import Found, Target, accelerator_targets, memory_targets, processor_targets
from facemae.bench.workspace import SEED, Sizes, Workspace
from facemae.errors import RecipeError
from facemae.spec.execution import Progress, Silent
from facemae.spec.manifest import digest_of
from facemae.train.hardware import hardware
from facemae.train.world import join

MEMORY = "memory"

Ours = Callable[[Workspace], list[Contender]]
Theirs = Callable[[Workspace], Sequence[Contender | Absent]]


@dataclass(frozen=True)
class Group:
    """Contenders that do the same work; the first of ``ours`` is what all others are compared with."""

    name: str
    unit: str
    ours: Ours
    theirs: Theirs | None = None


def groups(sizes: Sizes) -> list[Group]:
    """Everything that is timed, in the order of the pipeline."""
    images, views = "images/s", "views/s"
    return [
        Group("decode JPEG", images, stages.decoding, peers.pillow_decoding),
        Group("encode JPEG", images, stages.encoding, peers.pillow_encoding),
        Group("read records", "records/s", stages.reading, peers.readers),
        Group("import", images, stages.importing),
        Group("mask", images, stages.masking),
        *(
            Group(f"pretrain {m}", images, partial(stages.pretraining, size=m), partial(networks.vitmae_step, size=m))
            for m in sizes.maes
        ),
        *(Group(f"pretrain {m} with {b}", images, partial(stages.matching, size=m, backbone=b)) for m, b in sizes.phis),
        *(
            Group(
                f"reconstruct {m}",
                images,
                partial(stages.reconstructing, size=m),
                partial(networks.reconstruct_peers, size=m),
            )
            for m in sizes.maes
        ),
        *(
            Group(f"embed {b}", views, partial(stages.embedding, backbone=b), partial(networks.embed_peers, backbone=b))
            for b in sizes.embedders
        ),
        *(Group(f"recognize {b}", images, partial(stages.recognizing, backbone=b)) for b in sizes.recognisers),
        *([Group("exact top-4", "queries/s", stages.retrieving, peers.faiss_search)] if sizes.gallery else []),
    ]


def run_bench(
    *,
    device: str = "auto",
    with_peers: bool = True,
    only: str = "*",
    quick: bool = False,
    sizes: Sizes | None = None,
    command: str = "facemae bench",
    progress: Progress | None = None,
) -> Result:
    """Measure the groups whose names match ``only`` on as many threads as torch has.

    Raises:
        RecipeError: "cuda" was asked for and there is none, or ``only`` matches nothing.
    """
    place = join(device).device
    sizes = sizes or _sizes(place, quick=quick)
    chosen = [group for group in groups(sizes) if fnmatch(group.name, only)]
    if not chosen and not fnmatch(MEMORY, only):
        names = ", ".join([*(group.name for group in groups(sizes)), MEMORY])
        raise RecipeError("--only", got=repr(only), needed=f"a pattern that matches one of: {names}")
    torch.manual_seed(SEED)
    with tempfile.TemporaryDirectory(prefix="facemae-bench-") as root:
        work = Workspace(Path(root), sizes, place)
        with_memory = bool(sizes.memory_stages) and fnmatch(MEMORY, only)
        found = _measure(work, chosen, with_peers, with_memory, progress or Silent())
    settings = {"sizes": _plain(sizes), "device": place.type, "threads": torch.get_num_threads(), "seed": SEED}
    settings |= {"only": only, "peers": with_peers}
    return Result(
        command=command,
        digest=digest_of("bench", settings, {}),
        name=_name(place, quick=quick),
        basis=work.basis,
        threads=torch.get_num_threads(),
        seed=SEED,
        hardware=hardware(),
        versions=_versions() if with_peers else {},
        sizes=_plain(sizes),
        rows=tuple(found.rows),
        memory=tuple(found.memory),
        reached=tuple(target.judge(found) for target in _targets(place, sizes)),
    )


def _measure(work: Workspace, chosen: list[Group], with_peers: bool, with_memory: bool, progress: Progress) -> Found:
    rows: list[Row] = []
    laps: dict[str, dict[str, list[Lap]]] = {}
    memory: list[Peak] = []
    with progress.task("bench", 1 + len(chosen) + with_memory, "groups") as task:
        products = matrix_products(work)
        laps[GROUP] = race(products, rounds=work.sizes.rounds)
        best = fastest(products, laps[GROUP], work.basis)
        own_rate = {dtype: product.name for dtype, product in best.items()}
        rows += [_row(GROUP, UNIT, each, laps[GROUP], own_rate, work.basis, None) for each in products]
        task.advance(1, GROUP)
        for group in chosen:
            found, times = _group(work, group, list(best.values()), with_peers)
            rows, laps[group.name] = rows + found, times
            task.advance(1, group.name)
        if with_memory:
            memory = _memory(work)
            task.advance(1, MEMORY)
    return Found(work.basis, laps, rows, memory)


def _group(
    work: Workspace, group: Group, products: list[Contender], with_peers: bool
) -> tuple[list[Row], dict[str, list[Lap]]]:
    """One group's race, in which the matrix products of its number types run along."""
    ours = group.ours(work)
    offers = list(group.theirs(work)) if group.theirs is not None and with_peers else []
    able = [*ours, *(offer for offer in offers if isinstance(offer, Contender))]
    counted = {contender.dtype for contender in able if contender.operations}
    floor = [product for product in products if product.dtype in counted]
    laps = race([*able, *floor], rounds=work.sizes.rounds)
    own_rate = {product.dtype: product.name for product in floor}
    rows = [_row(group.name, group.unit, each, laps, own_rate, work.basis, ours[0].name) for each in able]
    rows += [Row(group.name, each.name, group.unit, absent=each.why) for each in offers if isinstance(each, Absent)]
    rows += [_row(group.name, UNIT, each, laps, own_rate, work.basis, None) for each in floor]
    return rows, laps


def _row(
    group: str,
    unit: str,
    contender: Contender,
    laps: dict[str, list[Lap]],
    floor: dict[str, str],
    basis: Basis,
    first: str | None,
) -> Row:
    times, operations = laps[contender.name], contender.operations
    return Row(
        group=group,
        name=contender.name,
        unit=unit,
        dtype=contender.dtype,
        rate=rate(times, basis),
        processor=seconds(times, "processor"),
        wall=seconds(times, "wall"),
        operations=round(operations),
        of_matrix_rate=share(times, operations, laps[floor[contender.dtype]], basis) if operations else None,
        ahead=ahead(laps[first], times, basis) if first and contender.name != first else None,
        rounds=len(times),
        check=contender.check,
    )


def _memory(work: Workspace) -> list[Peak]:
    records = work.sizes.memory
    found = peaks(work.sizes.memory_stages, records, work.root)
    few, many = records
    return [
        Peak(stage, records, peaks=(held[few].all, held[many].all), own=(held[few].own, held[many].own))
        for stage, held in found.items()
    ]


def _sizes(place: torch.device, *, quick: bool) -> Sizes:
    if quick:
        return Sizes.quick()
    return Sizes.accelerator() if place.type == "cuda" else Sizes()


def _targets(place: torch.device, sizes: Sizes) -> list[Target]:
    timed = accelerator_targets() if place.type == "cuda" else processor_targets()
    return timed + memory_targets(sizes.memory_stages)


def _plain(sizes: Sizes) -> dict[str, Any]:
    """Sizes as JSON has them: lists for tuples."""
    return {name: _lists(value) for name, value in asdict(sizes).items()}


def _lists(value: Any) -> Any:
    return [_lists(item) for item in value] if isinstance(value, tuple) else value


def _versions() -> dict[str, str]:
    found = {}
    for package in ("numpy", *peers.PACKAGES):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _name(place: torch.device, *, quick: bool) -> str:
    """cpu, or the accelerator's short name such as h200."""
    kind = "cpu"
    if place.type == "cuda":
        words = torch.cuda.get_device_name(place).lower().split()
        kind = re.sub(r"[^\w]+", "-", next((word for word in words if re.search(r"\d", word)), words[-1]))
    return f"{kind}-quick" if quick else kind
