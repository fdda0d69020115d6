"""A card tells what the manifest says of the set as a whole and nothing of single people; public tools read it."""

import json
import os
import subprocess
import sys
import zlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facemae.errors import DataError
from facemae.faces.exporters import card_facts, dataset_card, write_croissant
from facemae.faces.exporters.card import NOT_STATED
from facemae.faces.faceset import FaceSet
from facemae.spec.manifest import Kind, Manifest, write_manifest
from facemae.spec.recipe import ExportSpec
from facemae.stages.export import export_faces
from folders import noise, originals, tree

pytest.importorskip("huggingface_hub")

READ_CROISSANT = """
import json, sys, zlib
import mlcroissant, numpy
opened = mlcroissant.Dataset(sys.argv[1])
rows = list(opened.records("images"))
print(json.dumps({
    "errors": sorted(opened.metadata.ctx.issues.errors),
    "images": [zlib.crc32(numpy.asarray(row["images/image"]).tobytes()) for row in rows],
    "people": [int(row["images/label"]) for row in rows if "images/label" in row],
}))
"""


def a_set(directory: Path, kind: Kind = "reconstructed", **more: Any) -> FaceSet:
    """A set of a released kind whose manifest and neighbours hold what must not come out."""
    faces = originals(directory, [noise(i, 8) for i in range(6)], [0, 0, 1, 1, 2, 2])
    facts = {"records": 6, "identities": 3, "size": [8, 8], "true_pixels": 0.25, "skipped": [["Ann/x.jpg", "no"]]}
    content: dict[str, Any] = {
        "stage": "reconstruct",
        "spec": {"paste_visible": True, "format": "png", "seed": 4711, "sigma": None},
        "parents": {"masked": "a" * 64},
        "facts": facts,
        "facemae": "0.1.0",
    } | more
    write_manifest(directory, Manifest(kind=kind, digest="d" * 64, **content))
    return FaceSet.open(faces.directory)


def test_what_it_says(tmp_path: Path) -> None:
    faces = a_set(tmp_path / "set")
    said = dataset_card(card_facts(faces, name="Quiet faces", format="folder", source="A | B\nC<b>"))
    assert "# Quiet faces\n" in said
    for line in (
        "| Images | 6 |",
        "| People | 3, labelled by number |",
        "| Size | 8 × 8 pixels |",
        f"| License | {NOT_STATED} |",
        "| Source of the photos | A &#124; B C&lt;b> |",
        f"| Consent of the people shown | {NOT_STATED} |",
        "| stage | reconstruct |",
        "| paste_visible | yes |",
        "| true_pixels | 0.25 |",
        "Not measured for this card.",
    ):
        assert line in said
    assert "license" not in said.partition("\n---\n")[0]
    measured = dataset_card(card_facts(faces, name="x", format="folder"), leakage="Worst case: 3 of 1,000.")
    assert "## Leakage\n\nWorst case: 3 of 1,000.\n" in measured
    assert "Not measured" not in measured


@pytest.mark.parametrize("kind", ["original", "masked", "reconstructed", "baseline"])
def test_it_links_nobody(tmp_path: Path, kind: Kind) -> None:
    facts = card_facts(a_set(tmp_path / "set", kind), name="x", format="folder")
    (tmp_path / "data").mkdir()
    said = dataset_card(facts) + write_croissant(tmp_path, facts).read_text()
    for hidden in ("Person_", "x.jpg", "Ann/", "4711", "a" * 64, str(tmp_path)):
        assert hidden not in said
    assert "anonym" not in said.lower()


def test_drawn_people_are_called_so(tmp_path: Path) -> None:
    faces = a_set(tmp_path / "set", "original", stage="import", spec={"size": 112, "synthetic": {"identities": 3}})
    said = dataset_card(card_facts(faces, name="x", format="parquet"))
    assert "Nobody real is shown." in said
    assert "can be recognised" not in said


@pytest.mark.parametrize(
    ("license", "head"),
    [
        ("CC-BY-NC-4.0", "license: cc-by-nc-4.0\n"),
        ("ask us: by e-mail", "license: other\n"),
        (None, ""),
    ],
)
def test_the_hub_reads_the_head(tmp_path: Path, license: str | None, head: str) -> None:
    from huggingface_hub import DatasetCard

    facts = card_facts(a_set(tmp_path / "set"), name="a: b # c", format="parquet", license=license)
    text = dataset_card(facts)
    assert head in text
    data = DatasetCard(text).data.to_dict()
    assert data["pretty_name"] == "a: b # c"
    assert data["size_categories"] == "n<1K"
    assert data["configs"] == [{"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*"}]}]
    assert data.get("license_name") == (license if head.startswith("license: other") else None)
    assert dataset_card(facts) == text


@pytest.mark.parametrize("format", ["folder", "webdataset", "parquet"])
@pytest.mark.slow
def test_public_tools_open_the_folder(tmp_path: Path, format: Any) -> None:
    """`datasets` by the card, mlcroissant by its metadata: the pictures and labels that were stored."""
    pytest.importorskip("pyarrow")
    a_set(tmp_path / "set")
    spec = ExportSpec(format=format, card=True, license="cc-by-4.0", source="https://example.org", consent="written")
    export_faces(tmp_path / "set", tmp_path / "out", spec)
    assert {name.split("/")[0] for name in tree(tmp_path / "out")} == {"README.md", "croissant.json", "data"}
    content = json.loads((tmp_path / "out/croissant.json").read_text())
    assert content["conformsTo"][0] == "http://mlcommons.org/croissant/1.0"
    assert (content["license"], content["isBasedOn"]) == ("cc-by-4.0", "https://example.org")
    _by_datasets(tmp_path, format)
    _by_croissant(tmp_path / "out", format)


def _by_datasets(root: Path, format: str) -> None:
    datasets = pytest.importorskip("datasets")
    rows = datasets.load_dataset(str(root / "out"), cache_dir=str(root / "cache"))["train"]
    image, label = ("png", "cls") if format == "webdataset" else ("image", "label")
    assert rows[label][:] == [0, 0, 1, 1, 2, 2]
    assert all(np.array_equal(np.asarray(row[image]), noise(i, 8)) for i, row in enumerate(rows))


def _by_croissant(directory: Path, format: str) -> None:
    """In a process of its own: its logging takes the standard error stream for good."""
    if find_spec("mlcroissant") is None:
        pytest.skip("mlcroissant is not installed")
    ended = subprocess.run(
        [sys.executable, "-c", READ_CROISSANT, str(directory / "croissant.json")],
        env={**os.environ, "CROISSANT_CACHE": str(directory.parent / "croissant")},
        capture_output=True,
        text=True,
        check=True,
    )
    said = json.loads(ended.stdout)
    assert said["errors"] == []
    assert sorted(said["images"]) == sorted(zlib.crc32(noise(i, 8).tobytes()) for i in range(6))
    if format != "webdataset":
        assert sorted(said["people"]) == [0, 0, 1, 1, 2, 2]


def test_without_the_library_a_line_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_set(tmp_path / "set")
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(DataError, match=r"a dataset card needs huggingface_hub: .*; pip install 'facemae\[hub\]'"):
        export_faces(tmp_path / "set", tmp_path / "out", ExportSpec(card=True))
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
