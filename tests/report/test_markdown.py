"""Each number as it must read; tables that hold together; nothing empty left standing."""

import re

import pytest

from facemae.report import results_markdown
from facemae.report.tables import percent, points, printed, rate
from facemae.spec.results import Results


def _tables(text: str) -> list[list[str]]:
    return [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (percent(0.9612), "96.12 %"),
        (percent(0), "0.00 %"),
        (percent(0.00001), "< 0.01 %"),
        (rate(0.12, 0.099, 0.143), "12.00 % [9.90, 14.30]"),
        (points(0.0287), "+2.87"),
        (points(-0.00001), "+0.00"),
        (points(-0.0105), "-1.05"),
        (printed(0.9923), "99.23 %"),
        (printed(97.62), "97.62 %"),
    ],
)
def test_numbers_read_as_written(words: str, expected: str) -> None:
    assert words == expected


@pytest.mark.parametrize(
    "shown",
    [
        "96.12 % [95.5, 96.7] | 99.35 %",
        "90.34 % [89.7, 90.9] | 97.62 %",
        "90.14 % (seed 0), 90.34 % (seed 1), 90.54 % (seed 2) | 17,000/18,000 | (1) |",
        "| FaceMAE | Org. to released | exclude | 2 | 800 | 12.00 % [9.90, 14.30] | 480/4,000 | 0.26 % | 0.24 % |",
        "| FaceMAE | Org. to released | include | 4 | 800 | 38.00 % [35.90, 40.30] | 1,520/4,000 | 0.52 % |",
        "| FaceMAE | Org. to released | phi | 10 % | 6.12 % [4.01, 8.23] | 306/5,000 | 640 | 90 | 1.6 % |",
        "| FaceMAE | Org. to released | phi | 1 % | not measurable here | – | 640 | 90 | 1.6 % |",
        "**Leakage to judge phi, the loss network**",
        "| phi | the loss network: the generator was trained against it | 98.76 % |",
        "| judge-b | not the loss network | 95.43 % |",
        "| FaceMAE | MAE | accuracy on lfw | +2.87 [+1.05, +4.69] | 1.82 | (3) |",
        "than MAE | FaceMAE | MAE | accuracy on lfw | +2.87 [+1.05, +4.69] | reproduced |",
        "- (1) bootstrap over people within folds, 1000 replicates, 95%",
        "| 5,400,000 | random | pixel 0, instance 1, relation 1 | 640,000 | loss 0.4123, instance 0.2512,",
        "| people | import | data:faces | ab12ab12ab12ab12 |",
        "facemae reproduce real-small --data shared",
        "Digest `" + "0123456789abcdef" * 4 + "`",
        "| threads | 2 |",
    ],
)
def test_every_number_appears(results: Results, shown: str) -> None:
    assert shown in results_markdown(results)


def test_paper_figures_of_unmeasured_protocols_have_their_column(results: Results) -> None:
    header, _, original, *_ = _tables(results_markdown(results))[0]
    assert dict(zip(_cells(header), _cells(original), strict=True))["agedb, paper only"] == "94.73 %"


def test_tables_have_equal_column_counts(results: Results) -> None:
    awkward = results.model_copy(
        update={"rows": tuple(r.model_copy(update={"label": f"{r.label} | a\nb"}) for r in results.rows)}
    )
    tables = _tables(results_markdown(awkward))
    assert len(tables) == 11
    for table in tables:
        assert {len(_cells(line)) for line in table} == {len(_cells(table[0]))}


def test_unprotected_leakage_is_listed_once_a_judge_and_k(results: Results) -> None:
    """Each of three rows repeats it: 2 judges x 4 K are left."""
    assert results_markdown(results).count("| originals | Org. to Org. |") == 8


def test_unprotected_leakage_that_differs_is_kept(results: Results) -> None:
    changed = results.rows[1].leakage[0].model_copy(update={"hits": 1})
    row = results.rows[1].model_copy(update={"leakage": (changed, *results.rows[1].leakage[1:])})
    text = results_markdown(results.model_copy(update={"rows": (results.rows[0], row, results.rows[2])}))
    assert text.count("| originals | Org. to Org. |") == 9


def test_nothing_empty_is_left_standing(bare: Results) -> None:
    text = results_markdown(bare)
    headings = re.findall(r"^## (.*)$", text, flags=re.MULTILINE)
    assert headings == ["Accuracy", "Methods of the intervals", "Made by"]
    assert "Sharpness" not in text
    assert "paper" not in text
    assert "| Alone | alone | 90.00 % [89.4, 90.6] |" in text
