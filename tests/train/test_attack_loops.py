"""Loops of attackers: they learn what is there to be learned, and go on bit for bit where they were cut off."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from facemae.errors import NonFiniteLoss, RecipeError
from facemae.faces.faceset import FaceSet
from facemae.nn.embedder import Embedder
from facemae.nn.matcher import Matcher
from facemae.nn.unet import UNet
from facemae.spec.execution import Execution
from facemae.train import descend as loop
from facemae.train.inverter import InverterSpec, PicturePairs, train_inverter
from facemae.train.journal import read_journal
from facemae.train.matcher import MatcherSpec, VectorPairs, train_matcher
from facemae.train.world import World
from helpers import Interrupted, images_of, plain, pulling_plug, smooth_photos, write_set

ALONE = World(0, 1, torch.device("cpu"))


def vectors() -> VectorPairs:
    """Unit vectors of 30 people, three each, and the same with their coordinates in another order."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(30, 1, 8)) + 0.2 * random.normal(size=(30, 3, 8))
    rows = rows.reshape(90, 8).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return VectorPairs(np.ascontiguousarray(rows[:, ::-1]), rows, np.arange(30).repeat(3))


def matched(directory: Path, execution: Execution, *, steps: int = 40, **more: float) -> Matcher:
    directory.mkdir(exist_ok=True)
    torch.manual_seed(0)
    matcher = Matcher(8, hidden=16)
    spec = MatcherSpec(steps=steps, batch=32, lr=1e-2, seed=3, **more)  # type: ignore[arg-type]
    train_matcher(matcher, vectors(), spec, directory=directory, world=ALONE, execution=execution)
    return matcher


def equal(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_a_matcher_learns_and_a_cut_off_run_goes_on(tmp_path: Path) -> None:
    whole = matched(tmp_path / "whole", plain())
    losses = [row["loss"] for row in read_journal(tmp_path / "whole" / "journal.jsonl")]
    assert losses[-1] < 0.7 * losses[0]
    with pytest.raises(Interrupted):
        matched(tmp_path / "cut", pulling_plug(17, checkpoint_seconds=0))
    assert equal(matched(tmp_path / "cut", plain()), whole)
    assert (tmp_path / "cut" / "journal.jsonl").read_bytes() == (tmp_path / "whole" / "journal.jsonl").read_bytes()
    # A finished run is taken as it is: not one more step.
    assert equal(matched(tmp_path / "whole", pulling_plug(1)), whole)


def test_a_loss_that_is_no_number_stops_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteLoss, match="step 10") as raised:
        matched(tmp_path, plain(), temperature=float("nan"))
    assert "\n" not in str(raised.value)


def test_batches_must_divide_over_the_processes(tmp_path: Path) -> None:
    three = World(0, 3, torch.device("cpu"))
    with pytest.raises(RecipeError, match="multiple of the 3 processes"):
        train_matcher(Matcher(8), vectors(), MatcherSpec(steps=1), directory=tmp_path, world=three, execution=plain())


class Mirror(nn.Module):
    """What is done first to a protected picture here: left and right change places."""

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return pictures.flip(3)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> PicturePairs:
    """Protected pictures are mirrored and half as bright, so that ``before`` and the network have each their part."""
    place = tmp_path_factory.mktemp("pairs")
    images = smooth_photos(6, 2, size=16)
    labels = np.arange(6).repeat(2)
    protected = write_set(place / "protected", images[:, :, ::-1] // 2, labels, kind="reconstructed")
    original = FaceSet.open(write_set(place / "original", images, labels))
    phi = Embedder(nn.Flatten(), input_size=8, embedding=192)
    photos = torch.from_numpy(images.transpose(0, 3, 1, 2)) / 255
    features = torch.stack([phi(photos), phi(photos.flip(3))], 1).numpy()
    return PicturePairs(FaceSet.open(protected), original, phi, features, Mirror())


def inverted(directory: Path, pairs: PicturePairs, execution: Execution, *, steps: int = 40) -> UNet:
    directory.mkdir(exist_ok=True)
    torch.manual_seed(0)
    net = UNet(width=8, levels=2)
    spec = InverterSpec(steps=steps, size=16, batch=12, lr=1e-2, precision="fp32", seed=1)
    train_inverter(net, pairs, spec, directory=directory, world=ALONE, execution=execution)
    return net


def test_an_inverter_learns_and_a_cut_off_run_goes_on(
    pairs: PicturePairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "REPORT", 1)
    whole = inverted(tmp_path / "whole", pairs, plain())
    rows = read_journal(tmp_path / "whole" / "journal.jsonl")
    # An untrained network changes nothing, so the first error is the missing half of the light, and no more than that:
    # of the mirrored pictures too, because mirroring is undone before `before` and done again afterwards.
    light, half = (images_of(side.directory).astype(float) for side in (pairs.original, pairs.protected))
    assert rows[0]["pixel"] == pytest.approx((light - half[:, :, ::-1]).mean() / 255, rel=1e-5)
    assert rows[-1]["pixel"] < rows[0]["pixel"] / 2
    assert rows[-1]["feature"] < rows[0]["feature"]
    with pytest.raises(Interrupted):
        inverted(tmp_path / "cut", pairs, pulling_plug(9, checkpoint_seconds=0))
    assert equal(inverted(tmp_path / "cut", pairs, plain()), whole)
