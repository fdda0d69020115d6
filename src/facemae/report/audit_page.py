"""The report of one audit, made of its directory alone: `audit.html`, `audit.md` and `audit-card.md`."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from facemae.report.audit_markdown import audit_card, audit_markdown
from facemae.report.audit_reading import AuditRead, digest_of_audit, read_audit_directory
from facemae.report.audit_sections import Section, glossary, sections
from facemae.report.audit_tables import methods
from facemae.report.audit_utility import UtilityPoint
from facemae.report.audit_words import NOT_MEANT, headline
from facemae.report.page import drawn, render, unbroken, write_text
from facemae.report.tables import Grid

TITLE = "What an attacker would learn from this release"
PAGE, MARKDOWN, CARD = "audit.html", "audit.md", "audit-card.md"


def write_audit_report(
    directory: Path,
    out: Path,
    *,
    utility: Sequence[UtilityPoint] | None = None,
    faces: Mapping[int, bytes] | None = None,
) -> None:
    """Write `audit.html` (needs nothing else), `audit.md` and `audit-card.md` to ``out``, each whole or not at all.

    ``directory``: what `audit` wrote. ``utility``: every set audited so far (``utility_points``). ``faces``: PNG bytes
    of the most exposed records by their number, in that order; the page then says that it shows faces, and the other
    two files never hold any.

    Raises:
        DataError: ``directory`` holds no audit.
    """
    audit, digest = read_audit_directory(directory), digest_of_audit(directory)
    texts = {
        PAGE: audit_html(audit, digest=digest, utility=utility or (), faces=faces),
        MARKDOWN: audit_markdown(audit, title=TITLE, digest=digest, utility=utility or ()),
        CARD: audit_card(audit, digest=digest),
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_text(out / name, text)


def audit_html(
    audit: AuditRead,
    *,
    digest: str = "",
    utility: Sequence[UtilityPoint] = (),
    faces: Mapping[int, bytes] | None = None,
) -> str:
    """The whole page as text: style, figures and pictures inside, no script, nothing fetched from anywhere."""
    said = headline(audit)
    return render(
        "audit.html.j2",
        title=TITLE,
        headline=said.title,
        paragraphs=[unbroken(text) for text in said.paragraphs],
        not_meant=NOT_MEANT,
        limits=said.limits,
        sections=[_section(section) for section in sections(audit, utility)],
        glossary=glossary(audit),
        methods=methods(audit),
        digest=digest,
        faces=[(record, _uri(png)) for record, png in (faces or {}).items()],
    )


def _section(section: Section) -> dict[str, Any]:
    return {
        "title": section.title,
        "intro": section.intro,
        "drawings": [(caption, drawn(draws)) for caption, draws in section.drawings],
        "grids": [_unbroken(grid) for grid in section.grids],
        "folded": [_unbroken(grid) for grid in section.folded],
        "note": section.note,
    }


def _unbroken(grid: Grid) -> Grid:
    rows = tuple(tuple(unbroken(cell) for cell in row) for row in grid.rows)
    return Grid(grid.caption, tuple(unbroken(name) for name in grid.columns), rows)


def _uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
