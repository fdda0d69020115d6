"""The training stage's loop: its loss by hand, its resumption bit for bit, its failures in one line."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from facemae.errors import NonFiniteLoss, RecipeError
from facemae.faces.faceset import FaceSet
from facemae.nn.embedder import load_embedder
from facemae.nn.mae import FaceMAE
from facemae.spec.execution import Execution
from facemae.spec.recipe import Loss, PretrainSpec
from facemae.train import pretrain as loop
from facemae.train.checkpoint import load_checkpoint
from facemae.train.journal import read_journal
from facemae.train.loader import Sight, batches
from facemae.train.world import World
from helpers import Interrupted, plain, pulling_plug, tiny_mae, write_people_set, write_recogniser

CPU = torch.device("cpu")
ALONE = World(0, 1, CPU)
PIXELS = Loss(pixel=1, instance=0, relation=0)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> FaceSet:
    return FaceSet.open(write_people_set(tmp_path_factory.mktemp("pretrain") / "set", 6, 4))


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recogniser(tmp_path_factory.mktemp("pretrain") / "net")


def spec(steps: int, **settings: Any) -> PretrainSpec:
    given = {"size": "tiny", "image_size": 32, "patch_size": 8, "image_steps": 8 * steps, "batch": 8, "loss": PIXELS}
    return PretrainSpec.model_validate(given | {"precision": "fp32", "base_lr": 0.05} | settings)


def train(
    directory: Path, faces: FaceSet, asked: PretrainSpec, execution: Execution, network: Path | None = None
) -> tuple[FaceMAE, bytes]:
    """The trained model and the bytes of its journal."""
    directory.mkdir(exist_ok=True)
    model = tiny_mae(image_size=asked.image_size, patch_size=asked.patch_size)
    phi = load_embedder(network) if network else None
    features = views_of(network, faces) if network else None
    facts = loop.pretrain(
        model, faces, asked, phi=phi, features=features, directory=directory, world=ALONE, execution=execution
    )
    assert facts["image_steps"] == asked.image_steps
    return model, (directory / "journal.jsonl").read_bytes()


def views_of(network: Path, faces: FaceSet) -> np.ndarray:
    photos = torch.from_numpy(faces.images(range(len(faces)))).permute(0, 3, 1, 2) / 255
    net = load_embedder(network)
    with torch.no_grad():
        return torch.stack([net(photos), net(photos.flip(3))], 1).numpy()


def equal(one: FaceMAE, other: FaceMAE) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def by_hand(faces: FaceSet, network: Path, asked: PretrainSpec) -> dict[str, float]:
    """The terms of the first step, written out: patches cut by slicing, rows by loops, mirror images by mirroring."""
    sight = Sight(seed=asked.seed, flip=True, cells=16, keep=4)
    [batch] = batches(faces, sight, batch=8, steps=range(1), world=ALONE)
    images = batch.images.astype(np.float64) / 255
    assert batch.visible is not None
    cut = [[(i // 4 * 8, i % 4 * 8) for i in cells] for cells in batch.visible.tolist()]
    patches = [[image[y : y + 8, x : x + 8].reshape(-1) for y, x in at] for image, at in zip(images, cut, strict=True)]
    phi = load_embedder(network)
    with torch.no_grad():
        visible = torch.tensor(np.array(patches), dtype=torch.float32)
        prediction = tiny_mae()(visible, torch.from_numpy(batch.visible))
        real, fake = phi(torch.tensor(images, dtype=torch.float32).permute(0, 3, 1, 2)), phi(prediction)
    real, fake = ((rows / rows.norm(dim=1, keepdim=True)).double().numpy() for rows in (real, fake))
    error = (prediction.permute(0, 2, 3, 1).double().numpy() - images) / np.array([0.229, 0.224, 0.225])
    rows = [np.linalg.norm([real[i] @ real[j] - fake[i] @ fake[j] for j in range(8)]) for i in range(8)]
    return {
        "pixel": float((error**2).mean()),
        "instance": float(np.mean([np.linalg.norm(real[i] - fake[i]) for i in range(8)])),
        "relation": float(np.sqrt(256 / 8) * np.mean(rows)),
    }


@pytest.mark.parametrize("scope", ["global", "local"])
def test_first_loss_is_the_weighted_sum_of_the_equations(
    scope: str, faces: FaceSet, network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "REPORT", 1)
    asked = spec(1, loss=Loss(pixel=0.5, instance=2, relation=3, relation_scope=scope))  # type: ignore[arg-type]
    train(tmp_path, faces, asked, plain(), network)
    [row] = read_journal(tmp_path / "journal.jsonl")
    wanted = by_hand(faces, network, asked)
    assert {name: row[name] for name in wanted} == pytest.approx(wanted, rel=1e-4)
    total = 0.5 * wanted["pixel"] + 2 * wanted["instance"] + 3 * wanted["relation"]
    assert row["loss"] == pytest.approx(total, rel=1e-4)


def test_a_larger_model_sees_enlarged_cells(faces: FaceSet, tmp_path: Path) -> None:
    train(tmp_path, faces, spec(12, image_size=64, patch_size=16, base_lr=0.1), plain())
    rows = read_journal(tmp_path / "journal.jsonl")
    assert rows[-1]["loss"] < rows[0]["loss"]


@pytest.fixture(scope="module")
def through(faces: FaceSet, network: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[FaceMAE, bytes]:
    """Nine steps without interruption."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "REPORT", 2)
        asked = spec(9, loss=Loss(pixel=1))
        return train(tmp_path_factory.mktemp("through") / "run", faces, asked, plain(), network)


@pytest.mark.parametrize(("seconds", "calls"), [(0, 1), (0, 4), (0, 7), (0, 9), (1e9, 5)])
@pytest.mark.slow
def test_an_interrupted_run_goes_on_bit_for_bit(
    seconds: float,
    calls: int,
    through: tuple[FaceMAE, bytes],
    faces: FaceSet,
    network: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "REPORT", 2)
    asked = spec(9, loss=Loss(pixel=1))
    with pytest.raises(Interrupted):
        train(tmp_path, faces, asked, pulling_plug(calls, checkpoint_seconds=seconds), network)
    state = load_checkpoint(tmp_path)
    assert (state["step"] if state else 0) == (calls - 1 if seconds == 0 else 0)
    model, journal = train(tmp_path, faces, asked, plain(checkpoint_seconds=seconds), network)
    assert equal(model, through[0])
    assert journal == through[1]


@pytest.mark.slow
def test_workers_and_the_clock_change_nothing(
    through: tuple[FaceMAE, bytes], faces: FaceSet, network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "REPORT", 2)
    execution = plain(workers=2, checkpoint_seconds=0)
    model, journal = train(tmp_path, faces, spec(9, loss=Loss(pixel=1)), execution, network)
    assert equal(model, through[0])
    assert journal == through[1]


def test_a_loss_that_is_no_number_keeps_the_last_good_checkpoint(
    faces: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter(range(1, 100))

    def breaking(*args: Any, **kwargs: Any) -> torch.Tensor:
        return loss(*args, **kwargs) * (float("nan") if next(calls) == 5 else 1.0)

    loss = loop.pixel_loss
    monkeypatch.setattr(loop, "pixel_loss", breaking)
    with pytest.raises(NonFiniteLoss, match="step 10") as raised:
        train(tmp_path, faces, spec(20), plain(checkpoint_seconds=0))
    assert "\n" not in str(raised.value)
    assert str(tmp_path) in str(raised.value)
    state = load_checkpoint(tmp_path)
    assert state is not None
    assert state["step"] == 4
    assert all(tensor.isfinite().all() for tensor in state["model"].values())


def test_an_enormous_rate_ends_in_one_line(faces: FaceSet, tmp_path: Path) -> None:
    with pytest.raises(NonFiniteLoss, match="start again with a lower base_lr, clip="):
        train(tmp_path, faces, spec(20, base_lr=1e30), plain())


@pytest.mark.parametrize(
    ("image_size", "patch_size", "native", "cell"),
    [(224, 16, 112, 8), (112, 8, 112, 8), (64, 8, 32, 4), (32, 8, 32, 8)],
)
def test_native_cell(image_size: int, patch_size: int, native: int, cell: int) -> None:
    assert loop.native_cell(image_size, patch_size, (native, native)) == cell


@pytest.mark.parametrize(
    ("image_size", "patch_size", "native"),
    [(224, 16, (112, 96)), (224, 16, (100, 100)), (56, 8, (112, 112)), (8, 1, (4, 4))],
)
def test_grids_that_miss_source_pixels_are_refused(image_size: int, patch_size: int, native: tuple[int, int]) -> None:
    with pytest.raises(RecipeError, match=r"pretrain\.image_size"):
        loop.native_cell(image_size, patch_size, native)


def test_length_of_a_run() -> None:
    assert loop.total_steps(PretrainSpec(epochs=3, batch=32), 100) == 10  # ceil(300 / 32)
    assert loop.total_steps(PretrainSpec(image_steps=64, batch=32), 100) == 2
    assert loop.total_steps(PretrainSpec(batch=200), 100) == 100  # the paper's 200 epochs


def test_a_batch_must_divide_over_the_processes(faces: FaceSet, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"pretrain\.batch: got 8; needed a multiple of the 3 processes"):
        loop.pretrain(
            tiny_mae(),
            faces,
            spec(1),
            phi=None,
            features=None,
            directory=tmp_path,
            world=World(0, 3, CPU),
            execution=plain(),
        )
