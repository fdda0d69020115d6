"""Lists of photos on disk: order and records of sorting in memory, at a memory that no number of photos moves."""

import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facemae.errors import DataError
from facemae.faces.codec import encode_png
from facemae.faces.faceset import FaceSet
from facemae.faces.importers import Entry, import_photos, open_source
from facemae.faces.importers.entries import Entries, Paths
from facemae.faces.importers.layouts import list_photos
from facemae.faces.importers.storage import Storage
from facemae.faces.writer import FaceSetWriter
from facemae.spec.execution import Execution
from facemae.spec.recipe import ImportSpec, MaskSpec
from facemae.stages.import_ import import_faces
from facemae.stages.mask import mask, private_of

NAME = st.text(st.characters(exclude_categories=(), exclude_characters="/"), min_size=1, max_size=4)
STRANGE = [b"caf\xe9", "café".encode(), b"\x80z", "\uf000".encode(), "\U0001f600".encode(), b"Ann", b"Ann-Lee"]
"""Names of folders, two of them no UTF-8."""


def picture(seed: int) -> bytes:
    return encode_png(np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8))


def plant(root: Path, people: list[bytes], first: int = 0) -> tuple[Path, dict[str, bytes]]:
    """Two photos a person; and what they are by relative path."""
    files = {}
    for number, name in enumerate(people):
        folder = os.fsdecode(os.fsencode(root) + b"/" + name)
        os.makedirs(folder)
        for photo in (b"2\xff.png", b"1.png"):
            path = folder + "/" + os.fsdecode(photo)
            data = files[path[len(str(root)) + 1 :]] = picture(first + 2 * number + len(photo) % 2)
            Path(path).write_bytes(data)
    return root, files


@given(st.lists(st.tuples(NAME, NAME), unique=True), st.sampled_from([None, {"age": 3, "view": "é"}]))
def test_entries_stand_as_python_sorts_them(pairs: list[tuple[str, str]], extras: dict | None) -> None:
    entries = Entries()
    entries.add(Entry(path, person, extras) for person, path in pairs)
    assert list(entries) == [Entry(path, person, extras) for person, path in sorted(pairs)]
    assert len(entries) == len(pairs)
    persons = [person for person, _ in pairs]
    assert list(entries.people()) == [(person, persons.count(person)) for person in sorted(set(persons))]
    entries.close()


def test_paths_keep_the_order_in_which_they_came() -> None:
    paths = Paths(["b", "a", "c\udcff"])
    assert (len(paths), list(paths), list(paths)) == (3, ["b", "a", "c\udcff"], ["b", "a", "c\udcff"])


def test_names_that_are_no_utf8_go_all_the_way(tmp_path: Path) -> None:
    """Records, people.json and the way back in map.csv; sorted by code point, as Python sorts."""
    root, files = plant(tmp_path / "photos", STRANGE)
    faces = FaceSet.open(import_faces([str(root)], tmp_path / "set", ImportSpec(), Execution()))
    expected = sorted(files, key=lambda path: (path.partition("/")[0], path))
    assert faces.people is not None
    assert faces.people.files == tuple(expected)
    assert faces.people.identities == tuple(sorted(map(os.fsdecode, STRANGE)))
    assert [faces.record(i).image for i in range(len(faces))] == [files[path] for path in expected]
    mask(tmp_path / "set", tmp_path / "masked", MaskSpec(cell=1, seed=0), Execution())
    lines = (private_of(tmp_path / "masked") / "map.csv").read_bytes().splitlines()[1:]
    assert {int(row.split(b",")[1]): row.split(b",")[2] for row in lines} == dict(enumerate(map(os.fsencode, expected)))


def test_sources_that_share_people_merge_as_if_sorted_together(tmp_path: Path) -> None:
    one, first = plant(tmp_path / "b" / "one", STRANGE)
    two, second = plant(tmp_path / "a" / "one", STRANGE[2:][::-1], 100)
    three, third = plant(tmp_path / "Zed", [b"caf\xe9", b"only", b"also"], 200)
    parts = (("one/", first), ("one-2/", second), ("Zed/", third))
    files = {prefix + path: (path.partition("/")[0], data) for prefix, part in parts for path, data in part.items()}
    expected = sorted(files, key=lambda file: (files[file][0], file))
    noted: list[str] = []
    writer = FaceSetWriter(tmp_path / "out")
    report = import_photos([open_source(path) for path in (one, two, three)], writer, note=noted.append)
    assert noted == expected
    assert (writer.finish(), report.records) == (len(expected), len(expected))
    assert report.identities == tuple(sorted({person for person, _ in files.values()}))
    identities = np.load(tmp_path / "out" / "index.npy")["identity"]
    assert [report.identities[i] for i in identities] == [files[file][0] for file in expected]


def test_a_photo_that_a_table_names_twice_is_no_choice_of_ours(tmp_path: Path) -> None:
    for name in ("1.png", "2.png"):
        (tmp_path / name).write_bytes(picture(0))
    rows = ["1.png,Ann", "1.png,Bo", "2.png,Ann", *(f"{i}.jpg,Cy" for i in range(4))]
    (tmp_path / "identities.csv").write_text("path,identity\n" + "\n".join(rows))
    with pytest.raises(DataError, match=r"or twice: got 5, first 1\.png, 0\.jpg, 1\.jpg$"):
        open_source(tmp_path)


class Invented(Storage):
    """So many photos of a hundred people, by name alone."""

    def __init__(self, photos: int, form: str) -> None:
        super().__init__("invented")
        self._photos, self._form = photos, form

    def files(self) -> Iterator[str]:
        for i in range(self._photos):
            yield self._form.format(person=i % 100, photo=i)

    def read(self, path: str) -> bytes:
        raise AssertionError("nobody looks at a photo to list it")


def held(photos: int, form: str) -> int:
    """The most bytes held at once by a listing and one walk through its photos."""
    tracemalloc.start()
    try:
        listing = list_photos(Invented(photos, form))
        assert sum(1 for _ in listing.entries) == photos
        assert sum(count for _, count in listing.entries.people()) == photos
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "form",
    [
        "p{person:03d}/photo-{photo:08d}.jpg",
        "p{person:03d}_{photo:08d}.jpg",
        "{photo:08d}x.jpg",
        "{photo}_p{person}_30_f.jpg",
    ],
    ids=["folder", "flat", "flat, each alone", "agedb"],
)
@pytest.mark.slow
def test_what_a_listing_holds_does_not_grow_with_the_photos(form: str) -> None:
    """A list of the paths alone would take some 80 bytes a photo: 120,000 more."""
    held(50, form)  # what is made once, such as compiled expressions
    assert held(2_000, form) - held(500, form) < 30_000
