"""`audit.md`: the whole audit as text; `audit-card.md`: the part of it that belongs on a dataset card."""

from collections.abc import Iterable, Sequence

from facemae.report.audit_models import EmbedderOf
from facemae.report.audit_names import attack_name, pairs_name, whose
from facemae.report.audit_reading import AuditRead
from facemae.report.audit_sections import Section, glossary, sections
from facemae.report.audit_tables import methods, severities, taught_on, unmeasured_grid
from facemae.report.audit_utility import UtilityPoint
from facemae.report.audit_words import NOT_MEANT, headline
from facemae.report.markdown import plain, table
from facemae.report.tables import Grid
from facemae.report.wording import count
from facemae.spec.results import NO_NETWORK, UNPROTECTED

READABLE = 120
"""Rows of a folded table that a text still shows."""


def audit_markdown(audit: AuditRead, *, title: str, digest: str = "", utility: Sequence[UtilityPoint] = ()) -> str:
    """Headline first, then every part as tables; parts without content leave no heading behind."""
    said = headline(audit)
    parts = [
        f"# {plain(title)}",
        f"## {plain(said.title)}",
        *(plain(text) for text in said.paragraphs),
        f"**{NOT_MEANT}**",
        bullets(map(plain, said.limits)),
        *(part(section) for section in sections(audit, utility)),
        "## Words",
        bullets(f"**{plain(word)}**: {plain(meaning)}" for word, meaning in glossary(audit)),
        *(["## Methods of the intervals", _numbered(methods(audit))] if methods(audit) else []),
        *([f"Digest of the audit: `{digest}`"] if digest else []),
    ]
    return "\n\n".join(parts) + "\n"


def audit_card(audit: AuditRead, *, digest: str = "") -> str:
    """A section for the dataset card: what was measured, the worst case, the limits.

    A card is public: it names no file, neither of the release nor of the networks.
    """
    said = headline(audit)
    missing = [what for what, _ in unmeasured_grid(audit).rows]
    parts = [
        "## Privacy audit",
        "What an attacker would learn from this set, as far as it was measured.",
        "### Worst case",
        f"**{plain(said.title)}.**",
        *(plain(text) for text in said.paragraphs),
        "### What was measured",
        bullets(_measured(audit)),
        "### Limits",
        bullets(map(plain, said.limits)),
        *([f"Not measured: {plain('; '.join(missing))}."] if missing else []),
        *([f"Digest of the audit: `{digest}`"] if digest else []),
    ]
    return "\n\n".join(parts) + "\n"


def _measured(audit: AuditRead) -> list[str]:
    searches = [row.attack for row in audit.everybody if row.attack != UNPROTECTED]
    names = dict.fromkeys([*searches, *(row.attack for row in audit.templates)])
    attackers = map(attack_name, names)
    networks = [f"{one.name} ({_role(one)})" for one in audit.networks if one.name != NO_NETWORK]
    lines = [f"Attackers: {'; '.join(attackers)}."] if names else []
    lines += [f"Networks: {'; '.join(networks)}."] if networks else []
    lines += [f"People in the search: {count(audit.people)}."] if audit.people else []
    pairs = [("Are two pictures of one person?", row.attack, row.embedder, row.verdict) for row in audit.linking]
    joined = [("Can they be joined (D_sys)?", row.attack, row.embedder, row.verdict) for row in audit.unlinkability]
    for asked, attack, network, verdict in (*pairs, *joined):
        lines.append(f"{asked} {pairs_name(attack).capitalize()}, {whose(network)}: {verdict}.")
    lines += [f"Membership in the model by {row.score}: {row.verdict}." for row in audit.membership]
    if audit.metadata is not None:
        lines.append(f"Findings beside the pixels: {severities(audit.metadata.findings)}.")
    return [plain(line) for line in lines]


def _role(network: EmbedderOf) -> str:
    taught = f"trained on {taught_on(network)}"
    return f"the loss network; {taught}" if network.loss_network else taught


def part(section: Section) -> str:
    """One part: what is asked, its tables, its note; no drawings, and of folded tables those that can be read."""
    filled = [table(grid) for grid in section.grids if grid.rows]
    filled += [table(grid) if len(grid.rows) <= READABLE else _elsewhere(grid) for grid in section.folded if grid.rows]
    told = [f"## {plain(section.title)}", plain(section.intro), *filled, plain(section.note)]
    return "\n\n".join(text for text in told if text)


def _elsewhere(grid: Grid) -> str:
    return f"**{plain(grid.caption)}**: {count(len(grid.rows))} lines, folded in `audit.html`, whole in `audit.json`."


def bullets(lines: Iterable[str]) -> str:
    """A list, one line each."""
    return "\n".join(f"- {line}" for line in lines)


def _numbered(lines: Iterable[str]) -> str:
    return "\n".join(f"- ({number}) {plain(line)}" for number, line in enumerate(lines, start=1))
