"""The sharded classifier against the whole one: losses, gradients, centres, what is sampled and what it takes."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from facemae.errors import RecipeError
from facemae.nn.margin import MarginHead, Qualities, adaface, arcface, cosface
from facemae.train import partial_fc
from facemae.train.journal import read_journal
from facemae.train.partial_fc import BLOCK, PartialFC, demand_memory, estimate_memory, free_memory
from facemae.train.world import World
from helpers import contents, plain, write_people_set
from train.ranks import STEPS, classified, tiny_sizes, train_sharded

CPU = torch.device("cpu")
ALONE = World(0, 1, CPU)
SETTINGS = [
    {"kind": "arcface", "margin": 0.5, "gradient": "exact"},
    {"kind": "arcface", "margin": 2.5, "gradient": "exact"},  # many angles beyond pi - m, where the line begins
    {"kind": "arcface", "margin": 0.5, "gradient": "straight_through"},
    {"kind": "cosface", "margin": 0.4},
    {"kind": "arcface", "margin": 0.5, "interclass_filter": 0.3},
    {"kind": "adaface", "margin": 0.4},
    {"kind": "adaface", "margin": 0.4, "interclass_filter": 0.3},
]


def data(rows: int = 12, classes: int = 7, width: int = 5, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    vectors = torch.randn(rows, width, generator=random, dtype=dtype).requires_grad_()
    return vectors, torch.randint(0, classes, (rows,), generator=random)


def written_out(vectors: Tensor, weight: Tensor, labels: Tensor, setting: dict[str, Any], scale: float) -> Tensor:
    cosine = F.linear(F.normalize(vectors), F.normalize(weight))
    if threshold := setting.get("interclass_filter"):
        alien = torch.arange(len(weight)) != labels[:, None]
        cosine = cosine.where(~(alien & (cosine.detach() > threshold)), 0.0)
    how = {name: value for name, value in setting.items() if name not in ("kind", "interclass_filter")}
    if setting["kind"] == "adaface":
        quality = Qualities().double()
        norms = vectors.detach().norm(dim=1)
        quality.observe(norms)
        how["quality"] = quality(norms)
    margin = {"arcface": arcface, "cosface": cosface, "adaface": adaface}[setting["kind"]]
    return F.cross_entropy(margin(cosine, labels, **how, scale=scale), labels)


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_loss_and_gradients_are_those_of_the_whole_softmax(setting: dict[str, Any]) -> None:
    vectors, labels = data()
    head = PartialFC(7, 5, world=ALONE, scale=30.0, **setting).double()
    loss = head(vectors, labels, 0)
    (3 * loss).backward()
    mine, weight = vectors.detach().requires_grad_(), head.weight.detach().requires_grad_()
    whole = written_out(mine, weight, labels, setting, 30.0)
    (3 * whole).backward()
    torch.testing.assert_close(loss, whole, rtol=1e-12, atol=0)
    torch.testing.assert_close(vectors.grad, mine.grad, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(head.weight.grad, weight.grad, rtol=1e-10, atol=1e-10)


def test_where_cosines_are_clipped_nothing_is_learned() -> None:
    """Vectors on the centres themselves: AdaFace clips cosines of 1 to 0.999, of the true class and of its twins."""
    head = PartialFC(6, 5, world=ALONE, scale=20.0, kind="adaface", margin=0.4).double()
    with torch.no_grad():
        head.weight[1] = 2 * head.weight[0]
    vectors = (30 * head.weight[[0, 2, 3]]).detach().requires_grad_()
    labels = torch.tensor([0, 2, 4])
    head(vectors, labels, 0).backward()
    mine, weight = vectors.detach().requires_grad_(), head.weight.detach().requires_grad_()
    written_out(mine, weight, labels, {"kind": "adaface", "margin": 0.4}, 20.0).backward()
    torch.testing.assert_close(vectors.grad, mine.grad, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(head.weight.grad, weight.grad, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", ["arcface", "adaface"])
def test_training_is_that_of_a_margin_head_under_sgd(kind: Any) -> None:
    vectors, labels = data(dtype=torch.float32)
    sharded, whole = PartialFC(7, 5, world=ALONE, kind=kind), MarginHead(7, 5, kind=kind)
    whole.load_state_dict({"weight": sharded.weight.detach().clone()}, strict=False)
    optimizer = torch.optim.SGD(whole.parameters(), lr=0.3, momentum=0.9, weight_decay=0.01)
    for step in range(5):
        sharded(vectors, labels, step).backward()
        sharded.update(lr=0.3, momentum=0.9, weight_decay=0.01)
        optimizer.zero_grad()
        whole(vectors, labels).backward()
        optimizer.step()
    torch.testing.assert_close(sharded.weight, whole.weight, rtol=1e-4, atol=1e-6)
    assert sharded.weight.grad is None


@pytest.mark.parametrize("rate", [1.0, 0.5])
def test_update_has_the_arithmetic_of_torchs_sgd(rate: float) -> None:
    vectors, labels = data(dtype=torch.float32)
    head = PartialFC(40, 5, world=ALONE, rate=rate)
    twin = head.weight.detach().clone().requires_grad_()
    optimizer = torch.optim.SGD([twin], lr=0.3, momentum=0.9, weight_decay=0.01)
    for _ in range(3):  # the same step each time, so that the same centres are drawn
        head(vectors, labels, 0).backward()
        drawn = slice(None) if head._sampled is None else head._sampled[0]
        rows = head.weight if head._sampled is None else head._sampled[1]
        assert rows.grad is not None
        twin.grad = torch.zeros_like(twin)
        twin.grad[drawn] = rows.grad
        optimizer.step()
        head.update(lr=0.3, momentum=0.9, weight_decay=0.01)
        assert torch.equal(head.weight[drawn], twin[drawn])


@pytest.mark.parametrize("size", [2, 3, 5])
def test_centres_do_not_depend_on_the_number_of_ranks(size: int) -> None:
    classes = 2 * BLOCK + 17
    whole = PartialFC(classes, 3, world=ALONE, seed=5).weight
    shards = [PartialFC(classes, 3, world=World(rank, size, CPU), seed=5).weight for rank in range(size)]
    assert torch.equal(torch.cat(shards), whole)
    assert not torch.equal(PartialFC(classes, 3, world=ALONE, seed=6).weight, whole)
    assert whole.std().item() == pytest.approx(0.01, rel=0.02)
    assert not torch.equal(whole[:BLOCK], whole[BLOCK : 2 * BLOCK])


def sample(head: PartialFC, labels: Tensor, step: int) -> list[int]:
    head(torch.randn(len(labels), 5), labels, step)
    assert head._sampled is not None
    return head._sampled[0].tolist()


def test_a_sample_holds_the_batchs_people_and_has_its_size() -> None:
    head = PartialFC(1000, 5, world=ALONE, rate=0.1, seed=1)
    labels = torch.tensor([999, 3, 3, 500])
    first = sample(head, labels, 0)
    assert first == sorted(set(first))
    assert len(first) == 100
    assert {3, 500, 999} <= set(first)
    assert sample(head, labels, 0) == first
    # A function of seed, step and class: another step or seed draws others, about a tenth of them the same.
    for other in (sample(head, labels, 1), sample(PartialFC(1000, 5, world=ALONE, rate=0.1, seed=2), labels, 0)):
        assert 3 <= len(set(other) & set(first)) <= 30
    # Other people in the batch leave the draw of the rest as it is.
    assert len(set(sample(head, torch.tensor([1, 2]), 0)) & set(first)) >= 95


def test_every_centre_is_drawn_equally_often() -> None:
    head, labels = PartialFC(50, 5, world=ALONE, rate=0.2), torch.tensor([0])
    counts = torch.zeros(50)
    for step in range(400):
        counts[sample(head, labels, step)] += 1
    assert counts[0] == 400
    # Nine more of the 49 others a step: binomial(400, 9/49), five standard deviations.
    assert (counts[1:] - 400 * 9 / 49).abs().max() < 5 * (400 * 9 / 49 * 40 / 49) ** 0.5


def test_more_people_in_the_batch_than_the_sample_holds_are_all_kept() -> None:
    head = PartialFC(20, 5, world=ALONE, rate=0.1)
    assert sample(head, torch.tensor([4, 9, 2, 9]), 0) == [2, 4, 9]


def test_a_sampled_step_is_the_softmax_over_the_sample_and_leaves_the_others_alone() -> None:
    vectors, _ = data()
    labels = torch.tensor([5, 39, 5, 0, 17, 20, 1, 2, 39, 8, 9, 30])
    head = PartialFC(40, 5, world=ALONE, rate=0.5, scale=30.0).double()
    before = head.weight.detach().clone()
    loss = head(vectors, labels, 4)
    assert head._sampled is not None
    drawn = head._sampled[0]
    mine, weight = vectors.detach().requires_grad_(), before[drawn].requires_grad_()
    columns = torch.tensor([drawn.tolist().index(label) for label in labels.tolist()])
    whole = written_out(mine, weight, columns, SETTINGS[0], 30.0)
    loss.backward()
    whole.backward()
    torch.testing.assert_close(loss, whole, rtol=1e-12, atol=0)
    torch.testing.assert_close(vectors.grad, mine.grad, rtol=1e-10, atol=1e-12)
    head.update(lr=0.1, momentum=0.9, weight_decay=0.01)
    assert weight.grad is not None
    torch.testing.assert_close(head.weight[drawn], before[drawn] - 0.1 * (weight.grad + 0.01 * before[drawn]))
    others = [row for row in range(40) if row not in drawn]
    assert torch.equal(head.weight[others], before[others])
    assert head.momentum[others].abs().max() == 0


def test_cosines_of_one_stay_finite() -> None:
    head = PartialFC(4, 5, world=ALONE, scale=64.0)
    vectors = torch.cat([head.weight.detach(), -head.weight.detach()]).requires_grad_()
    loss = head(vectors, torch.arange(8) % 4, 0)
    loss.backward()
    assert loss.isfinite()
    assert vectors.grad is not None
    assert head.weight.grad is not None
    assert vectors.grad.isfinite().all()
    assert head.weight.grad.isfinite().all()


def test_fewer_people_than_ranks_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"recognize\.classifier\.sharded: got 3 people; needed 4 or more"):
        PartialFC(3, 5, world=World(0, 4, CPU))


def test_memory_by_hand() -> None:
    # 10 people over 4 ranks: 3 centres of 2 numbers on the fullest, 5 rows in the batch.
    assert estimate_memory(10, 2, ranks=4, rate=1.0, batch=5) == 4 * (2 * 6 + 6 + 15 + 20)
    # 1000 people, 100 of them sampled: centres, momentum, copy and gradient of the sample, logits, embeddings.
    assert estimate_memory(1000, 2, ranks=1, rate=0.1, batch=5) == 4 * (4000 + 200 + 200 + 500 + 20)
    # Where cosines are clipped or filtered, as much again for saying where.
    assert estimate_memory(10, 2, ranks=4, rate=1.0, batch=5, masks=True) == 4 * (2 * 6 + 6 + 15 + 15 + 20)
    # The batch is wider than the sample: every person of it is kept.
    assert estimate_memory(1000, 2, ranks=1, rate=0.1, batch=300) == 4 * (4000 + 600 + 600 + 90000 + 1200)


def test_a_classifier_without_room_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partial_fc, "free_memory", lambda world: 5 * 2**30)
    demand_memory(500_000, 512, world=World(0, 2, CPU), rate=1.0, batch=512)
    with pytest.raises(RecipeError) as raised:
        demand_memory(2_059_906, 512, world=World(0, 2, CPU), rate=1.0, batch=512)
    assert str(raised.value) == (
        "recognize.classifier for 2,059,906 people: got 7.9 GiB on each of 2 ranks; needed at most 5.0 GiB, "
        "which is what is free; run on more ranks, or set classifier.rate lower"
    )
    monkeypatch.setattr(partial_fc, "free_memory", lambda world: 100)
    with pytest.raises(RecipeError, match=r"for 2 people: got 0\.0 GiB on each of 1 ranks"):
        train_sharded(write_people_set(tmp_path / "set", 2, 2), tmp_path / "run", ALONE, plain())
    assert contents(tmp_path / "run") == {}
    monkeypatch.setattr(partial_fc, "free_memory", lambda world: None)
    demand_memory(10**9, 512, world=ALONE, rate=1.0, batch=512)


def test_free_memory_is_shared_by_the_ranks_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    alone = free_memory(ALONE)
    if alone is None:
        pytest.skip("this system does not tell")
    assert alone > 2**24
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    quarter = free_memory(World(0, 8, CPU))
    assert quarter == pytest.approx(alone / 4, rel=0.2)


def test_free_memory_where_there_is_no_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: Any, **__: Any) -> Any:
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", absent)
    told = free_memory(ALONE)
    monkeypatch.setattr(partial_fc.os, "sysconf_names", {})
    assert told is None or told > 0
    assert free_memory(ALONE) is None


def parts(folder: Path, kind: str, ranks: int) -> list[dict[str, Any]]:
    return [torch.load(folder / f"{kind}.{rank}.pt", weights_only=True) for rank in range(ranks)]


@pytest.mark.slow
@pytest.mark.timeout(1500)  # the processes start within the first test
class TestSeveralProcesses:
    @pytest.mark.parametrize("ranks", [2, 4])
    @pytest.mark.parametrize("kind", ["arcface", "cosface", "adaface"])
    def test_losses_gradients_and_centres_equal_one_process(
        self, kind: str, ranks: int, folders: dict[int, Path]
    ) -> None:
        alone, found = whole_head(kind), parts(folders[ranks], kind, ranks)
        for part in found:
            assert part["losses"] == pytest.approx(alone["losses"], rel=1e-6)
            for there, here in zip(part["gradients"], alone["gradients"], strict=True):
                torch.testing.assert_close(there, here, rtol=1e-4, atol=1e-6 * float(here.abs().max()) + 1e-7)
        assert [len(part["weight"]) for part in found] == ([7, 6] if ranks == 2 else [4, 3, 3, 3])
        for name in ("weight", "momentum"):
            torch.testing.assert_close(torch.cat([part[name] for part in found]), alone[name], rtol=1e-4, atol=1e-6)

    def test_recognising_goes_on_with_more_or_fewer_processes(
        self, folders: dict[int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tiny_sizes(monkeypatch)
        train_sharded(folders[2] / "set", tmp_path / "whole", ALONE, plain())
        shutil.copytree(folders[2] / "sharded-cut", tmp_path / "cut")
        train_sharded(folders[2] / "set", tmp_path / "cut", ALONE, plain())
        wanted = [row["loss"] for row in read_journal(tmp_path / "whole" / "journal.jsonl")]
        assert len(wanted) == STEPS
        assert wanted[-1] < wanted[0]
        there = [folders[2] / "sharded", folders[4] / "sharded", folders[4] / "sharded-cut", tmp_path / "cut"]
        for place in there:
            rows = read_journal(place / "journal.jsonl")
            assert [row["loss"] for row in rows] == pytest.approx(wanted, rel=1e-5, abs=1e-5), place.name

    def test_rows_of_earlier_checkpoints_are_gone(self, folders: dict[int, Path]) -> None:
        rows = {path.name for path in (folders[4] / "sharded-cut").glob("checkpoint.*.npy")}
        assert rows == {f"checkpoint.{STEPS}.{name}.{rank}.npy" for name in ("weight", "momentum") for rank in range(4)}


def whole_head(kind: str) -> dict[str, Any]:
    """What `classified` does, with a `MarginHead` on one process."""

    class Whole(MarginHead):
        def __init__(self, classes: int, width: int, *, world: World, seed: int, **how: Any) -> None:
            super().__init__(classes, width, **how)
            weight = PartialFC(classes, width, world=world, seed=seed).weight.detach()
            self.load_state_dict({"weight": weight}, strict=False)
            self.optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-2)

        def __call__(self, vectors: Tensor, labels: Tensor, step: int) -> Tensor:
            self.optimizer.zero_grad()
            return super().__call__(vectors, labels)

        def update(self, **_: float) -> None:
            self.optimizer.step()

        @property
        def momentum(self) -> Tensor:
            return self.optimizer.state[self.weight]["momentum_buffer"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.ranks.PartialFC", Whole)
        return classified(kind, ALONE)
