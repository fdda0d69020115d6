"""The training stage from set to model: what it needs, what it leaves, and that it survives what happens to it."""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from facemae.errors import DiskFull, NonFiniteLoss, NotAFaceSet, RecipeError, StageError, WeightsError
from facemae.nn import mae
from facemae.nn.keymaps import save_mae
from facemae.spec.execution import Silent
from facemae.spec.manifest import read_manifest
from facemae.spec.recipe import Loss, PretrainSpec
from facemae.stages.pretrain import load_model, pretrain
from facemae.train import pretrain as loop
from facemae.train.checkpoint import load_checkpoint
from facemae.train.journal import read_journal
from helpers import (
    TINY,
    Interrupted,
    contents,
    plain,
    pulling_plug,
    smooth_photos,
    tiny_mae,
    write_model,
    write_people_set,
    write_recogniser,
    write_set,
)

PIXELS = Loss(pixel=1, instance=0, relation=0)


@pytest.fixture(autouse=True)
def _tiny_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(mae.SIZES, "tiny", TINY)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_people_set(tmp_path_factory.mktemp("pretrain") / "set", 6, 4)


@pytest.fixture(scope="module")
def phi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recogniser(tmp_path_factory.mktemp("pretrain") / "phi")


def spec(steps: int, **settings: Any) -> PretrainSpec:
    given = {"size": "tiny", "image_size": 32, "patch_size": 8, "image_steps": 8 * steps, "batch": 8, "loss": PIXELS}
    return PretrainSpec.model_validate(given | {"precision": "fp32", "base_lr": 0.1} | settings)


@pytest.mark.parametrize(
    "loss", [PIXELS, Loss(instance=1, relation=0), Loss(instance=0, relation=1), Loss(pixel=1)], ids=str
)
@pytest.mark.slow
def test_every_loss_setting_runs_and_falls(loss: Loss, faces: Path, phi: Path, tmp_path: Path) -> None:
    # The whole set in every step, so that the loss falls without a batch's noise.
    asked = spec(180, loss=loss, batch=24, ratio=0.5, base_lr=0.05)
    out = pretrain(faces, tmp_path / "out", asked, plain(), phi=phi)
    rows = read_journal(out / "journal.jsonl")
    assert [row["step"] for row in rows] == [10, 20, 30, 40, 50, 60]
    assert rows[-1]["loss"] < 0.95 * rows[0]["loss"]
    terms = {"pixel": loss.pixel, "instance": loss.instance, "relation": loss.relation}
    seen = {name: weight for name, weight in terms.items() if name in rows[-1]}
    assert set(seen) == {"pixel"} if loss == PIXELS else {"instance", "relation"} <= set(seen)
    for row in rows:
        assert row["loss"] == pytest.approx(sum(weight * row[name] for name, weight in seen.items()), rel=1e-5)


def test_the_model_comes_back_as_it_was_trained(faces: Path, tmp_path: Path) -> None:
    out = pretrain(faces, tmp_path / "out", spec(3), plain())
    model = load_model(out)
    assert model.size == TINY._replace(image_size=32, patch_size=8)
    stored = safetensors.torch.load_file(out / "model.safetensors")
    assert all(torch.equal(tensor, stored[name]) for name, tensor in model.state_dict().items())
    assert not torch.equal(model.decoder_pred.weight, tiny_mae().decoder_pred.weight)
    manifest = read_manifest(out)
    assert manifest.kind == "model"
    count = sum(parameter.numel() for parameter in model.parameters())
    assert manifest.facts == {
        "steps": 3, "image_steps": 24, "images": 24, "cell": 8, "native": [32, 32], "parameters": count
    }  # fmt: skip


def test_without_phi_the_line_says_what_to_do(faces: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"--phi: got nothing; needed a feature network") as raised:
        pretrain(faces, tmp_path / "out", spec(1, loss=Loss()), plain())
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_a_plain_mae_does_not_depend_on_phi(faces: Path, phi: Path, tmp_path: Path) -> None:
    one = pretrain(faces, tmp_path / "one", spec(2), plain())
    two = pretrain(faces, tmp_path / "two", spec(2), plain(), phi=phi)
    assert contents(one) == contents(two)


@pytest.mark.slow
def test_training_goes_on_from_another_model(faces: Path, tmp_path: Path) -> None:
    first = pretrain(faces, tmp_path / "first", spec(40), plain())
    asked = spec(1, base_lr=1e-9)
    warm = pretrain(faces, tmp_path / "warm", asked, plain(), init=first)
    cold = pretrain(faces, tmp_path / "cold", asked, plain())
    for mine, start in zip(load_model(warm).parameters(), load_model(first).parameters(), strict=True):
        torch.testing.assert_close(mine, start, rtol=0, atol=1e-8)
    losses = [read_journal(out / "journal.jsonl")[0]["loss"] for out in (warm, cold)]
    assert losses[0] < losses[1]
    assert read_manifest(warm).parents["init"] == read_manifest(first).digest
    # A file of weights serves as well as a directory, in our form and in that of facebookresearch/mae.
    save_mae(load_model(first), tmp_path / "facebook.pth")
    for name, file in (("ours", first / "model.safetensors"), ("theirs", tmp_path / "facebook.pth")):
        by_file = pretrain(faces, tmp_path / name, asked, plain(), init=file)
        assert (by_file / "model.safetensors").read_bytes() == (warm / "model.safetensors").read_bytes()


def test_weights_of_another_geometry_are_refused(faces: Path, tmp_path: Path) -> None:
    other = write_model(tmp_path / "other", tiny_mae(image_size=64))
    with pytest.raises(RecipeError, match=r"is another model: got .* 64 px in patches of 8; needed .* 32 px") as raised:
        pretrain(faces, tmp_path / "out", spec(1), plain(), init=other)
    assert "\n" not in str(raised.value)


def test_only_originals_are_trained_on(faces: Path, tmp_path: Path) -> None:
    released = write_set(tmp_path / "set", smooth_photos(2, 2), [0, 0, 1, 1], kind="reconstructed")
    with pytest.raises(NotAFaceSet, match="got kind reconstructed; needed original"):
        pretrain(released, tmp_path / "out", spec(1), plain())
    with pytest.raises(StageError, match="is not a model"):
        load_model(released)


def test_vectors_are_computed_once_for_all_runs(
    faces: Path, phi: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    pretrain(faces, tmp_path / "one", spec(1, loss=Loss()), plain(), phi=phi, cache=cache)
    [file] = cache.glob("*/embeddings.npy")
    before = file.stat()
    monkeypatch.setattr("facemae.stages.embed.embed_faces", None)
    pretrain(faces, tmp_path / "two", spec(2, loss=Loss()), plain(), phi=phi, cache=cache)
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_out_holds_no_vectors_of_the_training_people(faces: Path, phi: Path, tmp_path: Path) -> None:
    out = pretrain(faces, tmp_path / "out", spec(1, loss=Loss()), plain(), phi=phi)
    assert set(contents(out)) == {"manifest.json", "journal.jsonl", "model.safetensors", "model.json"}


@pytest.mark.parametrize("calls", [5, 12])
@pytest.mark.slow
def test_an_interrupted_stage_goes_on_to_the_same_bytes(calls: int, faces: Path, phi: Path, tmp_path: Path) -> None:
    asked = spec(12, loss=Loss(pixel=1))
    whole = contents(pretrain(faces, tmp_path / "whole", asked, plain(checkpoint_seconds=1e9), phi=phi))
    with pytest.raises(Interrupted):
        # The vectors of phi advance once before the first step does.
        pretrain(faces, tmp_path / "cut", asked, pulling_plug(1 + calls, checkpoint_seconds=0), phi=phi)
    assert not (tmp_path / "cut").exists()
    assert contents(pretrain(faces, tmp_path / "cut", asked, plain(checkpoint_seconds=0), phi=phi)) == whole


def test_a_broken_loss_leaves_no_out_and_the_checkpoint(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter(range(100))
    real = loop.pixel_loss
    broken = float("nan")
    monkeypatch.setattr(loop, "pixel_loss", lambda *a, **k: real(*a, **k) * (broken if next(calls) == 5 else 1.0))
    with pytest.raises(NonFiniteLoss, match="start again with a lower base_lr, clip=") as raised:
        pretrain(faces, tmp_path / "out", spec(20), plain(checkpoint_seconds=0))
    [unfinished] = tmp_path.glob(".*.partial")
    state = load_checkpoint(unfinished)
    assert state is not None
    assert all(tensor.isfinite().all() for tensor in state["model"].values())
    monkeypatch.undo()
    monkeypatch.setitem(mae.SIZES, "tiny", TINY)
    # What the line proposes works: other settings, the same OUT, and the weights that were kept.
    checkpoint = Path(str(raised.value).split("add --init ")[1])
    assert checkpoint.parent == unfinished
    kept = pretrain(faces, tmp_path / "out", spec(1, base_lr=1e-9), plain(), init=checkpoint)
    for mine, good in zip(load_model(kept).parameters(), state["model"].values(), strict=True):
        torch.testing.assert_close(mine, good, rtol=0, atol=1e-8)


@dataclass
class _FillsUp(Silent):
    """Progress during which the disk fills up, at the ``step``-th advance."""

    step: int
    patch: pytest.MonkeyPatch

    @contextmanager
    def task(self, name: str, total: int, unit: str, done: int = 0) -> Iterator["_FillsUp"]:
        yield self

    def advance(self, amount: int = 1, note: str = "") -> None:
        self.step -= 1
        if self.step == 0:
            self.patch.setattr(os, "fsync", _full)


def _full(descriptor: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_the_same_command_goes_on(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = contents(pretrain(faces, tmp_path / "whole", spec(9), plain()))
    with monkeypatch.context() as patch, pytest.raises(DiskFull, match="no space left while writing") as raised:
        pretrain(faces, tmp_path / "out", spec(9), plain(checkpoint_seconds=0, progress=_FillsUp(6, patch)))
    assert "\n" not in str(raised.value)
    [unfinished] = tmp_path.glob(".out.*.partial")
    state = load_checkpoint(unfinished)
    assert state is not None
    assert state["step"] == 5
    assert contents(pretrain(faces, tmp_path / "out", spec(9), plain())) == whole


def test_the_same_again_is_not_trained_again(faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = pretrain(faces, tmp_path / "out", spec(2), plain())
    monkeypatch.setattr("facemae.stages.pretrain.train", None)
    monkeypatch.setattr("facemae.stages.pretrain.build_mae", None)
    assert pretrain(faces, out, spec(2), plain(workers=2)) == out


def test_weights_that_cannot_be_opened_leave_nothing(faces: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name, content in (("a.onnx", b"\xff" * 50), ("a.pth", b"\x80\x02")):
        (tmp_path / "in" / name).write_bytes(content)
    asked = spec(1, loss=Loss(), normalize="imagenet")
    with pytest.raises(WeightsError, match=r"a\.onnx is damaged"):
        pretrain(faces, tmp_path / "new/out", asked, plain(), phi=tmp_path / "in/a.onnx", cache=tmp_path / "cache")
    with pytest.raises(WeightsError, match=r"a\.pth is not a"):
        pretrain(faces, tmp_path / "new/out", spec(1), plain(), init=tmp_path / "in/a.pth")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


SIZE = {**TINY._asdict(), "image_size": 32, "patch_size": 8}


@pytest.mark.parametrize(
    ("geometry", "said"),
    [
        (None, "is not whole: needed model.json in it"),
        ('{"width": 4', "model.json is damaged: needed a JSON object of width, depth, "),
        ("[" * 100_000, "model.json is damaged: needed"),
        ("[1]", "model.json is damaged: needed"),
        (json.dumps(SIZE | {"colour": 1}), "model.json is damaged: got unknown or missing colour"),
        (json.dumps({k: v for k, v in SIZE.items() if k != "depth"}), "got unknown or missing depth"),
        (json.dumps(SIZE | {"width": "16"}), "model.json is damaged: needed"),
        (json.dumps(SIZE | {"heads": True}), "model.json is damaged: needed"),
        (json.dumps(SIZE | {"patch_size": 0}), "model.json is damaged: needed"),
        (json.dumps(SIZE | {"depth": 1_000_000_000}), r"safetensors is another model: got .* 16x1 of .* as model.json"),
        (json.dumps(SIZE | {"width": 4_000_000_000}), r"safetensors is another model: got .* 16x1 of .* as model.json"),
    ],
)
def test_a_damaged_model_directory_is_one_line(tmp_path: Path, geometry: str | None, said: str) -> None:
    path = write_model(tmp_path / "model", tiny_mae()) / "model.json"
    path.unlink() if geometry is None else path.write_text(geometry)
    with pytest.raises(WeightsError, match=said) as raised:
        load_model(tmp_path / "model")
    assert "\n" not in str(raised.value)


def test_a_seed_is_another_model(faces: Path, tmp_path: Path) -> None:
    models = [load_model(pretrain(faces, tmp_path / str(s), spec(1, seed=s), plain())) for s in (0, 1)]
    assert not np.array_equal(*(model.decoder_pred.weight.detach().numpy() for model in models))
