"""Floating-point operations of one image, counted from the layers and never estimated from time.

Two a multiply-add of linear layers, convolutions, attention and the classifier's cosines; normalisations, activations,
resizing and optimisers count as nothing, so what they cost shows as a lower share. A backward pass is as many
multiply-adds for the gradients of the weights and as many for those of the inputs; the first layer's inputs need none.

Counted on a fresh network, in float32: a fast path that replaces layers does the same work and cannot hide it.
"""

from typing import NamedTuple

import torch
from torch import nn

from facemae.nn.backbones import build_backbone
from facemae.nn.embedder import Embedder
from facemae.train.operations import mae_multiply_adds, multiply_adds


class Work(NamedTuple):
    """Operations of one image: a forward pass, and its first layer alone."""

    forward: int
    first: int

    @property
    def step(self) -> int:
        """Forward, gradients of the weights, and gradients of the inputs of all layers but the first."""
        return 3 * self.forward - self.first

    @property
    def frozen_step(self) -> int:
        """A network without gradients of its weights, inside a loss: forward, and gradients of the inputs."""
        return 2 * self.forward


def mae_work(size: str, *, ratio: float = 0.75) -> Work:
    """A masked autoencoder that sees a share 1 - ``ratio`` of its patches."""
    forward, first = mae_multiply_adds(size, ratio=ratio)
    return Work(2 * forward, 2 * first)


def embedder_work(backbone: str, *, input_size: int = 112) -> Work:
    """One view of one image."""
    net = build_backbone(backbone, input_size=input_size)
    embedder = Embedder(net, input_size=input_size, embedding=net.embedding).eval()
    image = torch.zeros(1, 3, input_size, input_size)
    first = next(layer for layer in embedder.modules() if isinstance(layer, nn.Conv2d))
    forward, start = (multiply_adds(part, lambda: embedder(image)) for part in (embedder, first))
    return Work(2 * forward, 2 * start)


def head_work(people: int, dimension: int) -> int:
    """A training step of the margin head: cosines with every person's centre, and both gradients."""
    return 3 * 2 * people * dimension


def topk_work(gallery: int, dimension: int) -> int:
    """The products of one query with every gallery row."""
    return 2 * gallery * dimension
