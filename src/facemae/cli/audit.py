"""`facemae audit`: its options, what it says, and how its gate ends it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facemae.cli.common import (
    attack_lines,
    execution,
    networks,
    processes,
    rank,
    say,
    scratch,
    tar_line,
    tell,
    with_seed,
)
from facemae.cli.options import AsJson, Cache, Device, In, Recipe, Seed, Settings, Workers
from facemae.errors import RecipeError

if TYPE_CHECKING:
    from facemae.spec.execution import Execution
    from facemae.stages.audit import Inputs

FAILED = 1
"""Exit code of a release that fails its gate: a verdict, where 2 is a mistake."""

NETWORK = "[NAME=]PATH[@NORMALISATION]"

Kept = Annotated[Path | None, typer.Argument(help="Keep the result here.")]
Embedders = Annotated[
    list[str] | None,
    typer.Option(
        metavar=NETWORK,
        help="A network the attacker uses; may be repeated. Its input normalisation is insightface, imagenet, "
        "pixels or mean and deviation (docs/recipes.md); a plain ONNX graph does not tell its own.",
    ),
]
Phi = Annotated[list[str] | None, typer.Option(metavar=NETWORK, help="The same, and the model was trained against it.")]
Linkage = Annotated[Path | None, typer.Option(help="OUT.private of `mask`, or a CSV of path pairs.")]
Imitation = Annotated[Path | None, typer.Option(help="The same photos through the same process again.")]
ImitationLinkage = Annotated[Path | None, typer.Option(help="The linkage of the imitation.")]
OtherRelease = Annotated[
    Path | None, typer.Option(help="What another process made of the same photos: can the two be joined?")
]
OtherLinkage = Annotated[Path | None, typer.Option(help="The linkage of the other release.")]
Nonmembers = Annotated[Path | None, typer.Option(help="People like those of ORIGINAL who are in no release.")]
Process = Annotated[Path | None, typer.Option(help="The model that made the release: it can be repeated.")]
Public = Annotated[Path | None, typer.Option(help="Photos of other people, from whom attackers learn.")]
PublicReleased = Annotated[
    Path | None, typer.Option(help="What the process made of --public, where it cannot be repeated.")
]
PublicLinkage = Annotated[Path | None, typer.Option(help="The linkage of --public-released.")]
Masked = Annotated[Path | None, typer.Option(help="The masked set behind the release: visible patches.")]
Trained = Annotated[Path | None, typer.Option(help="Photos that trained --process: who was among them?")]
Outsiders = Annotated[Path | None, typer.Option(help="Others, from where the --trained photos came.")]
Reference = Annotated[Path | None, typer.Option(help="A model of other people, to compare --process with.")]
Limits = Annotated[
    list[str] | None,
    typer.Option(
        "--max",
        metavar="MEASURE:VALUE",
        help="Exit with 1 where an attack finds more: top2:0.2, tpir@fpir=0.01:0.05, tar@far=0.01:0.1, dsys:0.2, "
        "tpr@fpr=0.01:0.02, auc:0.6, metadata:note. May be repeated.",
    ),
]
ShowFaces = Annotated[
    int, typer.Option(min=0, metavar="N", help="Show the N most exposed records as pictures in OUT/audit.html.")
]
Beside = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="RESULTS", help="Results of `reproduce` for the plane of utility and privacy. May be repeated."
    ),
]


def audit(
    original: In,
    released: In,
    out: Kept = None,
    embedder: Embedders = None,
    phi: Phi = None,
    linkage: Linkage = None,
    imitation: Imitation = None,
    imitation_linkage: ImitationLinkage = None,
    other_release: OtherRelease = None,
    other_linkage: OtherLinkage = None,
    nonmembers: Nonmembers = None,
    process: Process = None,
    public: Public = None,
    public_released: PublicReleased = None,
    public_linkage: PublicLinkage = None,
    masked: Masked = None,
    trained: Trained = None,
    outsiders: Outsiders = None,
    reference: Reference = None,
    limits: Limits = None,
    show_faces: ShowFaces = 0,
    beside: Beside = None,
    cache: Cache = None,
    recipe: Recipe = None,
    settings: Settings = None,
    device: Device = "auto",
    workers: Workers = 0,
    seed: Seed = None,
    as_json: AsJson = False,
) -> None:
    """What somebody learns from a release (a measured lower bound): sets of ours, or any folder or archive of photos.

    Runs every attacker whose inputs are given and lists the others under "not run"; --set suite=quick leaves out those
    who learn, suite=retrieval leaves Eq. 3 alone. OUT holds audit.json and, to read, audit.html and audit.md.
    """
    from facemae.stages.audit import Inputs

    paths, normalize = networks([*(embedder or []), *(phi or [])])
    marked = frozenset(networks(phi or [])[0])
    inputs = Inputs(original, released, linkage, paths, normalize=normalize, loss_networks=marked)
    inputs = replace(inputs, imitation=imitation, imitation_linkage=imitation_linkage, nonmembers=nonmembers)
    inputs = replace(inputs, other_release=other_release, other_linkage=other_linkage, process=process, masked=masked)
    inputs = replace(inputs, public=public, public_released=public_released, public_linkage=public_linkage)
    inputs = replace(inputs, trained=trained, outsiders=outsiders, reference=reference)
    _demand_out(out, show_faces, beside)
    run, pages = execution(device, workers), {"faces": show_faces, "published": beside or []}
    _audit(inputs, out, cache, recipe, with_seed(settings, seed), limits or [], run, pages, as_json=as_json)


def _demand_out(out: Path | None, faces: int, beside: Sequence[Path] | None) -> None:
    if out is None and (faces or beside):
        raise RecipeError("--show-faces" if faces else "--beside", got="no OUT", needed="OUT, for the page lies there")
    if faces and processes() > 1:
        raise RecipeError("--show-faces", got=f"{processes()} processes", needed="one: run it again as plain `facemae`")


def _audit(
    inputs: "Inputs",
    out: Path | None,
    cache: Path | None,
    recipe: str | None,
    settings: Sequence[str],
    limits: Sequence[str],
    run: "Execution",
    pages: Mapping[str, Any],
    *,
    as_json: bool,
) -> None:
    from facemae.spec.reading import section_spec
    from facemae.spec.recipe import AuditSpec
    from facemae.stages.audit import audit as stage
    from facemae.stages.auditing.gate import breaches, demand_measured, passed_over, read_limits
    from facemae.stages.auditing.pages import write_pages

    spec = section_spec("audit", AuditSpec, recipe, [*settings, *_full(recipe, settings)])
    allowed = read_limits(limits)
    demand_measured(allowed, spec)
    with scratch(out, cache) as (place, kept):
        result = stage(inputs, place, spec, run, cache=kept)
        if out is not None and rank() == 0:
            write_pages(place, inputs, spec, run, cache=kept, **pages)
    failed = breaches(allowed, result)
    silent = passed_over(allowed, result)
    gate = {"gate": [breach.to_dict() for breach in failed], "gate_passed_over": silent} if allowed else {}
    say(result | gate, as_json, "\n".join(audit_lines(result)))
    if silent:
        tell(f"the gate says nothing of attacks that were asked about no strangers: {', '.join(silent)}")
    if failed:
        tell(f"the release fails its gate: {'; '.join(breach.describe() for breach in failed)}")
        raise typer.Exit(FAILED)


def _full(recipe: str | None, settings: Sequence[str]) -> list[str]:
    """`suite=full`, unless a recipe or a setting says which suite is meant."""
    from facemae.spec.reading import parse_settings, read_toml

    named = recipe is not None and "suite" in read_toml(recipe).get("audit", {})
    return [] if named or "suite" in parse_settings(settings) else ["suite=full"]


def audit_lines(result: dict[str, Any]) -> list[str]:
    """Every attack at every K, then whatever else was measured, then the headline."""
    lines = [line for attack in result["attacks"] for line in [*attack_lines(attack), *_open_set_lines(attack)]]
    lines += [line for row in result["templates"] for line in _template_lines(row)]
    lines += [line for row in result["linking"] for line in _linking_lines(row)]
    lines += [
        f"{_head(row)} | D_sys {row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}], {row['verdict']}"
        for row in result["unlinkability"]
    ]
    for row in result["membership"]:
        lines.append(f"membership by {row['score']} | AUC {_interval(row['auc'])}, {row['verdict']}")
        lines += [f"membership by {row['score']} | {_at('TPR@FPR', point)}" for point in _points(row)]
    if result["metadata"]:
        lines += [f"{f['severity']}: {f['what']} ({f['count']} of {f['of']})" for f in result["metadata"]["findings"]]
    lines += [f"not run: {row['attacker']} needs {row['needs']}" for row in result["not_run"]]
    return lines + [line for name in ("headline", "headline_same_photo") for line in _headline(result[name])]


def _headline(worst: dict[str, Any] | None) -> Iterator[str]:
    if worst is not None:
        yield (
            f"worst case: {_head(worst)} | {worst['measure']} {_interval(worst)} of the half of the people that had no "
            f"part in the choice, chance {worst['chance']:.2%}, {worst['verdict']}"
        )


def _open_set_lines(attack: dict[str, Any]) -> Iterator[str]:
    for point in _points(attack["open_set"] or {"points": []}):
        yield f"{_head(attack)} | {_at('TPIR@FPIR', point)}"


def _points(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Those that were asked for, and what the sample supports at the least where that is none of them."""
    last = found.get("smallest")
    asked = found["points"]
    return [*asked, last] if last and all(last["target"] != point["target"] for point in asked) else asked


def _template_lines(row: dict[str, Any]) -> Iterator[str]:
    for at in row["at"]:
        sizes = " against ".join("all" if n is None else f"{n}" for n in (at["probe_images"], at["gallery_images"]))
        yield f"templates, {_head(row)} | {sizes} images, K={at['k']}: {_interval(at)}, {at['verdict']}"


def _linking_lines(row: dict[str, Any]) -> Iterator[str]:
    yield f"{_head(row)} | equal error rate {_interval(row['eer'])}, {row['verdict']}"
    for point in row["tar"]:
        yield f"{_head(row)} | {tar_line(point | {'smallest_measurable': row['smallest_measurable']})}"


def _at(name: str, point: dict[str, Any]) -> str:
    if not point["measurable"]:
        return f"{name}={point['target']:g} not measurable here"
    told = f", {point['verdict']}" if "verdict" in point else ""
    return f"{name}={point['target']:.4g} {_interval(point)}{told}"


def _interval(rate: dict[str, Any]) -> str:
    return f"{rate['value']:.2%} [{rate['low']:.2%}, {rate['high']:.2%}]"


def _head(row: dict[str, Any]) -> str:
    return f"{row['attack']} | {row['embedder']} | same photo {row['same_photo']}d"
