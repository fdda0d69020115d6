"""Another engine for `embed` and `reconstruct`: asked for by name, part of the digest only then."""

import sys
from pathlib import Path

import numpy as np
import pytest

from facemae.errors import RecipeError
from facemae.spec.manifest import read_manifest
from facemae.spec.recipe import EmbedSpec, MaskSpec, ReconstructSpec
from facemae.stages.embed import embed, load_vectors
from facemae.stages.mask import mask
from facemae.stages.reconstruct import reconstruct
from helpers import images_of, plain, tiny_mae, write_model, write_people_set, write_recogniser


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_people_set(tmp_path_factory.mktemp("engine") / "faces", 5, 4)


def test_the_default_is_in_no_digest() -> None:
    assert "engine" not in EmbedSpec().model_dump() | ReconstructSpec().model_dump()
    assert EmbedSpec(engine="openvino").model_dump()["engine"] == "openvino"
    assert ReconstructSpec(engine="openvino").model_dump()["engine"] == "openvino"


@pytest.mark.slow
def test_vectors_of_both_engines(faces: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    net = write_recogniser(tmp_path / "net")
    made = {
        engine: embed(net, faces, tmp_path / engine, EmbedSpec(engine=engine), plain())
        for engine in ("torch", "openvino")
    }
    assert "engine" not in read_manifest(made["torch"]).spec
    assert read_manifest(made["openvino"]).spec["engine"] == "openvino"
    ours, theirs = (load_vectors(directory) for directory in made.values())
    assert not np.array_equal(theirs, ours), "the same bytes: OpenVINO was not asked"
    assert np.abs(theirs - ours).max() < 1e-4 * np.abs(ours).max()


@pytest.mark.slow
def test_reconstructions_of_both_engines(faces: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    masked = mask(faces, tmp_path / "masked", MaskSpec(seed=5), plain())
    model = write_model(tmp_path / "model", tiny_mae())
    made = {
        engine: reconstruct(model, masked, tmp_path / engine, ReconstructSpec(engine=engine, precision="fp32"), plain())
        for engine in ("torch", "openvino")
    }
    assert read_manifest(made["torch"]).digest != read_manifest(made["openvino"]).digest
    assert "engine" not in read_manifest(made["torch"]).spec
    ours, theirs = (images_of(directory).astype(int) for directory in made.values())
    assert np.abs(theirs - ours).max() <= 1, "more than a pixel on the edge of rounding"
    assert len(np.unique(ours)) > 50


def test_a_missing_engine_is_named(faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    net = write_recogniser(tmp_path / "net")
    with pytest.raises(RecipeError, match="pip install"):
        embed(net, faces, tmp_path / "out", EmbedSpec(engine="openvino"), plain())
    assert not (tmp_path / "out").exists()
