"""The recogniser's loop: it learns its people, resumes bit for bit and fails in one line."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from facemae.errors import DataError, NonFiniteLoss, RecipeError
from facemae.faces.faceset import FaceSet
from facemae.nn.backbones import build_backbone
from facemae.nn.embedder import Embedder
from facemae.nn.margin import MarginHead
from facemae.spec.execution import Execution
from facemae.spec.recipe import Classifier, Margin, RecognizeSpec
from facemae.train import recognize as loop
from facemae.train.checkpoint import load_checkpoint
from facemae.train.journal import read_journal
from facemae.train.world import World
from helpers import Interrupted, plain, pulling_plug, write_people_set

ALONE = World(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> FaceSet:
    return FaceSet.open(write_people_set(tmp_path_factory.mktemp("recognize") / "set", 4, 4))


def spec(iterations: int, **settings: Any) -> RecognizeSpec:
    given = {"backbone": "iresnet18", "width": 16, "input_size": 32, "embedding": 8, "batch": 8, "precision": "fp32"}
    return RecognizeSpec.model_validate(given | {"iterations": iterations, "lr": 3.0, "warmup": 0.1} | settings)


def train(directory: Path, faces: FaceSet, asked: RecognizeSpec, execution: Execution) -> tuple[Embedder, bytes]:
    directory.mkdir(exist_ok=True)
    torch.manual_seed(asked.seed)
    net = build_backbone(asked.backbone, width=asked.width, input_size=asked.input_size, embedding=asked.embedding)
    embedder = Embedder(net, input_size=asked.input_size, embedding=asked.embedding)
    loop.recognize(embedder, faces, asked, directory=directory, world=ALONE, execution=execution)
    return embedder, (directory / "journal.jsonl").read_bytes()


def equal(one: Embedder, other: Embedder) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.fixture(scope="module")
def through(faces: FaceSet, tmp_path_factory: pytest.TempPathFactory) -> tuple[Embedder, bytes]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "REPORT", 2)
        return train(tmp_path_factory.mktemp("through") / "run", faces, spec(7), plain())


@pytest.mark.parametrize(("seconds", "calls"), [(0, 1), (0, 4), (0, 7), (1e9, 3)])
@pytest.mark.slow
def test_an_interrupted_run_goes_on_bit_for_bit(
    seconds: float,
    calls: int,
    through: tuple[Embedder, bytes],
    faces: FaceSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "REPORT", 2)
    with pytest.raises(Interrupted):
        train(tmp_path, faces, spec(7), pulling_plug(calls, checkpoint_seconds=seconds))
    state = load_checkpoint(tmp_path)
    assert (state["step"] if state else 0) == (calls - 1 if seconds == 0 else 0)
    embedder, journal = train(tmp_path, faces, spec(7), plain(checkpoint_seconds=seconds))
    assert equal(embedder, through[0])
    assert journal == through[1]


@pytest.mark.parametrize("kind", ["arcface", "cosface", "adaface"])
def test_first_loss_is_the_margin_cross_entropy(
    kind: str, faces: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bounds that need no second implementation: with all cosines c in [-1, 1], margin 0 and scale s → 0, L = ln n."""
    monkeypatch.setattr(loop, "REPORT", 1)
    margin = Margin(kind=kind, margin=0.0, scale=1e-6)  # type: ignore[arg-type]
    train(tmp_path, faces, spec(1, margin=margin), plain())
    [row] = read_journal(tmp_path / "journal.jsonl")
    assert row["loss"] == pytest.approx(torch.tensor(4.0).log().item(), abs=1e-4)


@pytest.mark.slow
def test_the_first_iteration_has_no_rate_and_the_rate_scales_with_the_batch(
    faces: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []

    def noting(optimizer: torch.optim.Optimizer, rate: float) -> None:
        rates.append(rate)
        set_rate(optimizer, rate)

    set_rate = loop.set_rate
    monkeypatch.setattr(loop, "set_rate", noting)
    train(tmp_path, faces, spec(8, lr=0.1, warmup=0.25, decay=(0.5, 0.75)), plain())
    full = 0.1 * 8 / 512
    assert rates == pytest.approx([0, full / 2, full, full, full / 10, full / 10, full / 100, full / 100])


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.slow
def test_adafaces_statistics_go_on_bit_for_bit(
    sharded: bool, faces: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "REPORT", 1)
    margin = Margin(kind="adaface", margin=0.4, t_alpha=0.5)
    asked = spec(6, margin=margin, classifier=Classifier(sharded=sharded))
    embedder, journal = train(tmp_path / "whole", faces, asked, plain())
    (tmp_path / "cut").mkdir()
    with pytest.raises(Interrupted):
        train(tmp_path / "cut", faces, asked, pulling_plug(4, checkpoint_seconds=0))
    state = load_checkpoint(tmp_path / "cut")
    assert state is not None
    [mean] = [value for name, value in state["classifier"].items() if name.endswith("quality.norm_mean")]
    assert mean.item() < 15  # 20 at the start, and vectors of eight numbers are shorter
    again, went_on = train(tmp_path / "cut", faces, asked, plain())
    assert equal(again, embedder)
    assert went_on == journal


@pytest.mark.parametrize("decayed", ["all", "no_bias_bn"])
def test_the_first_step_of_adamw(decayed: str, faces: FaceSet, tmp_path: Path) -> None:
    """w · (1 − rate · decay) − rate · sign(gradient); one-dimensional weights keep theirs if so asked."""
    settings = {
        "optimizer": "adamw",
        "lr_rule": "absolute",
        "lr": 0.01,
        "weight_decay": 0.5,
        "warmup": 0.0,
        "decay": (),
    }
    torch.manual_seed(0)
    before = build_backbone("iresnet18", width=16, input_size=32, embedding=8)
    embedder, _ = train(tmp_path, faces, spec(1, weight_decay_on=decayed, **settings), plain())
    for name in ("conv1.weight", "fc.weight", "bn2.weight", "prelu.weight"):
        old, new = before.get_parameter(name).detach(), embedder.body.get_parameter(name).detach()
        kept = 1 - 0.01 * 0.5 if decayed == "all" or old.ndim > 1 else 1.0
        moved = (new - kept * old).abs()
        assert moved.max().item() <= 0.01001, name
        assert moved.median().item() == pytest.approx(0.01, rel=1e-3), name


def test_one_sgd_is_one_for_the_backbone_and_one_for_the_head() -> None:
    torch.manual_seed(0)
    both = torch.nn.ModuleList([torch.nn.Linear(6, 5), MarginHead(4, 5)])
    twin, inputs = copy.deepcopy(both), torch.randn(8, 6)
    one = loop._optimizer(both, spec(1, weight_decay=0.01))
    loop.set_rate(one, 0.1)
    two = [torch.optim.SGD(part.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01) for part in twin]
    for _ in range(3):
        for (backbone, head), optimizers in ((both, [one]), (twin, two)):
            for optimizer in optimizers:
                optimizer.zero_grad()
            head(backbone(inputs), torch.arange(8) % 4).backward()
            for optimizer in optimizers:
                optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(both.parameters(), twin.parameters(), strict=True))


def test_epochs_are_counted_as_whole_batches(faces: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "REPORT", 1)
    given = {key: value for key, value in spec(1, batch=6).model_dump().items() if key != "iterations"}
    train(tmp_path, faces, RecognizeSpec.model_validate(given | {"epochs": 3}), plain())
    assert len(read_journal(tmp_path / "journal.jsonl")) == 16 // 6 * 3


@pytest.mark.slow
def test_a_loss_that_is_no_number_keeps_the_last_good_checkpoint(
    faces: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter(range(1, 100))

    def breaking(images: Any, device: torch.device) -> torch.Tensor:
        return to_unit(images, device) * (float("nan") if next(calls) == 3 else 1.0)

    to_unit = loop.to_unit
    monkeypatch.setattr(loop, "to_unit", breaking)
    with pytest.raises(NonFiniteLoss, match="iteration 10") as raised:
        train(tmp_path, faces, spec(12), plain(checkpoint_seconds=0))
    assert "\n" not in str(raised.value)
    state = load_checkpoint(tmp_path)
    assert state is not None
    assert state["step"] == 2
    assert all(tensor.isfinite().all() for tensor in state["classifier"].values())


def test_one_person_is_not_enough(tmp_path: Path) -> None:
    faces = FaceSet.open(write_people_set(tmp_path / "set", 1, 3))
    with pytest.raises(DataError, match="got one person; needed at least two"):
        train(tmp_path / "run", faces, spec(1), plain())


def test_a_batch_must_divide_over_the_processes(faces: FaceSet, tmp_path: Path) -> None:
    embedder = Embedder(build_backbone("iresnet18", width=16, input_size=32, embedding=8), input_size=32, embedding=8)
    world = World(0, 3, torch.device("cpu"))
    with pytest.raises(RecipeError, match=r"recognize\.batch: got 8; needed a multiple of the 3 processes"):
        loop.recognize(embedder, faces, spec(1), directory=tmp_path, world=world, execution=plain())
