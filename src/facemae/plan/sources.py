"""Where a table comes from: a file, or one of the package's on one of its scales; and the data it needs."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from facemae.errors import FaceMAEError, RecipeError
from facemae.spec.reading import merge, read_toml, recipe_names
from facemae.spec.table import Table
from facemae.spec.validation import build

WEIGHTS = Path(__file__).parents[1] / "weights"
"""Small networks trained on synthetic people; each directory says in its manifest how."""

SCALE = "scale-"
"""How the package's recipes are called that hold the people, generators and judges all tables of one scale share."""


def read_table(source: str, scale: str | None = None) -> Table:
    """A table by file or by name, validated as a whole.

    A table with the key ``scale`` is laid over that scale's recipe, or over that of the scale asked for. A stage with
    ``as`` is a copy of another one, its settings changed key by key.

    Raises:
        RecipeError: no such table or scale, a scale for a table that has none, and every mistake of the content.
    """
    if not Path(source).is_file() and source.removesuffix(".toml") not in recipe_names():
        known = ", ".join(name for name in recipe_names() if "rows" in read_toml(name))
        raise RecipeError("no such table", got=repr(source), needed=f"all, {known}, or a .toml file")
    content = read_toml(source)
    own = content.pop("scale", None)
    if own is None and scale is not None:
        raise RecipeError(f"--scale for {source}", got=scale, needed="a table that has scales, such as table1")
    if own is not None:
        content = _laid_over(content, scale or str(own))
    if isinstance(stages := content.get("stages"), Mapping):
        content["stages"] = {name: _copied(stages, name, ()) for name in stages}
    return build(Table, content, source)


def scales() -> list[str]:
    """Names of the scales."""
    return [name.removeprefix(SCALE) for name in recipe_names() if name.startswith(SCALE)]


def scaled_tables() -> list[str]:
    """The package's tables that have scales: those of the paper, then its figures."""
    return sorted(
        (name for name in recipe_names() if name.startswith(("table", "figure"))),
        key=lambda name: (name.startswith("figure"), name),
    )


def find_data(table: Table, data: Path | None, source: str) -> Path:
    """The data folder: given, or what the table says, relative to the working directory.

    Raises:
        FaceMAEError: the table needs one and it is not there; names each file that is missing.
    """
    folder = data or Path(table.data)
    if missing := missing_data(table, folder):
        raise without_data([folder / name for name in missing], source)
    return folder


def without_data(missing: Iterable[Path], source: str) -> FaceMAEError:
    """That ``source`` cannot be made without these files."""
    folders = dict.fromkeys(str(path.parent) for path in missing)
    return FaceMAEError(
        f"{source} needs data that is not here",
        got=f"no {', '.join(sorted({path.name for path in missing}))} in {' or '.join(folders)}",
        remedy="name the folder that holds them with --data",
    )


def missing_data(table: Table, folder: Path) -> dict[str, str]:
    """What the table reads of the data folder and is not there, and where each comes from ("" if untold)."""
    wanted = sorted({name.removeprefix("data:") for name in table.read() if name.startswith("data:")})
    return {name: table.files.get(name, "") for name in wanted if not (folder / name).exists()}


def _laid_over(content: dict[str, Any], scale: str) -> dict[str, Any]:
    if scale not in scales():
        raise RecipeError("--scale", got=scale, needed=f"one of {', '.join(scales())}")
    base = read_toml(f"{SCALE}{scale}")
    notes = [str(part["note"]) for part in (content, base) if part.get("note")]
    title = f"{content.get('title', '')}, {scale} scale"
    return merge(base, content) | {"title": title, "note": " ".join(notes), "scale": scale}


def _copied(stages: Mapping[str, Any], name: str, trail: tuple[str, ...]) -> Any:
    """The stage ``name`` with everything of the stage that it is made ``as``."""
    call = stages[name]
    if not isinstance(call, Mapping) or "as" not in call:
        return call
    if call["as"] not in stages or call["as"] in (*trail, name):
        known = ", ".join(sorted(set(stages) - {name, *trail}))
        raise RecipeError(f"stages.{name}.as", got=repr(call["as"]), needed=f"another stage: {known}")
    own = {key: value for key, value in call.items() if key != "as"}
    return merge(_copied(stages, call["as"], (*trail, name)), own)
