"""What an audit measured beside searches, as tables of words: strangers, pairs, templates, the model."""

from facemae.report.audit_models import Operating, TemplateAt
from facemae.report.audit_names import attack_name, pairs_name
from facemae.report.audit_reading import AuditRead
from facemae.report.audit_tables import control_cell, rate_cell
from facemae.report.tables import Grid, without_empty
from facemae.report.wording import ABSENT, count, decimal, percent, rate

NOT_MEASURABLE = "not measurable here"


def open_set_grid(audit: AuditRead) -> Grid:
    """Members named while strangers are not."""
    asked = [(attack, attack.open_set) for attack in audit.everybody if attack.open_set]
    lines = tuple(
        (
            attack_name(attack.attack, attack.same_photo, short=True),
            attack.embedder,
            _target(point),
            _operating(point, found.smallest_measurable),
            _hits(point),
            percent(point.chance) if point.chance is not None else ABSENT,
            point.verdict or (ABSENT if found.auc else ""),
            f"{count(found.nonmember_trials)} for {count(found.nonmember_people)} people",
        )
        for attack, found in asked
        for point in found.told
    )
    columns = (
        "Attacker",
        "Network",
        "Strangers named (FPIR)",
        "Members named rightly (TPIR)",
        "Hits/searches",
        "By luck",
        "Named rightly: verdict",
        "Searches for strangers",
    )
    return without_empty(Grid("Members named, when at most so many strangers are named", columns, lines))


def areas_grid(audit: AuditRead) -> Grid:
    """Whether members are told from strangers at all, whomever their best match shows."""
    lines = tuple(
        (
            attack_name(attack.attack, attack.same_photo, short=True),
            attack.embedder,
            decimal(attack.open_set.auc),
            attack.open_set.auc.verdict,
        )
        for attack in audit.everybody
        if attack.open_set and attack.open_set.auc
    )
    caption = "Member or stranger? How often a member's best match, whomever it shows, scores above a stranger's"
    return Grid(caption, ("Attacker", "Network", "AUC (0.5 is blind)", "Verdict"), lines)


def linking_grid(audit: AuditRead) -> Grid:
    """Pairs told as of one person."""
    lines = tuple(
        (
            pairs_name(found.attack, found.same_photo),
            found.embedder,
            *(_operating(point, found.smallest_measurable) for point in _targets(found.tar, targets(audit))),
            rate_cell(found.eer),
            control_cell(found.eer),
            f"{count(found.mated)} / {count(found.nonmated)}",
            found.verdict,
        )
        for found in audit.linking
    )
    rates = (f"True pairs accepted at {100 * target:.4g} % wrong ones (TAR at FAR)" for target in targets(audit))
    tail = ("Equal error rate (50 %: blind)", "EER of wrong people (control)", "Pairs, true / wrong", "Verdict")
    return Grid("Are two pictures of one person?", ("Pairs", "Network", *rates, *tail), lines)


def targets(audit: AuditRead) -> tuple[float, ...]:
    """Rates of wrongly accepted pairs that anything was asked for, the largest first."""
    return tuple(sorted({point.target for found in audit.linking for point in found.tar}, reverse=True))


def unlinkability_grid(audit: AuditRead) -> Grid:
    """D_sys with the noise that it has to rise above."""
    lines = tuple(
        (
            pairs_name(found.attack, found.same_photo),
            found.embedder,
            decimal(found),
            f"{found.control:.3f}",
            f"{found.bound:.3f}",
            count(found.people),
            found.verdict,
        )
        for found in audit.unlinkability
    )
    columns = ("Pairs", "Network", "D_sys", "Wrong people (control)", "Noise reaches up to", "People", "Verdict")
    return Grid("How far pictures can be joined (D_sys): 0, not at all; 1, all of them", columns, lines)


def templates_grid(audit: AuditRead, *, only: int | None = None) -> Grid:
    """Many pictures of one person taken together, at every K or at one."""
    lines = tuple(
        (
            attack_name(found.attack, found.same_photo, short=True),
            found.embedder,
            sides(at),
            str(at.k),
            count(at.identities),
            rate_cell(at),
            f"{count(at.hits)}/{count(at.trials)}",
            percent(at.chance),
            control_cell(at),
            at.verdict,
        )
        for found in audit.templates
        for at in found.at
        if only in (None, at.k)
    )
    columns = ("Attacker", "Network", "Photos asked with, pictures searched", "K (people)", "People", "Found")
    tail = ("Hits/trials", "Blind guessing", "Wrong people (control)", "Verdict")
    at_k = f" (K = {only})" if only else ", at every K"
    return Grid(f"Found when pictures of one person are taken together{at_k}", (*columns, *tail), lines)


def sides(at: TemplateAt) -> str:
    """How many images are averaged on either side: "1, all"."""
    return ", ".join("all" if images is None else str(images) for images in (at.probe_images, at.gallery_images))


def membership_grid(audit: AuditRead) -> Grid:
    """Whether photos that trained the model are told from others."""
    asked = sorted({point.target for found in audit.membership for point in found.points}, reverse=True)
    lines = tuple(
        (
            found.score,
            *(_operating(point, found.smallest_measurable) for point in _targets(found.points, tuple(asked))),
            _at_least(found.smallest),
            decimal(found.auc),
            f"{found.auc.control:.3f}",
            f"{count(found.members)} / {count(found.nonmembers)}",
            found.verdict,
        )
        for found in audit.membership
    )
    rates = (f"Named at {100 * target:.4g} % wrongly accused (TPR at FPR)" for target in asked)
    tail = ("AUC (0.5: blind)", "AUC of wrong people (control)", "People, inside / outside", "Verdict")
    fewest = "Named at the fewest wrongly accused that can be measured here"
    return without_empty(
        Grid("Photos that trained the model, told from others", ("Told by", *rates, fewest, *tail), lines)
    )


def _at_least(point: Operating | None) -> str:
    if point is None or point.rate is None:
        return ""
    return f"{rate(point.rate.value, point.rate.low, point.rate.high)} at {100 * point.target:.2g} %"


def _target(point: Operating) -> str:
    return f"at most {100 * point.target:.4g} %"


def _targets(points: tuple[Operating, ...], asked: tuple[float, ...]) -> list[Operating | None]:
    by_target = {point.target: point for point in points}
    return [by_target.get(target) for target in asked]


def _operating(point: Operating | None, smallest: float | None) -> str:
    if point is None:
        return ABSENT
    if point.rate:
        return rate(point.rate.value, point.rate.low, point.rate.high)
    return NOT_MEASURABLE if smallest is None else f"{NOT_MEASURABLE} (at {100 * smallest:.2g} % it would be)"


def _hits(point: Operating) -> str:
    return f"{count(point.rate.hits)}/{count(point.rate.trials)}" if point.rate else ABSENT
