"""What attackers find who learn for longer, beside the same attackers of the audits that are compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from facemae.report.audit_models import HeadlineOf
from facemae.report.audit_names import attack_name, between, inner_attack, whose, with_network
from facemae.report.audit_reading import AuditRead
from facemae.report.audit_tables import rate_cell
from facemae.report.tables import Grid
from facemae.report.wording import rate
from facemae.spec.results import ReleasesResult

LEARNERS = ("parrot", "imitating parrot", "cross-matcher", "inverter")

LONGER = """A step is one round of learning. Attackers who train a network of their own had {few:,} steps above. Here
some of them had {many:,}: those, with those networks and on those releases, that stand in the table; nothing else was
changed. Where the second number is larger, the tables above say too little, and nobody knows where it ends: more steps,
more public people and larger networks were not tried. Where both agree to the last digit, the attacker went with a way
that needs no steps. Releases that are not in this table were not asked again: that is no sign that they would give away
less."""


@dataclass(frozen=True)
class Longer:
    """Audits of some of the releases by attackers who had ``many`` steps where the others had ``few``.

    ``differences``: between every two of these.
    """

    few: int
    many: int
    audits: Mapping[str, AuditRead]
    differences: Sequence[ReleasesResult] = ()

    @property
    def says(self) -> str:
        """What the table shows."""
        return " ".join(LONGER.format(few=self.few, many=self.many).split())


def longer_grid(audits: Mapping[str, AuditRead], longer: Longer) -> Grid:
    """The worst case, then every attacker who learns, at either budget; attackers that both audits have."""
    lines = []
    for label, more in longer.audits.items():
        before = audits[label]
        if before.headline and more.headline:
            lines.append((label, "worst case", _worst(before.headline), _worst(more.headline)))
        known = {(row.attack, row.embedder, row.same_photo): row.shown(before.k) for row in before.everybody}
        for row in more.everybody:
            at, was = row.shown(before.k), known.get((row.attack, row.embedder, row.same_photo))
            if at and was and (inner_attack(row.attack) or row.attack) in LEARNERS:
                name = with_network(row.attack, row.embedder, row.same_photo)
                lines.append((label, name, rate_cell(was), rate_cell(at)))
    columns = ("Release", "Attacker, network", f"{longer.few:,} steps", f"{longer.many:,} steps")
    return Grid("Found by attackers who learn for longer", columns, tuple(lines))


def longer_brief(label: str, longer: Longer) -> str:
    """What attackers with more steps find in one release, where they were tried; "" elsewhere."""
    found = longer.audits[label].headline if label in longer.audits else None
    if not found:
        return ""
    return (
        f" With {longer.many:,} steps of learning in place of {longer.few:,}, {_who(found)} finds {between(found)}: a "
        f"step more may find more yet."
    )


def longer_note(audits: Mapping[str, AuditRead], longer: Longer) -> str:
    """What of the worst cases does not hold any more, in a sentence for each release."""
    told = [
        f"With {longer.many:,} steps of training in place of {longer.few:,}, {_who(more.headline)} finds "
        f"{rate(more.headline.value, more.headline.low, more.headline.high)} in “{label}”, where the worst case above "
        f"is {rate(before.headline.value, before.headline.low, before.headline.high)}."
        for label, more in longer.audits.items()
        if (before := audits[label]).headline and more.headline and more.headline.value > before.headline.value
    ]
    return " ".join([*told, "See “What more training finds”."]) if told else ""


def _who(found: HeadlineOf) -> str:
    name = f"{attack_name(found.attack, short=True)}, {whose(found.embedder)}"
    return f"the strongest of those who were tried again ({name})"


def _worst(found: HeadlineOf) -> str:
    return f"{rate(found.value, found.low, found.high)} ({with_network(found.attack, found.embedder)})"
