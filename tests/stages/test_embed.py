"""Vectors are computed once for a network, a set and a precision."""

from pathlib import Path

import numpy as np
import pytest
import torch

from facemae.errors import FaceMAEError, NotAFaceSet
from facemae.nn.embedder import build_backbone
from facemae.spec.manifest import read_manifest
from facemae.spec.recipe import EmbedSpec
from facemae.stages import embed as stage
from facemae.stages.embed import embed, load_vectors, open_embedder, vectors_of
from helpers import Interrupted, plain, pulling_plug, write_people_set, write_recogniser


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_people_set(tmp_path_factory.mktemp("embed") / "set", 14, 5)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recogniser(tmp_path_factory.mktemp("embed") / "net")


def test_writes_both_views_and_says_what_they_are(faces: Path, network: Path, tmp_path: Path) -> None:
    out = embed(network, faces, tmp_path / "out", EmbedSpec(), plain())
    assert load_vectors(out).shape == (70, 2, 16)
    manifest = read_manifest(out)
    assert manifest.kind == "embeddings"
    assert manifest.facts == {"records": 70, "dimension": 16}
    assert manifest.parents == {"embedder": read_manifest(network).digest, "faces": read_manifest(faces).digest}


def test_an_interrupted_stage_goes_on(faces: Path, network: Path, tmp_path: Path) -> None:
    whole = load_vectors(embed(network, faces, tmp_path / "whole", EmbedSpec(), plain()))
    with pytest.raises(Interrupted):
        embed(network, faces, tmp_path / "cut", EmbedSpec(), pulling_plug(1))
    assert not (tmp_path / "cut").exists()
    cut = load_vectors(embed(network, faces, tmp_path / "cut", EmbedSpec(), plain(batch=256)))
    assert np.array_equal(whole, cut)
    assert (tmp_path / "whole" / "manifest.json").read_bytes() == (tmp_path / "cut" / "manifest.json").read_bytes()


def test_cached_vectors_are_not_computed_again(
    faces: Path, network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = np.array(vectors_of(network, faces, EmbedSpec(), plain(), tmp_path))
    monkeypatch.setattr(stage, "embed_faces", None)
    assert np.array_equal(vectors_of(network, faces, EmbedSpec(), plain(), tmp_path), first)
    assert len(list(tmp_path.iterdir())) == 1


def test_the_cache_tells_networks_sets_and_precisions_apart(faces: Path, network: Path, tmp_path: Path) -> None:
    other = write_recogniser(tmp_path / "other", seed=1)
    cache = tmp_path / "cache"
    vectors = [
        vectors_of(network, faces, EmbedSpec(), plain(), cache),
        vectors_of(other, faces, EmbedSpec(), plain(), cache),
        vectors_of(network, faces, EmbedSpec(precision="bf16"), plain(), cache),
    ]
    assert len(list(cache.iterdir())) == 3
    assert not np.array_equal(vectors[0], vectors[1])
    assert not np.array_equal(vectors[0], vectors[2])


def test_auto_shares_the_cache_of_what_it_resolves_to(
    faces: Path, network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache that travels between machines never meets vectors of another precision under one name."""
    for resolved in ("fp32", "bf16"):
        monkeypatch.setattr(stage, "resolve", lambda precision, device, to=resolved: to)
        vectors_of(network, faces, EmbedSpec(precision="auto"), plain(), tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_our_recognisers_bring_their_normalisation_and_state_dicts_take_the_given_one(
    network: Path, tmp_path: Path
) -> None:
    assert open_embedder(network, "imagenet").normalize == "insightface"
    body = build_backbone("iresnet18", width=4, input_size=32, embedding=16)
    torch.save(body.state_dict(), tmp_path / "backbone.pth")
    assert open_embedder(tmp_path / "backbone.pth", "imagenet").normalize == "imagenet"


def test_what_is_missing_is_named_in_one_line(faces: Path, network: Path, tmp_path: Path) -> None:
    with pytest.raises(FaceMAEError, match=r"nothing at .*nowhere: check the path"):
        embed(tmp_path / "nowhere", faces, tmp_path / "out", EmbedSpec(), plain())
    with pytest.raises(NotAFaceSet, match="got kind recogniser"):
        embed(network, network, tmp_path / "out", EmbedSpec(), plain())
