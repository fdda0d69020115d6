"""Each number as it must read; tables that hold together; nothing empty left standing."""

import re

import pytest

from facemae.report import results_markdown
from facemae.report.wording import percent, points, printed, rate, relative
from facemae.spec.results import RELEASED, RelativeResult, Results


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
        (relative(RelativeResult(value=0.1667, low=0.1364, high=0.2008)), "0.17 [0.14, 0.20]"),
        (relative(None), "–"),
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
        "| Org. to released | exclude | 2 | 800 | 12.00 % [9.90, 14.30] | 480/4,000 | 0.17 [0.14, 0.20] | 0.26 % |"
        " 0.24 % |",
        "| FaceMAE | Org. to released | include | 4 | 800 | 38.00 % [35.90, 40.30] | 1,520/4,000 | 0.4",
        "| originals | Org. to Org. | exclude | 2 | 800 | 72.00 % [69.90, 74.30] | 2,880/4,000 | – | 0.26 % |",
        "| FaceMAE | Org. to released, judge phi | exclude | 2 | 11.50 % [8.40, 14.80] | 230/2,000 | 0.26 % | 71.00 % |"
        " -59.50 [-62.50, -56.50] |",
        "| Original | Org. to Org., judge phi | exclude | 2 | 71.00 % [67.90, 74.30] | 1,420/2,000 | 0.26 % | – | – |",
        "| FaceMAE | Org. to released | phi | 10 % | 6.12 % [4.01, 8.23] | 306/5,000 | 640 | 90 | 1.6 % |",
        "| FaceMAE | Org. to released | phi | 1 % | not measurable here | – | 640 | 90 | 1.6 % |",
        "**Leakage to judge phi, the loss network**",
        "| phi | the loss network: the generator was trained against it | lfw | 98.76 % [98.4, 99.1] |"
        " 5,926/6,000 | (1) |",
        "| judge-b | not the loss network | lfw | 95.43 % [95.0, 95.7] | 5,726/6,000 | (1) |",
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
    assert len(tables) == 12
    for table in tables:
        assert {len(_cells(line)) for line in table} == {len(_cells(table[0]))}


def test_unprotected_leakage_is_listed_once_a_judge_and_k(results: Results) -> None:
    """Each of three rows repeats it: 2 judges x 4 K are left."""
    assert results_markdown(results).count("| originals | Org. to Org. |") == 8


def test_family_wise_findings_do_not_make_it_another(results: Results) -> None:
    changed = results.rows[1].leakage[0].model_copy(update={"p_value": 0.9, "verdict": "another"})
    row = results.rows[1].model_copy(update={"leakage": (changed, *results.rows[1].leakage[1:])})
    text = results_markdown(results.model_copy(update={"rows": (results.rows[0], row, results.rows[2])}))
    assert text.count("| originals | Org. to Org. |") == 8


def test_probes_of_one_source_stand_in_the_detailed_tables_only(results: Results) -> None:
    assert "Probes from" not in results_markdown(results)
    some = (
        results.rows[2]
        .leakage[0]
        .model_copy(
            update={
                "attack": RELEASED,
                "k": 2,
                "subset": "celeba",
                "value": 0.0777,
                "low": 0.05,
                "high": 0.1,
                "curve": (),
            }
        )
    )
    row = results.rows[2].model_copy(update={"leakage": (*results.rows[2].leakage, some)})
    text = results_markdown(results.model_copy(update={"rows": (*results.rows[:2], row)}))
    assert "| FaceMAE | Org. to released | exclude | celeba | 2 | 800 | 7.77 % [5.00, 10.00] |" in text
    assert "| FaceMAE | Org. to released | exclude | all | 2 | 800 | 12.00 % [9.90, 14.30] |" in text
    assert text.count("7.77 %") == 1


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
