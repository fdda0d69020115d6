"""What all pages share: templates, figures inside the page, and files that are whole or not there."""

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any


def render(template: str, **content: Any) -> str:
    """A page as text; everything that is not marked safe is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("facemae.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(**content)


def drawn(figures: Iterable[Callable[[], str]]) -> list[Any]:
    """Inline SVG that is safe to put into the page as it is: matplotlib has escaped every label in it."""
    from markupsafe import Markup

    return [Markup(_inline(svg)) for svg in (draw() for draw in figures) if svg]


def unbroken(text: str) -> str:
    """No line ends between a number and its percent sign."""
    return text.replace(" %", "\u00a0%")


def write_text(path: Path, text: str) -> None:
    """Write a file, whole or not at all."""
    partial_file = path.with_name(f".{path.name}.partial")
    partial_file.write_text(text, encoding="utf-8")
    os.replace(partial_file, path)


def _inline(svg: str) -> str:
    """Inside HTML an SVG needs no namespaces, and without them the page names no address at all."""
    return re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg).replace("xlink:href=", "href=")
