"""The page stands alone, says what was measured in plain words, and escapes what it is given."""

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from facemae.report import PictureGrid, report_html, write_report
from facemae.spec.results import Results, read_results

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Checks nesting as it goes; keeps headings, links, images and ids."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.links: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "action", "data")]
        self.ids += [given["id"] or ""] if "id" in given else []
        self.images += [given] if tag == "img" else []
        self.headings += [""] if tag == "h2" else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "h2":
            self.headings[-1] += data
        if not {"style", "title"} & set(self.open):
            self.words.append(data)


@pytest.fixture(scope="module")
def text(results: Results, pictures: PictureGrid) -> str:
    return report_html(results, pictures)


@pytest.mark.slow
def test_page_names_no_address_and_fetches_nothing(text: str) -> None:
    page = Page(text)
    assert "://" not in text
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in page.links)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert "@import" not in text
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))
    assert len(page.ids) == len(set(page.ids))


def test_page_has_every_part(text: str) -> None:
    page = Page(text)
    assert page.headings == [
        "Useful and given away",
        "Accuracy",
        "What an attacker finds",
        "People who are not in the set",
        "Pictures",
        "Claims and differences",
        "Judges",
        "How to read the numbers",
        "Training of the generators",
        "Made by",
    ]
    assert page.tags.count("svg") == 1 + 2 + 2 + 1


@pytest.mark.parametrize(
    "shown",
    [
        "A recogniser trained on this set reaches 93.21 % [92.6, 93.8] on lfw (the paper: 99.23 %).",
        "The strongest of the attackers tried finds the right person within the first 2 guesses for "
        "11.50 % [8.40, 14.80] of the photos (judge phi, Org. to released, 800 people; "
        "blind guessing: 0.26 %).",
        "It gives people away less: the same attack succeeds for 71.00 % of the photos of the unprotected set "
        "under the same judge (-59.50 [-62.50, -56.50] points).",
        "the very photo that a picture was made from finds its person for 31.00 % [27.90, 34.30] of the photos.",
        "measured lower bound: the worst of 2 judges and of the attacks that were run, chosen on one half of the "
        "people and measured on the other.",
        "12.00 % [9.90, 14.30], 0.17 [0.14, 0.20] of Org. to Org.",
        "96.12 % [95.5, 96.7]",
        "+2.87 [+1.05, +4.69]",
        "480/4,000",
        "reproduced",
        "ab12ab12ab12ab12",
        "x86_64",
    ],
)
def test_page_says_what_was_measured(text: str, shown: str) -> None:
    assert shown in " ".join(" ".join(Page(text).words).split())


def changed(results: Results, **worst: object) -> str:
    """The page when the worst of the last row says something else."""
    row = results.rows[2]
    assert row.worst is not None
    rows = (*results.rows[:2], row.model_copy(update={"worst": row.worst.model_copy(update=worst)}))
    return report_html(results.model_copy(update={"rows": rows}), None).replace("\u00a0", " ")


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (-0.62, -0.01, "It gives people away less: the same attack"),
        (-0.62, 0.01, "No difference from the unprotected set is visible here"),
        (0.01, 0.2, "It gives people away more: the same attack"),
    ],
)
@pytest.mark.slow
def test_headline_compares_by_the_paired_interval(results: Results, low: float, high: float, said: str) -> None:
    """The two rates' own intervals lie apart in all three."""
    found = results.rows[2].worst
    assert found is not None
    assert found.difference is not None
    text = changed(results, difference=found.difference.model_copy(update={"low": low, "high": high}))
    assert said in text
    assert text.count("the same attack succeeds") + text.count("here: the attack succeeds") == 1


@pytest.mark.slow
def test_headline_says_what_is_not_told_from_chance(results: Results) -> None:
    verdict = "not distinguishable from chance; leakage at most 14.30 % (chance 0.26 %)"
    text = changed(results, verdict=verdict)
    assert "Not distinguishable from chance; leakage at most 14.30 % (chance 0.26 %)." in text


@pytest.mark.slow
def test_headline_speaks_of_every_facemae_row_and_of_no_other(results: Results) -> None:
    blurred = results.rows[1].model_copy(update={"label": "Blurred to the sharpness of FaceMAE"})
    second = results.rows[2].model_copy(update={"label": "FaceMAE, anchored"})
    text = report_html(results.model_copy(update={"rows": (*results.rows, blurred, second)}), None)
    assert re.findall(r"<h3>(.*)</h3>", text) == ["FaceMAE", "FaceMAE, anchored"]


@pytest.mark.slow
def test_labels_are_escaped(results: Results, pictures: PictureGrid) -> None:
    hostile = "<b>FaceMAE</b><script>"
    rows = (*results.rows[:2], results.rows[2].model_copy(update={"label": hostile}))
    grid = PictureGrid(labels=('"><i>', *pictures.labels[1:]), rows=pictures.rows)
    page = Page(report_html(results.model_copy(update={"rows": rows, "title": hostile, "note": hostile}), grid))
    assert not {"b", "script", "i"} & set(page.tags)
    assert hostile in page.words
    assert page.images[0]["alt"] == 'Face 1, "><i>'


def test_pictures_are_the_bytes_given_and_described(text: str, pictures: PictureGrid) -> None:
    page = Page(text)
    shown = [base64.b64decode((image["src"] or "").partition(",")[2]) for image in page.images]
    assert shown == [png for row in pictures.rows for png in row]
    assert page.images[5]["alt"] == "Face 2, masked"


@pytest.mark.slow
def test_boxes_lie_over_the_pictures_of_their_set(results: Results, pictures: PictureGrid, text: str) -> None:
    eye, mouth = (0.25, 0.5, 0.125, 0.2), (1 / 3, 0.75, 0.4, 0.1)
    grid = PictureGrid(labels=pictures.labels, rows=pictures.rows, boxes=((), (), (eye,), (eye, mouth)))
    boxed = report_html(results, grid)
    assert 'class="box"' not in text
    cells = re.findall(r"<td>(<div class=\"face\">.*?)</td>", boxed)
    assert [cell.count('class="box"') for cell in cells] == [0, 0, 1, 2] * len(pictures.rows)
    assert cells[2].endswith(
        '<span class="box" style="left:25.00%;top:50.00%;width:12.50%;height:20.00%"></span></div>'
    )
    assert 'style="left:33.33%;top:75.00%;width:40.00%;height:10.00%"' in cells[3]
    # Nothing of the pictures themselves is touched.
    assert [image["src"] for image in Page(boxed).images] == [image["src"] for image in Page(text).images]


def test_tables_are_captioned_and_their_headings_scoped(text: str) -> None:
    assert text.count("<table>") == text.count("<caption")
    assert text.count("<th>") == 0


def test_nothing_empty_is_left_standing(bare: Results) -> None:
    page = Page(report_html(bare, None))
    assert page.headings == ["Accuracy", "How to read the numbers", "Made by"]
    assert page.tags.count("table") == 2
    assert "h3" not in page.tags
    assert "attacker" not in " ".join(page.words)


def test_words_promise_nothing(text: str) -> None:
    assert not re.search(r"anonym|\bproof\b|\bprove|cannot be inverted|guarantee", text.lower())


@pytest.mark.slow
def test_report_is_written_beside_its_numbers(
    results: Results, pictures: PictureGrid, text: str, tmp_path: Path
) -> None:
    out = tmp_path / "new" / "report"
    write_report(out, results, pictures)
    assert sorted(path.name for path in out.iterdir()) == ["report.html", "results.json", "results.md"]
    assert read_results(out / "results.json") == results
    assert json.loads((out / "results.json").read_bytes())["schema"] == 1
    assert (out / "report.html").read_text(encoding="utf-8") == text
