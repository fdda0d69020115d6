"""Plain data to a frozen model, or all of its mistakes in one line: each names the key, what it got, what it needs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from facemae.errors import RecipeError

T = TypeVar("T", bound=BaseModel)


class Mistakes(ValueError):
    """Mistakes in a nested section, already in words; keys are relative to that section."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("; ".join(lines))
        self.lines = tuple(lines)


def build(model: type[T], data: Mapping[str, Any], origin: str) -> T:
    """Validate ``data`` as a whole.

    Raises:
        RecipeError: every mistake at once, each naming the key, what it got and what it needs.
    """
    try:
        return model.model_validate(_tuples(data))
    except ValidationError as error:
        raise RecipeError(f"{origin}: " + "; ".join(_lines(model, error))) from None


def demand(model: type[BaseModel], data: Mapping[str, Any]) -> None:
    """The same check for a section that is kept as plain data; for use inside pydantic validators.

    Raises:
        Mistakes: which `build` of the whole puts under the right key.
    """
    try:
        model.model_validate(_tuples(data))
    except ValidationError as error:
        raise Mistakes(_lines(model, error)) from None


def _tuples(value: Any) -> Any:
    """TOML has arrays only; our frozen models hold tuples."""
    if isinstance(value, Mapping):
        return {key: _tuples(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_tuples(item) for item in value)
    return value


def _lines(model: type[BaseModel], error: ValidationError) -> list[str]:
    return [line for item in error.errors() for line in _mistakes(model, item)]


def _mistakes(model: type[BaseModel], item: Any) -> Iterator[str]:
    # A part in parentheses tells which form of a value was meant (`spec.normalisation`); no key is called so.
    key = ".".join(str(part) for part in item["loc"] if not str(part).startswith("("))
    nested = item.get("ctx", {}).get("error")
    if isinstance(nested, Mistakes):
        yield from (f"{key}.{line}" if key else line for line in nested.lines)
        return
    lead = f"{key}: " if key else ""
    if item["type"] == "extra_forbidden":
        known = _keys(model, item["loc"][:-1])
        yield f"{lead}unknown key" + (f"; keys here are {', '.join(known)}" if known else "")
        return
    message = item["msg"].removeprefix("Value error, ")
    got = item.get("input")
    shown = "" if isinstance(got, Mapping | BaseModel) else f" (got {got!r})"
    yield f"{lead}{message[:1].lower() + message[1:]}{shown}"


def _keys(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """Names of the keys that the section at ``path`` knows."""
    here: type[BaseModel] | None = model
    for part in path:
        if here is None:
            return []
        # A number of a list or a name in a dictionary is no field: it stays within the model of their elements.
        field = next((f for name, f in here.model_fields.items() if part in (f.alias, name)), None)
        here = here if field is None else next(_models(field.annotation), None)
    return sorted(field.alias or name for name, field in here.model_fields.items()) if here else []


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)
