"""Figures of an audit, one SVG a network, so that they stand under one another on narrow screens.

Colour and marker belong to the attack and are the same in all figures, those of the strongest the easiest to tell
apart. A figure of searches shows the level without protection, plain search and the strongest others. "" where there is
nothing to draw.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from facemae.report.audit_measures import sides
from facemae.report.audit_models import AtK, Attack, CurvePoint, Operating, Rated, TemplateAt
from facemae.report.audit_names import attack_name
from facemae.report.audit_reading import AuditRead
from facemae.report.audit_utility import UtilityPoint
from facemae.report.drawing import COLOURS, GREEN, INK, MARKERS, canvas, legend, svg_text, wrapped
from facemae.spec.results import RELEASED, UNPROTECTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH, _HEIGHT = 4.4, 2.9

STRONGEST = 3
"""Attacks drawn with each network, of those who hold other photos and of those who hold the very photo."""

_Styles = Mapping[str, tuple[str, str]]
"""Colour and marker of every attack, made once a figure."""


@dataclass(frozen=True)
class _Curve:
    label: str
    colour: str
    marker: str
    points: tuple[tuple[float, Rated], ...]
    dashed: bool = False


def cmc_figure(audit: AuditRead, network: str) -> str:
    """Found within the first K, against K: the cumulative match characteristic, with intervals as bands."""
    mine = [attack for attack in audit.everybody if attack.embedder == network]
    ks = sorted({at.k for attack in mine for at in attack.at})
    if len(ks) < 2:
        return ""
    drawn = _strongest(mine, _found_most)
    styles = _styles(audit)
    curves = [_of(styles, attack, [(at.k, at) for at in attack.at]) for attack in drawn]

    def finish(axes: "Axes") -> None:
        axes.set_xticks(ks)
        axes.set_xlabel("first K guesses")
        axes.set_ylabel("person among them, %")

    chances = _chances(mine, lambda attack: [(at.k, at.chance) for at in attack.at])
    return _lines(f"Found within the first K guesses by {network}", _title(audit, network), curves, chances, finish)


def crowd_figure(audit: AuditRead, network: str) -> str:
    """Found at the page's K against the number of people."""
    mine = [a for a in audit.everybody if a.embedder == network and a.same_photo == "exclude" and a.curve]
    points_of = {id(attack): [point for point in attack.curve if point.k == audit.k] for attack in mine}
    shown = _strongest([a for a in mine if points_of[id(a)]], lambda attack: points_of[id(attack)][-1].value)
    drawn = [(attack, points_of[id(attack)]) for attack in shown]
    sizes = sorted({point.identities for _, points in drawn for point in points})
    if len(sizes) < 2:
        return ""
    styles = _styles(audit)
    curves = [_of(styles, attack, [(point.identities, point) for point in points]) for attack, points in drawn]

    def finish(axes: "Axes") -> None:
        axes.set_xscale("log" if sizes[-1] > 8 * sizes[0] else "linear")
        axes.set_xticks(sizes if len(sizes) <= 6 else sizes[:: len(sizes) // 5], minor=False)
        axes.minorticks_off()
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
        axes.set_xlabel("people in the set")
        axes.set_ylabel(f"found, K = {audit.k}, %")

    chances = _chances(shown, lambda attack: [(p.identities, p.chance) for p in points_of[id(attack)]])
    return _lines(
        f"Found at K = {audit.k} against people in the set, by {network}",
        _title(audit, network),
        curves,
        chances,
        finish,
    )


def linking_figure(audit: AuditRead, network: str) -> str:
    """True pairs accepted against wrong pairs accepted (TAR at FAR): points of the receiver's curve."""
    found = [(row.attack, row.same_photo, _measured(row.tar)) for row in audit.linking if row.embedder == network]
    return _operating(
        audit, network, found, "wrong pairs accepted (FAR), %", "true pairs accepted (TAR), %", chance=True
    )


def open_set_figure(audit: AuditRead, network: str) -> str:
    """Members named against strangers named (TPIR at FPIR): the detection error trade-off, misses counted as hits."""
    rows = [row for row in audit.everybody if row.open_set and row.embedder == network]
    mine = [(row, row.open_set) for row in _strongest(rows, _named_on_average) if row.open_set]
    x, y = "strangers named (FPIR), %", "members named (TPIR), %"
    if not any(len(found.curve) > 1 for _, found in mine):
        points = [(row.attack, row.same_photo, _measured(found.points)) for row, found in mine]
        return _operating(audit, network, points, x, y, chance=False)
    curves, styles = [], _styles(audit)
    for row, found in mine:
        colour, marker = styles[row.attack]
        told = tuple((100 * fpir, Rated(value=at, low=low, high=high)) for fpir, at, low, high in found.curve if fpir)
        curves.append(_Curve(_label(row.attack, row.same_photo), colour, marker, told, row.same_photo == "include"))

    def finish(axes: "Axes") -> None:
        axes.set_xscale("log")
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.xaxis.set_major_formatter(lambda at, _: f"{at:g}")
        axes.minorticks_off()

    return _lines(f"{y} against {x}, by {network}", _title(audit, network), curves, (), finish)


def membership_figure(audit: AuditRead) -> str:
    """Members named against outsiders accused (TPR at FPR)."""
    found = [(row.score, "exclude", _measured(row.points)) for row in audit.membership]
    return _operating(audit, "", found, "outsiders accused (FPR), %", "members named (TPR), %", chance=True)


def templates_figure(audit: AuditRead, network: str) -> str:
    """Found against how many pictures of a person are taken together, at the page's K or the nearest told."""
    rows = [row for row in audit.templates if row.embedder == network and row.at]
    if not rows:
        return ""
    ks = {at.k for row in rows for at in row.at}
    k = audit.k if audit.k in ks else min(ks)
    shown = {id(row): [at for at in row.at if at.k == k] for row in rows}
    sizes = list(dict.fromkeys(sides(at) for points in shown.values() for at in points))
    styles = _styles(audit)
    curves = [
        _of(styles, row, [(sizes.index(sides(at)), at) for at in shown[id(row)]]) for row in rows if shown[id(row)]
    ]

    def finish(axes: "Axes") -> None:
        axes.set_xticks(range(len(sizes)), [size.replace(", ", " in ") for size in sizes])
        axes.set_xlim(-0.4, len(sizes) - 0.6)
        axes.set_xlabel("photos asked with, in pictures of one number")
        axes.set_ylabel(f"person among {k}, %" if k > 1 else "person is the nearest, %")

    chances = [(float(sizes.index(sides(at))), at.chance) for at in shown[id(rows[0])]]
    return _lines(f"Found by all pictures together, by {network}", _title(audit, network), curves, chances, finish)


def utility_figure(points: Sequence[UtilityPoint], protocol: str) -> str:
    """Accuracy of a recogniser trained on each set against the worst case over attackers; lower right is better."""
    shown = [point for point in points if point.protocol == protocol]
    if not shown:
        return ""
    with canvas(1, 4.8, 3.4) as (figure, (axes,)):
        place = 0
        for point in shown:
            colour, marker = COLOURS[place % 7], MARKERS[(place + 1 + place // 7) % 7]
            if not point.protected:
                colour, marker = GREEN, "o"
            place += point.protected
            bars: dict[str, Any] = {"xerr": _bars(point.accuracy), "yerr": _bars(point.worst), "elinewidth": 1}
            size = 11 if point.here else 6
            name = wrapped(
                f"{point.label} (this release), K = {point.k}" if point.here else f"{point.label}, K = {point.k}"
            )
            x, y = 100 * point.accuracy.value, 100 * point.worst.value
            axes.errorbar(x, y, fmt=marker, color=colour, markersize=size, label=name, **bars)
        axes.set_ylim(bottom=0)
        axes.margins(x=0.14)
        axes.set_xlabel(f"accuracy on {protocol}, %  (right: more useful)")
        axes.set_ylabel("worst case, %  (down: less given away)")
        axes.grid()
        legend(figure, axes, columns=1)
        return svg_text(figure, f"Accuracy on {protocol} against the worst case over attackers, by set")


def _operating(
    audit: AuditRead,
    network: str,
    found: Iterable[tuple[str, str, list[tuple[float, Rated]]]],
    x: str,
    y: str,
    *,
    chance: bool,
) -> str:
    """Points with intervals at rates of false alarms; where points share a target they stand side by side."""
    rows = [row for row in found if row[2]]
    if not rows:
        return ""
    targets = sorted({target for _, _, points in rows for target, _ in points})
    styles = _styles(audit)
    with canvas(1, _WIDTH, _HEIGHT) as (figure, (axes,)):
        for place, (name, same_photo, points) in enumerate(rows):
            beside = 1.07 ** (place - (len(rows) - 1) / 2)
            at = [100 * target * beside for target, _ in points]
            values, bars = [100 * rate.value for _, rate in points], [_bars(rate) for _, rate in points]
            both = [[bar[side][0] for bar in bars] for side in (0, 1)]
            colour, marker = styles[name]
            line = "--" if same_photo == "include" else "-"
            axes.errorbar(
                at, values, yerr=both, fmt=line + marker, color=colour, capsize=3, label=_label(name, same_photo)
            )
        edges = [targets[0] / 1.8, targets[-1] * 1.8]
        if chance:
            # A line of many points: a straight one on paper is bent on a logarithmic axis.
            steps = [edges[0] * (edges[1] / edges[0]) ** (i / 60) for i in range(61)]
            axes.plot([100 * step for step in steps], [100 * step for step in steps], ":", color=INK, label="chance")
        axes.set_xscale("log")
        axes.set_xlim(100 * edges[0], 100 * edges[1])
        axes.set_xticks([100 * target for target in targets], [f"{100 * target:.4g}" for target in targets])
        axes.minorticks_off()
        axes.set_ylim(bottom=0)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.grid(axis="y")
        if network:
            axes.set_title(_title(audit, network))
        legend(figure, axes, columns=1)
        return svg_text(figure, f"{y} against {x}" + (f", by {network}" if network else ""))


def _lines(
    description: str,
    title: str,
    curves: Sequence[_Curve],
    chances: Sequence[tuple[float, float]],
    finish: Callable[["Axes"], None],
) -> str:
    with canvas(1, _WIDTH, _HEIGHT) as (figure, (axes,)):
        for curve in curves:
            points = sorted(curve.points, key=lambda point: point[0])
            x = [place for place, _ in points]
            low, value, high = ([100 * getattr(rate, edge) for _, rate in points] for edge in ("low", "value", "high"))
            line = "--" if curve.dashed else "-"
            # Markers of a dense curve would hide one another and the bands.
            every = max(1, len(x) // 4)
            look: dict[str, Any] = {"marker": curve.marker, "markersize": 4.5, "markevery": every}
            axes.plot(x, value, line, color=curve.colour, label=curve.label, **look)
            if len(x) > 1:
                axes.fill_between(x, low, high, color=curve.colour, alpha=0.16, linewidth=0)
            else:
                axes.vlines(x, low, high, color=curve.colour)
        if chances:
            places, levels = zip(*sorted(chances), strict=True)
            axes.plot(places, [100 * level for level in levels], ":", color=INK, linewidth=1.1, label="blind guessing")
        axes.set_ylim(bottom=0)
        axes.grid(axis="y")
        axes.set_title(title)
        finish(axes)
        legend(figure, axes, columns=1)
        return svg_text(figure, description)


def _of(styles: _Styles, row: Any, points: Sequence[tuple[float, AtK | CurvePoint | TemplateAt]]) -> _Curve:
    colour, marker = styles[row.attack]
    return _Curve(_label(row.attack, row.same_photo), colour, marker, tuple(points), row.same_photo == "include")


def _chances(
    attacks: Sequence[Attack], told: Callable[[Attack], Sequence[tuple[float, float]]]
) -> Sequence[tuple[float, float]]:
    """Blind guessing of the first attack on the release, else of the first."""
    return told(next((attack for attack in attacks if attack.attack != UNPROTECTED), attacks[0]))


def _styles(audit: AuditRead) -> _Styles:
    """Colour and marker of every attacker; unprotected is green."""
    panels = [[row for row in audit.everybody if row.embedder == network.name] for network in audit.networks]
    drawn = Counter(name for rows in panels for name in {row.attack for row in _strongest(rows, _found_most)})
    names = sorted((name for name in audit.names if name != UNPROTECTED), key=lambda name: -drawn[name])
    styles = {UNPROTECTED: (GREEN, "o")}
    for place, name in enumerate(dict.fromkeys([*names, *(row.score for row in audit.membership)])):
        # Eight attacks and more repeat a colour, but with another marker.
        styles[name] = COLOURS[place % 7], MARKERS[(place + 1 + place // 7) % 7]
    return styles


def _strongest(rows: Sequence[Attack], value: Callable[[Attack], float]) -> list[Attack]:
    """The level, plain search, and of either kind of knowledge those with the largest values, in their order."""
    kept = {id(row) for row in rows if row.attack == UNPROTECTED}
    kept |= {id(row) for row in rows if row.attack == RELEASED and row.same_photo == "exclude"}
    for held in ("exclude", "include"):
        others = [row for row in rows if row.same_photo == held and id(row) not in kept]
        kept |= {id(row) for row in sorted(others, key=value, reverse=True)[:STRONGEST]}
    return [row for row in rows if id(row) in kept]


def _found_most(attack: Attack) -> float:
    return max((at.value for at in attack.at), default=0.0)


def _named_on_average(attack: Attack) -> float:
    """Mean over what the open set tells of the members named: curves cross, and begin at different rates."""
    found = attack.open_set
    told = [at[1] for at in found.curve] or [point.rate.value for point in found.told if point.rate] if found else []
    return sum(told) / len(told) if told else 0.0


def _label(name: str, same_photo: str) -> str:
    return wrapped(attack_name(name, same_photo, short=True))


def _title(audit: AuditRead, network: str) -> str:
    phi = any(known.name == network and known.loss_network for known in audit.networks)
    return wrapped(f"{network} (the loss network)" if phi else network)


def _measured(points: Iterable[Operating]) -> list[tuple[float, Rated]]:
    return sorted(((point.target, point.rate) for point in points if point.rate), key=lambda point: point[0])


def _bars(rate: Any) -> list[list[float]]:
    return [[100 * (rate.value - rate.low)], [100 * (rate.high - rate.value)]]
