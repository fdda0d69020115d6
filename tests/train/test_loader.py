"""Batches: shares of ranks, epochs, masks and flips follow from seed, record and epoch alone."""

from pathlib import Path

import numpy as np
import pytest
import torch

from facemae.faces.faceset import FaceSet
from facemae.faces.masks import coin_flips, record_seeds, seed_bytes, visible_cells
from facemae.faces.record import key_of
from facemae.train.loader import Batch, Sight, batches, resize, to_unit
from facemae.train.world import World
from helpers import write_people_set

CPU = torch.device("cpu")
RECORDS, BATCH, STEPS = 10, 4, 10
SIGHT = Sight(seed=3, cells=16, keep=4)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> FaceSet:
    return FaceSet.open(write_people_set(tmp_path_factory.mktemp("loader") / "set", 5, 2))


def stream(
    faces: FaceSet,
    steps: range = range(STEPS),
    *,
    sight: Sight = SIGHT,
    rank: int = 0,
    ranks: int = 1,
    workers: int = 0,
) -> list[Batch]:
    world = World(rank, ranks, CPU)
    return list(batches(faces, sight, batch=BATCH, steps=steps, world=world, workers=workers))


def same(one: Batch, other: Batch) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(vars(one).values(), vars(other).values(), strict=True))


def joined(parts: tuple[Batch, ...]) -> Batch:
    return Batch(*(np.concatenate(fields) for fields in zip(*(vars(part).values() for part in parts), strict=True)))


@pytest.mark.parametrize("ranks", [2, 4])
def test_shares_of_the_ranks_make_the_batch_of_one_process(faces: FaceSet, ranks: int) -> None:
    shares = zip(*(stream(faces, rank=rank, ranks=ranks) for rank in range(ranks)), strict=True)
    whole = stream(faces)
    assert all(same(joined(parts), batch) for parts, batch in zip(shares, whole, strict=True))


def test_every_epoch_visits_each_record_once_in_another_order(faces: FaceSet) -> None:
    visited = np.concatenate([batch.indices for batch in stream(faces)])
    epochs = visited.reshape(-1, RECORDS)
    assert (np.sort(epochs, axis=1) == np.arange(RECORDS)).all()
    assert len({tuple(epoch) for epoch in epochs}) == len(epochs)


def test_masks_and_flips_are_those_of_record_and_epoch(faces: FaceSet) -> None:
    secret, position = seed_bytes(SIGHT.seed), 0
    for batch in stream(faces):
        assert batch.visible is not None
        for i, record in enumerate(batch.indices.tolist()):
            epoch, key = position // RECORDS, [key_of(record)]
            mask = visible_cells(record_seeds(secret, "mask", key, epoch), 16, 4)[0]
            assert (batch.visible[i] == mask).all()
            flipped = bool(coin_flips(record_seeds(secret, "flip", key, epoch))[0])
            assert bool(batch.flipped[i]) is flipped
            photo = faces.image(record)
            assert (batch.images[i] == (photo[:, ::-1] if flipped else photo)).all()
            assert batch.labels[i] == faces.identities[record]
            position += 1


def test_flips_and_masks_change_between_epochs_and_half_the_photos_are_flipped(faces: FaceSet) -> None:
    everything = stream(faces, range(100))
    flipped = np.concatenate([batch.flipped for batch in everything])
    order = np.concatenate([batch.indices for batch in everything])
    assert 0.4 < flipped.mean() < 0.6
    assert len(set(flipped[order == 0].tolist())) == 2
    masks = np.concatenate([batch.visible for batch in everything if batch.visible is not None])
    assert len({tuple(mask) for mask in masks[order == 0].tolist()}) > 10


def test_a_seed_is_another_run(faces: FaceSet) -> None:
    other = stream(faces, sight=Sight(seed=4, cells=16, keep=4))
    assert not all(same(a, b) for a, b in zip(stream(faces), other, strict=True))


def test_worker_processes_change_nothing(faces: FaceSet) -> None:
    alone, helped = stream(faces), stream(faces, workers=2)
    assert all(same(a, b) for a, b in zip(alone, helped, strict=True))


def test_resuming_at_a_step_is_running_through(faces: FaceSet) -> None:
    late = stream(faces, range(7, STEPS))
    assert all(same(a, b) for a, b in zip(stream(faces)[7:], late, strict=True))


def test_without_flip_and_mask_photos_come_as_they_are(faces: FaceSet) -> None:
    batch = stream(faces, range(1), sight=Sight(seed=0, flip=False))[0]
    assert batch.visible is None
    assert not batch.flipped.any()
    assert (batch.images == faces.images(batch.indices.tolist())).all()


def test_a_size_resizes_with_antialiasing(faces: FaceSet) -> None:
    batch = stream(faces, range(1), sight=Sight(seed=0, flip=False, size=16))[0]
    photos = torch.from_numpy(faces.images(batch.indices.tolist())).permute(0, 3, 1, 2).float()
    wanted = torch.nn.functional.interpolate(photos, (16, 16), mode="bilinear", antialias=True)
    assert np.abs(batch.images - wanted.permute(0, 2, 3, 1).numpy()).max() <= 1.0
    assert resize(batch.images, 16) is batch.images


def test_to_unit_maps_bytes_to_the_unit_interval() -> None:
    image = np.arange(2 * 2 * 2 * 3, dtype=np.uint8).reshape(2, 2, 2, 3) * 10
    tensor = to_unit(image, CPU)
    assert tensor.shape == (2, 3, 2, 2)
    assert tensor[1, 2, 0, 1].item() == pytest.approx(image[1, 0, 1, 2] / 255)


def test_a_set_that_is_damaged_on_disk_stops_the_run(tmp_path: Path) -> None:
    from facemae.errors import Damaged

    directory = write_people_set(tmp_path / "set", 2, 2)
    shard = directory / "shards" / "00000.tar"
    data = bytearray(shard.read_bytes())
    data[600] ^= 1
    shard.write_bytes(data)
    with pytest.raises(Damaged, match="checksum"):
        stream(FaceSet.open(directory))
