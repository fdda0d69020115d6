"""InsightFace's sets through the verbs: verification of a `.bin`, export by name, one line for what is wrong."""

import csv
import pickle
from pathlib import Path

import numpy as np
import pytest

from facemae.errors import RecipeError
from facemae.faces.codec import encode_png
from facemae.faces.faceset import FaceSet
from facemae.spec.manifest import digest_of, read_manifest
from facemae.spec.reading import section_spec
from facemae.spec.recipe import ExportSpec, ImportSpec, SyntheticSpec, VerifySpec
from facemae.stages.export import export_faces
from facemae.stages.import_ import import_faces
from facemae.stages.verify import verify
from folders import demand_one_line, facemae, plant, tree
from helpers import plain, smooth_photos, write_recogniser

PEOPLE = 20


def listed() -> tuple[list[bytes], list[tuple[int, int, bool]]]:
    """Photos of twenty people, three of each, and 83 pairs: of ten folds the first three are one larger."""
    photos = [encode_png(image) for image in smooth_photos(PEOPLE, 3, noise=45.0)]
    draw = np.random.default_rng(0)
    pairs = []
    for i in range(83):
        a = int(draw.integers(PEOPLE))
        b = a if i % 2 else int((a + draw.integers(1, PEOPLE)) % PEOPLE)
        first, second = draw.permutation(3)[:2]
        pairs.append((3 * a + int(first), 3 * b + int(second), a == b))
    return photos, pairs


@pytest.mark.slow
def test_a_verification_file_gives_the_number_of_its_list(tmp_path: Path) -> None:
    photos, pairs = listed()
    content = ([photos[i] for a, b, _ in pairs for i in (a, b)], [same for _, _, same in pairs])
    (tmp_path / "lfw.bin").write_bytes(pickle.dumps(content, 4))
    imported = import_faces([str(tmp_path / "lfw.bin")], tmp_path / "bin", ImportSpec(), plain())

    names = [f"{i // 3:02d}/{i}.png" for i in range(len(photos))]
    folder = plant(tmp_path / "photos", dict(zip(names, photos, strict=True)))
    original = import_faces([str(folder)], tmp_path / "set", ImportSpec(), plain())
    with (tmp_path / "pairs.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["left", "right", "same", "fold"])
        folds = np.repeat(range(10), [9, 9, 9, 8, 8, 8, 8, 8, 8, 8])
        writer.writerows([names[a], names[b], int(same), k] for (a, b, same), k in zip(pairs, folds, strict=True))

    network, spec = write_recogniser(tmp_path / "net"), VerifySpec(replicates=50)
    ours = verify(network, imported, imported / "pairs/lfw.csv", tmp_path / "a", spec, plain(), cache=tmp_path / "c")
    wanted = verify(network, original, tmp_path / "pairs.csv", tmp_path / "b", spec, plain(), cache=tmp_path / "c")
    for key in ("folds", "thresholds", "std", "pairs"):
        assert ours[key] == wanted[key]
    assert ours["accuracy"]["value"] == wanted["accuracy"]["value"] > 0.5
    assert ours["accuracy"]["method"].endswith("; people told apart by the pairs alone: too narrow")
    assert "told apart" not in str(wanted)
    assert ours["accuracy"]["hits"] == wanted["accuracy"]["hits"] < 83


@pytest.mark.slow
def test_synthetic_people_as_a_whole_bundle(tmp_path: Path) -> None:
    """Train on records, verify on a .bin: what leaves as InsightFace's formats comes back the same."""
    wanted = ImportSpec(size=32, synthetic=SyntheticSpec(identities=24, photos=4))
    faces = FaceSet.open(import_faces(["synthetic"], tmp_path / "set", wanted, plain()))
    assert export_faces(faces.directory, tmp_path / "records", ExportSpec(format="recordio")) == 96
    assert export_faces(faces.directory, tmp_path / "bins", ExportSpec(format="bin", pairs="lfw")) == 96
    assert sorted(tree(tmp_path / "records")) == ["property", "train.idx", "train.rec"]
    assert (tmp_path / "records/property").read_text() == "24,32,32\n"
    assert list(tree(tmp_path / "bins")) == ["lfw.bin"]
    back = FaceSet.open(import_faces([str(tmp_path / "records")], tmp_path / "back", ImportSpec(), plain()))
    assert [back.record(i).image for i in range(96)] == [faces.record(i).image for i in range(96)]
    assert back.identities.tolist() == faces.identities.tolist()
    exam = import_faces([str(tmp_path / "bins/lfw.bin")], tmp_path / "exam", ImportSpec(), plain())
    network = write_recogniser(tmp_path / "net")
    results = [
        verify(
            network, each, each / "pairs/lfw.csv", tmp_path / name, VerifySpec(replicates=50), plain(), cache=tmp_path
        )
        for name, each in (("a", exam), ("b", faces.directory))
    ]
    assert results[0]["folds"] == results[1]["folds"]


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos, _ = listed()
    names = [f"{i // 3:02d}/{i}.png" for i in range(len(photos))]
    plant(tmp_path / "photos", dict(zip(names, photos, strict=True)))
    facemae(capsys, "import", tmp_path / "photos", tmp_path / "set")
    ended = facemae(capsys, "export", tmp_path / "set", tmp_path / "out", "--set", "format=recordio")
    assert (ended.code, ended.err) == (0, "")
    said = demand_one_line(facemae(capsys, "export", tmp_path / "set", tmp_path / "bins", "--set", "format=bin"))
    assert "has no pair list: got no list" in said
    content = (tmp_path / "out/train.rec").read_bytes()
    (tmp_path / "out/train.rec").write_bytes(content[:-100])
    said = demand_one_line(facemae(capsys, "import", tmp_path / "out", tmp_path / "again"))
    assert "train.idx does not fit the .rec: got byte" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "photos", "set"]


@pytest.mark.parametrize("settings", ["pairs=lfw", "format=recordio,pairs=lfw", "format=bin,card=true"])
def test_settings_that_contradict(settings: str) -> None:
    with pytest.raises(RecipeError):
        section_spec("export", ExportSpec, None, settings.split(","))


def test_other_imports_keep_their_digest(tmp_path: Path) -> None:
    photos = plant(tmp_path / "photos", {"a/1.png": listed()[0][0], "b/1.png": listed()[0][5]})
    out = import_faces([str(photos)], tmp_path / "out", ImportSpec(), plain())
    manifest = read_manifest(out)
    assert set(manifest.parents) == {"source0"}
    assert manifest.digest == digest_of("import", manifest.spec, manifest.parents)
    assert not {"protocols", "people"} & manifest.facts.keys()
