"""What an audit's page says after its headline, part by part; the page and the Markdown file show the same parts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from facemae.report import audit_attackers as attackers
from facemae.report import audit_figures as figures
from facemae.report import audit_measures as measures
from facemae.report import audit_tables as tables
from facemae.report.audit_reading import AuditRead
from facemae.report.audit_utility import UtilityPoint, utility_grid
from facemae.report.audit_words import STRANGERS
from facemae.report.tables import Grid

Draw = Callable[[], str]

_MOST = figures.STRONGEST
DRAWN = f" (the level, plain search, the {_MOST} strongest with other photos and {_MOST} with the very photo)"


@dataclass(frozen=True)
class Section:
    """One part: what is asked, in plain words; figures with a caption; tables; tables that are folded on the page."""

    title: str
    intro: str
    grids: tuple[Grid, ...]
    drawings: tuple[tuple[str, tuple[Draw, ...]], ...] = ()
    folded: tuple[Grid, ...] = ()
    note: str = ""

    @property
    def there(self) -> bool:
        """Whether anything was measured."""
        return any(grid.rows for grid in (*self.grids, *self.folded))


def sections(audit: AuditRead, utility: Sequence[UtilityPoint] = ()) -> tuple[Section, ...]:
    """The parts with something in them, in the order in which they are read."""
    parts = (
        _retrieval(audit),
        _open_set(audit),
        _linking(audit),
        _templates(audit),
        _membership(audit),
        _metadata(audit),
        _networks(audit),
        _utility(utility),
        Section(
            "What this audit does not tell",
            "Nothing is known of these. An attack that was not run is not an attack that fails.",
            (tables.unmeasured_grid(audit),),
        ),
    )
    return tuple(part for part in parts if part.there)


def _retrieval(audit: AuditRead) -> Section:
    names = [network.name for network in audit.networks]
    within = "picture" if audit.k == 1 else f"{audit.k} pictures"
    return Section(
        "Who attacked, and what they found",
        "Each attacker looks for every person, and a search counts as a hit when the right person is among the "
        f"{within} found most alike. Columns differ in what is taken together: single photos; all that the attacker "
        "holds of a person; and, as the release gives all pictures of a person one number, all pictures of a number "
        "as well, where a hit is the right number. Each cell is the network that found most there, so it is a little "
        "too large by luck: the headline is not. “Not told from luck”: chance may explain it; –: not asked. Means of "
        "many pictures may find less than single ones: they blur what tells two pictures apart.",
        (*(attackers.found_grid(audit, held) for held in attackers.HELD), attackers.who_grid(audit)),
        (
            (
                f"Found within the first K guesses{DRAWN}. Bands are intervals over people; dotted is blind "
                f"guessing; green is the level without protection; dashed: the attacker holds the very photo that was "
                f"protected.",
                tuple(partial(figures.cmc_figure, audit, name) for name in names),
            ),
            (
                f"Found against the number of people in the set (the level, plain search and the {_MOST} strongest): "
                "more people make a search harder. Bands show the spread over draws of people.",
                tuple(partial(figures.crowd_figure, audit, name) for name in names),
            ),
        ),
        (
            attackers.attacks_by_network_grid(audit),
            tables.findings_grid(audit),
            attackers.sources_grid(audit),
            tables.every_k_grid(audit),
            tables.learned_grid(audit),
        ),
        "The control asks for the wrong person: what it finds is luck. Of two like numbers one may be told from luck "
        "and the other not, where their luck differs.",
    )


def _open_set(audit: AuditRead) -> Section:
    return Section(
        STRANGERS,
        "Here the attacker does not know whether the person is in the release. They name somebody only above a "
        "threshold, set so that of 100 searches for strangers (people outside the release) at most so many name "
        "anybody at all; a search for a member counts only when the right person is named. Who names 0.2 of 100 "
        "members rightly and 10 of 100 strangers wrongly gains nothing, though it may be more than luck. The first "
        "tables are about 1 % of strangers, or the smallest share above it that so few strangers allow.",
        tuple(attackers.named_strangers_grid(audit, held) for held in attackers.HELD),
        (
            (
                f"Members named against strangers wrongly named{DRAWN}; bands are intervals at each rate alone. A "
                f"curve begins at the smallest rate that so few strangers allow.",
                tuple(partial(figures.open_set_figure, audit, network.name) for network in audit.networks),
            ),
        ),
        (measures.open_set_grid(audit), measures.areas_grid(audit)),
        note="With few strangers a small share of them cannot be measured: 1 % needs at least 1,000 of their photos, "
        "of at least 200 people, five of whom raise alarms.",
    )


def _linking(audit: AuditRead) -> Section:
    return Section(
        "Are two pictures of one person?",
        "Somebody holds one photo and one released picture (or two released ones) and asks whether they show the same "
        "person. Among very many wrong pairs even a small share of mistakes is many mistakes.",
        (measures.linking_grid(audit), measures.unlinkability_grid(audit)),
        (
            (
                "True pairs accepted against wrong pairs accepted, at the thresholds that were measured. Bars are "
                "intervals; dotted is chance.",
                tuple(partial(figures.linking_figure, audit, network.name) for network in audit.networks),
            ),
        ),
        note="A verdict compares with wrong people (control), who may lie off 50 %, and holds for any of the columns: "
        "a few pairs that stand out are enough, even where the error rate is near 50 %."
        + (
            " D_sys is above 0 even where nothing can be joined: what lies below its noise says nothing."
            if audit.unlinkability
            else ""
        ),
    )


def _templates(audit: AuditRead) -> Section:
    return Section(
        "Many pictures of one person together",
        "The release gives all pictures of a person one number. So an attacker can take all pictures under one number "
        "together, and all their own photos of a person as well. How much the number of pictures matters is told here "
        "for searches in which nothing is learned; those who learn stand above, with all pictures. K counts people "
        "here, not pictures. Here the two halves of a person's photos are drawn twenty times and the odd photo is "
        "searched; above they are drawn once and the odd photo asks: so “all, all” is no repetition of it.",
        (measures.templates_grid(audit, only=audit.k),),
        (
            (
                "Found when pictures are taken together; dotted is blind guessing, K in so many people. Lines "
                "join the same attacker.",
                tuple(partial(figures.templates_figure, audit, network.name) for network in audit.networks),
            ),
        ),
        (measures.templates_grid(audit),),
    )


def _membership(audit: AuditRead) -> Section:
    return Section(
        "Did a photo train the model?",
        "Somebody holds a photo and the model that made the release, and asks whether that photo was among those that "
        "trained the model. This is about the people whose photos trained it, not about the people in the release. "
        "An average (AUC) near 0.5 may still hide a few who are named for certain: read the smallest share of wrongly "
        "accused.",
        (measures.membership_grid(audit),),
        (
            (
                "Members named against outsiders accused. Bars are intervals; dotted is chance.",
                (partial(figures.membership_figure, audit),),
            ),
        ),
    )


def _metadata(audit: AuditRead) -> Section:
    found = audit.metadata
    if found is None:
        return Section("Beside the pixels", "", ())
    there = f"{found.files:,} released files against {found.originals:,} originals."
    unreadable = f" {found.unreadable:,} could not be read." if found.unreadable else ""
    grid = tables.metadata_grid(audit)
    if not grid.rows:
        grid = Grid(grid.caption, ("Severity", "What was found"), (("none", "nothing was found"),))
    return Section(
        "Beside the pixels",
        f"What files, names, order, times and hidden fields tell, whatever the pictures look like: {there}{unreadable} "
        f"Critical gives a photo or person away; warning links or dates pictures; a note is told for completeness.",
        (grid,),
    )


def _networks(audit: AuditRead) -> Section:
    return Section(
        "The networks in the attackers' hands",
        "A weak network finds little, whatever was released: read what each found beside what it finds without "
        "protection. The loss network is the one that the generator was trained against; it may see more than others, "
        "or less.",
        (tables.networks_grid(audit),) if audit.networks else (),
    )


def _utility(points: Sequence[UtilityPoint]) -> Section:
    return Section(
        "Useful and given away",
        "A recogniser was trained on each set and tested on unprotected photos of other people: how good it is says "
        "how useful the set is. Beside it stands the worst case over the attackers that each set met in its own audit, "
        "seldom the same as here: compare the rows with one another, not with the headline above. Sets that met fewer "
        "attackers look better than they are.",
        (utility_grid(points),) if points else (),
        (
            (
                "Lower right is better: as useful, and giving people away less. Bars are intervals.",
                tuple(
                    partial(figures.utility_figure, points, protocol)
                    for protocol in dict.fromkeys(point.protocol for point in points)
                ),
            ),
        ),
    )


def glossary(audit: AuditRead, *, alone: bool = True) -> tuple[tuple[str, str], ...]:
    """The words that stand in the parts above, one line each; ``alone``: about one audit, whose tests are counted."""
    tested = f"the {audit.tests:,} numbers that were tested" if alone else "all numbers that its own audit tested"
    words = [
        (
            "Interval, [ ]",
            "The range in which the true value lies in 95 of 100 such audits, had other people been drawn; each for "
            "its number alone. Where fewer than ten people are found it is wider on purpose.",
        ),
        ("Network", "The face recognition program with which an attacker compares pictures."),
        ("Blind guessing", "What drawing pictures without looking at them would find."),
        ("Control", "The same attack asked for the wrong person: what luck finds."),
        (
            "Distinguishable from chance",
            f"The attack beats blind guessing by more than it does when it asks for wrong people, allowing for "
            f"{tested}: of releases that give nobody away at most 5 in 100 would have "
            f"any number called so. It says that something leaks, not that it is much. Not distinguishable is no "
            f"evidence of safety; the upper end of the interval says what still fits.",
        ),
    ]
    if audit.membership or any(attack.open_set and attack.open_set.auc for attack in audit.attacks):
        inside = "How often somebody inside scores above somebody outside: 0.5 is blind, 1 sure"
        words.append(("AUC", f"{inside}; below 0.5 it is those outside who score higher."))
    words.append(("K", "How many guesses an attacker has: pictures, or people where pictures are taken together."))
    if any(attack.open_set for attack in audit.attacks):
        words.append(("TPIR at FPIR", "Members named, when at most that share of strangers is wrongly named."))
    if audit.linking:
        words.append(("TAR at FAR", "True pairs accepted, when at most that share of wrong pairs is accepted."))
        words.append(
            ("Equal error rate", "Where both kinds of mistakes are equally frequent: 50 % is blind, 0 % sure.")
        )
    if audit.unlinkability:
        words.append(("D_sys", "How much a comparison tells about who is who: 0 nothing, 1 everything."))
    if audit.membership:
        words.append(("TPR at FPR", "Training photos named, when at most that share of other photos is accused."))
    return tuple(words)
