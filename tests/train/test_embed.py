"""Vectors of a set: what the network says, whatever the batch and however often the run was interrupted."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from facemae.faces.faceset import FaceSet
from facemae.nn.embedder import load_embedder
from facemae.spec.execution import Execution
from facemae.train.embed import CHUNK, embed_faces
from facemae.train.world import World
from helpers import Interrupted, plain, pulling_plug, write_people_set, write_recogniser

ALONE = World(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> FaceSet:
    return FaceSet.open(write_people_set(tmp_path_factory.mktemp("embed") / "set", 28, 5))


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recogniser(tmp_path_factory.mktemp("embed") / "net")


def run(network: Path, faces: FaceSet, out: Path, execution: Execution) -> np.ndarray:
    return embed_faces(load_embedder(network), faces, out, precision="fp32", world=ALONE, execution=execution)


@pytest.fixture(scope="module")
def vectors(network: Path, faces: FaceSet, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    return run(network, faces, tmp_path_factory.mktemp("embed") / "v.npy", plain())


def test_equals_the_network_on_photo_and_mirror_image(vectors: np.ndarray, network: Path, faces: FaceSet) -> None:
    count = len(faces)
    assert count % CHUNK != 0, "the last chunk is to be a padded one"
    assert vectors.shape == (count, 2, 16)
    assert vectors.dtype == np.float32
    net = load_embedder(network).eval()
    photos = torch.from_numpy(faces.images(range(count))).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        upright, mirrored = net(photos).numpy(), net(photos.flip(3)).numpy()
    np.testing.assert_allclose(vectors[:, 0], upright, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(vectors[:, 1], mirrored, rtol=1e-4, atol=1e-4)
    assert np.abs(upright - mirrored).max() > 1e-2


def test_upright_alone_is_the_first_half(vectors: np.ndarray, network: Path, faces: FaceSet, tmp_path: Path) -> None:
    how = {"precision": "fp32", "world": ALONE, "execution": plain(), "mirrored": False}
    upright = embed_faces(load_embedder(network), faces, tmp_path / "v.npy", **how)
    assert upright.shape == (len(faces), 1, 16)
    assert np.array_equal(upright[:, 0], vectors[:, 0])


@pytest.mark.parametrize("batch", [1, 256])
def test_batch_changes_no_bit(batch: int, vectors: np.ndarray, network: Path, faces: FaceSet, tmp_path: Path) -> None:
    assert np.array_equal(run(network, faces, tmp_path / "v.npy", plain(batch=batch)), vectors)


@pytest.mark.parametrize("calls", [1, 2, 3])
def test_an_interrupted_run_goes_on(
    calls: int, vectors: np.ndarray, network: Path, faces: FaceSet, tmp_path: Path
) -> None:
    out = tmp_path / "v.npy"
    with pytest.raises(Interrupted):
        run(network, faces, out, pulling_plug(calls))
    assert not out.exists()
    assert np.array_equal(run(network, faces, out, plain()), vectors)
    assert [path.name for path in tmp_path.iterdir()] == ["v.npy"]


def test_half_a_chunk_on_disk_is_computed_again(
    vectors: np.ndarray, network: Path, faces: FaceSet, tmp_path: Path
) -> None:
    whole = np.asarray(vectors).tobytes()
    (tmp_path / "v.partial").write_bytes(whole[: CHUNK * 2 * 16 * 4] + b"\xff" * 100)
    assert np.array_equal(run(network, faces, tmp_path / "v.npy", plain()), vectors)


def test_finished_vectors_are_not_computed_again(network: Path, faces: FaceSet, tmp_path: Path) -> None:
    marker = np.full((1, 2, 16), 7, np.float32)
    np.save(tmp_path / "v.npy", marker)
    assert np.array_equal(run(network, faces, tmp_path / "v.npy", plain()), marker)


def test_a_full_disk_at_the_end_leaves_no_half_result(
    vectors: np.ndarray, network: Path, faces: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as raised:
        run(network, faces, tmp_path / "v.npy", plain())
    assert raised.value.errno == errno.ENOSPC
    monkeypatch.undo()
    assert not (tmp_path / "v.npy").exists()
    assert np.array_equal(run(network, faces, tmp_path / "v.npy", plain()), vectors)
