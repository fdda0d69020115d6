"""Searches, traces beside the pixels and networks as tables of words; nothing is computed."""

from facemae.report.audit_models import Attack, Controlled, EmbedderOf, FindingOf
from facemae.report.audit_names import attack_name, never_run
from facemae.report.audit_reading import AuditRead
from facemae.report.tables import Grid, without_empty
from facemae.report.wording import ABSENT, accuracy, count, percent, rate
from facemae.spec.results import EVERYBODY, ITS_OWN, NO_NETWORK, UNPROTECTED

_ROLES = {
    True: "the generator was trained against it",
    False: "independent of the generator",
    None: "not told",
}
_WITHOUT_A_FILE = {
    ITS_OWN: ("public people, by the attacker", "trained by the attacker"),
    NO_NETWORK: ("nothing", "pixels are compared"),
}
"""What stands in the place of a network: on what it was trained, and its role."""
_SEVERITIES = ("critical", "warning", "note")


def findings_grid(audit: AuditRead) -> Grid:
    """Every attack with every network at the K that the page is about, with chance, control and verdict."""
    return _found(audit, f"The same with chance, control and verdict (K = {audit.k})", only=audit.k)


def every_k_grid(audit: AuditRead) -> Grid:
    """Every attack at every K, by all probes and by those of each source."""
    return _found(audit, "Every attack at every K", only=None)


def _found(audit: AuditRead, caption: str, *, only: int | None) -> Grid:
    attacks = audit.everybody if only else (*audit.everybody, *(a for a in audit.attacks if a.subset != EVERYBODY))
    notes = methods(audit)
    lines = tuple(
        (
            attack_name(attack.attack, attack.same_photo, short=True),
            attack.embedder,
            "" if attack.subset == EVERYBODY else attack.subset,
            *(() if only else (str(at.k),)),
            count(at.identities),
            rate_cell(at),
            f"{count(at.hits)}/{count(at.trials)}",
            percent(at.chance),
            control_cell(at),
            at.verdict,
            _note(notes, at.method),
        )
        for attack in attacks
        for at in attack.at
        if only in (None, at.k)
    )
    head = ("Attacker", "Network", "Photos from", *(() if only else ("K",)))
    columns = (
        *head,
        "People searched",
        "Found",
        "Hits/searches",
        "Blind guessing",
        "Wrong people (control)",
        "Verdict",
        "Method",
    )
    return without_empty(Grid(caption, columns, lines))


def learned_grid(audit: AuditRead) -> Grid:
    """Which candidate each attacker who learns went with."""
    lines = tuple(
        (
            attack_name(one.name),
            one.embedder or ABSENT,
            one.chosen or ABSENT,
            ", ".join(f"{name} {value:.3f}" for name, value in one.tried.items()) or ABSENT,
        )
        for one in audit.attackers
        if one.chosen or one.tried
    )
    tried = "Candidates on public people: mean of 1/rank, 1 is best (of another photo; pixels: of the very photo)"
    columns = ("Attacker", "Network", "Went with", tried)
    return without_empty(Grid("What the attackers who learn chose, on public people", columns, lines))


def metadata_grid(audit: AuditRead, *, examples: bool = True) -> Grid:
    """What leaks beside the pixels, the most severe first; ``examples``: with names of released files."""
    found = audit.metadata.findings if audit.metadata else ()
    ordered = sorted(found, key=lambda finding: _SEVERITIES.index(finding.severity))
    lines = tuple(
        (
            finding.severity,
            finding.what,
            f"{count(finding.count)} of {count(finding.of)}",
            *((", ".join(finding.examples) or ABSENT,) if examples else ()),
            finding.control or ABSENT,
        )
        for finding in ordered
    )
    columns = (
        "Severity",
        "What was found",
        "Files",
        *(("Examples",) if examples else ()),
        "Guard against false alarms",
    )
    return Grid("Beside the pixels, by severity", columns, lines)


def networks_grid(audit: AuditRead) -> Grid:
    """The networks in the attackers' hands: what taught them, and how strong they are."""
    level = {attack.embedder: _at(attack, audit.k) for attack in audit.everybody if attack.attack == UNPROTECTED}
    lines = tuple(
        (
            network.name,
            network.source or ABSENT,
            taught_on(network),
            _WITHOUT_A_FILE.get(network.name, ("", _ROLES[network.loss_network]))[1],
            ", ".join(
                f"{name} {accuracy(found.value, found.low, found.high)}" for name, found in network.strength.items()
            )
            or ABSENT,
            level.get(network.name, ABSENT),
        )
        for network in audit.networks
    )
    columns = ("Network", "File", "Trained on", "Role", "Own accuracy", f"Finds without protection, K = {audit.k}")
    return without_empty(Grid("Networks in the attackers' hands", columns, lines))


def taught_on(network: EmbedderOf) -> str:
    """Whose photos a network was trained on, as far as it is told."""
    return network.trained_on or _WITHOUT_A_FILE.get(network.name, ("people not known", ""))[0]


def unmeasured_grid(audit: AuditRead) -> Grid:
    """What this audit does not tell, and what was missing."""
    sections = {
        "whether a person is in the set at all (open set)": any(attack.open_set for attack in audit.attacks),
        "whether two pictures are of one person (linking)": bool(audit.linking),
        "whether scores tell people apart (unlinkability)": bool(audit.unlinkability),
        "many pictures of one person together (templates)": bool(audit.templates),
        "whether a photo trained the model (membership)": bool(audit.membership),
        "files, names, order and other traces beside the pixels": audit.metadata is not None,
    }
    lines = [(f"attacker: {never_run(one.attacker)}", f"needs {one.needs}") for one in audit.not_run]
    lines += [(what, "not part of this audit") for what, there in sections.items() if not there]
    checks = audit.metadata.checks if audit.metadata else ()
    lines += [(f"beside the pixels: {check.instrument}", check.why or ABSENT) for check in checks if not check.ran]
    return Grid("Not measured", ("What", "Why"), tuple(lines))


def methods(audit: AuditRead) -> tuple[str, ...]:
    """How the intervals of searches were made, every method once."""
    found = [at.method for attack in (*audit.everybody, *audit.attacks) for at in attack.at]
    return tuple(dict.fromkeys(method for method in found if method))


def severities(found: tuple[FindingOf, ...]) -> str:
    """How many findings of each severity: "1 critical, 2 warning"."""
    counts = {name: sum(finding.severity == name for finding in found) for name in _SEVERITIES}
    return ", ".join(f"{number} {name}" for name, number in counts.items() if number) or "none"


def _at(attack: Attack, k: int) -> str:
    at = attack.shown(k)
    return rate_cell(at) if at else ABSENT


def rate_cell(found: Controlled) -> str:
    """ "8.00 % [4.90, 11.30]"."""
    return rate(found.value, found.low, found.high)


def control_cell(found: Controlled) -> str:
    """What the same attack finds when it asks for the wrong people."""
    return rate(found.control, found.control_low, found.control_high)


def _note(notes: tuple[str, ...], method: str) -> str:
    return f"({notes.index(method) + 1})" if method in notes else ABSENT
