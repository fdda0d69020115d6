"""The trust boundary: no hidden pixel reaches the released set, and nothing but set and model decides its bytes."""

import csv
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facemae.errors import NotAFaceSet, RecipeError, StageError
from facemae.faces.faceset import FaceSet
from facemae.faces.writer import FaceSetWriter
from facemae.spec.execution import Execution
from facemae.spec.recipe import MaskSpec, ReconstructSpec
from facemae.stages import reconstruct as stage
from facemae.stages.mask import mask, private_of
from facemae.stages.reconstruct import reconstruct
from helpers import (
    Interrupted,
    contents,
    images_of,
    plain,
    pulling_plug,
    smooth_photos,
    tiny_mae,
    write_model,
    write_set,
)

RECORDS = 150  # two whole chunks of 64 and a padded one
LABELS = np.arange(30).repeat(5)
FP32 = ReconstructSpec(precision="fp32")


def masked_set(directory: Path, images: np.ndarray, *, cell: int = 8) -> Path:
    """``images`` masked with a known secret, beside the originals."""
    originals = write_set(directory / "originals", images, LABELS[: len(images)])
    return mask(originals, directory / "masked", MaskSpec(cell=cell, seed=5), plain())


def hidden_changed(images: np.ndarray, masked: Path) -> np.ndarray:
    """A copy in which every pixel that ``masked`` does not show is another one."""
    faces = FaceSet.open(masked)
    grid, cell, _ = faces.cells
    _, positions = faces.visible(range(len(faces)))
    with (private_of(masked) / "map.csv").open() as stream:
        originals = [int(row["original_key"]) for row in csv.DictReader(stream)]
    changed = 255 - images
    for original, places in zip(originals, positions.tolist(), strict=True):
        for y, x in (divmod(place, grid) for place in places):
            window = slice(y * cell, (y + 1) * cell), slice(x * cell, (x + 1) * cell)
            changed[original][window] = images[original][window]
    return changed


@pytest.fixture(scope="module")
def photos() -> np.ndarray:
    # No pixel is 127 or 128, so that 255 - p differs from p everywhere and by much.
    images = smooth_photos(30, 5)
    return np.where(images < 128, images.clip(0, 100), images.clip(155, 255)).astype(np.uint8)


@pytest.fixture(scope="module")
def masked(photos: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return masked_set(tmp_path_factory.mktemp("masked"), photos)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "model", tiny_mae())


@pytest.fixture(scope="module")
def released(model: Path, masked: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Every file of the set as it comes out of one undisturbed run."""
    return contents(reconstruct(model, masked, tmp_path_factory.mktemp("released") / "out", FP32, plain()))


@pytest.mark.parametrize(("native", "cell", "model_size", "patch"), [(32, 8, 32, 8), (32, 4, 64, 8), (48, 8, 96, 16)])
@pytest.mark.parametrize("paste", [False, True])
@pytest.mark.slow
def test_hidden_pixels_reach_nothing(
    native: int, cell: int, model_size: int, patch: int, paste: bool, tmp_path: Path
) -> None:
    images = smooth_photos(14, 5, size=native)
    images = np.where(images < 128, images.clip(0, 100), images.clip(155, 255)).astype(np.uint8)
    one = masked_set(tmp_path / "one", images, cell=cell)
    other_images = hidden_changed(images, one)
    assert ((other_images != images).all(axis=3).mean(axis=(1, 2)) == 0.75).all(), "not every hidden pixel is changed"
    other = masked_set(tmp_path / "other", other_images, cell=cell)
    net = write_model(tmp_path / "model", tiny_mae(image_size=model_size, patch_size=patch))
    spec = ReconstructSpec(precision="fp32", paste_visible=paste)
    sets = [
        contents(reconstruct(net, place, tmp_path / place.parent.name / "out", spec, plain())) for place in (one, other)
    ]
    assert contents(one) == contents(other)
    assert sets[0] == sets[1]
    # And the visible ones do reach it: another picture gives another set.
    third = masked_set(tmp_path / "third", 255 - images, cell=cell)
    assert contents(reconstruct(net, third, tmp_path / "third" / "out", spec, plain())) != sets[0]


@pytest.mark.parametrize("execution", [plain(batch=256), plain(batch=1), plain(workers=2)], ids=["256", "1", "workers"])
def test_batch_and_workers_change_no_byte(
    execution: Execution, released: dict[str, bytes], model: Path, masked: Path, tmp_path: Path
) -> None:
    assert contents(reconstruct(model, masked, tmp_path / "out", FP32, execution)) == released


@pytest.mark.parametrize("calls", [1, 2, 3])
def test_an_interrupted_run_goes_on_to_the_same_bytes(
    calls: int, released: dict[str, bytes], model: Path, masked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Interrupted):
        reconstruct(model, masked, tmp_path / "out", FP32, pulling_plug(calls))
    assert not (tmp_path / "out").exists()
    computed: list[int] = []

    def noting(*args: Any) -> np.ndarray:
        computed.append(1)
        return predict(*args)

    predict = stage._predict
    monkeypatch.setattr(stage, "_predict", noting)
    assert contents(reconstruct(model, masked, tmp_path / "out", FP32, plain())) == released
    assert len(computed) == 3 - calls, "finished chunks are computed once"
    assert not list(tmp_path.glob(".*"))


@pytest.mark.slow
def test_a_run_cut_inside_a_chunk_goes_on_to_the_same_bytes(
    model: Path, masked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shard that fills up puts part of a chunk on disk; the rest of that chunk has to follow it."""
    monkeypatch.setattr(stage, "FaceSetWriter", partial(FaceSetWriter, shard_bytes=100_000))
    whole = contents(reconstruct(model, masked, tmp_path / "whole", FP32, plain()))
    shards = [name for name in whole if name.endswith(".tar")]
    assert len(shards) > 2
    calls = iter(range(10_000))
    encode = stage.encode_png

    def failing(image: np.ndarray) -> bytes:
        if next(calls) == 120:
            raise Interrupted
        return encode(image)

    monkeypatch.setattr(stage, "encode_png", failing)
    with pytest.raises(Interrupted):
        reconstruct(model, masked, tmp_path / "cut", FP32, plain())
    [unfinished] = tmp_path.glob(".cut.*.partial")
    writer = FaceSetWriter(unfinished)
    assert len(writer) % stage.CHUNK != 0, "the cut is to fall inside a chunk"
    writer.close()
    assert contents(reconstruct(model, masked, tmp_path / "cut", FP32, plain())) == whole


def test_the_same_again_is_not_computed_again(
    model: Path, masked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reconstruct(model, masked, tmp_path / "out", FP32, plain())
    monkeypatch.setattr(stage, "_predict", None)
    reconstruct(model, masked, tmp_path / "out", FP32, plain(batch=7))


def test_records_keep_their_people_and_nothing_else_of_them(masked: Path, model: Path, tmp_path: Path) -> None:
    out = FaceSet.open(reconstruct(model, masked, tmp_path / "out", FP32, plain()), kind="reconstructed")
    source = FaceSet.open(masked)
    assert len(out) == RECORDS
    assert (out.identities == source.identities).all()
    assert out.num_identities == source.num_identities
    assert out.size == (32, 32)
    assert out.people is None
    assert out.record(3).extras is None
    assert out.manifest.facts["true_pixels"] == 0.0
    assert set(out.manifest.parents) == {"model", "masked"}


def test_pasting_releases_the_true_visible_pixels_and_only_there(masked: Path, model: Path, tmp_path: Path) -> None:
    pasted_spec = ReconstructSpec(precision="fp32", paste_visible=True)
    pasted = images_of(reconstruct(model, masked, tmp_path / "pasted", pasted_spec, plain()))
    predicted = images_of(reconstruct(model, masked, tmp_path / "predicted", FP32, plain()))
    faces = FaceSet.open(masked)
    cells, positions = faces.visible(range(len(faces)))
    shown = np.zeros((RECORDS, 32, 32), bool)
    for i, places in enumerate(positions.tolist()):
        for k, (y, x) in enumerate(divmod(place, 4) for place in places):
            window = slice(y * 8, y * 8 + 8), slice(x * 8, x * 8 + 8)
            shown[i][window] = True
            assert (pasted[i][window] == cells[i, k]).all()
    assert (pasted[~shown] == predicted[~shown]).all()
    assert (pasted[shown] != predicted[shown]).any()
    assert FaceSet.open(tmp_path / "pasted").manifest.facts["true_pixels"] == 0.25


@pytest.mark.slow
def test_jpeg_is_nearly_the_same_pictures(masked: Path, model: Path, tmp_path: Path) -> None:
    spec = ReconstructSpec(precision="fp32", format="jpeg")
    out = reconstruct(model, masked, tmp_path / "jpeg", spec, plain())
    assert FaceSet.open(out).record(0).suffix == ".jpg"
    lossless = images_of(reconstruct(model, masked, tmp_path / "png", FP32, plain()))
    assert np.abs(images_of(out).astype(int) - lossless).max() <= 6
    assert contents(reconstruct(model, masked, tmp_path / "again", spec, plain(batch=256))) == contents(out)


def test_originals_cannot_enter(model: Path, masked: Path, tmp_path: Path) -> None:
    originals = masked.parent / "originals"
    with pytest.raises(NotAFaceSet, match="got kind original; needed masked; run `facemae mask`") as raised:
        reconstruct(model, originals, tmp_path / "out", FP32, plain())
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("image_size", "patch_size", "message"),
    [
        (64, 8, "got 4 cells a side of 8 pixels; needed 8 cells a side"),
        (16, 4, "of 4 pixels or a whole fraction"),
        (48, 12, "of 12 pixels or a whole fraction"),
    ],
    ids=["another grid", "smaller patches", "patches between"],
)
def test_cells_that_do_not_fit_the_model_are_refused(
    image_size: int, patch_size: int, message: str, masked: Path, tmp_path: Path
) -> None:
    net = write_model(tmp_path / "model", tiny_mae(image_size=image_size, patch_size=patch_size))
    with pytest.raises(RecipeError, match=message) as raised:
        reconstruct(net, masked, tmp_path / "out", FP32, plain())
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_only_a_model_reconstructs(masked: Path, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="is not a model: got masked"):
        reconstruct(masked, masked, tmp_path / "out", FP32, plain())
