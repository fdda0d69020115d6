"""Audits of several releases of the same photos side by side, as one Markdown page; selecting and formatting only."""

from collections.abc import Mapping, Sequence

from facemae.errors import DataError
from facemae.report import audit_further as further
from facemae.report import audit_matrices as matrices
from facemae.report import audit_strangers as strangers
from facemae.report.audit_longer import Longer, longer_brief, longer_grid, longer_note
from facemae.report.audit_markdown import bullets, part
from facemae.report.audit_models import HeadlineOf
from facemae.report.audit_names import (
    attack_name,
    between,
    chance_told,
    inner_attack,
    pooled,
    says,
    share,
    whose,
    within,
)
from facemae.report.audit_reading import AuditRead
from facemae.report.audit_sections import Section, glossary
from facemae.report.audit_tables import networks_grid
from facemae.report.audit_utility import UtilityPoint, utility_grid
from facemae.report.audit_words import LIMITS, NOT_MEANT, headline
from facemae.report.markdown import plain, table
from facemae.report.tables import without_empty
from facemae.report.wording import count, percent
from facemae.spec.results import RELEASED, ReleasesResult

INTRODUCTION = """Every release shows the same people. Not every attacker could be tried on every release (see “Not
run”): one that met fewer attackers looks safer than it is. What an attacker finds is a measured lower bound on what
they could learn, never the most that anybody could: an interval tells how exactly it was measured, not what a better
attacker would find. The first three parts are for reading; the tables after them are for looking up."""

WORST = """Worst case: the strongest of the attacks that were tried. The strongest attacker and network were chosen
among all that were tried on one half of the people; the number was measured on the other half, who had no part in the
choice. Do not read the largest number of another table as the worst case: the largest of many owes some of its size to
luck, and later tables count everybody, not one half. “Distinguishable from chance” means that the attack works."""

APART = {
    False: "This table does not tell apart releases whose intervals overlap.",
    True: "Whether two releases differ is told in the next part, not by whether their intervals here overlap.",
}
"""How releases are told apart, without and with differences between them."""

PAIRED = """The same people were looked for in all releases. So two releases are compared person by person: luck that
both share cancels out, and even intervals that overlap above may belong to releases that differ. The numbers are
percentage points: +5 says that about 5 more of 100 are found in the first than in the second. The brackets hold the
true difference with 95 % confidence. Where they hold 0, the two are not told apart, which does not say that they are
alike. A difference smaller than “smallest that shows” (half the width of the brackets) cannot be told from none here.
All of it holds for the attackers chosen above, with the training they had, and for the one generator behind each
release: attackers who learn for longer, or another training of the generator, may turn a difference round. Where the
networks of plain search disagree about the direction, none of the two releases is the safer one. Each row stands alone:
of 20 pairs that do not differ, about one looks as if it did."""

CROWD = """In a larger crowd one person is harder to find. Here all but so many people were taken out of the set, drawn
by lot many times; each number is the mean of these draws, and 95 % of the draws lie within the brackets. The brackets
tell how much hangs on who is in the set, not how exactly it was measured; near the full number all draws are nearly
the same people. The attackers are those of the worst cases and the plain search, here counted over everybody. Where a
row hardly falls while blind guessing does, more people in the set hide nobody; nothing is known beyond the last
column. Blind guessing is more often right than the crowd alone says where some people have more pictures than
others."""

USEFUL = """A recogniser was trained on each set and asked of pairs of unprotected photos of other people whether they
show one person (50 % is guessing): that accuracy says how useful the set is. Wanted: a high accuracy and a low worst
case."""


def comparison_markdown(
    audits: matrices.Audits,
    *,
    title: str,
    note: str = "",
    made_by: str = "",
    utility: Sequence[UtilityPoint] = (),
    about: Mapping[str, str] | None = None,
    differences: Sequence[ReleasesResult] = (),
    longer: Longer | None = None,
) -> str:
    """What each release gives away in a sentence, worst cases, who attacked, and every measure by attacker.

    ``about``: what each release is, by its label. ``differences``: between every two of them.
    ``longer``: some of the releases asked again by attackers with more steps.

    Raises:
        DataError: no audit, or audits about different numbers of guesses.
    """
    whole = _joined(audits)
    what = about or {}
    told = [
        "\n  - ".join([f"**{plain(label)}**{f' ({plain(what[label])})' if label in what else ''}", *map(plain, said)])
        for label, audit in audits.items()
        for said in [_brief(audit, longer_brief(label, longer) if longer else "")]
    ]
    worst = [table(without_empty(matrices.worst_grid(audits)))]
    worst += [_utility(utility)] if utility else []
    parts = [
        f"# {plain(title)}",
        " ".join(INTRODUCTION.split()),
        plain(note),
        "## What an attacker would learn",
        bullets(told),
        f"**{NOT_MEANT}**",
        bullets(map(plain, LIMITS)),
        "## The worst case of each release",
        " ".join(f"{WORST} {APART[bool(differences)]}".split()),
        *worst,
        f"**{plain(told_again)}**" if longer and (told_again := longer_note(audits, longer)) else "",
        *_compared(differences),
        "## Who attacked",
        bullets(f"**{plain(name)}**: {plain(what)}" for name, what in _attackers(audits)),
        *(part(section) for section in _sections(audits, whole) if section.there),
        *(_asked_again(audits, longer) if longer else ()),
        "## Words",
        bullets(
            f"**{plain(word)}**: {plain(meaning)}"
            for word, meaning in glossary(whole, alone=False)
            if word != "Control"
        ),
    ]
    return "\n\n".join(text for text in (*parts, made_by) if text) + "\n"


def _compared(differences: Sequence[ReleasesResult]) -> list[str]:
    grids = [grid(differences) for grid in (matrices.worst_differences_grid, matrices.plain_differences_grid)]
    told = [table(without_empty(grid)) for grid in grids if grid.rows]
    note = [matrices.unlike_note(differences)]
    return ["## Which releases differ", " ".join(PAIRED.split()), *told[:1], *note, *told[1:]] if told else []


def _asked_again(audits: matrices.Audits, longer: Longer) -> tuple[str, ...]:
    apart = matrices.worst_differences_grid(longer.differences)
    told = (table(without_empty(apart)), matrices.unlike_note(longer.differences)) if apart.rows else ()
    return "## What more training finds", longer.says, table(longer_grid(audits, longer)), *told


def _joined(audits: matrices.Audits) -> AuditRead:
    """The audit that met most attackers, with the networks that only others used."""
    ks = {audit.k for audit in audits.values()}
    if len(ks) != 1:
        got = f"K = {', '.join(map(str, sorted(ks)))}" if ks else "none"
        raise DataError("audits side by side", got=got, needed="audits about one number of guesses")
    whole = max(audits.values(), key=lambda audit: len(audit.attacks))
    known = {network.name for network in whole.networks}
    networks = {network.name: network for audit in audits.values() for network in audit.networks}
    others = tuple(row for audit in audits.values() for row in audit.attacks if row.embedder not in known)
    embedders = (*whole.networks, *(network for name, network in networks.items() if name not in known))
    return whole.model_copy(update={"attacks": whole.attacks + others, "embedders": embedders})


def _utility(points: Sequence[UtilityPoint]) -> str:
    return f"{' '.join(USEFUL.split())}\n\n{table(utility_grid(points))}"


def _brief(audit: AuditRead, again: str) -> list[str]:
    """One release in a few lines: strongest, strongest with the photo in hand, strangers, the model, copies.

    ``again``: what attackers found who had more training.
    """
    found, same = audit.headline, audit.headline_same_photo
    if found is None or not found.k:
        return [f"{headline(audit).title}."]
    held = "the very photos that were protected" if found.same_photo == "include" else "other photos of the people"
    who = f"Who holds {held}" if audit.protected else "Nothing is protected here"
    told = [f"{who}: {_finds(found)}; blind guessing succeeds in {percent(found.chance)}{_untold(found)}.{again}"]
    if same and same.same_photo != found.same_photo:
        told.append(f"Who holds the very photos that were protected: {_finds(same)}{_untold(same)}.")
    singly = [row for row in audit.everybody if row.attack == RELEASED and row.same_photo == "exclude"]
    plainly = [(at.value, row.embedder) for row in singly if (at := row.shown(audit.k))]
    if plainly:
        most, network = max(plainly)
        told.append(
            f"The measure of the paper alone, a plain search by one other photo, would say {share(most)} searches "
            f"({network}; counted over everybody)."
        )
    return [*told, *further.strangers(audit), *_trained(audit), *_critical(audit)]


def _finds(found: HeadlineOf) -> str:
    """ "the strongest attacker tried (inverter, network phi) finds about 12 of 100 people within …, 12.30 % (…)"."""
    who = f"{attack_name(found.attack, short=True)}, {whose(found.embedder)}"
    does = "finds" if pooled(found.attack) else "succeeds in"
    things = "people" if pooled(found.attack) else "searches"
    return (
        f"the strongest attacker tried ({who}) {does} {share(found.value)} {things} {within(found.k or 1)}, "
        f"{between(found)}"
    )


def _untold(found: HeadlineOf) -> str:
    return "" if chance_told(found.verdict) else " (not distinguishable from chance, which is no proof of safety)"


def _critical(audit: AuditRead) -> list[str]:
    found = audit.metadata.findings if audit.metadata else ()
    told = [f"{one.what} ({count(one.count)} of {count(one.of)} files)" for one in found if one.severity == "critical"]
    return [f"Beside the pixels, critical: {'; '.join(told)}."] if told else []


def _trained(audit: AuditRead) -> list[str]:
    if not audit.membership:
        return []
    named = [row.score for row in audit.membership if chance_told(row.verdict)]
    if named:
        return [f"Which photos trained its model can be told better than by chance (by {' and by '.join(named)})."]
    return ["Which photos trained its model could not be told from chance by the attacks tried."]


def _attackers(audits: matrices.Audits) -> list[tuple[str, str]]:
    """Every attacker once, in the order of the tables; what pooling means is said once for all."""
    told: dict[str, str] = {}
    for audit in audits.values():
        for row in audit.everybody:
            if not inner_attack(row.attack):
                name = attack_name(row.attack, short=True)
                told[name] = told.get(name) or says(audit, row.attack)
    alone = (
        "the attacker named takes all their photos of a person together, and looks among single released pictures, as "
        "if the release did not say which of them show one person; success is a picture of the right person."
    )
    both = (
        "the same, but all released pictures under one number are taken together as well: the number (label) that a "
        "release gives to all pictures of one person, so that recognisers can be trained on it; success is the right "
        "number."
    )
    templates = any(inner_attack(row.attack) for audit in audits.values() for row in audit.everybody)
    extra = [("… with all photos, single pictures", alone), ("… with all photos, by number", both)] if templates else []
    return [(name, what) for name, what in told.items() if what] + extra


def _sections(audits: matrices.Audits, whole: AuditRead) -> tuple[Section, ...]:
    networks = [network.name for network in whole.networks]
    return (
        Section(
            "Networks in the attackers' hands",
            "A weak network finds little, whatever was released; a better one than these may find more. The loss "
            "network is the one that a generator was trained with, so that it recognises the pictures made. “Its "
            "own”: the attacker trains one. “No network”: pixels are compared.",
            (networks_grid(whole),),
        ),
        Section(
            "Who finds the right person",
            _searched(whole),
            tuple(matrices.searches_grid(audits, network, whole.k) for network in networks),
            note=matrices.MARK,
        ),
        Section("With more people in the set", " ".join(CROWD.split()), matrices.crowd_grids(audits)),
        Section(
            "Is a person in the set at all?",
            "Above, everybody who is looked for is in the set. Here strangers are looked for as well, and the attacker "
            "names somebody only above a threshold at which so few strangers are named; a member counts when named "
            "rightly. A rate below that of the strangers means that hardly anybody is named rightly. AUC asks less: "
            "whether a member's best match scores higher than a stranger's, whomever it shows. †: not distinguishable "
            "from chance, as above.",
            (strangers.strangers_grid(audits), strangers.fewest_grid(audits), strangers.members_grid(audits)),
            note=strangers.silent_note(audits),
        ),
        Section(
            "Are two pictures of one person?",
            "One photo and one released picture are laid side by side. D_sys sums up the scores of all such pairs and "
            "is above 0 even where nothing can be joined: beside it stands what luck gives. “Wrong people”: the same "
            "asked for somebody else. An error above 50 % says that the scores point the wrong way, for right people "
            "and wrong ones alike.",
            (matrices.accepted_grid(audits), matrices.errors_grid(audits), matrices.scores_grid(audits)),
            note=matrices.MARK,
        ),
        Section(
            "Did a photo train the model?",
            "About the people whose photos trained the generator, not about those in the release. The attacker holds "
            "a photo and the model, and looks how badly it restores the photo (loss), or how far the restored picture "
            "is from the photo in phi's eyes (phi-distance); “calibrated”: less what a model of other people says of "
            "the same photo. Each interval stands for its number alone; the verdict allows for all of them.",
            (strangers.model_grid(audits),),
        ),
        Section(
            "Beside the pixels",
            f"Files, names, order, times and hidden fields. Critical gives a photo or person away; a warning links or "
            f"dates pictures; a note is told for completeness. Copies are told by a strict rule: where none is found, "
            f"the attackers with the protected photo in hand may find it all the same. {matrices.clean_note(audits)}",
            (matrices.beside_grid(audits),),
        ),
        Section(
            "Not run",
            "An attack that was not run is not an attack that fails. “Needs”: what “facemae audit” would have to be "
            "given, where that exists for this release.",
            (matrices.not_run_grid(audits),),
        ),
    )


def _searched(whole: AuditRead) -> str:
    single = max(
        (at for row in whole.everybody if not inner_attack(row.attack) and (at := row.shown(whole.k))),
        key=lambda at: at.trials,
        default=None,
    )
    if single is None:
        return ""
    pooling = next((at for row in whole.everybody if inner_attack(row.attack) and (at := row.shown(whole.k))), None)
    together = f", and in {percent(pooling.chance)} of the people where pictures are taken together" if pooling else ""
    return (
        f"“Search, nothing protected” is no attack on a release: it stands beside all of them for comparison. "
        f"{count(single.trials)} searches by one photo each among {count(single.identities)} people; a hit: the right "
        f"person is {within(whole.k)}. Blind guessing succeeds in {percent(single.chance)} of the searches{together}. "
        f"The attacker holds other photos than the protected ones, unless it is said. Counted over everybody; the "
        f"worst case above is that of one half."
    )
