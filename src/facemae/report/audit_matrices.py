"""Tables over several audits: attackers in rows, releases in columns; selecting and formatting only."""

from collections.abc import Callable, Iterable, Mapping

from facemae.report.audit_measures import NOT_MEASURABLE
from facemae.report.audit_models import HeadlineOf, LinkingOf, Operating, UnlinkabilityOf
from facemae.report.audit_names import NEVER_RUN, attack_name, chance_told, pairs_name, whose, within
from facemae.report.audit_reading import AuditRead
from facemae.report.audit_tables import rate_cell
from facemae.report.tables import Grid
from facemae.report.wording import ABSENT, count, decimal, percent, rate

Audits = Mapping[str, AuditRead]
"""By the label of the release."""

FALSE_ALARMS = 0.01
"""The rate of false alarms that tables of strangers and pairs are about; all others are in the JSON."""

NOT_TOLD = " †"
MARK = (
    "†: not distinguishable from chance. Luck may explain it, allowing for all attacks and networks of an audit "
    "together (5 %), even where its own interval lies above blind guessing. Without it, right people score otherwise "
    "than wrong ones. –: not run, or not asked of this release (the originals are searched as “nothing protected”)."
)

Cell = tuple[str, str, str]
"""Row, column and what stands there."""


def worst_grid(audits: Audits) -> Grid:
    """The worst case of each release, without and with the protected photo in the attacker's hand."""
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
    k = next((audit.headline.k for audit in audits.values() if audit.headline and audit.headline.k), None)
    return Grid(f"Worst case{f' {within(k)}' if k else ''}", columns, lines)


def _told(worst: HeadlineOf | None) -> tuple[str, str, str, str]:
    if worst is None:
        return (ABSENT,) * 4
    who = f"{attack_name(worst.attack, short=True)}, {worst.embedder}"
    return who, rate(worst.value, worst.low, worst.high), percent(worst.chance), worst.verdict


def searches_grid(audits: Audits, network: str, k: int) -> Grid:
    """One network: attackers against releases. An attacker's own network has a table of its own."""
    cells = (
        (attack_name(attack.attack, attack.same_photo, short=True), label, _marked(rate_cell(at), at.verdict))
        for label, audit in audits.items()
        for attack in audit.everybody
        if attack.embedder == network and (at := attack.shown(k))
    )
    return _matrix(f"Searches that find the right person {within(k)}, {whose(network)}", audits, cells)


def strangers_grid(audits: Audits) -> Grid:
    """Members found while strangers stay silent; attackers whose strangers are too few for that have no row."""
    caption = f"Members named while {percent(FALSE_ALARMS)} of strangers are wrongly named (TPIR at FPIR)"
    silent = _silent(audits)
    return _matrix(caption, audits, (cell for cell in _strangers(audits) if cell[0] not in silent))


def silent_note(audits: Audits) -> str:
    """Who has no row among strangers, and why."""
    silent = _silent(audits)
    if not silent:
        return ""
    heard = {_attacker(row) for row, _, _ in _strangers(audits) if row not in silent}
    # An attacker with none of whose networks it can be measured is named once.
    names = dict.fromkeys(row if _attacker(row) in heard else _attacker(row) for row in silent)
    return (
        f"Too few strangers to measure at this share (who takes all photos of a person together searches once a "
        f"person): {'; '.join(names)}."
    )


def _attacker(row: str) -> str:
    return row.rpartition(", ")[0]


def _strangers(audits: Audits) -> list[Cell]:
    return [
        (f"{attack_name(attack.attack, attack.same_photo, short=True)}, {attack.embedder}", label, _named(found.points))
        for label, audit in audits.items()
        for attack in audit.everybody
        if (found := attack.open_set)
    ]


def _silent(audits: Audits) -> list[str]:
    cells = _strangers(audits)
    heard = {row for row, _, cell in cells if cell not in (NOT_MEASURABLE, ABSENT)}
    return [row for row in dict.fromkeys(row for row, _, cell in cells if cell == NOT_MEASURABLE) if row not in heard]


def members_grid(audits: Audits) -> Grid:
    """How well best scores tell members from strangers, whomever they find."""
    cells = [
        (f"{attack_name(attack.attack, attack.same_photo, short=True)}, {attack.embedder}", label, decimal(found.auc))
        for label, audit in audits.items()
        for attack in audit.everybody
        if (found := attack.open_set) and found.auc
    ]
    return _matrix("A member's best match scores above a stranger's (AUC: 0.5 is blind, 1 sure)", audits, cells)


def accepted_grid(audits: Audits) -> Grid:
    """True pairs accepted while few wrong ones are."""
    caption = f"True pairs accepted while {percent(FALSE_ALARMS)} of wrong pairs are (TAR at FAR)"
    return _matrix(caption, audits, _pairs(audits, lambda row: _named(row.tar)))


def errors_grid(audits: Audits) -> Grid:
    """Where both kinds of mistakes are equally frequent."""
    cells = _pairs(audits, lambda row: rate_cell(row.eer), lambda row: f", wrong people {percent(row.eer.control)}")
    return _matrix("Equal error rate (50 % is blind, 0 % sure)", audits, cells)


def _pairs(
    audits: Audits, cell: Callable[[LinkingOf], str], beside: Callable[[LinkingOf], str] = lambda row: ""
) -> list[Cell]:
    return [
        (_whose(row), label, _marked(cell(row), row.verdict) + beside(row))
        for label, audit in audits.items()
        for row in audit.linking
    ]


def scores_grid(audits: Audits) -> Grid:
    """How much scores tell of who is who, beside the most that they seem to tell of the wrong people."""
    cells = [
        (_whose(row), label, f"{_marked(decimal(row), row.verdict)}, luck gives up to {row.bound:.3f}")
        for label, audit in audits.items()
        for row in audit.unlinkability
    ]
    return _matrix("Do scores tell people apart? (D_sys: 0 nothing, 1 everything)", audits, cells)


def _whose(row: LinkingOf | UnlinkabilityOf) -> str:
    return f"{pairs_name(row.attack, row.same_photo)}, {row.embedder}"


def model_grid(audits: Audits) -> Grid:
    """Membership of photos in what trained the models."""
    lines = tuple(
        (label, row.score, decimal(row.auc), _named(row.points), row.verdict)
        for label, audit in audits.items()
        for row in audit.membership
    )
    named = f"Training photos named while {percent(FALSE_ALARMS)} of others are (TPR at FPR)"
    columns = ("Model of", "Score", "AUC (0.5 is blind)", named, "Verdict")
    return Grid("Was a photo among those that trained the model?", columns, lines)


def beside_grid(audits: Audits) -> Grid:
    """What leaks beside the pixels."""
    lines = tuple(
        (label, finding.severity, finding.what, f"{count(finding.count)} of {count(finding.of)}")
        for label, audit in audits.items()
        for finding in (audit.metadata.findings if audit.metadata else ())
    )
    nothing = (ABSENT, "none", "nothing was found wherever somebody looked", ABSENT)
    return Grid("Traces beside the pixels", ("Release", "Severity", "What was found", "Files"), lines or (nothing,))


def clean_note(audits: Audits) -> str:
    """Releases at which nothing was found, and those at which nobody looked."""
    clean = [label for label, audit in audits.items() if audit.metadata and not audit.metadata.findings]
    unseen = [label for label, audit in audits.items() if not audit.metadata]
    told = [f"Nothing was found at: {'; '.join(clean)}."] if clean else []
    return " ".join([*told, *([f"Nobody looked at: {'; '.join(unseen)}."] if unseen else [])])


def not_run_grid(audits: Audits) -> Grid:
    """Attackers that are unknown of a release."""
    missing: dict[tuple[str, str], list[str]] = {}
    for label, audit in audits.items():
        for one in audit.not_run:
            name = NEVER_RUN.get(one.attacker, attack_name(one.attacker))
            missing.setdefault((name, one.needs), []).append(label)
    lines = tuple((name, needs, "; ".join(dict.fromkeys(labels))) for (name, needs), labels in missing.items())
    return Grid("Attackers that were not run", ("Attacker", "Needs", "Releases"), lines)


def _matrix(caption: str, audits: Audits, cells: Iterable[Cell]) -> Grid:
    found: dict[str, dict[str, str]] = {}
    for row, label, cell in cells:
        found.setdefault(row, {})[label] = cell
    # In the order of the release that met most attackers.
    rows = {label: [row for row, there in found.items() if label in there] for label in audits}
    ordered = dict.fromkeys([*max(rows.values(), key=len, default=[]), *found])
    lines = tuple((row, *(found[row].get(label, ABSENT) for label in audits)) for row in ordered)
    return Grid(caption, ("Attacker", *audits), lines)


def _marked(cell: str, verdict: str) -> str:
    return cell if cell in (ABSENT, NOT_MEASURABLE) or chance_told(verdict) else f"{cell}{NOT_TOLD}"


def _named(points: Iterable[Operating]) -> str:
    """The rate at `FALSE_ALARMS`, or that it cannot be measured with so few."""
    for point in points:
        if point.target == FALSE_ALARMS:
            return rate(point.rate.value, point.rate.low, point.rate.high) if point.rate else NOT_MEASURABLE
    return ABSENT
