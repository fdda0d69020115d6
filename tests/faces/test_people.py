"""`people.json`, one name at a time: the same bytes as written at once, read where they stand."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facemae.errors import Damaged
from facemae.faces.people import PeopleWriter, SourceFiles

TRICKY = ["Zoë/1.jpg", 'a"b', "\\", '\\"', "files", "[", "]", '"files": [', "", "\n\t\x00", "😀/ü.png", "\u2028"]
ANY = st.lists(st.text(st.characters(exclude_categories=()), max_size=6), max_size=8)


def write(directory: Path, identities: list[str], files: list[str]) -> Path:
    with PeopleWriter(directory) as writer:
        for file in files:
            writer.add(file)
        writer.finish(identities)
    return directory / "people.json"


@pytest.mark.parametrize("files", [[], ["one"], TRICKY])
def test_the_bytes_are_those_of_the_whole_written_at_once(tmp_path: Path, files: list[str]) -> None:
    path = write(tmp_path, files[::-1], files)
    whole = json.dumps({"identities": files[::-1], "files": files}, ensure_ascii=False)
    assert path.read_bytes() == whole.encode()
    assert list(tmp_path.iterdir()) == [path]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ANY, ANY)
@pytest.mark.slow
def test_every_name_comes_back(tmp_path: Path, identities: list[str], files: list[str]) -> None:
    path = write(tmp_path, identities, files)
    # A high and a low surrogate side by side are one character in JSON's escapes; a file name never holds both.
    expected = json.loads(json.dumps({"identities": identities, "files": files}))
    assert json.loads(path.read_bytes()) == expected
    found = SourceFiles(path, len(files))
    assert [found[i] for i in range(len(found))] == expected["files"]


@pytest.mark.parametrize("options", [{}, {"indent": 2}, {"separators": (",", ":")}, {"ensure_ascii": False}])
@pytest.mark.parametrize("order", [("identities", "files"), ("files", "identities")])
def test_any_spelling_of_the_json_will_do(tmp_path: Path, options: dict, order: tuple[str, str]) -> None:
    content = {"identities": TRICKY[::-1], "files": TRICKY}
    (tmp_path / "people.json").write_text(json.dumps({key: content[key] for key in order}, **options), "utf-8")
    found = SourceFiles(tmp_path / "people.json", len(TRICKY))
    assert [found[i] for i in reversed(range(len(TRICKY)))] == TRICKY[::-1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "empty file"),
        (b"{}", "got 0 source files; needed 2"),
        (b'{"identities": ["a", "b"]}', "got 0 source files"),
        (b'{"files": ["a", "b", "c"]}', "got 3 source files"),
        (b'{"identities": [], "files": ["a", "b', "got 1 source files"),
        (b'{"files": ["a", "\\x"]}', "is damaged: got Invalid .*escape"),
        (b'{"files": ["a", "\xff"]}', "is damaged: got 'utf-8' codec"),
    ],
)
def test_a_damaged_file_ends_in_one_line(tmp_path: Path, text: bytes, words: str) -> None:
    (tmp_path / "people.json").write_bytes(text)
    with pytest.raises(Damaged, match=words) as caught:
        SourceFiles(tmp_path / "people.json", 2)[1]
    assert "\n" not in str(caught.value)
