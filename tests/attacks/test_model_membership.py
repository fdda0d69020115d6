"""Membership in the model: an overfitted one gives its training photos away, a fresh one does not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from attacks.town import SIZE, people, pixel_judge
from facemae.attacks import Attacked, membership_scores, model_membership
from facemae.attacks.model_membership import _visible
from facemae.errors import DataError, RecipeError
from facemae.faces.faceset import FaceSet
from facemae.nn.mae import FaceMAE, pixel_loss
from facemae.nn.patches import gather_patches, patchify
from facemae.spec.recipe import Loss, PretrainSpec
from facemae.train.loader import to_unit
from facemae.train.pretrain import pretrain
from facemae.train.world import World
from helpers import plain, smooth_photos, tiny_mae, write_set

CPU = torch.device("cpu")


def faces(directory: Path, seed: int) -> FaceSet:
    """Four people with photos of little in common, so that there is something to learn by heart."""
    images = smooth_photos(4, 3, size=SIZE, seed=seed, noise=80)
    directory = write_set(directory, images, np.arange(4).repeat(3), kind="baseline")
    return FaceSet.open(directory)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[FaceSet, FaceSet]:
    place = tmp_path_factory.mktemp("membership")
    return faces(place / "in", 0), faces(place / "out", 1)


def auc(members: np.ndarray, others: np.ndarray) -> float:
    return float((members[:, None] > others).mean() + (members[:, None] == others).mean() / 2)


@pytest.fixture(scope="module")
def overfitted(sets: tuple[FaceSet, FaceSet], tmp_path_factory: pytest.TempPathFactory) -> FaceMAE:
    model = tiny_mae()
    spec = PretrainSpec(
        image_size=32, patch_size=8, loss=Loss(pixel=1.0, instance=0.0, relation=0.0), image_steps=12 * 150,
        batch=12, base_lr=0.1, flip=False, precision="fp32", weight_decay=0.0,
    )  # fmt: skip
    alone = World(0, 1, CPU)
    place = tmp_path_factory.mktemp("model")
    pretrain(model, sets[0], spec, phi=None, features=None, directory=place, world=alone, execution=plain())
    return model


def test_an_overfitted_model_tells_its_members(
    sets: tuple[FaceSet, FaceSet], overfitted: FaceMAE, tmp_path: Path
) -> None:
    attacked = Attacked(overfitted, reference=tiny_mae(seed=3), phi=pixel_judge(tmp_path), masks=4)
    scores = membership_scores(attacked, *sets, execution=plain())
    assert {*scores} == {"loss", "phi-distance", "loss, calibrated", "phi-distance, calibrated"}
    for name, told in scores.items():
        assert auc(told.members, told.nonmembers) > 0.8, name
        assert told.member_people.tolist() == (told.nonmember_people - 4).tolist() == np.arange(4).repeat(3).tolist()
    again = membership_scores(attacked, *sets, execution=plain())
    assert all(np.array_equal(again[name].members, told.members) for name, told in scores.items())


def test_loss_is_the_pixel_loss_averaged_over_masks(sets: tuple[FaceSet, FaceSet]) -> None:
    model = tiny_mae().eval()
    attacked = Attacked(model, masks=2, seed=4)
    told = membership_scores(attacked, sets[0], sets[1], execution=plain())["loss"]
    patches = patchify(to_unit(sets[0].images([5]), CPU), patch_size=8)
    by_hand = []
    for mask in range(2):
        ids = torch.from_numpy(_visible(attacked, model, range(5, 6), mask))
        with torch.no_grad():
            predicted = patchify(model(gather_patches(patches, ids), ids), patch_size=8)
        by_hand.append(pixel_loss(predicted, patches, ids, on="masked").item())
    assert told.members[5] == pytest.approx(-np.mean(by_hand), rel=1e-5)
    assert by_hand[0] != by_hand[1]


def test_errors_are_kept_for_the_next_release_of_the_same_model(
    sets: tuple[FaceSet, FaceSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attacked = Attacked(tiny_mae(), phi=pixel_judge(tmp_path), masks=2)
    plainly = membership_scores(attacked, *sets, execution=plain())
    kept = replace(attacked, cache=tmp_path / "kept")
    first = membership_scores(kept, *sets, execution=plain())
    monkeypatch.setattr(model_membership, "_computed", None)
    again = membership_scores(kept, *sets, execution=plain())
    for name, scores in plainly.items():
        np.testing.assert_array_equal(first[name].members, scores.members)
        np.testing.assert_array_equal(again[name].members, scores.members)
        np.testing.assert_array_equal(again[name].nonmembers, scores.nonmembers)
    with pytest.raises(TypeError, match="not callable"):
        membership_scores(replace(kept, model=tiny_mae(seed=1)), *sets, execution=plain())


def test_a_reference_of_another_grid_is_refused(sets: tuple[FaceSet, FaceSet]) -> None:
    attacked = Attacked(tiny_mae(), reference=tiny_mae(patch_size=16))
    with pytest.raises(RecipeError, match="the reference model: got a grid of 2; needed 4"):
        membership_scores(attacked, *sets, execution=plain())


def test_nobody_may_be_on_both_sides(tmp_path: Path) -> None:
    members, others = people(tmp_path / "in", 2, 1), people(tmp_path / "out", 3, 1)
    with pytest.raises(DataError, match=r"shares people with .*: got 2, first 'Person_000'"):
        membership_scores(Attacked(tiny_mae()), members, others, execution=plain())
