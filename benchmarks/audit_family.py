"""Studies of false accusation: by a whole audit at once, and by retrieval that leaves the own photo out.

*Whole audit*: every released picture shows a stranger, the same one for all photos of a person, as a consistent
replacement would. People have 2, 4 or 8 photos and all faces have something in common, so means of many photos lie
closer to everybody. Two attackers with two networks each (four views of the same pictures, so what they find by luck
they find together), own photo left out and let in, single images and groups, pairs, the open set, and two membership
scores: taken together as `facemae audit` takes them, with the level of the originals, which is rightly told. How often
is anything else called distinguishable from chance?

*Own photo left out*: a probe loses an image at the right person, so the statistic could spread otherwise than its
permutations. Its standardised value, and how often it is told from chance, by the number of photos of a person.
"""

import audit_coverage as simulated
import numpy as np
from audit_coverage import DIMENSION, PEOPLE, Told

from facemae.attacks import View
from facemae.attacks.template import pool
from facemae.measure import (
    leakage,
    linking,
    membership,
    nonmember_control,
    pair_scores,
    template_leakage,
    unlinkability,
)
from facemae.spec.results import EVERYBODY, UNPROTECTED
from facemae.stages.auditing.family import Found
from facemae.stages.auditing.scene import Finding

LEVEL, PHOTOS, MEMBERS, OUTSIDERS, VIEWS, KS = 0.05, (2, 4, 8), 51, 60, 4, (1, 4)
LABELS = np.repeat(np.arange(MEMBERS), np.resize(PHOTOS, MEMBERS))
STRANGERS = MEMBERS + np.repeat(np.arange(OUTSIDERS), np.resize(PHOTOS, OUTSIDERS))
OWN = np.arange(len(LABELS))
COMMON = 1.0
"""How far all faces lie from the origin, in the deviations of a person."""
REPLICATES = 2
"""Intervals are asked for by nobody here."""

COUNTS = (2, 3, 4, 8)
"""Photos of everybody in the second study."""


def study_audit(leak: float, seed: int) -> dict[str, Told]:
    """One audit; ``leak``: how much of the original's person is in a released picture, beside the stranger."""
    p = smallest_p(found(leak, seed).adjusted())
    return {"anything at all": Told(p, p, p, p <= LEVEL)}


def smallest_p(audit: Found) -> float:
    """The smallest p-value of an audit, the level of the originals aside."""
    attacks = [each for each in audit.attacks if each.attack != UNPROTECTED]
    p = [at.p_value for each in attacks for at in each.leakage.at]
    for each in attacks:
        if each.open_set and each.open_set.auc:
            p += [each.open_set.auc.p_value]
            p += [at.p_value for at in (*each.open_set.points, each.open_set.smallest) if at and at.p_value is not None]
    for _, link in audit.linking:
        p += [link.eer_p_value, *(at.p_value for at in link.tar if at.p_value is not None)]
    p += [share.p_value for _, share in audit.unlinkability]
    p += [at.p_value for _, group in audit.templates for at in group.at]
    for _, scores in audit.membership:
        p += [scores.auc_p_value]
        p += [at.p_value for at in (*scores.points, scores.smallest) if at and at.p_value is not None]
    return min(p)


def found(leak: float, seed: int) -> Found:
    """All that one audit measures."""
    random = np.random.default_rng([seed, 7])
    centre, other, outside = (random.normal(size=(n, DIMENSION)) for n in (MEMBERS, MEMBERS, OUTSIDERS))
    sides = [centre[LABELS], (leak * centre + other)[LABELS], outside[STRANGERS - MEMBERS]]
    sides = [side + COMMON for side in sides]
    pictures = [side + random.normal(size=side.shape) for side in sides]
    audit = Found()
    for view in range(VIEWS):
        looks = random.normal(size=(DIMENSION, DIMENSION)) / np.sqrt(DIMENSION)
        photos, released, strangers = (simulated.faces(side @ looks, random) for side in pictures)
        _add_view(audit, f"view {view}", photos, released, strangers, seed)
    for score in ("loss", "another loss"):
        _add_membership(audit, score, random, seed)
    return audit


def _how(seed: int) -> dict[str, int]:
    return {"seed": seed, "replicates": REPLICATES, "permutations": simulated.PERMUTATIONS}


def _add_view(
    audit: Found, name: str, photos: np.ndarray, released: np.ndarray, strangers: np.ndarray, seed: int
) -> None:
    how, own = _how(seed), OWN[:, None]
    people = photos, LABELS, released, LABELS
    level = leakage(photos, LABELS, photos, LABELS, ks=KS, exclude=own, **how)
    audit.attacks.append(Finding(UNPROTECTED, name, "exclude", EVERYBODY, level, None))
    for same_photo, exclude in (("exclude", own), ("include", None)):
        head = {"attack": "search", "embedder": name, "same_photo": same_photo}
        search = leakage(*people, ks=KS, exclude=exclude, **how)
        sets = photos, LABELS, strangers, STRANGERS, released, LABELS
        control = (
            nonmember_control(*sets, fpirs=(0.1,), exclude=own, tested=True, **how) if exclude is not None else None
        )
        audit.attacks.append(Finding("search", name, same_photo, EVERYBODY, search, control))
        audit.attacks.append(_groups(name, same_photo, photos, released, strangers, how))
        apart = {"query_photo": OWN, "gallery_photo": OWN} if exclude is not None else {}
        audit.templates.append(
            (head, template_leakage(*people, sizes=((1, 1), (None, None)), ks=(1,), draws=3, **apart, **how))
        )
    scores = pair_scores(*people, exclude=own, seed=seed, permutations=simulated.PERMUTATIONS)
    audit.linking.append((head, linking(scores, fars=(0.1, 0.01), seed=seed, replicates=REPLICATES)))
    audit.unlinkability.append((head, unlinkability(scores, seed=seed, replicates=REPLICATES)))


def _groups(
    name: str, same_photo: str, photos: np.ndarray, released: np.ndarray, strangers: np.ndarray, how: dict[str, int]
) -> Finding:
    """All photos of a person together against all images; without the same photo, every second on either side."""
    apart = same_photo == "exclude"
    asked, shown = (slice(0, None, 2), slice(1, None, 2)) if apart else (slice(None), slice(None))
    queries, gallery = _pooled(photos[asked], LABELS[asked]), _pooled(released[shown], LABELS[shown])
    outsiders = _pooled(strangers[asked], STRANGERS[asked])
    members = queries.vectors, queries.person, gallery.vectors, gallery.person
    found = leakage(*members, ks=KS, behind=gallery.behind, **how)
    sets = *members[:2], outsiders.vectors, outsiders.person, *members[2:]
    control = nonmember_control(*sets, fpirs=(0.1,), behind=gallery.behind, tested=True, **how)
    return Finding("template of search", name, same_photo, EVERYBODY, found, control)


def _pooled(rows: np.ndarray, labels: np.ndarray) -> View:
    return pool(View(rows, labels, np.arange(len(labels)), labels), np.ones(len(labels), np.bool_))


def _add_membership(audit: Found, score: str, random: np.random.Generator, seed: int) -> None:
    # Photos of one person share half of their score's variance.
    labels = np.repeat(np.arange(2 * PEOPLE), np.resize(PHOTOS, 2 * PEOPLE))
    values = random.normal(size=2 * PEOPLE)[labels] + random.normal(size=len(labels))
    inside, outside = labels < PEOPLE, labels >= PEOPLE
    sides = values[inside], labels[inside], values[outside], labels[outside]
    audit.membership.append(({"score": score}, membership(*sides, fprs=(0.1, 0.05), **_how(seed))))


def study_own_photo(leak: float, seed: int) -> dict[str, Told]:
    """The standardised statistic of retrieval (K = 1) without the own photo, for each number of photos of a person."""
    told = {}
    for count in COUNTS:
        labels, random = np.repeat(np.arange(PEOPLE), count), np.random.default_rng([seed, 8, count])
        centre = random.normal(size=(PEOPLE, DIMENSION))[labels]
        photos, released = simulated.faces(centre, random), simulated.faces(leak * centre, random)
        own = np.arange(len(labels))[:, None]
        search = leakage(photos, labels, released, labels, ks=(1,), exclude=own, **_how(seed))
        permuted = search.permuted[:, 0]
        z = float((search.at[0].excess - permuted.mean()) / permuted.std())
        told[f"{count} photos"] = Told(z, z, z, search.at[0].distinguishable)
    return told
