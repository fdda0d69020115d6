"""Verification through the stage: lists of pairs to a result file that others can compare."""

import csv
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from facemae.errors import MissingPairs
from facemae.faces.faceset import FaceSet
from facemae.measure import flip_sum, ten_fold
from facemae.spec.manifest import read_manifest
from facemae.spec.recipe import EmbedSpec, ImportSpec, VerifySpec
from facemae.stages import verify as stage
from facemae.stages.embed import embed, load_vectors, vectors_of
from facemae.stages.import_ import import_faces
from facemae.stages.verify import REPLICATES, read_result, verify
from helpers import images_of, plain, smooth_photos, write_recogniser, write_set

PEOPLE, PHOTOS, FOLDS = 20, 3, 5
Row = tuple[int, int, bool, int]
SPEC = VerifySpec(replicates=200)


def listed() -> list[Row]:
    """(left, right, same, fold): in each fold four people with all pairs of their own and as many of different ones."""
    rows = []
    for fold in range(FOLDS):
        people = range(4 * fold, 4 * fold + 4)
        for person in people:
            first, other = person * PHOTOS, people[(person + 1) % 4] * PHOTOS
            rows += [(first, first + 1, True, fold), (first, first + 2, True, fold)]
            rows += [(first, other + 1, False, fold), (first + 1, other + 2, False, fold)]
    return rows


def write_list(path: Path, rows: Sequence[Row], files: Sequence[str]) -> Path:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["left", "right", "same", "fold"])
        writer.writerows([files[a], files[b], int(same), fold] for a, b, same, fold in rows)
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a set, a network and the list above."""
    place = tmp_path_factory.mktemp("verify")
    # Photos of one person differ nearly as much as people do, so that some pairs are mistaken.
    images = smooth_photos(PEOPLE, PHOTOS, noise=45.0)
    faces = FaceSet.open(write_set(place / "set", images, np.arange(PEOPLE).repeat(PHOTOS)))
    assert faces.people is not None
    write_recogniser(place / "net")
    write_list(place / "pairs.csv", listed(), faces.people.files)
    return place


def test_result_is_the_protocol_on_the_vectors(place: Path, tmp_path: Path) -> None:
    result = verify(
        place / "net", place / "set", place / "pairs.csv", tmp_path / "out", SPEC, plain(), cache=tmp_path / "cache"
    )
    left, right, same, _ = (np.array(column) for column in zip(*listed(), strict=True))
    vectors = np.asarray(vectors_of(place / "net", place / "set", EmbedSpec(), plain(), tmp_path / "cache"))
    unit = flip_sum(vectors[:, 0], vectors[:, 1])
    wanted = ten_fold(
        unit[left],
        unit[right],
        same,
        folds=FOLDS,
        people_a=left // PHOTOS,
        people_b=right // PHOTOS,
        fars=SPEC.far,
        replicates=200,
        seed=0,
    )
    assert 0.5 < wanted.accuracy.value < 1.0, "a list on which something can be got wrong"
    assert {name: result[name] for name in wanted.to_dict()} == wanted.to_dict()
    assert result["accuracy"]["trials"] == result["pairs"] == 80
    assert "within folds" in result["accuracy"]["method"]
    assert result["xnorm"] == pytest.approx(float(np.linalg.norm(vectors.reshape(-1, 16), axis=1).mean()), rel=1e-6)
    stored = np.load(tmp_path / "out" / REPLICATES)
    assert stored.shape == (200,)
    assert np.array_equal(stored, wanted.replicates, equal_nan=True)
    assert read_result(tmp_path / "out") == result


def test_the_order_of_the_list_does_not_matter_where_it_names_folds(place: Path, tmp_path: Path) -> None:
    people = FaceSet.open(place / "set").people
    assert people is not None
    by_fold = verify(place / "net", place / "set", place / "pairs.csv", tmp_path / "a", SPEC, plain(), cache=tmp_path)
    rows = listed()
    np.random.default_rng(0).shuffle(rows)
    # Folds may be counted from 1 as well.
    mixed = write_list(tmp_path / "mixed.csv", [(a, b, same, fold + 1) for a, b, same, fold in rows], people.files)
    shuffled = verify(place / "net", place / "set", mixed, tmp_path / "b", SPEC, plain(), cache=tmp_path)
    assert shuffled["folds"] == by_fold["folds"]
    assert shuffled["thresholds"] == by_fold["thresholds"]
    assert shuffled["accuracy"] == by_fold["accuracy"]


def test_folds_of_unequal_size_are_those_of_the_list(place: Path, tmp_path: Path) -> None:
    """Fold 0 has 32 pairs, the others 16, 16 and 16: contiguous runs would be of 20."""
    people = FaceSet.open(place / "set").people
    assert people is not None
    rows = [(a, b, same, max(fold, 1)) for a, b, same, fold in listed()]
    pairs = write_list(tmp_path / "pairs.csv", rows, people.files)
    result = verify(place / "net", place / "set", pairs, tmp_path / "out", SPEC, plain(), cache=tmp_path)
    left, right, same, fold = (np.array(column) for column in zip(*rows, strict=True))
    vectors = np.asarray(vectors_of(place / "net", place / "set", EmbedSpec(), plain(), tmp_path))
    unit = flip_sum(vectors[:, 0], vectors[:, 1])
    distance = np.square(unit[left] - unit[right]).sum(axis=1)
    grid = np.arange(0, 4, 0.01)
    expected = []
    for number in (1, 2, 3, 4):
        train = fold != number
        best = grid[int(np.argmax([((distance[train] < t) == same[train]).mean() for t in grid]))]
        expected.append(float(((distance[~train] < best) == same[~train]).mean()))
    assert result["folds"] == pytest.approx(expected)
    assert "within folds" in result["accuracy"]["method"]
    assert read_manifest(tmp_path / "out").spec["folds"] == "as listed"


def test_equal_folds_keep_the_digest_they_had(place: Path, tmp_path: Path) -> None:
    verify(place / "net", place / "set", place / "pairs.csv", tmp_path / "out", SPEC, plain(), cache=tmp_path)
    assert "folds" not in read_manifest(tmp_path / "out").spec


def test_photos_that_are_not_there_are_one_line(place: Path, tmp_path: Path) -> None:
    people = FaceSet.open(place / "set").people
    assert people is not None
    files = [*people.files[:-1], "Nobody/Nobody_0001.png"]
    pairs = write_list(tmp_path / "pairs.csv", [*listed(), (0, len(files) - 1, False, 0)], files)
    with pytest.raises(MissingPairs, match="Nobody/Nobody_0001") as raised:
        verify(place / "net", place / "set", pairs, tmp_path / "out", SPEC, plain(), cache=tmp_path / "cache")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_a_set_without_names_cannot_be_verified(place: Path, tmp_path: Path) -> None:
    nameless = write_set(tmp_path / "set", images_of(place / "set")[:6], [0, 0, 0, 1, 1, 1], kind="reconstructed")
    with pytest.raises(MissingPairs, match="a set without names"):
        verify(place / "net", nameless, place / "pairs.csv", tmp_path / "out", SPEC, plain(), cache=tmp_path)


def test_the_same_again_is_read_and_another_setting_is_another_result(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = place / "net", place / "set", place / "pairs.csv"
    first = verify(*arguments, tmp_path / "out", SPEC, plain(), cache=tmp_path / "cache")
    digest = read_manifest(tmp_path / "out").digest
    verify(*arguments, tmp_path / "other", VerifySpec(replicates=201), plain(), cache=tmp_path / "cache")
    assert read_manifest(tmp_path / "other").digest != digest
    monkeypatch.setattr(stage, "ten_folds", None)
    assert verify(*arguments, tmp_path / "out", SPEC, plain(), cache=tmp_path / "cache") == first


@pytest.mark.slow
@pytest.mark.real
def test_lfw_by_the_public_network_equals_onnxruntime_and_sklearn(shared: Path, tmp_path: Path) -> None:
    """Ten folds of six pairs: vectors from onnxruntime, folds from scikit-learn, thresholds by brute force."""
    onnxruntime = pytest.importorskip("onnxruntime")
    model_selection = pytest.importorskip("sklearn.model_selection")
    data, weights = shared / "data", shared / "weights" / "mobilefacenet_ms1m.onnx"
    rows = _lfw_rows(data / "lfw_pairs.txt", each=3)
    wanted = {name for left, right, _ in rows for name in (left, right)}
    with tarfile.open(data / "lfw112.tar") as archive:
        for member in archive:
            if Path(member.name).stem in wanted:
                archive.extract(member, tmp_path / "photos", filter="data")
    faces = FaceSet.open(import_faces([str(tmp_path / "photos")], tmp_path / "set", ImportSpec(), plain()))
    assert faces.people is not None
    where = {Path(file).stem: i for i, file in enumerate(faces.people.files)}
    pairs = [(where[left], where[right], same, k // 6) for k, (left, right, same) in enumerate(rows)]
    write_list(tmp_path / "pairs.csv", pairs, faces.people.files)
    asked = VerifySpec(normalize="imagenet", replicates=100)
    result = verify(weights, tmp_path / "set", tmp_path / "pairs.csv", tmp_path / "out", asked, plain(), cache=tmp_path)

    session = onnxruntime.InferenceSession(str(weights), providers=["CPUExecutionProvider"])
    pixels = images_of(tmp_path / "set").astype(np.float32) / 255
    inputs = ((pixels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).transpose(0, 3, 1, 2).astype(np.float32)
    views = [inputs, inputs[:, :, :, ::-1].copy()]
    raw = [np.concatenate([session.run(None, {"input0": one[None]})[0] for one in view]) for view in views]
    ours = load_vectors(embed(weights, tmp_path / "set", tmp_path / "e", EmbedSpec(normalize="imagenet"), plain()))
    np.testing.assert_allclose(ours[:, 0], raw[0], atol=2e-3)
    total = sum(raw)
    unit = total / np.linalg.norm(total, axis=1, keepdims=True)
    left, right, same, _ = (np.array(column) for column in zip(*pairs, strict=True))
    distance = ((unit[left] - unit[right]) ** 2).sum(axis=1)
    scores = []
    for train, test in model_selection.KFold(10).split(distance):
        grid = [((distance[train] < t) == same[train]).mean() for t in np.arange(0, 4, 0.01)]
        best = np.arange(0, 4, 0.01)[int(np.argmax(grid))]
        scores.append(((distance[test] < best) == same[test]).mean())
    assert result["folds"] == pytest.approx(scores)
    assert result["accuracy"]["value"] > 0.9


def _lfw_rows(path: Path, *, each: int) -> list[tuple[str, str, bool]]:
    """The first ``each`` pairs of either kind of every fold of a `pairs.txt`."""
    head, *lines = path.read_text().splitlines()
    folds, count = (int(number) for number in head.split())
    rows = []
    for fold in range(folds):
        begin = fold * 2 * count
        for line in [*lines[begin : begin + each], *lines[begin + count : begin + count + each]]:
            cells = line.split("\t")
            a, i, b, j = (cells[0], cells[1], cells[0], cells[2]) if len(cells) == 3 else cells
            rows.append((f"{a}_{int(i):04d}", f"{b}_{int(j):04d}", len(cells) == 3))
    return rows
