"""Recipes and tables as TOML text: files, what they extend, `--set`, and a verb's own section of them."""

import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from facemae.errors import RecipeError
from facemae.spec.manifest import Frozen
from facemae.spec.recipe import SECTIONS, Recipe
from facemae.spec.validation import build

T = TypeVar("T", bound=Frozen)


def read_toml(source: Path | str) -> dict[str, Any]:
    """A recipe or table as plain data, its `extends` resolved (one level); a bare name means one of the package's.

    Raises:
        RecipeError: no such file, not TOML in UTF-8, or `extends` in the extended file.
    """
    content, origin = _read(source)
    parent = content.pop("extends", None)
    if parent is None:
        return content
    beside = Path(source).parent / str(parent)
    base, base_origin = _read(beside) if Path(source).is_file() and beside.is_file() else _packaged(str(parent))
    if "extends" in base:
        raise RecipeError(f"{origin} extends {base_origin}", got="a file that extends another", needed="one level")
    return merge(base, content)


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``over`` wins key by key; sections are merged, everything else is replaced."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """`key.sub=value` texts to nested data; values are read as TOML, and as text where that fails.

    Raises:
        RecipeError: a text without "=".
    """
    nested: dict[str, Any] = {}
    for text in settings:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise RecipeError("--set", got=repr(text), needed="key=value, such as ratio=0.75 or loss.pixel=1")
        leaf: dict[str, Any] = {key.split(".")[-1]: _value(value)}
        for part in reversed(key.split(".")[:-1]):
            leaf = {part: leaf}
        nested = merge(nested, leaf)
    return nested


def section_spec(section: str, model: type[T], recipe: str | None, settings: Sequence[str]) -> T:
    """The spec of one verb: its section of the recipe, then `--set key=value` relative to that section."""
    data: Mapping[str, Any] = {}
    if recipe is not None:
        content = read_toml(recipe)
        if "stages" in content:  # a table's file serves as a recipe too: its sections have the same names
            content = {name: value for name, value in content.items() if name in SECTIONS}
        build(Recipe, content, recipe)
        data = content.get(section, {})
    return build(model, merge(data, parse_settings(settings)), f"settings of {section}")


def recipe_names() -> list[str]:
    """Names of the recipes inside the package."""
    return sorted(
        item.name[:-5] for item in resources.files("facemae.recipes").iterdir() if item.name.endswith(".toml")
    )


def _read(source: Path | str) -> tuple[dict[str, Any], str]:
    path = Path(source)
    if path.is_file():
        return _parse(path.read_bytes(), str(source))
    if path.suffix == ".toml":
        raise RecipeError(f"no recipe file {path}", remedy=f"or one of the package's: {', '.join(recipe_names())}")
    return _packaged(str(source))


def _packaged(name: str) -> tuple[dict[str, Any], str]:
    name = name.removesuffix(".toml")
    if name not in recipe_names():
        raise RecipeError("no such recipe", got=repr(name), needed=f"a .toml file or {', '.join(recipe_names())}")
    return _parse((resources.files("facemae.recipes") / f"{name}.toml").read_bytes(), name)


def _parse(data: bytes, origin: str) -> tuple[dict[str, Any], str]:
    try:
        return tomllib.loads(data.decode()), origin
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{origin} is not TOML", got=str(error)) from None


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        return text
