"""`report.html`: one page that needs nothing else, and `write_report`, which puts it beside its numbers."""

import base64
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from facemae.report import tables, wording
from facemae.report.figures import accuracy_figure, leakage_figure, loss_figure, plane_figure
from facemae.report.markdown import results_markdown
from facemae.report.page import drawn, render, unbroken, write_text
from facemae.report.selection import judges, leading, protocols, shown_ks
from facemae.spec.results import Results, RowResult, WorstResult, write_results

Box = tuple[float, float, float, float]
"""Left, top, width and height as shares of the side."""


@dataclass(frozen=True)
class PictureGrid:
    """The same faces in several sets: ``rows[face][set]`` is a PNG file's bytes, ``labels`` name the sets.

    ``boxes[set]`` are drawn over the pictures of a set: the eyes and the mouth of figure 4.
    """

    labels: tuple[str, ...]
    rows: tuple[tuple[bytes, ...], ...]
    boxes: tuple[tuple[Box, ...], ...] = ()

    def __post_init__(self) -> None:
        assert all(len(row) == len(self.labels) for row in self.rows), "a picture for every label in every row"
        assert len(self.boxes) in (0, len(self.labels)), "boxes for every set, or none at all"


@dataclass(frozen=True)
class Headline:
    """What the page says first of one row, in words."""

    label: str
    utility: str
    privacy: str
    same_photo: str
    comparison: str


def report_html(results: Results, pictures: PictureGrid | None = None) -> str:
    """The whole page as text: style, figures and pictures inside, nothing fetched from anywhere."""
    return render("report.html.j2", **_content(results, pictures))


def write_report(
    directory: Path, results: Results, pictures: PictureGrid | None = None, *, name: str | None = None
) -> None:
    """Write `results.json`, `results.md` and `report.html` to ``directory``, each whole or not at all.

    With ``name``: `NAME.json`, `NAME.md` and `NAME.html`, so that several tables lie in one folder.
    """
    directory.mkdir(parents=True, exist_ok=True)
    write_results(directory / f"{name or 'results'}.json", results)
    write_text(directory / f"{name or 'results'}.md", results_markdown(results))
    write_text(directory / f"{name or 'report'}.html", report_html(results, pictures))


def _content(results: Results, pictures: PictureGrid | None) -> dict[str, Any]:
    ks = shown_ks(results)
    return {
        "results": results,
        "k": " or ".join(map(str, ks)),
        "headlines": [_headline(results, row) for row in leading(results)],
        "judge_count": len(judges(results)),
        "accuracy_figures": drawn(partial(accuracy_figure, results, protocols=(name,)) for name in protocols(results)),
        "leakage_figures": drawn(
            partial(leakage_figure, results, k=k, judges=(name,)) for k in ks for name in judges(results)
        ),
        "plane": drawn([partial(plane_figure, results)]),
        "loss_figures": drawn(partial(loss_figure, (run,)) for run in results.training),
        "accuracy": tables.accuracy_grid(results),
        "seeds": tables.seeds_grid(results),
        "leakage_summaries": [tables.leakage_summary(results, k) for k in ks],
        "worst": tables.worst_grid(results),
        "leakage": tables.leakage_grids(results),
        "open_set": tables.open_set_grid(results),
        "judges": tables.judges_grid(results),
        "paired": tables.paired_grid(results),
        "claims": tables.claims_grid(results),
        "training": tables.training_grid(results),
        "lineage": tables.lineage_grid(results),
        "hardware": tables.hardware_grid(results),
        "methods": tables.methods(results),
        "pictures": _blocks(pictures) if pictures and pictures.rows else None,
    }


def _headline(results: Results, row: RowResult) -> Headline:
    found, photo = row.worst, row.worst_same_photo
    return Headline(
        label=row.label,
        utility=unbroken(_utility(results, row)),
        privacy=unbroken(_privacy(found)) if found else "",
        same_photo=unbroken(_with_the_photo(photo)) if photo else "",
        comparison=unbroken(_comparison(found)) if found else "",
    )


def _utility(results: Results, row: RowResult) -> str:
    """Accuracy on the first protocol that the row has."""
    protocol = next((name for name in protocols(results) if name in row.accuracy), None)
    if protocol is None:
        return ""
    found = row.accuracy[protocol]
    cited = f" (the paper: {wording.printed(row.paper[protocol])})" if protocol in row.paper else ""
    reached = wording.accuracy(found.value, found.low, found.high)
    return f"A recogniser trained on this set reaches {reached} on {protocol}{cited}."


def _privacy(found: WorstResult) -> str:
    reach = "first guess" if found.k == 1 else f"first {found.k} guesses"
    measured = wording.rate(found.value, found.low, found.high)
    text = (
        f"The strongest of the attackers tried finds the right person within the {reach} for {measured} of the photos"
        f" (judge {found.embedder}, {found.attack}, {wording.count(found.identities)} people;"
        f" blind guessing: {wording.percent(found.chance)})."
    )
    return text + (f" {_sentence(found.verdict)}" if found.verdict.startswith("not ") else "")


def _with_the_photo(found: WorstResult) -> str:
    measured = wording.rate(found.value, found.low, found.high)
    return f"Whoever holds the very photo that a picture was made from finds its person for {measured} of the photos."


def _comparison(found: WorstResult) -> str:
    """Words only where the paired interval leaves out 0."""
    if found.unprotected is None or found.difference is None:
        return ""
    measured = (
        f"{wording.percent(found.unprotected.value)} of the photos of the unprotected set under the same judge"
        f" ({wording.difference(found.difference)} points)"
    )
    if found.difference.high < 0:
        return f"It gives people away less: the same attack succeeds for {measured}."
    if found.difference.low > 0:
        return f"It gives people away more: the same attack succeeds for {measured}."
    return f"No difference from the unprotected set is visible here: the attack succeeds for {measured}."


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."


def _blocks(pictures: PictureGrid) -> dict[str, Any]:
    """Faces in two halves that stand side by side where there is room."""
    faces = [[f"data:image/png;base64,{base64.b64encode(png).decode()}" for png in row] for row in pictures.rows]
    numbered = list(enumerate(faces, start=1))
    half = -(-len(numbered) // 2) if len(numbered) > 4 else len(numbered)
    boxes = pictures.boxes or ((),) * len(pictures.labels)
    drawn = [[_style(box) for box in own] for own in boxes]
    halves = [part for part in (numbered[:half], numbered[half:]) if part]
    return {"labels": pictures.labels, "halves": halves, "boxes": drawn}


def _style(box: Box) -> str:
    names = ("left", "top", "width", "height")
    return ";".join(f"{name}:{100 * share:.2f}%" for name, share in zip(names, box, strict=True))
