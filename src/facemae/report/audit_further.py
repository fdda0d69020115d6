"""What a reader of the first lines has to know besides the worst case: guesses, networks, more knowledge, strangers."""

from facemae.report.audit_attackers import fewest_point
from facemae.report.audit_models import AtK, Attack, Controlled, HeadlineOf, Operating
from facemae.report.audit_names import (
    attack_name,
    between,
    luck,
    never_run,
    pooled,
    searching,
    taken_together,
    whose,
    with_network,
    within,
)
from facemae.report.audit_reading import AuditRead
from facemae.report.wording import percent
from facemae.spec.results import EVERYBODY, ITS_OWN, RELEASED, UNPROTECTED

HOLDING = {"exclude": "other photos", "include": "the very photos"}


def guesses(audit: AuditRead, found: HeadlineOf) -> list[str]:
    """What the same attack finds with fewer and with more guesses."""
    for attack in audit.everybody:
        if (attack.attack, attack.embedder, attack.same_photo) == (found.attack, found.embedder, found.same_photo):
            others = [at for at in (attack.at[0], attack.at[-1]) if at.k != found.k] if found.k and attack.at else []
            told = [f"{percent(at.value)} {within(at.k)}" for at in dict.fromkeys(others)]
            return [f"Counted over everybody, the same attack finds {' and '.join(told)}."] if told else []
    return []


def largest(audit: AuditRead, found: HeadlineOf) -> list[str]:
    """The largest number of all, where it is beyond the headline, and why it is not told there."""
    most = _most(audit, found, {network.name for network in audit.networks})
    if found.k is None or not audit.protected or most is None or most[0].value <= found.value:
        return []
    at, attack = most
    who = with_network(attack.attack, attack.embedder)
    return [
        f"Counted over everybody, those who chose included, the largest number with {HOLDING[found.same_photo]} "
        f"{within(audit.k)} is {between(at)} ({who}); the largest of many is too large by luck, which is why it is not "
        f"the headline."
    ]


def other_networks(audit: AuditRead, found: HeadlineOf) -> list[str]:
    """The most that is found with a network that the generator was not trained against, where the headline's was."""
    loss = {network.name: network for network in audit.networks if network.loss_network}
    if found.embedder not in loss or found.k is None or not audit.protected:
        return []
    others = {network.name for network in audit.networks if network.loss_network is False} | {ITS_OWN}
    most = _most(audit, found, others)
    if most is None:
        return []
    at, attack = most
    level = _level(audit, attack)
    taught = loss[found.embedder].trained_on
    known = f" ({found.embedder} was trained on {taught})" if taught else ""
    return [
        f"With networks that the generator was not trained against the most is {between(at)} "
        f"({with_network(attack.attack, attack.embedder)}), counted over everybody{known}{level}."
    ]


def _most(audit: AuditRead, found: HeadlineOf, networks: set[str]) -> tuple[AtK, Attack] | None:
    """The attack on the release that finds most beyond chance with one of these networks, by who holds the same."""
    rows = [
        (at, attack)
        for attack in audit.everybody
        if attack.attack != UNPROTECTED and attack.same_photo == found.same_photo and attack.embedder in networks
        if (at := attack.shown(audit.k))
    ]
    return max(rows, key=lambda row: row[0].value - row[0].chance, default=None)


def _level(audit: AuditRead, attack: Attack) -> str:
    """What the same network finds without protection, where photos are taken together alike."""
    together, told = taken_together(attack.attack), list[Controlled]()
    for row in audit.templates if together == 2 else ():
        if (row.attack, row.embedder) == (UNPROTECTED, attack.embedder):
            told += [at for at in row.at if at.k == audit.k and at.whole]
    for alike in audit.everybody if not together else ():
        if (alike.attack, alike.embedder) == (UNPROTECTED, attack.embedder):
            told += [at for at in alike.at if at.k == audit.k]
    return f"; without protection that network finds {percent(told[0].value)}" if told else ""


def sources(audit: AuditRead) -> list[str]:
    """What is found by photos of each source, where there are several: an average hides who is found most."""
    rows = [
        (attack.subset, at, attack)
        for attack in audit.attacks
        if attack.subset != EVERYBODY and attack.same_photo == "exclude" and attack.attack != UNPROTECTED
        if (at := attack.shown(audit.k))
    ]
    best: dict[str, tuple[float, str]] = {}
    for source, at, attack in rows:
        told = at.value, f"{percent(at.value)} by photos from {source} ({with_network(attack.attack, attack.embedder)})"
        best[source] = max(told, best.get(source, told))
    if len(best) < 2:
        return []
    return [f"Not all are found alike; by one other photo at most {', '.join(said for _, said in best.values())}."]


def stronger(audit: AuditRead, found: HeadlineOf) -> list[str]:
    """What attackers find who hold more: told because they hold more, not by their numbers."""
    told = [_photo_in_hand(audit, found), *_all_together(audit, found)] if found.same_photo == "exclude" else []
    said = [text for text in told if text]
    return [f"Others hold more: {said[0][0].lower()}{said[0][1:]}", *said[1:]] if said else []


def _photo_in_hand(audit: AuditRead, found: HeadlineOf) -> str:
    worst = audit.headline_same_photo
    if worst and worst.same_photo == "include":
        things = "searches" if searching(worst) else "people"
        return (
            f"Somebody who holds the very photos that were protected succeeds in {between(worst)} of the {things}, by "
            f"the strongest of the attacks tried ({attack_name(worst.attack, short=True)}, {whose(worst.embedder)})."
        )
    for attack in audit.everybody:
        at = attack.shown(audit.k)
        if (attack.attack, attack.embedder, attack.same_photo) == (RELEASED, found.embedder, "include") and at:
            return (
                f"Somebody who holds the very photos that were protected succeeds by plain search with the same "
                f"network in {between(at)} of the searches."
            )
    return ""


def _all_together(audit: AuditRead, found: HeadlineOf) -> list[str]:
    """Nothing where such attackers took part in the choice of the worst case."""
    if not searching(found) or any(pooled(attack.attack) for attack in audit.everybody):
        return []
    told = []
    for rows in audit.templates:
        whole = [at for at in rows.at if at.whole]
        if rows.embedder == found.embedder and rows.same_photo == "exclude" and whole:
            first = min(whole, key=lambda at: at.k)
            told.append(
                f"Somebody who takes all their photos of a person together, and all pictures under one number "
                f"({rows.attack}), finds {between(first)} of the people {within(first.k)}."
            )
    return told


def strangers(audit: AuditRead) -> list[str]:
    """What is named of the members by who does not know whether a person is in the set, at the fewest strangers."""
    told = []
    for held, holding in HOLDING.items():
        for together in (False, True):
            named = [
                (point, attack)
                for attack in audit.everybody
                if attack.same_photo == held and pooled(attack.attack) == together
                if (attack.attack != UNPROTECTED or not audit.protected) and (point := fewest_point(attack))
            ]
            told += [_named(named, f"{holding}, all of a person together," if together else holding)] if named else []
    if not told:
        return []
    best = "Who does not know whether a person is in the set names, at best, "
    return [f"{best}{'; '.join(told)}. These are the largest of many numbers and so a little too large by luck."]


def _named(named: list[tuple[Operating, Attack]], holding: str) -> str:
    # Fewer strangers first: more may be named where more strangers are.
    best, attack = max(named, key=lambda row: (-row[0].target, row[0].rate.value if row[0].rate else 0.0))
    assert best.rate is not None
    who = with_network(attack.attack, attack.embedder)
    few = f"{100 * best.target:.2g} % of strangers"
    return f"with {holding} {between(best.rate)} of the members where {few} are named ({who}{luck(best.verdict)})"


def beside(audit: AuditRead) -> list[str]:
    """Traces that no picture shows, and who did not attack."""
    found = []
    if audit.metadata is None:
        found.append("File names, order, times and other traces beside the pixels were not looked at.")
    else:
        kinds = [one.severity for one in audit.metadata.findings]
        counts = {kind: kinds.count(kind) for kind in ("critical", "warning", "note")}
        alarms = f"{_number(counts['critical'], 'critical finding')} and {_number(counts['warning'], 'warning')}"
        also = f", {_number(counts['note'], 'note')}" if counts["note"] else ""
        serious = counts["critical"] or counts["warning"]
        end = " Such a trace may give away more than any network." if serious else ""
        found.append(f"Beside the pixels (files, names, order): {alarms}{also}.{end}")
    missing = list(dict.fromkeys(never_run(one.attacker) for one in audit.not_run))
    if missing:
        found.append(f"Not run: {', '.join(missing)}. What they would find is unknown.")
    return found


def _number(value: int, thing: str) -> str:
    return f"{value} {thing}" if value == 1 else f"{value or 'no'} {thing}s"
