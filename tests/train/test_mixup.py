"""Faces that show several people: weights, labels and pictures of a step, the same however a run is cut."""

from typing import Any

import numpy as np
import pytest
import torch

from facemae.errors import DataError, RecipeError
from facemae.faces.faceset import FaceSet
from facemae.spec.recipe import RecognizeSpec
from facemae.train.loader import Batch, Sight, batches, to_unit
from facemae.train.mixup import Mixer, synthetic_weight
from facemae.train.world import World
from helpers import smooth_photos, write_people_set, write_set

ALONE = World(0, 1, torch.device("cpu"))


def spec(**settings: Any) -> RecognizeSpec:
    given = {"batch": 4, "iterations": 12, "input_size": 16, "embedding": 8}
    return RecognizeSpec.model_validate(given | settings)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> FaceSet:
    return FaceSet.open(write_people_set(tmp_path_factory.mktemp("real") / "set", 3, 4, size=24, seed=5))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> FaceSet:
    extras = [{"mix": [[i % 2, 0.75], [1 - i % 2, 0.25]]} if i < 6 else None for i in range(8)]
    images = smooth_photos(2, 4, size=16)
    directory = tmp_path_factory.mktemp("mixed") / "set"
    return FaceSet.open(write_set(directory, images, [0, 1] * 4, extras=extras))


def seen(faces: FaceSet, real: FaceSet | None, asked: RecognizeSpec, steps: range, world: World = ALONE) -> list[Any]:
    mixer = Mixer(faces, real, asked, steps=steps, world=world)
    sight = Sight(seed=asked.seed, flip=asked.flip, size=asked.input_size)
    stream = batches(faces, sight, batch=asked.batch, steps=steps, world=world)
    return [mixer(step, to_unit(b.images, world.device), b) for step, b in zip(steps, stream, strict=True)]


def same(one: list[Any], other: list[Any]) -> bool:
    return all(torch.equal(a, b) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True))


def first(faces: FaceSet, asked: RecognizeSpec) -> Batch:
    sight = Sight(seed=asked.seed, flip=asked.flip, size=asked.input_size)
    return next(batches(faces, sight, batch=asked.batch, steps=range(1), world=ALONE))


def test_weights_of_steps() -> None:
    drawn = [synthetic_weight(3, step, 1.0) for step in range(4200)]
    counts = np.unique(drawn, return_counts=True)
    np.testing.assert_allclose(counts[0], np.arange(21) / 20)
    assert np.abs(counts[1] - 200).max() < 5 * 200**0.5
    some = np.array([synthetic_weight(3, step, 0.25) for step in range(4200)])
    # A quarter of the steps, of which one in 21 draws the weight 1 too; the others are those of above.
    assert (some < 1).mean() == pytest.approx(0.25 * 20 / 21, abs=0.035)
    assert set(some[some < 1]) <= set(drawn)
    assert all(some[i] == drawn[i] for i in np.flatnonzero(some < 1))
    assert {synthetic_weight(3, step, 0.0) for step in range(50)} == {1.0}


def test_plain_batches_stay_as_they_are(mixed: FaceSet) -> None:
    batch = first(mixed, spec())
    [(images, labels, weights)] = seen(mixed, None, spec(), range(1))
    assert torch.equal(images, to_unit(batch.images, ALONE.device))
    assert labels.tolist() == batch.labels.tolist()
    assert weights is None


def test_identities_of_a_batch(mixed: FaceSet) -> None:
    batch = first(mixed, spec())
    [(images, labels, weights)] = seen(mixed, None, spec(mixup="identity"), range(1))
    assert torch.equal(images, to_unit(batch.images, ALONE.device))
    for i, people, shares in zip(batch.indices.tolist(), labels.tolist(), weights.tolist(), strict=True):
        assert people == ([i % 2, 1 - i % 2] if i < 6 else [i % 2, i % 2])
        assert shares == ([0.75, 0.25] if i < 6 else [1.0, 0.0])


@pytest.mark.parametrize("mixup", ["none", "identity"])
def test_real_photos_are_mixed_in_and_taught(mixup: str, mixed: FaceSet, real: FaceSet) -> None:
    asked, steps = spec(mixup=mixup, domain_mix=1.0, flip=False), range(12)
    plain = seen(mixed, None, spec(mixup=mixup, flip=False), steps)
    photos = torch.cat([to_unit(real.images(range(12)), ALONE.device)])
    small = torch.nn.functional.interpolate(photos, (16, 16), mode="bilinear", antialias=True)
    whole, told = 0, seen(mixed, real, asked, steps)
    for step, (images, labels, weights), (own, people, shares) in zip(steps, told, plain, strict=True):
        part = synthetic_weight(0, step, 1.0)
        if part == 1:
            assert torch.equal(images, own)
            continue
        whole += 1
        shares = torch.ones(4, 1) if shares is None else shares
        assert torch.equal(labels[:, :-1], people.reshape(4, -1))
        torch.testing.assert_close(weights, torch.cat([part * shares, torch.full((4, 1), 1 - part)], 1))
        assert ((labels[:, -1] >= 2) & (labels[:, -1] < 5)).all()
        other = (images - part * own) / (1 - part)
        distance = (small[None] - other[:, None]).abs().amax((2, 3, 4))
        found = distance.argmin(1)
        assert distance.amin(1).max() < 0.01 / (1 - part)
        assert (torch.from_numpy(real.identities[found.numpy()]) + 2 == labels[:, -1]).all()
    assert whole > 8


def test_a_run_that_is_cut_sees_the_same(mixed: FaceSet, real: FaceSet) -> None:
    asked = spec(mixup="identity", domain_mix=0.5)
    through = seen(mixed, real, asked, range(12))
    for begin in (1, 5, 11):
        assert same(seen(mixed, real, asked, range(begin, 12)), through[begin:])


def test_ranks_see_their_shares(mixed: FaceSet, real: FaceSet) -> None:
    asked = spec(domain_mix=1.0)
    parts = [seen(mixed, real, asked, range(4), World(rank, 2, torch.device("cpu"))) for rank in (0, 1)]
    joined = [tuple(torch.cat(both) for both in zip(*pair, strict=True)) for pair in zip(*parts, strict=True)]
    assert same(joined, seen(mixed, real, asked, range(4)))


def test_what_is_missing_is_named(mixed: FaceSet, real: FaceSet) -> None:
    with pytest.raises(RecipeError, match=r"recognize\.domain_mix: got 0\.5; needed a set of real photos.*--real"):
        Mixer(mixed, None, spec(domain_mix=0.5), steps=range(1), world=ALONE)
    with pytest.raises(RecipeError, match=r"--real: got domain_mix=0, which uses no real photos"):
        Mixer(mixed, real, spec(), steps=range(1), world=ALONE)
    with pytest.raises(DataError, match="no face that shows two people"):
        Mixer(real, None, spec(mixup="identity"), steps=range(1), world=ALONE)
