"""Attacks and numbers of an audit in plain words."""

import re

from facemae.report.audit_models import HeadlineOf, Rated
from facemae.report.audit_reading import AuditRead
from facemae.report.wording import percent
from facemae.spec.results import IMITATED, ITS_OWN, NO_NETWORK, OTHER_PROCESS, RELEASED, UNPROTECTED

PLAIN = {
    UNPROTECTED: "search, nothing protected",
    RELEASED: "plain search",
    IMITATED: "search through the same process",
}
NEVER_RUN = {
    "retrieval": "plain search",
    "visible": "visible patches",
    "membership": "membership in the model",
    "metadata": "traces beside the pixels",
}
"""Attackers that a suite knows by another name than their results."""
_PAIRS = {
    UNPROTECTED: "two photos, nothing protected",
    RELEASED: "photo and released picture",
    IMITATED: "two releases by the same process",
    OTHER_PROCESS: "this release and another process's",
}
_TOGETHER = re.compile(r"template of (?P<inner>.+) \((?P<photos>\w+) images?(?P<single>, no numbers)?\)")
"""The name that an audit gives to an attack in which photos are taken together."""

_SAYS = {
    UNPROTECTED: "Somebody with other photos of a person and a face recognition network looks for that person among "
    "the photos as they were before protection. No attack on the release, but the level that protection has to lower.",
    RELEASED: "Somebody with photos of a person and a face recognition network looks for that person among the "
    "released pictures as they are.",
    IMITATED: "Somebody who owns a copy of the process that made the release, photos of a person and a face "
    "recognition network puts the photos through that process first, and then looks among the released pictures.",
}


def whose(network: str) -> str:
    """With which network an attack was made: "network phi", "a network of its own", "no network"."""
    return {ITS_OWN: "a network of its own", NO_NETWORK: NO_NETWORK}.get(network, f"network {network}")


def attack_name(name: str, same_photo: str = "exclude", *, short: bool = False) -> str:
    """An attack in plain words; ``same_photo`` "include" is said, the other is what all tables are about.

    ``short``: without the name under which the audit has it.
    """
    plain = PLAIN.get(name, name) if short or name not in PLAIN else f"{PLAIN[name]} ({name})"
    if found := _TOGETHER.fullmatch(name):
        searched = "single pictures" if found["single"] else "by number"
        plain = f"{PLAIN.get(inner_attack(name), inner_attack(name))} with {found['photos']} photos, {searched}"
    return f"{plain}, protected photo in hand" if same_photo == "include" else plain


def never_run(name: str) -> str:
    """An attacker that was not run, in plain words."""
    return NEVER_RUN.get(name) or attack_name(name, short=True)


def with_network(attack: str, embedder: str, same_photo: str = "exclude") -> str:
    """An attack in few words and the name of the network that it was made with."""
    return f"{attack_name(attack, same_photo, short=True)}, {embedder}"


def pairs_name(name: str, same_photo: str = "exclude") -> str:
    """What is compared with what, pair by pair."""
    plain = _PAIRS.get(name) or attack_name(name, short=True)
    return f"{plain}, made of the same photo among others" if same_photo == "include" else plain


def says(audit: AuditRead, name: str) -> str:
    """Who attacks, what they own, and what success means."""
    said = audit.says(name) or _SAYS.get(name, "")
    return said.replace("As retrieval,", f"As {PLAIN[RELEASED]},")


def inner_attack(name: str) -> str:
    """The attacker whose pictures a template attack takes together, by the name of the audit; "" for all others."""
    found = _TOGETHER.fullmatch(name)
    return {"retrieval": RELEASED}.get(found["inner"], found["inner"]) if found else ""


def taken_together(name: str) -> int:
    """What an attack takes together: 0 nothing, 1 the attacker's photos, 2 the pictures of a number as well."""
    found = _TOGETHER.fullmatch(name)
    if not found:
        return 0
    return 1 if found["single"] else 2


def pooled(attack: str) -> bool:
    """Whether all pictures of a person are taken together, so that a hit is a person and no picture."""
    return attack.startswith("template")


def searching(found: HeadlineOf) -> bool:
    """Whether a worst case is about single searches, and not about people whose pictures are taken together."""
    return found.k is not None and not pooled(found.attack) and "template" not in found.measure


def share(value: float) -> str:
    """A fraction in whole numbers: "about 12 of 100", and of thousands where it is small."""
    if value <= 0 or value >= 1:
        return "none" if value <= 0 else "all"
    if value > 0.995:
        return "nearly all"
    for of in (100, 1000, 10_000):
        if value * of >= 3:
            return f"about {int(value * of + 0.5)} of {of:,}"
    return "fewer than 3 of 10,000"


def between(found: Rated) -> str:
    """A rate with its interval in words."""
    return f"{percent(found.value)} (interval {100 * found.low:.2f} to {percent(found.high)})"


def chance_told(verdict: str) -> bool:
    """Whether a verdict says that the attack is told from chance."""
    return not verdict.startswith("not ")


def luck(verdict: str) -> str:
    """What to add to a number whose verdict does not tell it from luck; "" where nobody tested it."""
    return "; not told from luck" if verdict and not chance_told(verdict) else ""


def within(k: int) -> str:
    """ "at the first guess", "within the first 2 guesses"."""
    return "at the first guess" if k == 1 else f"within the first {k} guesses"
