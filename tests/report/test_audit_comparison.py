"""Audits of several releases side by side: every number is one of theirs, in the row and column it belongs to."""

import copy

import pytest
from audits import between, brief, full

from facemae.errors import DataError
from facemae.report import comparison_markdown
from facemae.report.audit_reading import AuditRead
from facemae.spec.results import ReleasesResult

NAMED = "Searches that find the right person within the first 2 guesses, network {}"


def cells(page: str, caption: str) -> dict[str, list[str]]:
    """Rows of the table under ``caption``, by their first cell; the columns as the row "head"."""
    body = page.split(f"**{caption}**\n\n")[1].split("\n\n")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in body]
    return {"head": rows[0]} | {row[0]: row[1:] for row in rows[2:]}


def weaker() -> dict:
    """The same audit of a release that gives half as much away, without strangers and without its model."""
    found = copy.deepcopy(full())
    for attack in found["attacks"]:
        attack["open_set"] = None
        for at in attack["at"]:
            at["value"] /= 2
    found["membership"] = []
    found["not_run"].append({"attacker": "membership", "needs": "--process"})
    found["headline"] = found["headline"] | {"attack": "parrot", "embedder": "its own", "value": 0.05}
    return found


def test_each_release_has_its_column_and_its_worst_case() -> None:
    audits = {"One": AuditRead.model_validate(full()), "Other": AuditRead.model_validate(weaker())}
    page = comparison_markdown(audits, title="Both", note="A note.", made_by="Made by hand.")
    worst = cells(page, "Worst case within the first 2 guesses")
    assert worst["One"][0] == "cross-matcher, phi"
    assert worst["One"][1].startswith("11.50 %")
    assert worst["Other"][0] == "parrot, its own"
    assert worst["Other"][1].startswith("5.00 %")
    searches = cells(page, "Searches that find the right person within the first 2 guesses, network phi")
    assert searches["head"] == ["Attacker", "One", "Other"]
    assert [cell.split(" %")[0] for cell in searches["plain search"]] == ["8.00", "4.00"]
    strangers = cells(page, "Members named while 1.00 % of strangers are wrongly named (TPIR at FPIR)")
    assert strangers["head"] == ["Attacker", "One", "Other"]
    assert strangers["plain search, phi"][0].startswith("2.00 %")
    assert strangers["plain search, phi"][1] == "–"
    accepted = "True pairs accepted while 1.00 % of wrong pairs are, as by guessing 1.00 % of true ones (TAR at FAR)"
    pairs = cells(page, accepted)
    assert [cell[:7] for cell in pairs["photo and released picture, phi"]] == ["12.00 %", "12.00 %"]
    model = cells(page, "Was a photo among those that trained the model?")
    assert set(model) == {"head", "One"}
    assert cells(page, "Attackers that were not run")["membership in the model"] == ["--process", "Other"]
    assert page.startswith("# Both\n\nEvery release shows the same people")
    assert page.endswith("Made by hand.\n")


def test_each_release_is_told_in_a_sentence_of_its_own_numbers() -> None:
    audits = {"One": AuditRead.model_validate(full()), "Other": AuditRead.model_validate(weaker())}
    page = comparison_markdown(audits, title="Both")
    one, other = brief(page, "One"), brief(page, "Other")
    assert "about 12 of 100" in one
    assert "cross-matcher, network phi" in one
    assert "Beside the pixels, critical: names hold a word that belongs to one person" in one
    assert "about 5 of 100" in other
    assert "parrot, a network of its own" in other


def test_what_is_no_better_than_chance_is_marked_where_it_stands() -> None:
    blind = full()
    for attack in blind["attacks"]:
        for at in attack["at"]:
            at["verdict"] = "not distinguishable from chance"
    audits = {"Told": AuditRead.model_validate(full()), "Blind": AuditRead.model_validate(blind)}
    page = comparison_markdown(audits, title="Both")
    told, unknown = cells(page, "Searches that find the right person within the first 2 guesses, network phi")[
        "plain search"
    ]
    assert not told.endswith("†")
    assert unknown == f"{told} †"


def test_whom_too_few_strangers_met_is_named_below_the_table_and_has_no_row() -> None:
    few = full()
    for attack in few["attacks"]:
        if attack["attack"] == "Org. to released" and attack["open_set"]:
            for point in attack["open_set"]["points"]:
                point["measurable"] = False
    page = comparison_markdown({"Few": AuditRead.model_validate(few)}, title="Few")
    line = next(line for line in page.splitlines() if line.startswith("Too few strangers"))
    assert line.endswith(": plain search.")
    assert "| plain search, phi |" not in page.split("(TPIR at FPIR)**")[1].split("**")[0]
    assert "| cross-matcher, phi |" in page.split("(TPIR at FPIR)**")[1].split("**")[0]


def test_who_holds_the_photo_and_what_is_no_better_than_chance_is_said_in_the_sentence() -> None:
    found = full()
    found["headline"] |= {"same_photo": "include", "verdict": "not distinguishable from chance"}
    page = comparison_markdown({"One": AuditRead.model_validate(found)}, title="One")
    line = brief(page, "One")
    assert "Who holds the very photos that were protected: the strongest" in line
    assert "other photos of the people:" not in line
    assert "not distinguishable from chance, which is no proof of safety" in line


def test_a_network_that_only_one_audit_used_has_its_table() -> None:
    other = full()
    for attack in other["attacks"]:
        attack["embedder"] = attack["embedder"].replace("iresnet18", "vit_t")
    both = {"One": AuditRead.model_validate(full()), "Other": AuditRead.model_validate(other)}
    searches = cells(comparison_markdown(both, title="Both"), NAMED.format("vit_t"))
    assert searches["plain search"][0] == "–"
    assert searches["plain search"][1].startswith("7.20 %")


def test_no_audit_and_audits_about_other_numbers_of_guesses_get_one_line() -> None:
    with pytest.raises(DataError, match="audits side by side: got none"):
        comparison_markdown({}, title="None")
    other = full()
    other["headline"] |= {"k": 3}
    both = {"One": AuditRead.model_validate(full()), "Other": AuditRead.model_validate(other)}
    with pytest.raises(DataError, match="got K = 2, 3"):
        comparison_markdown(both, title="Both")


def test_where_nothing_was_found_beside_the_pixels_that_is_said() -> None:
    clean = full()
    clean["metadata"]["findings"] = []
    page = comparison_markdown({"Clean": AuditRead.model_validate(clean)}, title="Clean")
    assert "Nothing was found at: Clean." in page
    assert cells(page, "Traces beside the pixels")["–"][0] == "none"


def compared(*differences: ReleasesResult) -> str:
    both = {"One": AuditRead.model_validate(full()), "Other": AuditRead.model_validate(weaker())}
    return comparison_markdown(both, title="Both", differences=differences)


def test_two_releases_are_compared_by_their_paired_differences() -> None:
    page = compared(
        between(0.065, 0.02, 0.11),
        between(-0.01, -0.03, 0.01, same_photo="include"),
        between(-0.04, -0.05, -0.03, "plain search"),
        between(0.01, -0.02, 0.04, "plain search", embedder_a="iresnet18", embedder_b="iresnet18"),
    )
    worst = cells(page, "Worst case of the first less that of the second, in points")
    assert worst["One − Other"] == [
        *("+6.50 [+2.00, +11.00]", "4.50", "One"),
        *("-1.00 [-3.00, +1.00]", "2.00", "not told apart"),
    ]
    plainly = cells(page, "Plain search in the first less that in the second, in points; counted over everybody")
    assert plainly["head"] == ["First − second", "network phi", "network iresnet18"]
    assert plainly["One − Other"] == ["-4.00 [-5.00, -3.00]", "+1.00 [-2.00, +4.00], not told apart"]
    assert "told in the next part, not by whether their intervals here overlap" in page
    assert "‡" not in page


def test_without_the_photo_in_hand_there_is_no_column_for_it_and_more_is_found_in_the_second_below_zero() -> None:
    worst = cells(compared(between(-0.05, -0.08, -0.02)), "Worst case of the first less that of the second, in points")
    assert worst["head"] == ["First − second", "Difference", "Smallest that shows", "More is found in"]
    assert worst["One − Other"][-1] == "Other"


def test_people_less_searches_are_marked() -> None:
    page = compared(between(0.065, 0.02, 0.11, attack_a="template of retrieval (all images)"))
    worst = cells(page, "Worst case of the first less that of the second, in points")
    assert worst["One − Other"][0] == "+6.50 [+2.00, +11.00] ‡"
    assert "\n\n‡: unlike things are counted" in page


def test_without_differences_overlapping_intervals_tell_nothing_apart() -> None:
    page = compared()
    assert "This table does not tell apart releases whose intervals overlap." in page
    assert "Which releases differ" not in page


def test_what_more_people_in_the_set_change_stands_by_release_and_number() -> None:
    bare = weaker()
    for attack in bare["attacks"]:
        attack["curve"] = [point for point in attack["curve"] if point["identities"] != 50]
    page = comparison_markdown(
        {"One": AuditRead.model_validate(full()), "Other": AuditRead.model_validate(bare)}, title="Both"
    )
    strongest = cells(page, "The strongest attacker on each release: found within the first 2 guesses among")
    assert strongest["head"] == ["Release", "50 people", "200 people", "800 people"]
    # The audits' cross-matcher under phi finds 11.5 % of 800 people, 5 points more of 200 and 12 more of 50.
    shown = [cell.split(" [")[0] for cell in strongest["One: cross-matcher, phi"]]
    assert shown == ["23.50 %", "16.50 %", "11.50 %"]
    assert strongest["blind guessing, at most"] == ["4.00 %", "1.00 %", "0.25 %"]
    plainly = cells(page, "Plain search, network phi: found within the first 2 guesses among")
    assert [cell.split(" [")[0] for cell in plainly["One"]] == ["20.00 %", "13.00 %", "8.00 %"]
    assert [cell.split(" [")[0] for cell in plainly["Other"]] == ["–", "13.00 %", "8.00 %"]


def test_audits_without_a_curve_have_no_part_about_more_people() -> None:
    found = full()
    for attack in found["attacks"]:
        attack["curve"] = []
    page = comparison_markdown({"One": AuditRead.model_validate(found)}, title="One")
    assert "With more people in the set" not in page
