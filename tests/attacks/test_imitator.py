"""The imitator averages the passes of each photo, whatever order the process leaves them in."""

from pathlib import Path

import numpy as np

from attacks.town import owned, people, release
from facemae.attacks import Imitator, Released, unit_rows
from facemae.attacks.imitator import mask_seed
from facemae.faces.faceset import FaceSet
from helpers import images_of


def noisy(directory: Path, photos: FaceSet, seed: int) -> Released:
    """A process whose masks are noise."""
    pictures = images_of(photos.directory).astype(float)
    noise = np.random.default_rng(seed).normal(0, 60, pictures.shape)
    images = (pictures + noise).clip(0, 255).astype(np.uint8)
    return release(directory / f"{photos.digest[:8]}-{seed}", photos, images, seed=seed)


def test_probes_are_the_mean_over_masks_for_members_and_strangers_alike(tmp_path: Path) -> None:
    seeds: list[int] = []

    def process(photos: FaceSet, seed: int) -> Released:
        seeds.append(seed)
        return noisy(tmp_path, photos, seed)

    mine = owned(tmp_path, process=process)
    members, strangers = people(tmp_path / "in", 4, 2), people(tmp_path / "out", 3, 2, seed=9)
    fitted = Imitator(masks=3).fit(mine)
    for photos in (members, strangers):
        seeds.clear()
        probes = fitted.probes(photos)
        assert seeds == [mask_seed(0, mask) for mask in range(3)]
        assert len({*seeds}) == 3
        by_hand = np.zeros_like(probes.vectors)
        for seed in seeds:
            again = noisy(tmp_path, photos, seed)
            passed = unit_rows(mine.judge.vectors(again.faces))
            for row, photo in enumerate(again.photo):
                by_hand[photo] += passed[row]
        np.testing.assert_allclose(probes.vectors, unit_rows(by_hand), atol=1e-6)
        assert probes.photo.tolist() == list(range(len(photos)))
        # The mean of several noisy passes lies nearer to the photo than each of them.
        true = unit_rows(mine.judge.vectors(photos))
        assert (probes.vectors * true).sum() > (unit_rows(passed)[np.argsort(again.photo)] * true).sum()
