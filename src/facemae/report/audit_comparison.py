"""Audits of several releases of the same photos side by side, as one Markdown page; selecting and formatting only."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from facemae.report.audit_measures import NOT_MEASURABLE
from facemae.report.audit_models import Attack, HeadlineOf, LinkingOf, Operating, UnlinkabilityOf
from facemae.report.audit_names import attack_name, pairs_name, within
from facemae.report.audit_reading import AuditRead
from facemae.report.audit_tables import networks_grid, rate_cell
from facemae.report.audit_utility import UtilityPoint, utility_grid
from facemae.report.markdown import plain, table
from facemae.report.tables import Grid, without_empty
from facemae.report.wording import ABSENT, decimal, percent, rate

Audits = Mapping[str, AuditRead]
"""By the label of the release."""

INTRODUCTION = """Every release shows the same people. A number is a measured lower bound on what an attacker learns,
never the most that anybody could. The *worst case* was chosen among all attackers and networks on one half of the
people and is told by the other half, who had no part in the choice; the largest number of any other table is too
large by luck."""

FALSE_ALARMS = 0.01
"""The rate of false alarms that tables of strangers and pairs are about; all others are in the JSON."""


def comparison_markdown(
    audits: Audits, *, title: str, note: str = "", made_by: str = "", utility: Sequence[UtilityPoint] = ()
) -> str:
    """Worst cases first, then every attacker by network, strangers, pairs, the model, and what was not run."""
    whole = max(audits.values(), key=lambda audit: len(audit.attacks))
    networks = [network.name for network in whole.networks]
    grids = [
        _worst(audits),
        *(_searches(audits, network, whole.k) for network in networks),
        _strangers(audits),
        _pairs(audits),
        _unlinkable(audits),
        _model(audits),
        *([utility_grid(utility)] if utility else []),
        networks_grid(whole),
        _beside(audits),
        _not_run(audits),
    ]
    parts = [f"# {plain(title)}", " ".join(INTRODUCTION.split()), plain(note)]
    parts += [table(without_empty(grid)) for grid in grids if grid.rows]
    return "\n\n".join(part for part in (*parts, made_by) if part) + "\n"


def _worst(audits: Audits) -> Grid:
    lines = tuple(
        (label, *_told(audit.headline), *_told(audit.headline_same_photo)[:3]) for label, audit in audits.items()
    )
    columns = (
        "Release",
        "Strongest attacker, network",
        "Finds",
        "Blind guessing",
        "Verdict",
        "With the protected photo in hand",
        "Finds so",
        "Blind guessing so",
    )
    return Grid("Worst case of each release", columns, lines)


def _told(worst: HeadlineOf | None) -> tuple[str, str, str, str]:
    if worst is None:
        return (ABSENT,) * 4
    who = f"{attack_name(worst.attack, short=True)}, {worst.embedder}"
    return who, rate(worst.value, worst.low, worst.high), percent(worst.chance), worst.verdict


def _searches(audits: Audits, network: str, k: int) -> Grid:
    """One network: attackers against releases. An attacker's own network stands in the table of every other one."""

    def cell(attack: Attack) -> str:
        at = attack.shown(k)
        return rate_cell(at) if at else ABSENT

    caption = f"Searches that find the right person {within(k)}, network {network}"
    return _matrix(caption, audits, cell, lambda attack: attack.embedder == network)


def _strangers(audits: Audits) -> Grid:
    def cell(attack: Attack) -> str:
        points = attack.open_set.points if attack.open_set else ()
        return _at(points)

    caption = f"Members found while {percent(FALSE_ALARMS)} of strangers raise an alarm (TPIR at FPIR)"
    return _matrix(caption, audits, cell, lambda attack: attack.open_set is not None, network=True)


def _matrix(
    caption: str,
    audits: Audits,
    cell: Callable[[Attack], str],
    wanted: Callable[[Attack], bool],
    *,
    network: bool = False,
) -> Grid:
    """Attackers in rows, releases in columns; ``network``: the network is part of the attacker's name."""
    found: dict[tuple[str, str, str], dict[str, str]] = {}
    for label, audit in audits.items():
        for attack in filter(wanted, audit.everybody):
            key = (attack.attack, attack.embedder if network else "", attack.same_photo)
            found.setdefault(key, {})[label] = cell(attack)
    lines = tuple(
        (
            ", ".join(part for part in (attack_name(name, same_photo, short=True), judge) if part),
            *(cells.get(label, ABSENT) for label in audits),
        )
        for (name, judge, same_photo), cells in found.items()
    )
    return Grid(caption, ("Attacker", *audits), lines)


def _pairs(audits: Audits) -> Grid:
    """A photo and a released picture laid side by side."""
    lines = tuple(
        (label, _whose(row), row.embedder, _at(row.tar), rate_cell(row.eer), row.verdict)
        for label, audit in audits.items()
        for row in audit.linking
    )
    columns = ("Release", "Pairs", "Network", f"TAR at FAR {FALSE_ALARMS:g}", "Equal error rate", "Verdict")
    return Grid("Are two pictures of one person?", columns, lines)


def _unlinkable(audits: Audits) -> Grid:
    """How much scores tell of who is who, beside what they seem to tell of the wrong people."""
    lines = tuple(
        (
            label,
            _whose(row),
            row.embedder,
            decimal(row),
            f"{row.control:.3f}, at most {row.bound:.3f}",
            row.verdict,
        )
        for label, audit in audits.items()
        for row in audit.unlinkability
    )
    columns = ("Release", "Pairs", "Network", "D_sys", "Wrong people (control)", "Verdict")
    return Grid("Do scores tell people apart? (0 nothing, 1 everything)", columns, lines)


def _whose(row: LinkingOf | UnlinkabilityOf) -> str:
    return pairs_name(row.attack, row.same_photo)


def _model(audits: Audits) -> Grid:
    lines = tuple(
        (label, row.score, rate_cell(row.auc), _at(row.points), row.verdict)
        for label, audit in audits.items()
        for row in audit.membership
    )
    columns = ("Model of", "Score", "AUC", f"TPR at FPR {FALSE_ALARMS:g}", "Verdict")
    return Grid("Was a photo among those that trained the model?", columns, lines)


def _beside(audits: Audits) -> Grid:
    lines = tuple(
        (label, finding.severity, finding.what)
        for label, audit in audits.items()
        for finding in (audit.metadata.findings if audit.metadata else ())
    )
    return Grid("Beside the pixels", ("Release", "Severity", "What was found"), lines)


def _not_run(audits: Audits) -> Grid:
    missing: dict[tuple[str, str], list[str]] = {}
    for label, audit in audits.items():
        for one in audit.not_run:
            missing.setdefault((one.attacker, one.needs), []).append(label)
    lines = tuple((name, needs, ", ".join(dict.fromkeys(labels))) for (name, needs), labels in missing.items())
    return Grid("Not run", ("Attacker", "Needs", "Releases"), lines)


def _at(points: Iterable[Operating]) -> str:
    """The rate at `FALSE_ALARMS`, or that it cannot be measured with so few."""
    for point in points:
        if point.target == FALSE_ALARMS:
            return rate(point.rate.value, point.rate.low, point.rate.high) if point.rate else NOT_MEASURABLE
    return ABSENT
