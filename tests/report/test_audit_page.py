"""The report of an audit says what was measured, first of all the worst case, and nothing else."""

import base64
import copy
import io
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from audits import CROSS, DIGEST, attack, bare, empty, full, headline, rated, templates, written
from PIL import Image
from test_html import Page

from facemae.errors import DataError
from facemae.report import UtilityPoint, utility_points, write_audit_report
from facemae.report.audit_attackers import sources_grid
from facemae.report.audit_figures import cmc_figure, crowd_figure, linking_figure, templates_figure
from facemae.report.audit_markdown import audit_card
from facemae.report.audit_names import share
from facemae.report.audit_reading import AuditRead
from facemae.spec.results import RELEASED, UNPROTECTED, Results

CONTENTS = {"full": full, "bare": bare, "empty": empty}
FILES = ["audit-card.md", "audit.html", "audit.md"]


def reported(where: Path, content: dict[str, Any], **more: Any) -> tuple[str, str, str]:
    """The card, the page and the Markdown file."""
    write_audit_report(written(where / "audit", content), where / "out", **more)
    assert sorted(path.name for path in (where / "out").iterdir()) == FILES
    card, page, text = ((where / "out" / name).read_text(encoding="utf-8") for name in FILES)
    return card, page.replace("\u00a0", " "), text


def card_of(content: dict[str, Any]) -> str:
    return audit_card(AuditRead.model_validate_json(json.dumps(content)))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, results: Results) -> tuple[str, str, str]:
    return reported(tmp_path_factory.mktemp("full"), full(), utility=utility_points([results]))


def test_page_stands_alone(whole: tuple[str, str, str]) -> None:
    page = Page(whole[1])
    assert "://" not in whole[1]
    assert not {"script", "link", "iframe", "object", "img"} & set(page.tags)
    assert all(link.startswith("#") for link in page.links)
    assert len(page.ids) == len(set(page.ids))
    assert whole[1].count("<table>") == whole[1].count("<caption")
    assert "<th>" not in whole[1]
    assert whole[1].count('role="img" aria-label="') == page.tags.count("svg") > 10


@pytest.mark.parametrize(
    "said",
    [
        "The strongest attacker tried finds the right person in about 12 of 100 searches",
        "In 11.50 % (interval 8.40 to 14.80 %) of 2,000 searches among 800 people, at least one of the 2 pictures",
        "Blind guessing would succeed in 0.26 %.",
        "a plain search with the same network would succeed in 71.00 % (interval 67.90 to 74.30 %) of the searches.",
        "This is distinguishable from chance: the release gives people away to this attacker.",
        "cross-matcher, with the network phi (the network that the generator was trained against)",
        "The number comes from the other half, who had no part in the choice.",
        "who holds the very photos that were protected succeeds by plain search with the same network in 28.00 %",
        "Beside the pixels (files, names, order): 1 critical finding and 1 warning, 1 note. Such a trace",
        "Not run: parrot.",
        "It is not the most that anybody could learn.",
        "template (retrieval)), finds 31.00 % (interval 27.90 to 34.30 %) of the people at the first guess.",
    ],
)
def test_headline_is_in_all_three_files(whole: tuple[str, str, str], said: str) -> None:
    card, page, text = whole
    assert said in card
    assert said in " ".join(" ".join(Page(page).words).split())
    assert said in text


@pytest.mark.parametrize(
    "line",
    [
        "| cross-matcher | 11.50 % [8.40, 14.80], phi |",
        "| cross-matcher | Somebody with public photos and what the same process made of them learns how",
        "| parrot | not run; needs public people who went through the same process |",
        "| cross-matcher | 11.50 % [8.40, 14.80] | 10.35 % [7.25, 13.65] | 0.26 % |",
        "| cross-matcher | 2.88 % [0.00, 6.17] at 1 % of strangers, phi |",
        "| plain search | phi | at most 1 % | 2.00 % [0.00, 5.30] | 80/4,000 | 2,000 for 120 people |",
        "| plain search | phi | 0.710 [0.679, 0.743] |",
        "| plain search | phi | at most 0.1 % | not measurable here (at 0.5 % it would be) | – | 2,000 for",
        "| photo and released picture | phi | 35.00 % [31.90, 38.30] | 12.00 % [8.90, 15.30] | not measurable here",
        "33.00 % [29.90, 36.30] | 50.00 % [25.00, 100.00] | 16,000 / 12,000,000 | distinguishable from chance |",
        "| release to a second release | phi | 0.031 [0.000, 0.048] | 0.030 | 0.040 | 800 | not distinguishable",
        "| template (retrieval) | phi | all, all | 1 | 800 | 31.00 % [27.90, 34.30] | 248/800 | 0.12 % |",
        "| reconstruction loss, calibrated | 14.00 % [10.90, 17.30] | 2.00 % [0.00, 5.30] | not measurable here",
        "| phi | phi.safetensors | people not known | the generator was trained against it | – "
        "| 71.00 % [67.90, 74.30] |",
        "| independent of the generator | LFW 83.10 % [80.0, 86.4] | 63.90 % [60.80, 67.20] |",
        "| cross-matcher | phi | ridge | release as it is 0.110, procrustes 0.130, ridge 0.210 |",
        "| FaceMAE | lfw | 93.21 % [92.6, 93.8] | 11.50 % [8.40, 14.80] | 2 | plain search, phi |",
        "| beside the pixels: archive | not an archive |",
    ],
)
def test_every_table_tells_the_numbers_of_the_audit(whole: tuple[str, str, str], line: str) -> None:
    assert line in whole[2]


def test_metadata_goes_by_severity_and_the_card_names_no_file(whole: tuple[str, str, str]) -> None:
    assert re.findall(r"^\| (critical|warning|note) \|", whole[2], re.M) == ["critical", "warning", "note"]
    assert "a/anna_01.jpg" in whole[2]
    assert not re.search(r"anna|safetensors|\.onnx", whole[0])


@pytest.mark.parametrize("name", CONTENTS)
def test_nothing_empty_is_left_standing(tmp_path: Path, name: str) -> None:
    card, page, text = reported(tmp_path, CONTENTS[name]())
    headings = re.findall("^## (.*)$", text, re.M)
    assert ("Are two pictures of one person?" in headings) == (name == "full")
    assert ("Who attacked, and what they found" in headings) == (name != "empty")
    # The page's card has the first heading of the Markdown file; only methods are a list on the page.
    assert [h for h in headings if h != "Methods of the intervals"] == Page(page).headings
    assert ("No single number stands for this audit" in card) == (name != "full")
    assert "<caption></caption>" not in page
    assert DIGEST in page
    assert not re.search(r"\bNone\b|\bnan\b", card + text)
    assert not re.search(r"anonym|\bproof\b|\bprove|cannot be inverted|guarantee", (card + page + text).lower())


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"verdict": "not distinguishable from chance", "value": 0.003, "low": 0.001, "high": 0.0123},
            "a true rate of up to 1.23 % fits what was measured (blind guessing: 0.26 %)",
        ),
        ({"verdict": "not distinguishable from chance"}, "no better than blind guessing, but others in it do"),
        ({"same_photo": "include"}, "The attacker holds the very photos that were protected."),
        ({"k": None, "measure": "TAR at FAR 1 %"}, "of the attempts (TAR at FAR 1 %; 230 of 2,000)"),
        ({"k": 1}, "the one picture that the network finds most alike shows the right person"),
        ({"measure": "templates"}, "The strongest attacker tried finds about 12 of 100 people"),
        ({"embedder": "unheard of"}, "How well the same network searches without protection was not measured."),
        ({"embedder": "its own", "attack": "parrot"}, "tried: parrot, with a network of its own."),
        ({"attack": UNPROTECTED}, "Nothing is protected here: an attacker finds the right person in about 12 of 100"),
    ],
)
def test_headline_says_what_kind_of_number_it_is(changed: dict[str, Any], said: str) -> None:
    assert said in card_of(full() | {"headline": headline(**changed)})


def test_nobody_is_called_blind_while_another_attacker_sees() -> None:
    content = bare() | {"headline": headline(attack=RELEASED)}
    content = json.loads(json.dumps(content).replace('"distinguishable', '"not distinguishable'))
    assert "**As far as this audit can see, the strongest attacker tried does no better" in card_of(content)
    card = card_of(content | {"headline_same_photo": headline(same_photo="include", attack=RELEASED, value=0.71)})
    assert "**Who holds the very photos that were protected finds the right person in about 71 of 100" in card


def test_attackers_who_hold_more_are_told_by_their_own_worst_case() -> None:
    more = headline(same_photo="include", attack="template (retrieval)", value=0.41, low=0.38, high=0.44)
    card = card_of(full() | {"headline_same_photo": more})
    assert "were protected succeeds in 41.00 % (interval 38.00 to 44.00 %) of the people, by the strongest" in card
    assert "28.00 %" not in card


def test_templates_that_took_part_in_the_choice_are_not_told_beside_it() -> None:
    content = full()
    assert "finds 31.00 %" in card_of(content)
    content["attacks"].append(attack(RELEASED, "phi") | {"attack": "template (retrieval)"})
    assert "finds 31.00 %" not in card_of(content)
    content["headline"] = headline(attack="template (retrieval)", measure="top2", identities=321)
    assert "The strongest attacker tried finds about 12 of 100 people" in card_of(content)
    assert "It holds for 321 people." in card_of(content)


def test_level_without_protection_is_that_of_the_half_that_tells() -> None:
    content = full()
    content["attacks"][0]["at"][1]["halves"][1] = rated(0.6, trials=2000) | {"chance": 0.0026}
    assert "would succeed in 60.00 % (interval 56.90 to 63.30 %)" in card_of(content)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0.0, "none"),
        (1.0, "all"),
        (0.999, "nearly all"),
        (0.115, "about 12 of 100"),
        (0.03, "about 3 of 100"),
        (0.0115, "about 12 of 1,000"),
        (0.0004, "about 4 of 10,000"),
        (0.0002, "fewer than 3 of 10,000"),
    ],
)
def test_shares_are_whole_numbers_of_people(value: float, told: str) -> None:
    assert share(value) == told


def test_faces_only_on_request_and_only_on_the_page(whole: tuple[str, str, str], tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (90, 120, 200)).save(stream, "PNG")
    card, page, text = reported(tmp_path, full(), faces={41: stream.getvalue(), 7: stream.getvalue()})
    assert "contains faces" not in whole[1]
    assert "<img" not in whole[1]
    images = Page(page).images
    assert [image["alt"] for image in images] == [f"Face of record {n} of the release" for n in (41, 7)]
    assert base64.b64decode((images[0]["src"] or "").partition(",")[2]) == stream.getvalue()
    assert "This page contains faces of people in the release." in page
    assert card == whole[0]
    assert "data:" not in text


def test_what_an_audit_holds_is_escaped(tmp_path: Path) -> None:
    hostile = "<b>x</b><script>[a](http:evil)|\u202e\udc80"
    content = full()
    content["metadata"]["findings"][1]["examples"] = [hostile]
    content["attackers"][0]["says"] = content["not_run"][0]["needs"] = "<b>x</b><script>[a](http:evil)|"
    content["attacks"].append(attack(RELEASED, "phi") | {"attack": "<b>y</b>"})
    card, page, text = reported(tmp_path, content)
    assert not {"b", "script"} & set(Page(page).tags)
    assert "\\u202e\\udc80" in page
    for markdown in (card, text):
        assert "<b>" not in markdown
        assert "](" not in markdown


def test_same_audit_same_bytes(whole: tuple[str, str, str], tmp_path: Path, results: Results) -> None:
    assert reported(tmp_path, full(), utility=utility_points([results])) == whole


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, r"is no audit: got no audit\.json"),
        ("{", "is no audit: got no JSON"),
        ('{"attacks": [{"attack": 3}]}', r"is no audit: got attacks\.0\.attack"),
        ('{"attacks": [], "headline": {"value": "x"}}', r"is no audit: got headline\.value"),
    ],
)
def test_what_is_no_audit_gets_one_line_and_leaves_nothing(tmp_path: Path, content: str | None, line: str) -> None:
    (tmp_path / "audit").mkdir()
    if content is not None:
        (tmp_path / "audit" / "audit.json").write_text(content)
    with pytest.raises(DataError, match=line):
        write_audit_report(tmp_path / "audit", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_manifest_of_somebody_else_is_not_repeated(tmp_path: Path) -> None:
    written(tmp_path / "audit", bare(), digest="`<b>")
    write_audit_report(tmp_path / "audit", tmp_path / "out")
    assert "Digest" not in (tmp_path / "out" / "audit.md").read_text()


def drawn_texts(svg: str) -> list[str]:
    return ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter() if node.tag.endswith("text")]


def test_figures_draw_every_attacker_with_axes_in_words() -> None:
    audit = AuditRead.model_validate_json(json.dumps(full()))
    texts = drawn_texts(cmc_figure(audit, "phi"))
    assert {"phi (the loss network)", "first K guesses", CROSS, "blind guessing"} <= set(texts)
    assert {"50", "200", "800"} <= set(drawn_texts(crowd_figure(audit, "phi")))
    assert {"1 in 1", "1 in all", "all in all"} <= set(drawn_texts(templates_figure(audit, "phi")))
    assert "chance" in drawn_texts(linking_figure(audit, "iresnet18"))
    for draw in (cmc_figure, crowd_figure, linking_figure, templates_figure):
        assert draw(audit, "unheard of") == ""


def test_only_the_strongest_are_drawn_beside_the_level_and_plain_search() -> None:
    content = full()
    content["attacks"] = [attack(name, "phi") for name in (UNPROTECTED, RELEASED)]
    for i, value in enumerate((0.02, 0.3, 0.1, 0.4, 0.05)):
        one = attack(CROSS, "phi") | {"attack": f"number {i}"}
        for at in one["at"]:
            at["value"] = value
        content["attacks"].append(one)
    texts = set(drawn_texts(cmc_figure(AuditRead.model_validate_json(json.dumps(content)), "phi")))
    assert {"search, nothing protected", "plain search", "number 1", "number 2", "number 3"} <= texts
    assert not {"number 0", "number 4"} & texts


def test_utility_points_are_the_published_numbers(results: Results) -> None:
    points = utility_points([results, results])
    assert len(points) == len({(point.label, point.protocol) for point in points})
    point = next(point for point in points if (point.label, point.protocol) == ("FaceMAE", "lfw"))
    row = next(row for row in results.rows if row.label == "FaceMAE")
    assert row.worst is not None
    assert (point.accuracy, point.worst.value, point.k) == (row.accuracy["lfw"], row.worst.value, row.worst.k)
    assert isinstance(point, UtilityPoint)
    assert [p.label for p in points if not p.protected and p.protocol == "lfw"] == [results.rows[0].label]


def test_a_headline_of_pooled_pictures_says_what_its_attacker_owns_and_what_protection_buys() -> None:
    content = full()
    pooled = "template of cross-matcher (all images)"
    content["headline"] = headline(attack=pooled, measure="top2", hits=26, trials=80)
    unprotected = copy.deepcopy(content["templates"][0]) | {"attack": UNPROTECTED, "embedder": "phi"}
    for at in unprotected["at"]:
        at |= {"value": 0.97, "low": 0.94, "high": 1.0}
    content["templates"].append(unprotected)
    card = card_of(content)
    assert "cross-matcher with all photos, by number, with the network phi" in card
    assert "Somebody with public photos and what the same process made of them learns" in card
    assert "all their photos of a person are taken together" in card
    assert "the same network would find 97.00 % (interval 94.00 to 100.00 %) of the people" in card


def test_a_headline_without_numbers_is_about_single_pictures() -> None:
    single = headline(attack="template of cross-matcher (all images, no numbers)", measure="top2", hits=26, trials=80)
    card = card_of(full() | {"headline": single})
    assert "find that person among the 2 nearest pictures for 11.50 %" in card
    assert "cross-matcher with all photos, single pictures, with the network phi" in card
    assert "taken together, against single released pictures." in card
    assert "under one number as well" not in card
    assert "How well such an attacker does without protection was not measured." in card


def test_a_larger_number_in_the_tables_is_told_with_the_reason_why_it_is_no_headline() -> None:
    content = full()
    assert "the largest number with" not in card_of(content)
    content["headline"] = headline(value=0.05)
    said = "the largest number with other photos within the first 2 guesses is 11.50 % (interval 8.40 to 14.80 %)"
    assert f"{said} (cross-matcher, phi)" in card_of(content)


def test_the_first_page_tells_guesses_other_networks_and_strangers() -> None:
    content = full()
    content["attacks"] = [attack(name, n, open_set=True) for name in (RELEASED, CROSS) for n in ("phi", "iresnet18")]
    held = attack(CROSS, "phi", "include", open_set=True)
    held["open_set"]["points"][1] |= {"value": 0.9, "low": 0.88, "high": 0.93}
    content["attacks"].append(held)
    card = card_of(content | {"headline_same_photo": headline(same_photo="include", value=0.71)})
    assert "**The strongest attacker tried finds the right person in about 12 of 100 searches; with the very " in card
    assert "with the very photos in hand, about 71 of 100 searches.**" in card
    assert "the same attack finds 9.50 % at the first guess and 15.50 % within the first 4 guesses" in card
    assert "not trained against the most is 10.35 % (interval 7.25 to 13.65 %) (cross-matcher, iresnet18)" in card
    assert "with other photos 2.88 % (interval 0.00 to 6.17 %) of the members where 1 % of strangers are named" in card
    assert "with the very photos 90.00 % (interval 88.00 to 93.00 %) of the members where 1 % of strangers" in card
    assert "Who does not know whether" not in card_of(bare())
    together = attack(CROSS, "phi", open_set=True) | {"attack": "template of cross-matcher (all images)"}
    content["attacks"].append(together)
    named = together["open_set"]["points"]
    named[1] = {"target": 0.01, "measurable": False}
    named[0] |= {"value": 0.4, "low": 0.3, "high": 0.5, "verdict": "not distinguishable from chance"}
    told = "all of a person together, 40.00 % (interval 30.00 to 50.00 %) of the members where 10 % of strangers are"
    who = "named (cross-matcher with all photos, by number, phi; not told from luck)"
    assert f"with other photos, {told} {who}" in card_of(content)


def test_the_first_page_tells_what_an_average_and_a_weak_network_hide() -> None:
    content = full()
    content["attacks"] += [attack(CROSS, "phi") | {"subset": "town"}, attack(RELEASED, "phi") | {"subset": "village"}]
    card = card_of(content)
    assert "by one other photo at most 11.50 % by photos from town (cross-matcher, phi), 8.00 % by photos from" in card
    # The most with the other network is the cross-matcher's; a plain search of it without protection finds 63.9 %.
    assert "(cross-matcher, iresnet18), counted over everybody; without protection that network finds 63.90 %." in card
    pooled = attack(CROSS, "iresnet18") | {"attack": "template of cross-matcher (all images)"}
    pooled["at"][1] |= {"value": 0.5, "low": 0.4, "high": 0.6}
    content["attacks"].append(pooled)
    content["templates"].append(templates("iresnet18") | {"attack": UNPROTECTED})
    assert "counted over everybody; without protection that network finds 34.00 %." in card_of(content)
    assert "Not all are found alike" not in card_of(full())


def test_tests_are_counted() -> None:
    audit = AuditRead.model_validate_json(json.dumps(full()))
    searches, pooled, pairs, joined, model = 12 * 4, 2 * 6, 2 * 3, 1, 3
    # Two attacks with two networks are asked for strangers: their area, and the two rates that can be measured.
    assert audit.tests == searches + pooled + pairs + joined + model + 4 * 3


def test_sources_are_told_by_the_attack_that_finds_most_there() -> None:
    content = full()
    content["attacks"] += [attack(name, "phi") | {"subset": "town"} for name in (RELEASED, CROSS)]
    content["attacks"].append(attack(RELEASED, "iresnet18", "include") | {"subset": "village"})
    grid = sources_grid(AuditRead.model_validate_json(json.dumps(content)))
    assert grid.rows == (
        ("town", "11.50 % [8.40, 14.80] (cross-matcher, phi)", "–"),
        ("village", "–", "27.20 % [24.10, 30.50] (plain search, protected photo in hand, iresnet18)"),
    )


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no headless browser on this machine")
@pytest.mark.parametrize(("width", "dark"), [(400, False), (1400, False), (400, True), (1400, True)])
def test_page_opens_in_a_browser(whole: tuple[str, str, str], tmp_path: Path, width: int, dark: bool) -> None:
    """Rendered without an error, as wide as the window, not blank, and in the colours that the reader prefers."""
    (tmp_path / "audit.html").write_text(whole[1], encoding="utf-8")
    shot = tmp_path / "shot.png"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={tmp_path / 'home'}"]
    flags += ["--blink-settings=preferredColorScheme=0"] if dark else []
    size = [f"--window-size={width},1200", f"--screenshot={shot}"]
    command = [str(BROWSER), *flags, *size, (tmp_path / "audit.html").as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    with Image.open(shot) as picture:
        pixels = picture.convert("L")
    assert pixels.width == width
    # Text in the upper fifth, and an edge without any: nothing runs out of the window on the right.
    darkest, lightest = pixels.crop((0, 0, width, 240)).getextrema()
    assert darkest < 100 < 200 < lightest
    low, high = pixels.crop((width - 8, 0, width, 1200)).getextrema()
    assert low == high
    assert (low < 60) if dark else (low > 200)
