"""What all figures share: the canvas, the colours and the bytes of the SVG.

Text and axes take the colour of the text around them (a file of its own follows the reader's light or dark setting);
data has mid-tones that keep apart under colour blindness (after Okabe and Ito), never colour alone.
"""

import hashlib
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from textwrap import fill
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GREEN = "#0b9a6d"
""" "Org. to Org.", as in the paper's figure 3."""
COLOURS = ("#d95f02", "#2f80c2", "#b45fa5", "#a8801a", "#4aa3c7", "#8a7d76", "#c0504d")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
INK = "#010203"
_STYLE = (
    "<style>.facemae-figure{color:#222}@media (prefers-color-scheme:dark){.facemae-figure{color:#ddd}}"
    "@media print{.facemae-figure{color:#000}}</style>"
)
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "facemae",
    "text.parse_math": False,
    "font.size": 9,
    "axes.titlesize": 10,
    "legend.fontsize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "grid.alpha": 0.18,
    "grid.color": INK,
    **{f"{part}.color": INK for part in ("text", "xtick", "ytick")},
    **{f"axes.{part}color": INK for part in ("edge", "label", "title")},
}


def wrapped(label: str, width: int = 44) -> str:
    """A label in lines of at most ``width`` letters."""
    return fill(label, width)


def legend(figure: "Figure", axes: "Axes", *, columns: int) -> None:
    """Labels beneath, with room of their own however many rows there are: points and curves may lie close."""
    handles, labels = axes.get_legend_handles_labels()
    lines = sum(1 + label.count("\n") for label in labels) / columns
    figure.set_figheight(figure.get_figheight() + 0.19 * (lines + 1))
    figure.legend(handles, labels, loc="outside lower left", ncols=columns)


@contextmanager
def canvas(panels: int, width: float, height: float) -> Iterator[tuple["Figure", list["Axes"]]]:
    """A figure and its panels, three to a line, under our settings; no display and no global state."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(panels, 3)
    lines = -(-panels // columns)
    with rc_context(_SETTINGS):
        figure = Figure(figsize=(width * columns, height * lines), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure, [figure.add_subplot(lines, columns, place + 1) for place in range(panels)]


def svg_text(figure: "Figure", description: str) -> str:
    """The figure's SVG without prologue, with ids of its own, so that several stand in one page."""
    stream = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(stream, format="svg", transparent=True, metadata=nothing)
    body = stream.getvalue().partition("<svg ")[2].replace(INK, "currentColor")
    mark = "f" + hashlib.sha256(body.encode()).hexdigest()[:8]
    body = re.sub(r'\bid="', f'id="{mark}-', body)
    body = re.sub(r'(href="|url\()#', rf"\g<1>#{mark}-", body)
    head, _, rest = body.partition(">")
    size = re.sub(r'\b(width|height)="([\d.]+)pt"', r'\1="\2"', head)
    named = f'class="facemae-figure" role="img" aria-label="{escape(description)}"'
    return f"<svg {named} {size}>\n<title>{escape(description)}</title>{_STYLE}{rest}"
