"""Tables over several audits in which others than those inside are asked for as well: strangers, and outsiders."""

from facemae.report.audit_matrices import FALSE_ALARMS, Audits, Cell, marked, matrix, named_at
from facemae.report.audit_measures import NOT_MEASURABLE
from facemae.report.audit_models import Attack, Operating
from facemae.report.audit_names import with_network
from facemae.report.tables import Grid
from facemae.report.wording import ABSENT, decimal, percent, rate


def strangers_grid(audits: Audits) -> Grid:
    """Members found while strangers stay silent; attackers whose strangers are too few for that have no row."""
    caption = f"Members named while {percent(FALSE_ALARMS)} of strangers are wrongly named (TPIR at FPIR)"
    silent = _silent(audits)
    return matrix(caption, audits, (cell for cell in _strangers(audits) if cell[0] not in silent))


def fewest_grid(audits: Audits) -> Grid:
    """The same for those without a row there, at the smallest share of strangers that they can be measured at."""
    silent = _silent(audits)
    cells = [
        (_asked(attack), label, _at_fewest(found.smallest))
        for label, audit in audits.items()
        for attack in audit.everybody
        if (found := attack.open_set) and _asked(attack) in silent
    ]
    caption = "Members named by these, at the smallest share of strangers that can be measured for each"
    return matrix(caption, audits, [cell for cell in cells if cell[2] != ABSENT])


def _asked(attack: Attack) -> str:
    return with_network(attack.attack, attack.embedder, attack.same_photo)


def _at_fewest(point: Operating | None) -> str:
    if point is None or point.rate is None:
        return ABSENT
    told = marked(rate(point.rate.value, point.rate.low, point.rate.high), point.verdict)
    return f"{told} at {100 * point.target:.2g} %"


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
        (_asked(attack), label, named_at(found.points))
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
        (_asked(attack), label, marked(decimal(found.auc), found.auc.verdict))
        for label, audit in audits.items()
        for attack in audit.everybody
        if (found := attack.open_set) and found.auc
    ]
    return matrix("A member's best match scores above a stranger's (AUC: 0.5 is blind, 1 sure)", audits, cells)


def model_grid(audits: Audits) -> Grid:
    """Membership of photos in what trained the models."""
    lines = tuple(
        (label, row.score, decimal(row.auc), named_at(row.points), _at_fewest(row.smallest), row.verdict)
        for label, audit in audits.items()
        for row in audit.membership
    )
    named = f"Training photos named while {percent(FALSE_ALARMS)} of others are (TPR at FPR)"
    fewest = "The same at the smallest share of others that can be measured"
    columns = ("Model of", "Score", "AUC (0.5 is blind)", named, fewest, "Verdict")
    return Grid("Was a photo among those that trained the model?", columns, lines)
