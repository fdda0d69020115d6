"""A recogniser from any set: it learns its people, and the directory is one that every other verb takes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facemae.errors import DataError, RecipeError
from facemae.faces.faceset import FaceSet
from facemae.nn.embedder import load_embedder
from facemae.spec.manifest import read_manifest
from facemae.spec.recipe import Classifier, EmbedSpec, Margin, MaskSpec, RecognizeSpec
from facemae.stages.embed import vectors_of
from facemae.stages.mask import mask
from facemae.stages.recognize import recognize
from facemae.train.journal import read_journal
from helpers import Interrupted, contents, plain, pulling_plug, smooth_photos, write_people_set, write_set


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_people_set(tmp_path_factory.mktemp("recognize") / "set", 6, 4)


def spec(iterations: int, **settings: Any) -> RecognizeSpec:
    given = {"backbone": "iresnet18", "width": 16, "input_size": 32, "embedding": 16, "batch": 16, "precision": "fp32"}
    margin = Margin(margin=0.2, scale=16)
    return RecognizeSpec.model_validate(given | {"iterations": iterations, "lr": 3.2, "margin": margin} | settings)


def nearest_is_the_same_person(vectors: np.ndarray, labels: np.ndarray) -> float:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -2)
    return float((labels[cosine.argmax(axis=1)] == labels).mean())


@pytest.mark.slow
def test_learns_its_own_people(faces: Path, tmp_path: Path) -> None:
    out = recognize(faces, tmp_path / "out", spec(60), plain())
    rows = read_journal(out / "journal.jsonl")
    assert rows[0]["loss"] > 0.2
    assert rows[-1]["loss"] < 0.05
    vectors = vectors_of(out, faces, EmbedSpec(), plain(), tmp_path / "cache")
    labels = FaceSet.open(faces).identities
    unit = vectors[:, 0] / np.linalg.norm(vectors[:, 0], axis=1, keepdims=True)
    cosine, same = unit @ unit.T, labels[:, None] == labels[None]
    assert cosine[same].min() > cosine[~same].max()
    assert nearest_is_the_same_person(vectors[:, 1], labels) == 1.0


def test_the_directory_is_a_recogniser(faces: Path, tmp_path: Path) -> None:
    out = recognize(faces, tmp_path / "out", spec(2), plain())
    manifest = read_manifest(out)
    assert manifest.kind == "recogniser"
    assert manifest.facts == {"iterations": 2, "images": 24, "identities": 6}
    assert manifest.spec["precision"] == "fp32"
    net = load_embedder(out)
    assert (net.input_size, net.embedding, net.normalize) == (32, 16, "insightface")
    names = {"manifest.json", "journal.jsonl", "backbone.safetensors", "recogniser.json"}
    assert set(contents(out)) == names


@pytest.mark.parametrize(("backbone", "width"), [("iresnet18", 64), ("mbf", 64), ("mbf2", 128)])
@pytest.mark.slow
def test_the_width_is_the_backbones_own_where_none_is_given(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backbone: str, width: int
) -> None:
    monkeypatch.setattr("facemae.stages.recognize.train", lambda *_, **__: {})
    out = recognize(faces, tmp_path / "out", spec(1, backbone=backbone, width=None), plain())
    assert read_manifest(out).spec["width"] == width
    load_embedder(out)
    # Whoever spells it out asks for the same.
    assert recognize(faces, out, spec(1, backbone=backbone, width=width), plain()) == out


@pytest.mark.slow
def test_an_interrupted_stage_goes_on_to_the_same_bytes(faces: Path, tmp_path: Path) -> None:
    whole = contents(recognize(faces, tmp_path / "whole", spec(12), plain(checkpoint_seconds=1e9)))
    with pytest.raises(Interrupted):
        recognize(faces, tmp_path / "cut", spec(12), pulling_plug(8, checkpoint_seconds=0))
    assert contents(recognize(faces, tmp_path / "cut", spec(12), plain(checkpoint_seconds=0))) == whole


@pytest.mark.parametrize("rate", [1.0, 0.5])
@pytest.mark.slow
def test_a_sharded_classifier_learns_goes_on_and_leaves_nothing(rate: float, faces: Path, tmp_path: Path) -> None:
    asked = spec(16, classifier=Classifier(sharded=True, rate=rate))
    whole = recognize(faces, tmp_path / "whole", asked, plain(checkpoint_seconds=1e9))
    rows = read_journal(whole / "journal.jsonl")
    assert rows[-1]["loss"] < 0.1  # about 4 at the start
    assert set(contents(whole)) == {"manifest.json", "journal.jsonl", "backbone.safetensors", "recogniser.json"}
    assert read_manifest(whole).spec["classifier"] == {"sharded": True, "rate": rate}
    with pytest.raises(Interrupted):
        recognize(faces, tmp_path / "cut", asked, pulling_plug(13, checkpoint_seconds=0))
    assert contents(recognize(faces, tmp_path / "cut", asked, plain(checkpoint_seconds=0))) == contents(whole)


# ---- faces of two people -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six people, four photos each; in the second half of their photos another one is mixed in, by a quarter."""
    own = smooth_photos(6, 4)
    labels = np.arange(6).repeat(4)
    others = (labels + 1) % 6
    shown = np.where(np.arange(24) % 4 < 2, 1.0, 0.75)[:, None, None, None]
    images = (shown * own + (1 - shown) * own[others * 4]).round().astype(np.uint8)
    extras = [
        {"mix": [[int(a), 0.75], [int(b), 0.25]]} if i % 4 > 1 else None
        for i, (a, b) in enumerate(zip(labels, others, strict=True))
    ]
    return write_set(tmp_path_factory.mktemp("mixed") / "set", images, labels, extras=extras)


@pytest.mark.slow
def test_a_set_of_mixed_people_is_learned(mixed: Path, faces: Path, tmp_path: Path) -> None:
    out = recognize(mixed, tmp_path / "out", spec(60, mixup="identity"), plain())
    assert read_manifest(out).spec["mixup"] == "identity"
    rows = read_journal(out / "journal.jsonl")
    assert rows[-1]["loss"] < rows[0]["loss"] - 1
    # Half of the photos leave log loss H(0.75, 0.25) at best.
    assert rows[-1]["loss"] > 0.25 * 0.562
    # It tells the unmixed people apart.
    vectors = vectors_of(out, faces, EmbedSpec(), plain(), tmp_path / "cache")
    assert nearest_is_the_same_person(vectors[:, 0], FaceSet.open(faces).identities) == 1.0


@pytest.mark.slow
def test_real_photos_are_part_of_the_request_and_of_the_classifier(mixed: Path, tmp_path: Path) -> None:
    real = write_people_set(tmp_path / "real", 3, 4, size=24, seed=9)
    asked = spec(12, mixup="identity", domain_mix=1.0)
    out = recognize(mixed, tmp_path / "out", asked, plain(checkpoint_seconds=1e9), real=real)
    manifest = read_manifest(out)
    assert manifest.parents == {"faces": read_manifest(mixed).digest, "real": read_manifest(real).digest}
    told = {"iterations": 12, "images": 24, "identities": 6, "real_images": 12, "real_identities": 3}
    assert manifest.facts == told
    with pytest.raises(Interrupted):
        recognize(mixed, tmp_path / "cut", asked, pulling_plug(8, checkpoint_seconds=0), real=real)
    again = recognize(mixed, tmp_path / "cut", asked, plain(checkpoint_seconds=0), real=real)
    assert contents(again) == contents(out)


def test_what_mixing_needs_is_named_before_anything_is_made(mixed: Path, faces: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    with pytest.raises(RecipeError, match=r"recognize\.domain_mix: got 1\.0; needed a set of real photos"):
        recognize(mixed, tmp_path / "out", spec(1, domain_mix=1.0), plain())
    with pytest.raises(RecipeError, match=r"--real: got domain_mix=0"):
        recognize(mixed, tmp_path / "out", spec(1), plain(), real=faces)
    assert sorted(tmp_path.iterdir()) == before
    with pytest.raises(DataError, match="no face that shows two people"):
        recognize(faces, tmp_path / "out", spec(1, mixup="identity"), plain())
    assert not (tmp_path / "out").exists()


def test_epochs_are_told_as_iterations(faces: Path, tmp_path: Path) -> None:
    given = {key: value for key, value in spec(1).model_dump().items() if key != "iterations"}
    asked = RecognizeSpec.model_validate(given | {"epochs": 2})
    manifest = read_manifest(recognize(faces, tmp_path / "out", asked, plain()))
    assert (manifest.spec["epochs"], manifest.spec["iterations"], manifest.facts["iterations"]) == (2, 2, 2)


def test_a_masked_set_is_seen_as_cells_on_grey(faces: Path, tmp_path: Path) -> None:
    masked = mask(faces, tmp_path / "masked", MaskSpec(seed=0), plain())
    out = recognize(masked, tmp_path / "out", spec(2), plain())
    assert read_manifest(out).parents == {"faces": read_manifest(masked).digest}


def test_one_person_cannot_be_recognised(tmp_path: Path) -> None:
    alone = write_people_set(tmp_path / "set", 1, 3)
    with pytest.raises(DataError, match="got one person; needed at least two") as raised:
        recognize(alone, tmp_path / "out", spec(1), plain())
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_what_a_transformer_leaves_out_belongs_to_its_step(faces: Path, tmp_path: Path) -> None:
    asked = spec(4, backbone="vit_t", width=None, lr=0.1)
    whole = contents(recognize(faces, tmp_path / "whole", asked, plain(checkpoint_seconds=1e9)))
    with pytest.raises(Interrupted):
        recognize(faces, tmp_path / "cut", asked, pulling_plug(3, checkpoint_seconds=0))
    assert contents(recognize(faces, tmp_path / "cut", asked, plain(checkpoint_seconds=0))) == whole
