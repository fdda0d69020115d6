"""The attacker who learns from pairs how vectors of protected faces lie to those of originals."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64

from facemae.attacks.attacker import Fitted, Owned, Released, Rows, unit_rows
from facemae.attacks.public import Split, Trial, best_of, split
from facemae.attacks.vectors import workshop
from facemae.nn.matcher import Matcher
from facemae.train.matcher import MatcherSpec, VectorPairs, train_matcher

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""λ of the ridge projection as multiples of the mean variance of a coordinate."""

Map = Callable[[Rows], Rows]
AS_RELEASED = "as released"


@dataclass(frozen=True)
class Affine:
    """x → (x − mean_in) W + mean_out."""

    mean_in: Float64[np.ndarray, " d"]
    weight: Float64[np.ndarray, "d d"]
    mean_out: Float64[np.ndarray, " d"]

    def __call__(self, rows: Rows) -> Rows:
        return (rows - self.mean_in) @ self.weight + self.mean_out


@dataclass(frozen=True)
class CrossMatcher:
    """Released vectors are mapped to where originals lie, by the best of several maps.

    Candidates: none; the rotation of Procrustes; ridge projections; a small network (``hidden`` units) after the best
    of those. The map is chosen on public people held out; without one that helps, this is `retrieval`.
    """

    hidden: int = 1024
    name: str = "cross-matcher"
    says: str = (
        "Somebody with public photos and what the same process made of them learns how the two are related in "
        "the eyes of a face recognition network, and looks for a person across that map; success is an image of that "
        "person among the nearest."
    )

    def fit(self, owned: Owned) -> Fitted:
        """Fit every candidate on public people and keep the best on others.

        Raises:
            RecipeError: no protected public people. DataError: fewer than four.
        """
        public = owned.public(self.name)
        parts = split(public, owned.seed)
        judge = owned.judge.vectors
        protected, original = unit_rows(judge(public.faces)), unit_rows(judge(public.original)[public.photo])
        trial = Trial.of(public, parts.held)

        def score(candidate: Map) -> float:
            return trial.score(original[parts.held], unit_rows(candidate(protected[parts.held])))

        maps = self._linear(protected[parts.fit], original[parts.fit])
        tried = {name: score(candidate) for name, candidate in maps.items()}
        first = best_of(tried)
        network = f"network after {first}"
        maps[network] = self._network(owned, public, parts, first, unit_rows(maps[first](protected)), original)
        tried[network] = score(lambda rows: maps[network](unit_rows(maps[first](rows))))
        chosen = best_of(tried)
        kept = {AS_RELEASED: [], network: [maps[first], maps[network]]}.get(chosen, [maps[chosen]])
        return Fitted(
            ask=judge,
            find=lambda released: _through(kept, judge(released.faces)),
            chosen=chosen,
            tried=tried,
        )

    def _linear(self, protected: Rows, original: Rows) -> dict[str, Map]:
        maps: dict[str, Map] = {AS_RELEASED: lambda rows: rows, "Procrustes": procrustes(protected, original)}
        return maps | {f"ridge {penalty:g}": ridge(protected, original, penalty) for penalty in PENALTIES}

    def _network(self, owned: Owned, public: Released, parts: Split, first: str, mapped: Rows, original: Rows) -> Map:
        """The network, trained on vectors that the best linear map has already moved."""
        dimension = mapped.shape[1]
        spec = MatcherSpec(steps=owned.steps, seed=owned.seed)
        directory = workshop(owned, "cross-matcher", {"hidden": self.hidden, "after": first}, public)
        torch.manual_seed(owned.seed)
        matcher = Matcher(dimension, hidden=self.hidden)
        pairs = VectorPairs(mapped[parts.fit], original[parts.fit], public.person[parts.fit])
        train_matcher(matcher, pairs, spec, directory=directory, world=owned.world, execution=owned.execution)
        matcher = matcher.cpu().eval()

        @torch.no_grad()
        def apply(rows: Rows) -> Rows:
            return matcher(torch.from_numpy(np.asarray(rows, np.float32))).numpy()

        return apply


def procrustes(protected: Float[np.ndarray, "n d"], original: Float[np.ndarray, "n d"]) -> Affine:
    """R = argmin ‖P R − O‖ over rotations and reflections, P and O centred: U Vᵀ where Pᵀ O = U S Vᵀ.

    Source: Schönemann 1966.
    """
    p, o, mean_in, mean_out = _centred(protected, original)
    u, _, vt = np.linalg.svd(p.T @ o)
    return Affine(mean_in, u @ vt, mean_out)


def ridge(protected: Float[np.ndarray, "n d"], original: Float[np.ndarray, "n d"], penalty: float) -> Affine:
    """W = (PᵀP + λ I)⁻¹ Pᵀ O, P and O centred, λ = ``penalty`` · trace(PᵀP) / d."""
    p, o, mean_in, mean_out = _centred(protected, original)
    gram = p.T @ p
    ridged = gram + np.eye(len(gram)) * (penalty * np.trace(gram) / len(gram) + 1e-12)
    return Affine(mean_in, np.linalg.solve(ridged, p.T @ o), mean_out)


def _centred(protected: Rows, original: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    p, o = np.asarray(protected, np.float64), np.asarray(original, np.float64)
    mean_in, mean_out = p.mean(axis=0), o.mean(axis=0)
    return p - mean_in, o - mean_out, mean_in, mean_out


def _through(maps: list[Map], rows: Rows) -> Rows:
    for each in maps:
        rows = each(unit_rows(rows))
    return rows
