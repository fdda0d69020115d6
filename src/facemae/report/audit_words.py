"""What an audit found, said to somebody who has never read one. Every number is one that the audit wrote."""

from dataclasses import dataclass

from facemae.report.audit_further import beside, guesses, largest, other_networks, sources, strangers, stronger
from facemae.report.audit_models import HeadlineOf, Rated
from facemae.report.audit_names import (
    attack_name,
    between,
    chance_told,
    inner_attack,
    says,
    searching,
    share,
    taken_together,
    whose,
)
from facemae.report.audit_reading import AuditRead
from facemae.report.wording import count, percent
from facemae.spec.results import NO_NETWORK, UNPROTECTED

_POOLED = {
    1: "Here all their photos of a person are taken together, against single released pictures.",
    2: "Here all their photos of a person are taken together, and all released pictures under one number as well; "
    "success is the right number.",
}
_APART = " No photo is on both sides: half of a person's photos ask, what was made of the others is searched."
LIMITS = (
    "It is not the most that anybody could learn. It is what the attackers tried here found: a lower bound. A better "
    "network, more photos of a person or another method may find more. (That the largest of many numbers is a little "
    "too large by luck is another matter: too large for these attackers, too small for the best there could be.)",
    "It is not one person's risk. It is an average over searches; single people may be found far more easily.",
    "It says nothing of what else a face tells (age, sex, skin colour, health), nor of what several releases of the "
    "same photos give away together.",
)
NOT_MEANT = "What such a number does not mean"
STRANGERS = "Is a person in the set at all?"
"""The part of the page about attackers who do not know whom the release holds."""

_CLOSED = (
    "It does not tell whether somebody is in the set: in these searches everybody who is looked for is in it, and the "
    "attacker knows that."
)
_LEARNED = (
    "What a hit gives away: which released pictures show the person whose photo the attacker holds, and with them "
    "everything else that is released under the same number."
)
_SEVERAL = " With several guesses the attacker does not know which of them is right."


@dataclass(frozen=True)
class Headline:
    """The first thing a reader sees: one sentence, what is behind it, and what it does not mean."""

    title: str
    paragraphs: tuple[str, ...]
    limits: tuple[str, ...]


def headline(audit: AuditRead) -> Headline:
    """The worst case in words; without one, what the page can say instead."""
    found = audit.headline
    if found is None:
        text = (
            "This audit holds no worst case, which has to be chosen on one half of the people and measured on the "
            "other. The tables say what was measured; the largest of many rates in them is too large by luck."
        )
        return Headline("No single number stands for this audit", (text, *strangers(audit), *beside(audit)), LIMITS)
    learned = f"{_LEARNED}{_SEVERAL if found.k and found.k > 1 else ''}" if found.k and audit.protected else ""
    said = [_what(audit, found), learned, _level(audit, found), _verdict(audit, found), _who(audit, found)]
    chosen = (
        "Which attacker and which network are told here was chosen among all that were tried, on one half of the "
        "people. The number comes from the other half, who had no part in the choice."
    )
    more = [*guesses(audit, found), *largest(audit, found), *other_networks(audit, found), *sources(audit)]
    paragraphs = (*said, chosen, *more, *stronger(audit, found), *strangers(audit), *beside(audit))
    return Headline(_title(audit, found), tuple(part for part in paragraphs if part), _limits(audit, found))


def _bare(audit: AuditRead, found: HeadlineOf) -> bool:
    """Whether the number is about photos that nothing protects."""
    return found.attack == UNPROTECTED or not audit.protected


def _title(audit: AuditRead, found: HeadlineOf) -> str:
    if not chance_told(found.verdict):
        return _blind(audit, found)
    who = "Nothing is protected here: an attacker" if _bare(audit, found) else "The strongest attacker tried"
    if found.k is None:
        return f"{who} succeeds in {share(found.value)} attempts"
    worst = audit.headline_same_photo
    more = ""
    if found.same_photo == "exclude" and worst and worst.same_photo == "include" and chance_told(worst.verdict):
        things = "searches" if searching(worst) else "people"
        more = f"; with the very photos in hand, {share(worst.value)} {things}"
    if not searching(found):
        return f"{who} finds {share(found.value)} people{more}"
    return f"{who} finds the right person in {share(found.value)} searches{more}"


def _blind(audit: AuditRead, found: HeadlineOf) -> str:
    """The title where the worst case is not told from chance: who does better all the same stands in it as well."""
    worst = audit.headline_same_photo
    if found.same_photo == "exclude" and worst and worst.same_photo == "include" and chance_told(worst.verdict):
        succeeds = f"finds the right person in {share(worst.value)} searches"
        succeeds = succeeds if searching(worst) else f"finds {share(worst.value)} people"
        return (
            f"Who holds the very photos that were protected {succeeds}; with other photos, "
            "the strongest attacker tried does no better than blind guessing, as far as this audit can see"
        )
    found_all = [(row.attack, at.verdict) for row in audit.everybody for at in row.at]
    found_all += [(row.attack, at.verdict) for row in audit.templates for at in row.at]
    found_all += [(row.attack, row.verdict) for row in audit.linking]
    found_all += [(row.attack, row.verdict) for row in audit.unlinkability]
    if any(name != UNPROTECTED and chance_told(verdict) for name, verdict in found_all):
        return "The attack that stands for this audit does no better than blind guessing, but others in it do"
    return "As far as this audit can see, the strongest attacker tried does no better than blind guessing"


def _who(audit: AuditRead, found: HeadlineOf) -> str:
    network = next(network for network in (*audit.networks, None) if network is None or network.name == found.embedder)
    taught = " (the network that the generator was trained against)" if network and network.loss_network else ""
    lead = "The attack" if _bare(audit, found) else "The strongest of the attacks tried"
    network_told = whose(found.embedder)
    network_told = f"the {network_told}{taught}" if network_told.startswith("network ") else network_told
    told = f"{lead}: {attack_name(found.attack)}, with {network_told}."
    inner = inner_attack(found.attack)
    said = says(audit, inner) if inner else ""
    owned = f"{said} {_POOLED[taken_together(found.attack)]}" if said else says(audit, found.attack)
    return f"{told} {owned}".strip()


def _what(audit: AuditRead, found: HeadlineOf) -> str:
    trials, hits = count(found.trials), count(found.hits)
    guessed = f"Blind guessing would succeed in {percent(found.chance)}."
    if found.k is None:
        return f"It succeeds in {between(found)} of the attempts ({found.measure}; {hits} of {trials}). {guessed}"
    photos = (
        "The attacker holds the very photos that were protected."
        if found.same_photo == "include"
        else "The attacker holds other photos of the people, not the one that a released picture was made from."
        if audit.protected
        else "The attacker holds other photos of the people than those that are released."
    )
    if not searching(found):
        single = taken_together(found.attack) == 1
        things = "pictures" if single else "people"
        reach = f"among the {found.k} nearest {things}" if found.k > 1 else "the nearest"
        what = f"All photos of a person together find that person {reach} for {between(found)} of the people"
        among = f", looked for among {count(audit.people)}" if audit.people else ""
        apart = _APART if found.same_photo == "exclude" and audit.protected else ""
        return f"{photos} {what} ({hits} of {trials}{among}). {guessed}{apart}"
    # Among so many people was searched with everybody's photos; the half only says whose photos are counted.
    among = f" among {count(audit.people)} people" if audit.people else ""
    reach = f"at least one of the {found.k} pictures" if found.k > 1 else "the one picture"
    what = f"In {between(found)} of {trials} searches{among}, {reach} that the network finds most alike shows"
    return f"{photos} {what} the right person ({hits} hits). {guessed}"


def _level(audit: AuditRead, found: HeadlineOf) -> str:
    """What the same network finds where nothing is protected, by the same half of the people where that is told."""
    if _bare(audit, found) or found.k is None or found.embedder == NO_NETWORK:
        return ""
    if not searching(found):
        return _pooled_level(audit, found)
    for attack in audit.everybody:
        at = attack.shown(found.k)
        if attack.attack == UNPROTECTED and attack.embedder == found.embedder and at:
            level: Rated = at.halves[1] if len(at.halves) == 2 else at
            return (
                f"Had the photos been released as they are, a plain search with the same network would succeed in "
                f"{between(level)} of the searches."
            )
    return "How well the same network searches without protection was not measured."


def _pooled_level(audit: AuditRead, found: HeadlineOf) -> str:
    """The same for attackers who take all pictures of a person together, as far as it was measured."""
    if taken_together(found.attack) == 1:
        return "How well such an attacker does without protection was not measured."
    for rows in audit.templates:
        if (rows.attack, rows.embedder) == (UNPROTECTED, found.embedder):
            for at in rows.at:
                if at.k == found.k and at.whole:
                    return (
                        f"Had the photos been released as they are, the same network would find {between(at)} of the "
                        f"people when all their photos are taken together."
                    )
    return "How well such an attacker does without protection was not measured."


def _verdict(audit: AuditRead, found: HeadlineOf) -> str:
    if chance_told(found.verdict):
        end = "the release gives people away to this attacker" if audit.protected else "these photos are recognisable"
        return f"This is distinguishable from chance: {end}."
    return (
        f"This is not distinguishable from chance. That is no evidence of safety: a true rate of up to "
        f"{percent(found.high)} fits what was measured (blind guessing: {percent(found.chance)})."
    )


def _limits(audit: AuditRead, found: HeadlineOf) -> tuple[str, ...]:
    if found.k is None:
        return LIMITS
    crowd = f"It holds for {count(audit.people)} people. " if audit.people else ""
    size = f"{crowd}Among more people a search is harder, among fewer it is easier."
    open_set = any(attack.open_set for attack in audit.attacks)
    closed = f"{_CLOSED} {f'See the part “{STRANGERS}”.' if open_set else 'That was not measured here.'}"
    return (*LIMITS[:2], size, closed, LIMITS[2])
