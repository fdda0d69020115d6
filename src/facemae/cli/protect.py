"""`protect`: what a data owner types, and what is said of the release."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facemae.cli.common import execution, networks, say
from facemae.cli.options import AsJson, Device, Recipe
from facemae.errors import RecipeError

if TYPE_CHECKING:
    from facemae.stages.protect import Specs

SECTIONS = ("import", "mask", "reconstruct", "audit")
"""Sections besides its own that `protect` takes from a recipe; `--set mask.ratio=0.8` changes a key of one of them."""


def protect(
    faces: Annotated[str, typer.Argument(help="Photos (folder, tar …), a finished set, or the word synthetic.")],
    out: Annotated[Path, typer.Argument(help="The release to make; OUT.private beside it is the way back.")],
    model: Annotated[Path | None, typer.Option(help="What `pretrain` made, on other people than these.")] = None,
    embedder: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]PATH[@NORMALISATION]", help="A network the attacker uses; may be repeated."),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option("--max", metavar="MEASURE:VALUE", help="Release nothing above it, such as top1:0.2."),
    ] = None,
    drop_worst: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Mask this share of the records again: those that leak most.")
    ] = None,
    public: Annotated[Path | None, typer.Option(help="Photos of other people, for attackers who learn.")] = None,
    nonmembers: Annotated[Path | None, typer.Option(help="People who are not in the release.")] = None,
    trained: Annotated[Path | None, typer.Option(help="Photos that trained --model: who was among them?")] = None,
    outsiders: Annotated[Path | None, typer.Option(help="Others, from where the --trained photos came.")] = None,
    landmarks: Annotated[Path | None, typer.Option(help="CSV or JSON of five points a photo: align to them.")] = None,
    work: Annotated[
        Path | None, typer.Option(help="Keep the stages here (OUT.work): as private as the photos.")
    ] = None,
    recipe: Recipe = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="license=…, format=parquet, mask.ratio=0.8 …")
    ] = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Photos to a release: import, mask, reconstruct, audit; nothing is released where the gate says no."""
    from facemae.stages.protect import Protection
    from facemae.stages.protect import protect as run

    if model is None:
        raise RecipeError("--model", got="nothing", needed="what `facemae pretrain` made, on other people than these")
    embedders, normalize = networks(embedder or [])
    asked = Protection(
        faces=faces,
        model=model,
        embedders=embedders,
        normalize=normalize,
        public=public,
        nonmembers=nonmembers,
        trained=trained,
        outsiders=outsiders,
        landmarks=landmarks,
        limits=tuple(limit or ()),
    )
    share = [f"drop_worst={drop_worst}"] if drop_worst is not None else []
    told = run(asked, out, specs(recipe, [*(settings or []), *share]), execution(device), work=work)
    say(told, as_json, "\n".join(lines(told)))


def specs(recipe: str | None, settings: Sequence[str]) -> "Specs":
    """Every section that `protect` needs; an audit is a full one unless somebody asks for less.

    Raises:
        RecipeError: every mistake of a section.
    """
    from facemae.spec.reading import read_toml, section_spec
    from facemae.spec.recipe import AuditSpec, ImportSpec, MaskSpec, ProtectSpec, ReconstructSpec
    from facemae.stages.protect import Specs

    own: dict[str, list[str]] = {name: [] for name in (*SECTIONS, "protect")}
    for text in settings:
        section, dot, rest = text.partition(".")
        known = dot and section in SECTIONS and "=" not in section
        own[section if known else "protect"].append(rest if known else text)
    if recipe is None or "suite" not in read_toml(recipe).get("audit", {}):
        own["audit"].insert(0, "suite=full")
    return Specs(
        imports=section_spec("import", ImportSpec, recipe, own["import"]),
        mask=section_spec("mask", MaskSpec, recipe, own["mask"]),
        reconstruct=section_spec("reconstruct", ReconstructSpec, recipe, own["reconstruct"]),
        audit=section_spec("audit", AuditSpec, recipe, own["audit"]),
        protect=section_spec("protect", ProtectSpec, recipe, own["protect"]),
    )


def lines(told: dict[str, Any]) -> list[str]:
    """Where the release is, its worst case, and where the way back is."""
    from facemae.stages.auditing.gate import under

    found = [f"release of {told['records']:,} images of {told['identities']:,} people in {told['out']}"]
    worst = told["headline"]
    if worst is not None:
        found.append(
            f"worst case: {worst['attack']} {under(worst['embedder'])} (same photo {worst['same_photo']}d): "
            f"{worst['value']:.2%} [{worst['low']:.2%}, {worst['high']:.2%}] at K={worst['k']}, "
            f"chance {worst['chance']:.2%}"
        )
    dropped = told["dropped"] or {"bought": []}
    found += [
        f"{dropped['how']} of the {dropped['records']} worst, K=1: {row['before']['value']:.2%} -> "
        f"{row['after']['value']:.2%} under {row['embedder']} (network: {row['embedder_had']}; photos: "
        f"{row['photos_had']})"
        for row in dropped["bought"]
    ]
    return [*found, f"the way back to people is in {told['private']}, and {told['work']} holds the photos: keep both"]
