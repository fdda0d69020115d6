"""Figures draw what they are given, twice the same, as well-formed SVG."""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable

import pytest

from facemae.report import accuracy_figure, leakage_figure, loss_figure, plane_figure
from facemae.report.figures import GREEN
from facemae.spec.results import IMITATED, Results

DRAW: dict[str, Callable[[Results], str]] = {
    "leakage": lambda results: leakage_figure(results, k=2),
    "accuracy": accuracy_figure,
    "plane": plane_figure,
    "loss": lambda results: loss_figure(results.training),
}


def _texts(svg: str) -> str:
    return " ".join(
        "".join(node.itertext()) for node in ElementTree.fromstring(svg).iter() if node.tag.endswith("text")
    )


@pytest.mark.parametrize("name", DRAW)
@pytest.mark.slow
def test_svg_is_deterministic_and_well_formed(results: Results, name: str) -> None:
    svg = DRAW[name](results)
    assert svg == DRAW[name](results)
    assert ElementTree.fromstring(svg).attrib["role"] == "img"
    ids = re.findall(r'\bid="([^"]*)"', svg)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="|url\()#([^")]*)', svg)) <= set(ids)


@pytest.mark.parametrize("name", DRAW)
def test_nothing_to_draw_is_an_empty_text(bare: Results, name: str) -> None:
    assert bool(DRAW[name](bare)) == (name == "accuracy")


@pytest.mark.parametrize("name", ["leakage", "accuracy", "plane"])
def test_labels_are_neither_markup_nor_mathematics(results: Results, name: str) -> None:
    rows = (*results.rows[:2], results.rows[2].model_copy(update={"label": "<b> $x_1$ &"}))
    assert "<b> $x_1$ &" in _texts(DRAW[name](results.model_copy(update={"rows": rows})))


def test_leakage_has_one_panel_a_judge_and_the_curves_of_the_paper(results: Results) -> None:
    svg = leakage_figure(results, k=2)
    texts = _texts(svg)
    assert "judge phi (the loss network)" in texts
    assert "judge judge-b" in texts
    for label in (
        "Org. to Org.",
        "Org. to MAE",
        "Org. to FaceMAE",
        "dashed: the attacker imitates the process",
        "chance",
        "50",
        "200",
        "800",
    ):
        assert label in texts
    assert GREEN in svg
    assert "judge phi" not in _texts(leakage_figure(results, k=2, judges=("judge-b",)))
    assert leakage_figure(results, k=9) == ""


def test_a_row_about_an_imitation_is_one_curve_with_a_name(results: Results) -> None:
    """Its set's other attacks are those of the row about that set, and are not drawn twice."""
    about = next(row for row in results.rows if row.label == "FaceMAE")
    imitated = about.model_copy(update={"label": "imitated", "attack": IMITATED})
    both = results.model_copy(update={"rows": (*results.rows, imitated)})
    texts = _texts(leakage_figure(both, k=2, judges=("phi",)))
    assert "imitated" in texts
    assert "Org. to FaceMAE" in texts
    assert "Org. to imitated" not in texts
    alone = results.model_copy(update={"rows": (results.rows[0], imitated)})
    assert "Org. to imitated" in _texts(leakage_figure(alone, k=2, judges=("phi",)))


def test_leakage_without_curves_stands_at_all_identities(results: Results) -> None:
    rows = tuple(
        row.model_copy(update={"leakage": tuple(found.model_copy(update={"curve": ()}) for found in row.leakage)})
        for row in results.rows
    )
    texts = _texts(leakage_figure(results.model_copy(update={"rows": rows}), k=2))
    assert "800" in texts
    assert "200" not in texts


def test_probes_of_one_source_are_in_no_figure(results: Results) -> None:
    row = results.rows[2]
    some = tuple(found.model_copy(update={"subset": "celeba", "value": 0.99}) for found in row.leakage)
    rows = (*results.rows[:2], row.model_copy(update={"leakage": (*row.leakage, *some)}))
    assert leakage_figure(results.model_copy(update={"rows": rows})) == leakage_figure(results)


def test_plane_places_rows_by_their_worst_on_the_other_half(results: Results) -> None:
    """Marks at (96.12, 71), (90.34, 9.5) and (93.21, 11.5): spaced on the page as these numbers are, y downwards."""
    svg = plane_figure(results)
    body = svg[: svg.index("legend_1")]
    marks = re.findall(r'<use [^>]*x="([\d.]+)" y="([\d.]+)" style="fill: (?!currentColor)', body)
    (x0, y0), (x1, y1), (x2, y2) = ((float(x), float(y)) for x, y in marks)
    assert (x2 - x1) / (x0 - x1) == pytest.approx((93.21 - 90.34) / (96.12 - 90.34), abs=1e-3)
    assert (y1 - y2) / (y1 - y0) == pytest.approx((11.5 - 9.5) / (71 - 9.5), abs=1e-3)


def test_loss_leaves_out_entries_without_points(results: Results) -> None:
    assert loss_figure([{"name": "a"}, {"name": "b", "steps": [1, 2], "loss": [1.0]}]) == ""
    assert "facemae-model" in _texts(loss_figure([{"name": "a"}, *results.training]))
