"""The attacker who undoes the protection picture by picture, and then recognises (Fantomas; FaceLinkGen)."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from facemae.attacks.attacker import Fitted, Owned, Released, Rows, unit_rows
from facemae.attacks.public import Selection, Split, Trial, best_of, split
from facemae.attacks.vectors import RAW, fingerprint, own_vectors, workshop
from facemae.faces.faceset import FaceSet
from facemae.faces.masks import permutation, seed_bytes
from facemae.nn.embedder import Embedder, prepare
from facemae.nn.inverse import Pairs, fit_blocks, fit_whole
from facemae.nn.unet import UNet
from facemae.train.inverter import InverterSpec, PicturePairs, train_inverter
from facemae.train.loader import resize, to_unit

LINEAR_PAIRS, NUMBERS = 2048, 1 << 27
"""Pairs for the linear ways back at most, and pixels of all of them: the way over all pixels holds these twice."""

AS_RELEASED = "as released"
Steps = tuple[nn.Module, ...]


@dataclass(frozen=True)
class Inverter:
    """φ(f(released)) in place of φ(released), f the best way back to the originals.

    Candidates for f: none; a linear map over all pixels; a linear map block by block, for each side of ``cells``; a
    U-Net (``width`` channels) after the best of those, trained for the budget. Chosen on public people held out.
    """

    cells: tuple[int, ...] = (8, 16)
    width: int = 32
    batch: int = 32
    feature: float = 0.5
    name: str = "inverter"
    says: str = (
        "Somebody with public photos and what the same process made of them learns to restore photos, restores every "
        "released image and looks for a person among the results with a face recognition network; success is an image "
        "of that person among the nearest."
    )

    def fit(self, owned: Owned) -> Fitted:
        """Fit every candidate on public people and keep the best on others.

        Raises:
            RecipeError: no protected public people. DataError: fewer than four.
            NonFiniteLoss: with the step; the last checkpoint stays.
        """
        public = owned.public(self.name)
        parts = split(public, owned.seed)
        trial, held = Trial.of(public, parts.held), Selection(public.faces, parts.held)
        judge = owned.judge.vectors
        # Those of the mirror images too: the network learns from both.
        original = np.asarray(owned.judge.views(public.original))[public.photo]
        probes = unit_rows(original[parts.held, 0])

        def score(steps: Steps) -> float:
            # As they are, their vectors are known.
            found = _restored(owned, steps, held) if steps else judge(public.faces)[parts.held]
            return trial.score(probes, unit_rows(found))

        ways: dict[str, Steps] = {AS_RELEASED: ()} | dict(self._linear(owned, public, parts))
        tried = {name: score(steps) for name, steps in ways.items()}
        first = best_of(tried)
        network = f"U-Net after {first}"
        ways[network] = (*ways[first], self._network(owned, public, parts, ways[first], original))
        tried[network] = score(ways[network])
        chosen = best_of(tried)

        def find(released: Released) -> Rows:
            return _restored(owned, ways[chosen], released.faces) if ways[chosen] else judge(released.faces)

        return Fitted(ask=judge, find=find, chosen=chosen, tried=tried)

    def _linear(self, owned: Owned, public: Released, parts: Split) -> Iterator[tuple[str, Steps]]:
        """Linear ways back, fitted on half of the people to learn from: a network that follows must not see how well
        they restore what they were fitted on, so it learns from the other half."""
        fit, _ = _halves(public, parts, owned.seed)
        most = min(LINEAR_PAIRS, max(1, NUMBERS // (3 * public.original.size[0] ** 2)))
        pairs = _pairs(public, _some(fit, most, owned.seed))
        held = _pairs(public, _some(parts.held, max(1, most // 4), owned.seed))
        yield "linear, whole picture", (fit_whole(pairs, held),)
        for cell in self.cells:
            if pairs.original.shape[2] % cell == 0:
                yield f"linear, blocks of {cell}", (fit_blocks(pairs, held, cell=cell),)

    def _network(self, owned: Owned, public: Released, parts: Split, before: Steps, original: np.ndarray) -> nn.Module:
        rows = _halves(public, parts, owned.seed)[1] if before else parts.fit
        first = nn.Sequential(*before) if before else None
        settings = {
            "width": self.width,
            "batch": self.batch,
            "feature": self.feature,
            "before": fingerprint(first) if first else None,
        }
        directory = workshop(owned, "inverter", settings, public)
        torch.manual_seed(owned.seed)
        net = UNet(width=self.width)
        pairs = PicturePairs(
            Selection(public.faces, rows),
            Selection(public.original, public.photo[rows]),
            owned.judge.network,
            np.ascontiguousarray(original[rows]),
            first,
        )
        spec = InverterSpec(
            steps=owned.steps,
            size=public.original.size[0],
            batch=self.batch,
            feature=self.feature,
            seed=owned.seed,
        )
        train_inverter(net, pairs, spec, directory=directory, world=owned.world, execution=owned.execution)
        return net.eval()


def _restored(owned: Owned, steps: Steps, faces: FaceSet) -> Rows:
    """Raw vectors of what the way back makes of every record, cut to [0, 1]."""
    judge = owned.judge.network
    size = owned.public("inverter").original.size[0]
    body = nn.Sequential(*steps, nn.Hardtanh(0.0, 1.0), judge)
    network = Embedder(body, input_size=size, embedding=judge.embedding, normalize=RAW)
    network = prepare(network, owned.world.device)
    return own_vectors(owned, network, faces)


def _halves(public: Released, parts: Split, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The records to learn from, in two halves that share no person."""
    people = np.unique(public.person[parts.fit])
    order = permutation(seed_bytes(seed), "attack:halves", len(people))
    first = np.isin(public.person[parts.fit], people[order[: (len(people) + 1) // 2]])
    return parts.fit[first], parts.fit[~first]


def _some(rows: np.ndarray, most: int, seed: int) -> np.ndarray:
    """At most so many of the rows, drawn by ``seed``."""
    return rows[permutation(seed_bytes(seed), "attack:linear", len(rows))[:most]]


def _pairs(public: Released, rows: np.ndarray) -> Pairs:
    size, cpu = public.original.size[0], torch.device("cpu")
    sides = (public.faces.images(rows.tolist()), public.original.images(public.photo[rows].tolist()))
    protected, original = (to_unit(resize(side, size), cpu).contiguous() for side in sides)
    return Pairs(protected, original)
