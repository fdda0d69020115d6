"""A town of smooth faces for attackers: public people, a release in new order and numbers, a judge of plain pixels."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from facemae.attacks import Judge, Owned, Released, judge_of
from facemae.faces.faceset import FaceSet
from facemae.nn.embedder import Embedder
from facemae.nn.patches import patchify, unpatchify
from helpers import images_of, plain, smooth_photos, write_set

SIZE = 32


def pixel_judge(cache: Path, size: int = 8) -> Judge:
    """A network that sees a face as its pixels, ``size`` a side."""
    network = Embedder(nn.Flatten(), input_size=size, embedding=3 * size * size)
    return judge_of("pixels", network, cache=cache, execution=plain())


def people(directory: Path, count: int, photos: int, *, seed: int = 0, noise: float = 10.0) -> FaceSet:
    """Originals of ``count`` people."""
    images = smooth_photos(count, photos, size=SIZE, seed=seed, noise=noise)
    return FaceSet.open(write_set(directory, images, np.arange(count).repeat(photos)))


def release(directory: Path, original: FaceSet, images: np.ndarray, *, seed: int = 5) -> Released:
    """``images[i]`` as what became of photo i, in a new order and with new numbers for people."""
    random = np.random.default_rng(seed)
    photo = random.permutation(len(original))
    number = random.permutation(original.num_identities)[original.identities[photo]]
    write_set(directory, images[photo], number, kind="reconstructed")
    return Released(FaceSet.open(directory), original, photo.astype(np.int64))


def scramble(original: FaceSet, *, cell: int = 8, key: int = 1) -> np.ndarray:
    """Every photo with its blocks, and the pixels of every block, in an order that follows from the key alone."""
    random = np.random.default_rng(key)
    photos = torch.from_numpy(images_of(original.directory)).permute(0, 3, 1, 2)
    blocks = patchify(photos.float(), patch_size=cell).numpy()
    blocks = blocks[:, random.permutation(blocks.shape[1])]
    inside = random.permuted(np.tile(np.arange(blocks.shape[2]), (blocks.shape[1], 1)), axis=1)
    mixed = np.take_along_axis(blocks, inside[None], axis=2)
    return unpatchify(torch.from_numpy(mixed), patch_size=cell).permute(0, 2, 3, 1).byte().numpy()


def owned(directory: Path, protected: Released | None = None, *, steps: int = 3, **more: object) -> Owned:
    """What an attacker of this town has."""
    judge = pixel_judge(directory / "cache")
    return Owned(judge, plain(), directory / "cache", protected, steps=steps, **more)  # type: ignore[arg-type]
