"""The parrot, end to end: a tiny recogniser trained on protected faces finds people in the protected world."""

from pathlib import Path

import numpy as np
import pytest

from attacks.town import owned, people, release, scramble
from facemae.attacks import Parrot, Released
from facemae.attacks.vectors import fingerprint
from facemae.faces.faceset import FaceSet
from facemae.spec.recipe import RecognizeSpec
from helpers import images_of, join_as, run_ranks

TINY = RecognizeSpec(
    backbone="iresnet18", width=16, input_size=32, embedding=16, batch=16, lr=3.0, precision="fp32", flip=False
)


def test_a_parrot_learns_its_people_and_is_kept(tmp_path: Path) -> None:
    original = people(tmp_path / "public", 8, 4)
    protected = release(tmp_path / "protected", original, scramble(original))
    calls: list[int] = []

    def process(photos: FaceSet, seed: int) -> Released:
        calls.append(seed)
        return release(tmp_path / f"again-{seed}", photos, scramble(photos), seed=seed)

    mine = owned(tmp_path, protected, steps=60, process=process)
    fitted = Parrot(TINY, masks=1).fit(mine)
    # Whoever it was trained on it recognises in scrambled pictures, and asks for them with scrambled photos.
    probes, gallery = fitted.probes(original), fitted.gallery(protected)
    nearest = np.argsort(-(probes.vectors @ gallery.vectors.T), axis=1)[:, :4]
    assert (gallery.person[nearest] == probes.person[:, None]).mean() > 0.8
    assert len(calls) == 1
    again = Parrot(TINY, masks=1).fit(mine)
    assert np.array_equal(again.gallery(protected).vectors, gallery.vectors)
    assert len(list((tmp_path / "cache").glob("parrot-*"))) == 1
    assert Parrot().name == "parrot"
    assert Parrot(masks=2).name == "imitating parrot"


def one_rank(rank: int, size: int, port: int, place: Path) -> None:
    """What one of several processes trains; the name of its network is left in a file."""
    join_as(rank, size, port)
    protected = Released(
        FaceSet.open(place / "protected"), FaceSet.open(place / "public"), np.load(place / "photo.npy")
    )
    network = Parrot(TINY)._trained(owned(place, protected, steps=3), protected)
    (place / f"network-{rank}").write_text(fingerprint(network))


@pytest.mark.slow
def test_processes_that_train_together_look_through_one_network(tmp_path: Path) -> None:
    """Batch statistics are each process's own; vectors that are made in parts and kept by name must not be."""
    original = people(tmp_path / "public", 8, 4)
    protected = release(tmp_path / "protected", original, images_of(original.directory))
    np.save(tmp_path / "photo.npy", protected.photo)
    run_ranks(2, one_rank, tmp_path, patience=280)
    assert (tmp_path / "network-0").read_text() == (tmp_path / "network-1").read_text()
