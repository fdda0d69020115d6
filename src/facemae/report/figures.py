"""Figures as SVG text: the same results give the same bytes, and the colours stand on paper and on dark screens.

Text and axes take the colour of the text around them (a file of its own follows the reader's light or dark setting);
data has mid-tones that keep apart under colour blindness, never colour alone.
Every function answers "" where there is nothing to draw.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from facemae.report.drawing import COLOURS, GREEN, INK, MARKERS, canvas, legend, svg_text, wrapped
from facemae.report.selection import Owned, is_loss_network, is_original, judges, leakages, protocols
from facemae.spec.results import (
    IMITATED,
    RELEASED,
    SHOWN_K,
    UNPROTECTED,
    CurveResult,
    LeakageResult,
    RateResult,
    Results,
    WorstResult,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def leakage_figure(results: Results, *, k: int = SHOWN_K, judges: Sequence[str] | None = None) -> str:
    """Leakage against the number of identities, one panel a judge (all judges where none are named)."""
    curves = [c for c in leakages(results) if c.found.k == k and c.found.same_photo == "exclude"]
    shown = [name for name in judges or _judges(results) if any(c.found.embedder == name for c in curves)]
    if not shown:
        return ""
    with canvas(len(shown), 4.4, 2.9) as (figure, panels):
        for axes, judge in zip(panels, shown, strict=True):
            mine = [curve for curve in curves if curve.found.embedder == judge]
            _leakage_panel(axes, mine, _styles(results))
            axes.set_title(f"judge {judge}" + (" (the loss network)" if is_loss_network(results, judge) else ""))
            axes.set_ylabel(f"person among the {k} nearest, %" if k > 1 else "person is the nearest, %")
        legend(figure, panels[0], columns=min(len(shown), 3))
        return svg_text(figure, f"Leakage at K = {k} against the number of identities, to {', '.join(shown)}")


def accuracy_figure(results: Results, *, protocols: Sequence[str] | None = None) -> str:
    """Accuracy of every row with its interval, one panel a protocol; small dots are single seeds."""
    shown = list(protocols or _protocols(results))
    if not shown:
        return ""
    labels = [wrapped(row.label, 22) for row in results.rows]
    with canvas(len(shown), 4.4, 0.9 + 0.42 * len(labels)) as (figure, panels):
        for axes, protocol in zip(panels, shown, strict=True):
            for place, row in enumerate(results.rows):
                if protocol in row.accuracy:
                    found, colour = row.accuracy[protocol], _styles(results)[row.label][0]
                    axes.errorbar(100 * found.value, place, xerr=_bars(found), fmt="o", color=colour, capsize=3)
                    each = [100 * seed.accuracy for seed in row.seeds.get(protocol, ())]
                    axes.plot(each, [place + 0.24] * len(each), ".", color=colour, markersize=4, alpha=0.75)
            axes.set_yticks(range(len(labels)), labels)
            axes.set_ylim(len(labels) - 0.4, -0.6)
            axes.set_xlabel(f"accuracy on {protocol}, %")
            axes.grid(axis="x")
        return svg_text(figure, f"Accuracy of every row on {', '.join(shown)}, with intervals and seeds")


def plane_figure(results: Results) -> str:
    """Utility against privacy: accuracy on the first protocol, and the worst leakage over attacks and judges.

    The worst is chosen on one half of the people and shown for the other. Originals stand at "Org. to Org.", everything
    else at what was released; lower right is better.
    """
    protocol = next(iter(_protocols(results)), "")
    spots = [(row, row.accuracy[protocol], row.worst) for row in results.rows if row.worst and protocol in row.accuracy]
    if not spots:
        return ""
    k = spots[0][2].k
    with canvas(1, 4.8, 3.4) as (figure, (axes,)):
        for row, accuracy, found in spots:
            colour, marker = _styles(results)[row.label]
            x, y = 100 * accuracy.value, 100 * found.value
            bars: dict[str, Any] = {"xerr": _bars(accuracy), "yerr": _bars(found), "elinewidth": 1}
            axes.errorbar(x, y, fmt=marker, color=colour, label=wrapped(row.label), **bars)
        axes.set_ylim(bottom=0)
        axes.margins(x=0.14)
        axes.set_xlabel(f"accuracy on {protocol}, %  (right: more useful)")
        axes.set_ylabel(f"worst leakage at K = {k}, %  (down: less given away)")
        axes.grid()
        legend(figure, axes, columns=1)
        return svg_text(figure, f"Accuracy on {protocol} against the worst leakage at K = {k}, by row")


def loss_figure(training: Iterable[Mapping[str, Any]]) -> str:
    """Loss over image-steps of every entry that has ``name``, ``steps`` and ``loss``; one panel each."""
    runs = [run for run in training if run.get("steps") and len(run["steps"]) == len(run.get("loss", ()))]
    if not runs:
        return ""
    with canvas(len(runs), 3.2, 2.3) as (figure, panels):
        for axes, run in zip(panels, runs, strict=True):
            axes.plot(run["steps"], run["loss"], color=COLOURS[1], linewidth=1.2)
            # Losses fall by orders of magnitude at first, and what matters is whether they still fall at the end.
            axes.set_yscale("log" if min(run["loss"]) > 0 and max(run["loss"]) > 5 * min(run["loss"]) else "linear")
            _plain_ticks(axes)
            axes.set_title(wrapped(str(run.get("name", "")), 34))
            axes.set_xlabel("image-steps")
            axes.set_ylabel("loss")
            axes.grid()
        return svg_text(figure, f"Training loss of {', '.join(str(run.get('name', '')) for run in runs)}")


_judges, _protocols = judges, protocols


def _leakage_panel(axes: "Axes", curves: list[Owned[LeakageResult]], styles: Mapping[str, tuple[str, str]]) -> None:
    sizes: set[int] = set()
    chances: list[tuple[int, float]] = []
    drawn = Counter(curve.owner for curve in curves)
    for owner, found in ((curve.owner, curve.found) for curve in curves):
        colour, marker = (GREEN, "o") if found.attack == UNPROTECTED else styles[owner]
        line = "-" if found.attack in (UNPROTECTED, RELEASED) else "--"
        # Without a curve there is one number of identities: all of them.
        points: Sequence[CurveResult | LeakageResult] = found.curve or (found,)
        points = sorted(points, key=lambda point: point.identities)
        x = [point.identities for point in points]
        low, value, high = ([100 * getattr(point, edge) for point in points] for edge in ("low", "value", "high"))
        label = _curve_label(owner, found.attack, alone=drawn[owner] == 1)
        axes.plot(x, value, line, marker=marker, markersize=4.5, color=colour, label=label)
        if len(x) > 1:
            axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
        else:
            axes.vlines(x, low, high, color=colour)
        sizes |= set(x)
        if not chances or found.attack == RELEASED:
            chances = [(point.identities, 100 * point.chance) for point in points]
    if any(curve.found.attack == IMITATED for curve in curves):
        axes.plot([], [], "--", color=INK, label="dashed: the attacker imitates the process")
    style: dict[str, Any] = {"color": INK, "linewidth": 1.1, "alpha": 0.8, "label": "chance"}
    if len(chances) > 1:
        axes.plot(*zip(*chances, strict=True), ":", **style)
    else:
        axes.axhline(chances[0][1], linestyle=":", **style)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("identities")
    axes.grid(axis="y")
    _identity_axis(axes, sorted(sizes))


def _identity_axis(axes: "Axes", sizes: list[int]) -> None:
    if sizes[-1] > 8 * sizes[0]:
        axes.set_xscale("log")
    if len(sizes) <= 6:
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.minorticks_off()


def _curve_label(owner: str, attack: str, *, alone: bool = False) -> str:
    """``alone``: nothing else of this row is drawn."""
    if attack == UNPROTECTED:
        return UNPROTECTED
    if attack == RELEASED:
        return wrapped(f"Org. to {owner}")
    # One entry for all imitations, in _leakage_panel: they share colour and marker with their row.
    if attack == IMITATED:
        return wrapped(owner) if alone else "_"
    return wrapped(f"{owner}: {attack}")


def _styles(results: Results) -> dict[str, tuple[str, str]]:
    """Colour and marker of every row, the same in all figures; unprotected rows are green."""
    styles, place = {}, 0
    for row in results.rows:
        if is_original(row):
            styles[row.label] = (GREEN, "o")
        else:
            # Eight rows and more repeat a colour, but with another marker.
            styles[row.label] = (COLOURS[place % 7], MARKERS[(place + 1 + place // 7) % 7])
            place += 1
    return styles


def _bars(rate: RateResult | WorstResult) -> list[list[float]]:
    return [[100 * (rate.value - rate.low)], [100 * (rate.high - rate.value)]]


def _plain_ticks(axes: "Axes") -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x / 1000:g}k" if x >= 1000 else f"{x:g}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.3g}"))
    low, high = axes.get_ylim()
    # Less than a decade may hold no power of ten: the minor ticks then carry the numbers.
    minor = FuncFormatter(lambda y, _: f"{y:.3g}") if axes.get_yscale() == "log" and high < 10 * low else None
    axes.yaxis.set_minor_formatter(minor or NullFormatter())
