"""Hugging Face image sets out and in: what `datasets` opens is what was stored, and what it writes comes in."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facemae.errors import Damaged, DataError, OutputExists, RecipeError, UnreadableImage
from facemae.faces.codec import decode
from facemae.faces.exporters import export_parquet
from facemae.faces.faceset import FaceSet
from facemae.faces.importers import import_photos, open_source
from facemae.faces.writer import FaceSetWriter
from facemae.spec.recipe import ImportSpec
from folders import jpeg, noise, originals, plant, png, publish, tree

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
FEATURES = {"image": {"_type": "Image"}, "label": {"names": ["Ann", "Bo/b"], "_type": "ClassLabel"}}


def stored(directory: Path, images: list[bytes], people: list[int]) -> FaceSet:
    writer = FaceSetWriter(directory)
    for image, person in zip(images, people, strict=True):
        writer.add(image, person)
    writer.finish()
    facts = {"records": len(images), "identities": len(set(people)), "size": [8, 8]}
    return publish(directory, "reconstructed", facts)


def came_in(source: Path, directory: Path, **options: Any) -> tuple[FaceSet, tuple[str, ...]]:
    writer = FaceSetWriter(directory)
    with open_source(source, **options) as opened:
        report = import_photos([opened], writer)
    writer.finish()
    facts = {"records": report.records, "identities": len(report.identities), "size": [8, 8]}
    return publish(directory, "original", facts), report.identities


def write(path: Path, columns: dict[str, Any], features: dict[str, Any] | None = None, **options: Any) -> Path:
    table = pa.table(columns)
    if features is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **options)
    return path


def demand_line(error: Exception) -> None:
    assert str(error)
    assert "\n" not in str(error)


def images_of(*rows: tuple[bytes | None, str | None]) -> Any:
    return pa.array([{"bytes": image, "path": path} for image, path in rows], IMAGE)


def entries(path: Path, **options: Any) -> list[tuple[str, str, bytes]]:
    with open_source(path, **options) as source:
        return [(entry.path, entry.person, source.read(entry)) for entry in source.entries]


@settings(max_examples=15, deadline=None)
@given(
    people=st.lists(st.integers(0, 4), min_size=1, max_size=12),
    shard=st.integers(1, 3000),
    group=st.integers(1, 3000),
    lossy=st.booleans(),
)
@pytest.mark.slow
def test_a_set_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, people: list[int], shard: int, group: int, lossy: bool
) -> None:
    root = tmp_path_factory.mktemp("set")
    people = np.unique(sorted(people), return_inverse=True)[1].tolist()
    images = [(jpeg if lossy else png)(i, 8) for i in range(len(people))]
    faces = stored(root / "set", images, people)
    files = export_parquet(faces, root / "out/data", shard_bytes=shard, group_bytes=group)
    assert [file.name for file in files] == [f"train-{i:05d}-of-{len(files):05d}.parquet" for i in range(len(files))]
    again, names = came_in(root / "out", root / "again")
    assert [again.record(i).image for i in range(len(again))] == images
    assert again.identities.tolist() == people
    assert names == tuple(f"{i:06d}" for i in range(len(set(people))))


def test_the_public_library_sees_images_and_classes(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    faces = originals(tmp_path / "set", [noise(i, 8) for i in range(7)], [0, 0, 1, 1, 1, 2, 2])
    export_parquet(faces, tmp_path / "out/data", shard_bytes=600, group_bytes=300)
    opened = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))["train"]
    assert type(opened.features["image"]).__name__ == "Image"
    assert opened.features["label"].names == ["000000", "000001", "000002"]
    assert opened["label"][:] == faces.identities.tolist()
    assert all(np.array_equal(np.asarray(row["image"]), noise(i, 8)) for i, row in enumerate(opened))
    raw = opened.cast_column("image", datasets.Image(decode=False))
    assert [row["image"]["bytes"] for row in raw] == [faces.record(i).image for i in range(7)]


def test_what_the_public_library_writes_comes_in(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"img": datasets.Image(), "identity": datasets.ClassLabel(names=["Bo", "Ann"])})
    rows = {"img": [{"bytes": png(i, 8), "path": f"{i}.png"} for i in range(4)], "identity": [1, 0, 1, 0]}
    made = datasets.Dataset.from_dict(rows, features=features)
    made.to_parquet(str(tmp_path / "set.parquet"))
    assert entries(tmp_path / "set.parquet") == [
        ("Ann/0.png", "Ann", png(0, 8)),
        ("Ann/2.png", "Ann", png(2, 8)),
        ("Bo/1.png", "Bo", png(1, 8)),
        ("Bo/3.png", "Bo", png(3, 8)),
    ]


def test_a_masked_set_is_pictures(tmp_path: Path) -> None:
    writer = FaceSetWriter(tmp_path / "set")
    writer.add(png(0, 4), 0, extras={"positions": [3]})
    writer.finish()
    facts = {"records": 1, "identities": 1, "size": [8, 8], "mask": {"grid": 2, "cell": 4, "kept": 1}}
    faces = publish(tmp_path / "set", "masked", facts)
    (file,) = export_parquet(faces, tmp_path / "out")
    (row,) = pq.read_table(file).to_pylist()
    assert np.array_equal(decode(row["image"]["bytes"]), faces.image(0))


def test_equal_sets_give_equal_bytes_and_bounded_groups(tmp_path: Path) -> None:
    faces = originals(tmp_path / "set", [noise(i, 8) for i in range(40)], [i // 4 for i in range(40)])
    for out in ("one", "two"):
        export_parquet(faces, tmp_path / out, shard_bytes=3000, group_bytes=800)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    for file in (tmp_path / "one").iterdir():
        about = pq.ParquetFile(file).metadata
        assert max(about.row_group(i).total_byte_size for i in range(about.num_row_groups)) < 1500
    with pytest.raises(OutputExists):
        export_parquet(faces, tmp_path / "one")


def test_classes_texts_and_numbers(tmp_path: Path) -> None:
    images = images_of((png(0, 8), "a.png"), (png(1, 8), "a.png"), (png(2, 8), None), (png(3, 8), "../../x/b.png"))
    people = {"label": pa.array([0, 0, 1, -1])}
    path = write(tmp_path / "a.parquet", {"image": images, **people}, FEATURES)
    # Two photos of one name are told apart by their row; no path leaves its folder.
    assert entries(path) == [
        ("Ann/a-a-00000001.png", "Ann", png(1, 8)),
        ("Ann/a.png", "Ann", png(0, 8)),
        ("photos/a-00000002", "Bo/b", png(2, 8)),
    ]
    with open_source(path) as source:
        assert [skip.path for skip in source.skipped] == ["a.parquet, row 3"]
    plain = write(tmp_path / "b.parquet", {"image": pa.array([png(0, 8), png(1, 8)]), "label": [12, 7]})
    assert entries(plain) == [
        ("00000007/b-00000001", "00000007", png(1, 8)),
        ("00000012/b-00000000", "00000012", png(0, 8)),
    ]
    named = {"image": images_of((png(0, 8), "x/y.png")), "who": pa.array(["Zoë"]).dictionary_encode()}
    assert entries(write(tmp_path / "c.parquet", named), label="who") == [("Zoë/y.png", "Zoë", png(0, 8))]


def test_pages_of_two_encodings(tmp_path: Path) -> None:
    """What most writers leave: a dictionary for the first images, plain bytes once it is full."""
    images = images_of(*((png(i, 8), f"{i}.png") for i in range(30)))
    path = write(
        tmp_path / "a.parquet", {"image": images, "label": [0] * 30}, dictionary_pagesize_limit=1000, data_page_size=500
    )
    assert "RLE_DICTIONARY" in pq.ParquetFile(path).metadata.row_group(0).column(0).encodings
    assert sorted(image for _, _, image in entries(path)) == sorted(png(i, 8) for i in range(30))


def test_a_row_without_bytes_counts_as_an_unreadable_photo(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", {"image": images_of((None, "a.png"), (png(1, 8), "b.png")), "label": [0, 0]})
    with open_source(path) as source:
        first, second = source.entries
        with pytest.raises(UnreadableImage, match="holds no image"):
            source.read(first)
        assert source.read(second) == png(1, 8)


@pytest.mark.parametrize(
    ("columns", "features", "said"),
    [
        ({"label": [0]}, None, "no column of images: got columns label"),
        ({"a": pa.array([b"x"]), "b": pa.array([b"y"]), "label": [0]}, None, "no column of images"),
        ({"image": images_of((b"x", None)), "age": [3]}, None, "no column of people: got columns image, age"),
        ({"image": images_of((b"x", None)), "label": [0.5]}, None, "column label names no people: got double"),
        ({"image": images_of((b"x", None)), "label": [2]}, FEATURES, "class 2 of 2"),
        (
            {"image": images_of((b"x", None)), "label": [0]},
            {"label": {"_type": "ClassLabel", "names": [3]}},
            "no names",
        ),
        (
            {"image": images_of((b"x", None)), "label": [0]},
            {"label": {"_type": "ClassLabel", "names": ["A", "A"]}},
            "two classes of one name",
        ),
        ({"image": images_of((b"x", None)), "label": pa.array([None], pa.int64())}, None, "no row with an image"),
    ],
)
def test_other_tables_get_one_line(tmp_path: Path, columns: Any, features: Any, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        entries(write(tmp_path / "a.parquet", columns, features))
    assert "\n" not in str(caught.value)


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    images = pa.array([b"x"], pa.binary())
    table = pa.Table.from_arrays([images, images, pa.array([0])], names=["image", "image", "label"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match="has two columns image: got columns image, image, label"):
        entries(tmp_path / "a.parquet")


def test_people_as_a_view_of_text(tmp_path: Path) -> None:
    table = pa.table({"image": images_of((png(0, 8), None)), "label": pa.array(["Ann"], pa.string_view())})
    pq.write_table(table, tmp_path / "a.parquet")
    assert [entry[1] for entry in entries(tmp_path / "a.parquet")] == ["Ann"]


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_damage_is_named_or_harmless(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    stream = io.BytesIO()
    table = pa.table({"image": images_of(*((png(i, 8), f"{i}.png") for i in range(6))), "label": [0, 0, 1, 1, 2, 2]})
    pq.write_table(table, stream)
    whole = stream.getvalue()
    cut = data.draw(st.integers(4, len(whole)))
    broken = bytearray(whole[:cut])
    for _ in range(data.draw(st.integers(0, 3))):
        broken[data.draw(st.integers(4, cut - 1)) if cut > 4 else 0] ^= data.draw(st.integers(1, 255))
    if broken[:4] != b"PAR1":
        return
    path = tmp_path_factory.mktemp("set") / "a.parquet"
    path.write_bytes(broken)
    try:
        for _, _, image in entries(path):
            assert len(image) <= len(whole)
    except DataError as error:
        demand_line(error)


def test_a_small_file_that_stands_for_gigabytes_is_refused(tmp_path: Path) -> None:
    big = pa.DictionaryArray.from_arrays(pa.array([0] * 3000, pa.int32()), pa.array([bytes(1 << 20)]))
    columns = {"image": big, "label": np.zeros(3000, np.int64)}
    table = pa.table(columns)
    path = tmp_path / "a.parquet"
    with pq.ParquetWriter(path, table.schema, compression="zstd", dictionary_pagesize_limit=1 << 30) as writer:
        writer.write_table(table)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(Damaged, match="more image bytes than 20 times the file"):
        entries(path)


def test_only_a_folder_of_nothing_else_is_one_set(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", {"image": images_of((png(0, 8), "0.png")), "label": [0]}).read_bytes()
    assert len(entries(plant(tmp_path / "one", {"data/a.parquet": file, "README.md": b"card", ".git/x": b""}))) == 1
    photos = {"Ann/0.png": png(0), "Bo/1.png": png(1), "scores.parquet": file}
    assert [person for _, person, _ in entries(plant(tmp_path / "two", photos))] == ["Ann", "Bo"]
    with pytest.raises(RecipeError, match=r"import\.layout: got folder; needed auto: a says whose"):
        entries(tmp_path / "a.parquet", layout="folder")
    with pytest.raises(RecipeError, match=r"import\.label: got who; needed Parquet or WebDataset"):
        entries(tmp_path / "two", label="who")


def test_a_label_enters_the_digest_only_where_it_is_given() -> None:
    assert "label" not in ImportSpec().model_dump(exclude={"synthetic"})
    assert ImportSpec(label="who").model_dump()["label"] == "who"


def test_without_pyarrow_a_line_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.parquet", {"image": images_of((png(0, 8), "0.png")), "label": [0]})
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"Parquet needs pyarrow: .*; pip install 'facemae\[parquet\]'"):
        entries(path)
