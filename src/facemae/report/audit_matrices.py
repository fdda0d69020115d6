"""Tables over several audits: attackers in rows, releases in columns; selecting and formatting only."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from facemae.report.audit_measures import NOT_MEASURABLE
from facemae.report.audit_models import Attack, HeadlineOf, LinkingOf, Operating, UnlinkabilityOf
from facemae.report.audit_names import (
    attack_name,
    chance_told,
    never_run,
    pairs_name,
    pooled,
    whose,
    with_network,
    within,
)
from facemae.report.audit_reading import AuditRead
from facemae.report.audit_tables import rate_cell
from facemae.report.tables import Grid
from facemae.report.wording import ABSENT, count, decimal, difference, percent, points, rate
from facemae.spec.results import RELEASED, UNPROTECTED, ReleasesResult

Audits = Mapping[str, AuditRead]
"""By the label of the release."""

FALSE_ALARMS = 0.01
"""The rate of false alarms that tables of strangers and pairs are about; all others are in the JSON."""

NOT_TOLD = " †"
MARK = (
    "†: not distinguishable from chance. Luck may explain it, allowing for all attacks and networks of an audit "
    "together (5 %), even where its own interval lies above blind guessing; so of two equal numbers in two columns "
    "one may carry it and the other not. Without it, right people score otherwise than wrong ones. –: not run, or not "
    "asked of this release (the originals are searched as “nothing protected”)."
)

NOT_APART = "not told apart"
UNLIKE = " ‡"
UNLIKE_NOTE = (
    "‡: unlike things are counted: of one release people, all of whose pictures are taken together, of the other "
    "searches by one photo each."
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
    who = with_network(worst.attack, worst.embedder)
    return who, rate(worst.value, worst.low, worst.high), percent(worst.chance), worst.verdict


def worst_differences_grid(found: Sequence[ReleasesResult]) -> Grid:
    """Worst cases two by two, without and with the protected photo in the attacker's hand."""
    cells: dict[str, dict[str, tuple[str, ...]]] = {}
    for one in found:
        if one.measure == "worst case":
            told = _compared(one), points(one.smallest_resolvable).lstrip("+"), _larger(one)
            cells.setdefault(f"{one.a} − {one.b}", {})[one.same_photo] = told
    none = (ABSENT,) * 3
    lines = tuple((pair, *held.get("exclude", none), *held.get("include", none)) for pair, held in cells.items())
    head = ("Difference", "Smallest that shows", "More is found in")
    columns = (
        "First − second",
        *head,
        "With the protected photo in hand",
        "Smallest that shows so",
        "More is found in so",
    )
    return Grid("Worst case of the first less that of the second, in points", columns, lines)


def plain_differences_grid(found: Sequence[ReleasesResult]) -> Grid:
    """Plain searches two by two, a column for each network."""
    cells: dict[str, dict[str, str]] = {}
    for one in found:
        if one.measure == "plain search":
            cell = difference(one) if _told_apart(one) else f"{difference(one)}, {NOT_APART}"
            cells.setdefault(f"{one.a} − {one.b}", {})[one.embedder_a] = cell
    networks = tuple(dict.fromkeys(network for row in cells.values() for network in row))
    lines = tuple((pair, *(row.get(network, ABSENT) for network in networks)) for pair, row in cells.items())
    caption = "Plain search in the first less that in the second, in points; counted over everybody"
    return Grid(caption, ("First − second", *map(whose, networks)), lines)


def unlike_note(found: Sequence[ReleasesResult]) -> str:
    """What the mark says, where it stands."""
    return UNLIKE_NOTE if any(UNLIKE in _compared(one) for one in found if one.measure == "worst case") else ""


def _compared(one: ReleasesResult) -> str:
    return f"{difference(one)}{UNLIKE if pooled(one.attack_a) != pooled(one.attack_b) else ''}"


def _larger(one: ReleasesResult) -> str:
    return (one.a if one.value > 0 else one.b) if _told_apart(one) else NOT_APART


def _told_apart(one: ReleasesResult) -> bool:
    return not one.low <= 0 <= one.high


def crowd_grids(audits: Audits) -> tuple[Grid, ...]:
    """With how many people in the set how much is found: by the strongest attackers, and by plain searches."""
    strongest = {
        f"{label}: {with_network(head.attack, head.embedder)}": (attack, audit.k)
        for label, audit in audits.items()
        if (head := audit.headline)
        for attack in audit.everybody
        if (attack.attack, attack.embedder, attack.same_photo) == (head.attack, head.embedder, head.same_photo)
    }
    grids = [_crowd("The strongest attacker on each release", strongest)]
    for network in dict.fromkeys(attack.embedder for audit in audits.values() for attack in audit.everybody):
        plainly = {
            label: (attack, audit.k)
            for label, audit in audits.items()
            for attack in audit.everybody
            if (attack.embedder, attack.same_photo) == (network, "exclude")
            and attack.attack == (RELEASED if audit.protected else UNPROTECTED)
        }
        grids.append(_crowd(f"Plain search, {whose(network)}", plainly))
    return tuple(grid for grid in grids if grid.rows)


def _crowd(who: str, rows: Mapping[str, tuple[Attack, int]]) -> Grid:
    drawn = {label: {at.identities: at for at in attack.curve if at.k == k} for label, (attack, k) in rows.items()}
    sizes = sorted({size for curve in drawn.values() for size in curve})
    lines = [
        (label, *(rate(at.value, at.low, at.high) if (at := curve.get(size)) else ABSENT for size in sizes))
        for label, curve in drawn.items()
        if curve
    ]
    if lines:
        blind = [max(curve[size].chance for curve in drawn.values() if size in curve) for size in sizes]
        lines.append(("blind guessing, at most", *map(percent, blind)))
    k = next((k for _, k in rows.values()), 1)
    return Grid(f"{who}: found {within(k)} among", ("Release", *(f"{count(n)} people" for n in sizes)), tuple(lines))


def searches_grid(audits: Audits, network: str, k: int) -> Grid:
    """One network: attackers against releases. An attacker's own network has a table of its own."""
    cells = (
        (attack_name(attack.attack, attack.same_photo, short=True), label, marked(rate_cell(at), at.verdict))
        for label, audit in audits.items()
        for attack in audit.everybody
        if attack.embedder == network and (at := attack.shown(k))
    )
    return matrix(f"Searches that find the right person {within(k)}, {whose(network)}", audits, cells)


def accepted_grid(audits: Audits) -> Grid:
    """True pairs accepted while few wrong ones are."""
    few = percent(FALSE_ALARMS)
    caption = f"True pairs accepted while {few} of wrong pairs are, as by guessing {few} of true ones (TAR at FAR)"
    return matrix(caption, audits, _pairs(audits, lambda row: named_at(row.tar)))


def errors_grid(audits: Audits) -> Grid:
    """Where both kinds of mistakes are equally frequent."""
    cells = _pairs(audits, lambda row: rate_cell(row.eer), lambda row: f", wrong people {percent(row.eer.control)}")
    return matrix("Equal error rate (50 % is blind, 0 % sure)", audits, cells)


def _pairs(
    audits: Audits, cell: Callable[[LinkingOf], str], beside: Callable[[LinkingOf], str] = lambda row: ""
) -> list[Cell]:
    return [
        (_whose(row), label, marked(cell(row), row.verdict) + beside(row))
        for label, audit in audits.items()
        for row in audit.linking
    ]


def scores_grid(audits: Audits) -> Grid:
    """How much scores tell of who is who, beside the most that they seem to tell of the wrong people."""
    cells = [
        (_whose(row), label, f"{marked(decimal(row), row.verdict)}, luck gives up to {row.bound:.3f}")
        for label, audit in audits.items()
        for row in audit.unlinkability
    ]
    return matrix("Do scores tell people apart? (D_sys: 0 nothing, 1 everything)", audits, cells)


def _whose(row: LinkingOf | UnlinkabilityOf) -> str:
    return f"{pairs_name(row.attack, row.same_photo)}, {row.embedder}"


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
            name = never_run(one.attacker)
            missing.setdefault((name, one.needs), []).append(label)
    lines = tuple((name, needs, "; ".join(dict.fromkeys(labels))) for (name, needs), labels in missing.items())
    return Grid("Attackers that were not run", ("Attacker", "Needs", "Releases"), lines)


def matrix(caption: str, audits: Audits, cells: Iterable[Cell]) -> Grid:
    """Cells as a table: attackers in rows, releases in columns."""
    found: dict[str, dict[str, str]] = {}
    for row, label, cell in cells:
        found.setdefault(row, {})[label] = cell
    # In the order of the release that met most attackers.
    rows = {label: [row for row, there in found.items() if label in there] for label in audits}
    ordered = dict.fromkeys([*max(rows.values(), key=len, default=[]), *found])
    lines = tuple((row, *(found[row].get(label, ABSENT) for label in audits)) for row in ordered)
    return Grid(caption, ("Attacker", *audits), lines)


def marked(cell: str, verdict: str) -> str:
    """The cell with its mark where the verdict does not tell it from chance."""
    return cell if cell in (ABSENT, NOT_MEASURABLE) or chance_told(verdict) else f"{cell}{NOT_TOLD}"


def named_at(points: Iterable[Operating]) -> str:
    """The rate at `FALSE_ALARMS`, or that it cannot be measured with so few."""
    for point in points:
        if point.target == FALSE_ALARMS:
            if point.rate is None:
                return NOT_MEASURABLE
            return marked(rate(point.rate.value, point.rate.low, point.rate.high), point.verdict)
    return ABSENT
