"""Recognition schedules against the golden numbers of arcface_torch, old and new."""

from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from facemae.errors import RecipeError
from facemae.spec.reading import section_spec
from facemae.spec.recipe import RecognizeSpec
from facemae.train.schedule import Schedule

CASIA = 490_623


def packaged(name: str, *settings: str) -> RecognizeSpec:
    return section_spec("recognize", RecognizeSpec, name, list(settings))


def spec(**settings: Any) -> RecognizeSpec:
    return RecognizeSpec.model_validate(settings)


def drops(schedule: Schedule) -> list[int]:
    rates = [schedule.rate(step) for step in range(schedule.warmup, schedule.total)]
    return [schedule.warmup + i for i in range(1, len(rates)) if rates[i] < rates[i - 1]]


@pytest.mark.slow
def test_recipe_a_has_the_steps_of_2021() -> None:
    schedule = Schedule(packaged("webface-2021"), CASIA)
    assert schedule.total == 32572 == 958 * 34
    assert schedule.warmup == 958
    assert schedule.points == [19164, 26830, 30663]
    assert drops(schedule) == [19164, 26830, 30663]
    assert [schedule.rate(step) for step in (0, 479, 958, 19163)] == pytest.approx([0.0, 0.05, 0.1, 0.1])
    assert [schedule.rate(step) for step in (19164, 26830, 30663, 32571)] == pytest.approx([1e-2, 1e-3, 1e-4, 1e-4])


def test_recipe_a_is_a_lambda_of_the_iteration() -> None:
    """An independent run of torch's own LambdaLR, as that code had one for the backbone and one for the head."""

    def factor(step: int) -> float:
        points = [e * CASIA // 512 for e in (20, 28, 32)]
        return step / 958 if step < 958 else 0.1 ** len([p for p in points if p <= step])

    schedule = Schedule(packaged("webface-2021"), CASIA)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1 / 512 * 128 * 4)
    scheduler = LambdaLR(optimizer, factor)
    for step in range(2000):
        assert schedule.rate(step) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        optimizer.step()
        scheduler.step()


def test_the_rate_of_recipe_a_follows_the_batch_and_that_of_b_does_not() -> None:
    for batch, rate in ((128, 0.025), (1024, 0.2)):
        assert Schedule(packaged("webface-2021", f"batch={batch}"), CASIA).rate(8000) == pytest.approx(rate)
        assert Schedule(packaged("insightface-v2", f"batch={batch}"), CASIA).rate(0) == pytest.approx(0.1)


@pytest.mark.slow
def test_the_predecessor_steps_one_epoch_earlier_than_it_says() -> None:
    schedule = Schedule(packaged("webface-2021-epoch"), CASIA)
    assert (schedule.total, schedule.warmup) == (32572, 0)
    assert drops(schedule) == [19 * 958, 27 * 958, 31 * 958]
    assert schedule.rate(0) == pytest.approx(0.1)
    warm = Schedule(packaged("webface-2021-epoch", "warmup_epochs=4"), CASIA)
    assert [warm.rate(958 * e) for e in range(5)] == pytest.approx([0.004, 0.016, 0.036, 0.064, 0.1])


def test_recipe_b_starts_at_the_full_rate_and_falls_in_a_line() -> None:
    schedule = Schedule(packaged("insightface-v2", "epochs=10", "warmup_epochs=1", "batch=10"), 100)
    assert (schedule.total, schedule.warmup) == (100, 10)
    assert [schedule.rate(step) for step in (0, 1, 2, 10)] == pytest.approx([0.1, 0.01, 0.02, 0.1])
    assert [schedule.rate(step) for step in (55, 99)] == pytest.approx([0.05, 0.1 / 90])
    without = Schedule(packaged("insightface-v2", "epochs=10", "batch=10"), 100)
    assert [without.rate(step) for step in (0, 1, 50)] == pytest.approx([0.1, 0.099, 0.05])


class Chained(LRScheduler):
    """The published rule in its chained form: every rate from the one before it."""

    w, t = 7, 60

    def get_lr(self) -> list[float]:
        step, [group] = self.last_epoch, self.optimizer.param_groups
        if step == 0:
            return [group["lr"]]
        if step <= self.w:
            return [self.base_lrs[0] * step / self.w]
        return [group["lr"] * (1 - (step - self.w) / (self.t - self.w)) / (1 - (step - 1 - self.w) / (self.t - self.w))]


def test_recipe_b_is_the_chained_rule() -> None:
    schedule = Schedule(spec(schedule="polynomial", lr_rule="absolute", iterations=60, warmup=7 / 60), 1000)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler = Chained(optimizer)
    for step in range(60):
        assert schedule.rate(step) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        optimizer.step()
        scheduler.step()


def test_vision_transformers_and_cosface_of_today() -> None:
    vit = packaged("insightface-v2-vit")
    assert (vit.backbone, vit.optimizer, vit.lr, vit.weight_decay) == ("vit_s", "adamw", 1e-3, 0.1)
    assert (vit.epochs, vit.warmup_epochs, vit.weight_decay_on) == (40, 4, "all")
    assert (vit.margin.kind, vit.margin.margin) == ("cosface", 0.4)
    cos = packaged("insightface-v2-cosface")
    assert (cos.optimizer, cos.epochs, cos.lr, cos.margin.margin, cos.weight_decay) == ("sgd", 20, 0.1, 0.4, 5e-4)
    assert packaged("insightface-v2").margin.gradient == "straight_through"


@pytest.mark.slow
def test_shares_of_whole_epochs_are_the_default() -> None:
    schedule = Schedule(RecognizeSpec(), 7)  # however many images there are
    assert (schedule.total, schedule.warmup) == (32572, 958)
    assert schedule.points == [20 * 958, 28 * 958, 32 * 958] == [19160, 26824, 30656]
    assert drops(schedule) == schedule.points
    assert [schedule.rate(step) for step in (0, 479, 957, 958)] == pytest.approx([0, 0.05, 0.0999, 0.1], abs=1e-4)


def test_shares_may_divide_epochs_too() -> None:
    schedule = Schedule(spec(epochs=10, batch=10, warmup=0.1, decay=(0.5,)), 105)
    assert (schedule.total, schedule.warmup, schedule.points) == (100, 10, [50])
    halves = Schedule(spec(epochs=10, batch=10, warmup_epochs=0.5, decay_epochs=(0.5, 9.5)), 105)
    assert (halves.warmup, halves.points) == (5, [5, 99])


def test_epochs_of_a_set_that_fills_no_batch_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"recognize\.epochs: got 9 images at batch=10; needed at least one whole"):
        Schedule(spec(epochs=10, batch=10), 9)
