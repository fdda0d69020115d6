"""What every attacker found, by what they hold and take together: the tables that a reader of an audit meets first."""

from collections.abc import Callable, Iterable

from facemae.report.audit_matrices import FALSE_ALARMS
from facemae.report.audit_models import AtK, Attack, Operating, TemplateAt
from facemae.report.audit_names import (
    attack_name,
    inner_attack,
    luck,
    never_run,
    says,
    taken_together,
    with_network,
    within,
)
from facemae.report.audit_reading import AuditRead
from facemae.report.audit_tables import rate_cell
from facemae.report.tables import Grid, without_empty
from facemae.report.wording import ABSENT, percent, rate
from facemae.spec.results import EVERYBODY, ITS_OWN, NO_NETWORK, RELEASED, UNPROTECTED

HELD = {"exclude": "other photos of the person", "include": "the very photos that were protected"}
"""What an attacker holds, by ``same_photo``."""

TOGETHER = (
    "one photo, single pictures",
    "all their photos, single pictures",
    "all their photos, all pictures of a number",
)
"""What an attacker takes together, of their own photos and of the release, by ``taken_together``."""

Cell = tuple[tuple[float, float], str]
"""What to compare by (fewer strangers first, then the rate), and how it is printed."""


def found_grid(audit: AuditRead, same_photo: str) -> Grid:
    """Found within the page's K by the network that finds most, attackers against what they take together."""

    def found(attack: Attack) -> Cell | None:
        at = attack.shown(audit.k)
        return ((0.0, at.value), _told(at, attack.embedder)) if at else None

    cells = _gathered(audit, same_photo, found)
    if same_photo == "exclude" and (level := _level_together(audit)):
        cells.setdefault(UNPROTECTED, {})[2] = level
    lines = _lines(cells)
    if lines:
        lines += (("blind guessing", *(_blind(audit, same_photo, place) for place in range(len(TOGETHER)))),)
    caption = f"Found {within(audit.k)} by who holds {HELD[same_photo]}, with the network that finds most"
    return without_empty(Grid(caption, ("Attacker", *map(str.capitalize, TOGETHER)), lines))


def named_strangers_grid(audit: AuditRead, same_photo: str) -> Grid:
    """Members named rightly at few strangers named, by the network that names most."""

    def found(attack: Attack) -> Cell | None:
        point = fewest_point(attack)
        if point is None:
            return ((0.0, 0.0), "not measurable") if attack.open_set and attack.open_set.told else None
        return _named(point, attack.embedder)

    caption = f"Members named by who holds {HELD[same_photo]}, with the network that names most"
    lines = _lines(_gathered(audit, same_photo, found))
    return without_empty(Grid(caption, ("Attacker", *map(str.capitalize, TOGETHER)), lines))


def fewest_point(attack: Attack) -> Operating | None:
    """What an attack names at ``FALSE_ALARMS``, or at the least share of strangers above it that can be measured."""
    told = attack.open_set.told if attack.open_set else ()
    points = [point for point in told if point.rate and point.target >= FALSE_ALARMS]
    return min(points, key=lambda point: point.target, default=None)


def sources_grid(audit: AuditRead) -> Grid:
    """Found by single photos of each source of the originals, by the attack and network that find most there."""
    sources = dict.fromkeys(attack.subset for attack in audit.attacks if attack.subset != EVERYBODY)
    lines = []
    for source in sources:
        best: dict[str, Cell] = {}
        for attack in audit.attacks:
            at = attack.shown(audit.k)
            if attack.subset == source and attack.attack != UNPROTECTED and at:
                who = with_network(attack.attack, attack.embedder, attack.same_photo)
                cell = (0.0, at.value), f"{rate_cell(at)} ({who})"
                best[attack.same_photo] = max(cell, best.get(attack.same_photo, cell))
        lines.append((source, *(best[held][1] if held in best else ABSENT for held in HELD)))
    columns = ("Photos from", *(f"With {held}" for held in HELD.values()))
    return without_empty(Grid(f"Found {within(audit.k)} by photos of each source", columns, tuple(lines)))


def who_grid(audit: AuditRead) -> Grid:
    """Who each attacker is and what they own, every one once; those that were not run with what was missing."""
    names = dict.fromkeys(_single(attack.attack) for attack in audit.everybody)
    lines = [(attack_name(name, short=True), says(audit, name) or ABSENT) for name in names]
    lines += [(never_run(one.attacker), f"not run; needs {one.needs}") for one in audit.not_run]
    return Grid("Who attacks, and what they own", ("Attacker", "Who"), tuple(lines))


def attacks_by_network_grid(audit: AuditRead) -> Grid:
    """What every attack found with each network."""
    networks = [network.name for network in audit.networks]
    cells: dict[tuple[str, str], dict[str, AtK]] = {}
    for attack in audit.everybody:
        at = attack.shown(audit.k)
        found = cells.setdefault((attack.attack, attack.same_photo), {})
        if at:
            found[attack.embedder] = at
    lines = []
    for (name, same_photo), by_network in cells.items():
        # Blind guessing does not look at the faces: it is the same for every network.
        chance = next((percent(at.chance) for at in by_network.values()), ABSENT)
        rates = (rate_cell(by_network[network]) if network in by_network else ABSENT for network in networks)
        lines.append((attack_name(name, same_photo), *rates, chance))
    headings = (
        f"{network.name} (loss network)" if network.loss_network else network.name for network in audit.networks
    )
    caption = f"Searches that find the right person {within(audit.k)}, by attacker and network"
    return Grid(caption, ("Attacker", *headings, "Blind guessing"), tuple(lines))


def _gathered(audit: AuditRead, same_photo: str, found: Callable[[Attack], Cell | None]) -> dict[str, dict[int, Cell]]:
    """Of every attacker, by place in ``TOGETHER``, the cell of the network with the largest rate."""
    cells: dict[str, dict[int, Cell]] = {}
    for attack in audit.everybody:
        cell = found(attack) if attack.same_photo == same_photo else None
        if cell is None:
            continue
        places = cells.setdefault(_single(attack.attack), {})
        place = taken_together(attack.attack)
        places[place] = max(cell, places.get(place, cell))
    return cells


def _lines(cells: dict[str, dict[int, Cell]]) -> tuple[tuple[str, ...], ...]:
    def row(places: dict[int, Cell]) -> Iterable[str]:
        return (places[place][1] if place in places else ABSENT for place in range(len(TOGETHER)))

    return tuple((attack_name(name, short=True), *row(places)) for name, places in cells.items())


def _single(name: str) -> str:
    """The attacker of one photo and single pictures, by the name of the audit."""
    return inner_attack(name) or name


def _blind(audit: AuditRead, same_photo: str, place: int) -> str:
    """Chance of the attacks on the release that take so much together; of the level alone where there are none."""
    asked = [one for one in audit.everybody if one.same_photo == same_photo and taken_together(one.attack) == place]
    asked.sort(key=lambda attack: attack.attack != RELEASED)
    found = (at for attack in asked if (at := attack.shown(audit.k)))
    return next((percent(at.chance) for at in found), ABSENT)


def _level_together(audit: AuditRead) -> Cell | None:
    """What is found without protection where all photos of a person are taken together on both sides."""
    best = [
        ((0.0, at.value), _told(at, row.embedder))
        for row in audit.templates
        if row.attack == UNPROTECTED and row.same_photo == "exclude"
        for at in row.at
        if at.k == audit.k and at.whole
    ]
    return max(best, default=None)


def _told(found: AtK | TemplateAt, network: str) -> str:
    return f"{rate_cell(found)}{_with(network)}{luck(found.verdict)}"


def _named(point: Operating, network: str) -> Cell:
    assert point.rate is not None
    at = f" at {100 * point.target:.2g} % of strangers"
    told = f"{rate(point.rate.value, point.rate.low, point.rate.high)}{at}{_with(network)}{luck(point.verdict)}"
    return (-point.target, point.rate.value), told


def _with(network: str) -> str:
    return {NO_NETWORK: "", ITS_OWN: ""}.get(network, f", {network}")
