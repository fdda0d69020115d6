"""WebDataset in: samples with their people, from one tar or many; and the layout of WebFace260M."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facemae.errors import Damaged, DataError
from facemae.faces.exporters import export_webdataset
from facemae.faces.faceset import FaceSet
from facemae.faces.importers import import_photos, open_source
from facemae.faces.importers import webdataset as module
from facemae.faces.writer import FaceSetWriter
from folders import jpeg, noise, originals, plant, png, publish


def tar(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def entries(path: Path, **options: Any) -> list[tuple[str, str, bytes]]:
    with open_source(path, **options) as source:
        return [(entry.path, entry.person, source.read(entry)) for entry in source.entries]


@settings(max_examples=15, deadline=None)
@given(people=st.lists(st.integers(0, 4), min_size=1, max_size=12), shard=st.integers(1, 3000), lossy=st.booleans())
@pytest.mark.slow
def test_a_set_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, people: list[int], shard: int, lossy: bool
) -> None:
    root = tmp_path_factory.mktemp("set")
    people = np.unique(sorted(people), return_inverse=True)[1].tolist()
    images = [(jpeg if lossy else png)(i, 8) for i in range(len(people))]
    writer = FaceSetWriter(root / "set")
    for image, person in zip(images, people, strict=True):
        writer.add(image, person, extras={"age": 30} if person else None)
    writer.finish()
    facts = {"records": len(images), "identities": len(set(people)), "size": [8, 8]}
    export_webdataset(publish(root / "set", "reconstructed", facts), root / "out", shard_bytes=shard)
    again = FaceSetWriter(root / "again")
    with open_source(root / "out") as source:
        report = import_photos([source], again)
    again.finish()
    faces: FaceSet = publish(root / "again", "original", facts)
    assert [faces.record(i).image for i in range(len(faces))] == images
    assert faces.identities.tolist() == people
    assert len(report.identities) == len(set(people))


def test_the_public_library_sees_the_same(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    faces = originals(tmp_path / "set", [noise(i, 8) for i in range(5)], [0, 0, 1, 1, 1])
    shards = export_webdataset(faces, tmp_path / "out", shard_bytes=700)
    samples = list(webdataset.WebDataset([str(shard) for shard in shards], shardshuffle=False))
    ours = [(image, int(person)) for _, person, image in entries(tmp_path / "out")]
    assert ours == [(sample["png"], int(sample["cls"])) for sample in samples]
    assert [image for image, _ in ours] == [faces.record(i).image for i in range(5)]


def test_what_the_public_library_writes_comes_in(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    with webdataset.TarWriter(str(tmp_path / "a.tar")) as writer:
        for i in range(3):
            writer.write({"__key__": f"face{i}", "jpg": jpeg(i, 8), "json": {"identity": f"n{2 - i}", "x": 1}})
    assert entries(tmp_path / "a.tar", layout="webdataset") == [
        ("face2.jpg", "n0", jpeg(2, 8)),
        ("face1.jpg", "n1", jpeg(1, 8)),
        ("face0.jpg", "n2", jpeg(0, 8)),
    ]


def test_where_the_person_stands(tmp_path: Path) -> None:
    files = {
        "a/0.jpg": jpeg(0),
        "a/0.cls": b"12\n",
        "a/0.json": json.dumps({"who": "Zoë"}).encode(),
        "a/0.seg.png": png(9),
        "a/1.json": json.dumps({"who": 3, "label": "Ann"}).encode(),
        "a/1.webp": png(1),
        "a/2.png": png(2),
        "a/3.cls": b"1",
        "a/4.jpg": jpeg(4),
        "a/4.json": b"[1]",
        "a/._5.jpg": b"",
        "a/6.jpg": jpeg(6),
        "a/6.png": png(6),
        "a/6.cls": b"n000001",
    }
    path = tar(tmp_path / "a.tar", files)
    assert [tuple(entry[:2]) for entry in entries(path)] == [
        ("a/0.jpg", "00000012"),
        ("a/1.webp", "Ann"),
        ("a/6.jpg", "n000001"),
    ]
    with open_source(path) as source:
        assert source.skipped == [
            ("a/2.png", "no .cls"),
            ("a/3", "a sample without an image"),
            ("a/4.jpg", "a .json that is no object"),
            ("a/6.png", "a second image of its sample"),
        ]
    assert [tuple(entry[:2]) for entry in entries(path, label="who")] == [("a/1.webp", "00000003"), ("a/0.jpg", "Zoë")]


def test_no_person_below_0_and_one_for_a_number_and_its_text(tmp_path: Path) -> None:
    files = {"a/0.jpg": jpeg(0), "a/0.cls": b"-1", "a/1.jpg": jpeg(1), "a/1.cls": b"7", "a/2.jpg": jpeg(2)}
    files |= {f"a/{i}.jpg": jpeg(i) for i in (3, 4)}
    for i, label in {2: "7", 3: 7, 4: "-1"}.items():
        files[f"a/{i}.json"] = json.dumps({"label": label}).encode()
    path = tar(tmp_path / "a.tar", dict(sorted(files.items())))
    assert [tuple(entry[:2]) for entry in entries(path)] == [(f"a/{i}.jpg", "00000007") for i in (1, 2, 3)]
    with open_source(path) as source:
        assert [skip.path for skip in source.skipped] == ["a/0.jpg", "a/4.jpg"]


def test_photos_in_a_tar_stay_photos(tmp_path: Path) -> None:
    photos = tar(tmp_path / "a.tar", {"Ann/0.png": png(0), "Ann/0.json": b'{"label": 3}', "Bo/1.png": png(1)})
    assert [person for _, person, _ in entries(photos)] == ["Ann", "Bo"]
    labelled = tar(tmp_path / "b.tar", {"0.png": png(0), "0.cls": b"7", "1.png": png(1), "1.cls": b"7"})
    assert [person for _, person, _ in entries(labelled)] == ["00000007", "00000007"]
    assert [person for _, person, _ in entries(labelled, layout="flat")] == ["0.png", "1.png"]


def test_more_shards_than_may_be_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OPEN_SHARDS", 2)
    for i in range(5):
        pairs = [((f"{j}.png", png(10 * i + j, 8)), (f"{j}.cls", b"%d" % j)) for j in range(2)]
        tar(tmp_path / f"set/data/{i:03d}.tar", {name: data for pair in pairs for name, data in pair})
    assert entries(tmp_path / "set") == [
        (f"{i:03d}/{j}.png", f"{j:08d}", png(10 * i + j, 8)) for j in range(2) for i in range(5)
    ]


def test_other_sources_get_one_line(tmp_path: Path) -> None:
    cases = {
        "no .cls": tar(tmp_path / "a.tar", {"0.png": png(0)}),
        "a .json of caption, url": tar(tmp_path / "b.tar", {"0.png": png(0), "0.json": b'{"caption": "", "url": ""}'}),
        "a .json that is none": tar(tmp_path / "c.tar", {"0.png": png(0), "0.json": b"{" * 9000}),
        "whose label is neither": tar(tmp_path / "d.tar", {"0.png": png(0), "0.json": b'{"label": [1]}'}),
        "too long for a label": tar(tmp_path / "e.tar", {"0.png": png(0), "0.json": b" " * (2 << 20)}),
        "is no WebDataset": plant(tmp_path / "f", {"0.png": png(0), "0.cls": b"1"}),
    }
    for said, path in cases.items():
        with pytest.raises(DataError, match=said) as caught:
            entries(path, layout="webdataset")
        assert "\n" not in str(caught.value)
    whole = tar(tmp_path / "set/0.tar", {"0.png": png(0), "0.cls": b"1"}).read_bytes()
    (tmp_path / "set/1.tar").write_bytes(whole[:700])
    with pytest.raises(Damaged, match=r"1\.tar cannot be read as a tar"):
        entries(tmp_path / "set")
    tar(tmp_path / "set/1.tar", {"../0.png": png(0)})
    with pytest.raises(DataError, match="would leave its directory"):
        entries(tmp_path / "set")
    (tmp_path / "set/1.tar").write_bytes(b"\x1f\x8b" + whole)
    with pytest.raises(DataError, match="is gzipped"):
        entries(tmp_path / "set")


def test_webface_in_one_part_and_in_several(tmp_path: Path) -> None:
    one = {"WebFace42M/0_0_0000001/0_0.jpg": jpeg(1), "WebFace42M/0_0_0000000/0_1.jpg": jpeg(0)}
    assert entries(plant(tmp_path / "one", one)) == [
        ("0_0_0000000/0_1.jpg", "0_0_0000000", jpeg(0)),
        ("0_0_0000001/0_0.jpg", "0_0_0000001", jpeg(1)),
    ]
    several = {"set/1/1_0_0000000/1_0.jpg": jpeg(1), "set/0/0_0_0000000/0_0.jpg": jpeg(0)}
    assert entries(plant(tmp_path / "several", several)) == [
        ("set/0/0_0_0000000/0_0.jpg", "0_0_0000000", jpeg(0)),
        ("set/1/1_0_0000000/1_0.jpg", "1_0_0000000", jpeg(1)),
    ]
    with pytest.raises(DataError, match="which directory is the person"):
        entries(plant(tmp_path / "other", {**several, "set/1/Ann/x.jpg": jpeg(2)}))


def test_a_label_of_thousands_of_digits_is_a_name(tmp_path: Path) -> None:
    digits = "9" * 5000
    found = entries(
        tar(tmp_path / "a.tar", {"a.jpg": jpeg(0, 8), "a.cls": digits.encode(), "b.jpg": b"", "b.cls": b"12"})
    )
    assert [person for _, person, _ in found] == ["00000012", digits]


def test_shards_that_cannot_be_told_apart(tmp_path: Path) -> None:
    for name in ("a.tar", "a.TAR"):
        tar(tmp_path / "set" / name, {"x.jpg": jpeg(0, 8), "x.cls": b"1"})
    if len(list((tmp_path / "set").iterdir())) == 2:  # not so where names ignore case
        with pytest.raises(DataError, match=r"two shards of set are called a: got a\.(tar|TAR); rename"):
            open_source(tmp_path / "set")
