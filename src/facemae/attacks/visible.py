"""The attacker who looks at the true pixels alone: does leakage come from them or from the decoder?"""

import hashlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8
from scipy.ndimage import gaussian_filter

from facemae.attacks.attacker import Fitted, Owned, Released, Rows, unit_rows
from facemae.attacks.public import Trial, best_of, split
from facemae.attacks.vectors import own_vectors
from facemae.errors import DataError
from facemae.faces.faceset import FaceSet

Paint = Literal["as stored", "mean", "smooth"]
PAINTS: tuple[Paint, ...] = ("as stored", "mean", "smooth")
"""What stands in hidden cells: the set's own fill (grey), the mean of the photo's visible pixels, or the visible
pixels nearby, weighted by a Gaussian as wide as a cell."""


class Painted(FaceSet):
    """Records ``rows`` of a masked set (None: all), their hidden cells filled in from the visible ones."""

    def __init__(self, masked: FaceSet, paint: Paint, rows: np.ndarray | None = None) -> None:
        super().__init__(masked.directory, masked.manifest)
        self._args = masked, paint, rows
        if rows is not None:
            self.index = np.array(self.index[rows])

    @property
    def digest(self) -> str:
        """Names the set, the records, and how they are painted."""
        _, paint, rows = self._args
        some = "" if rows is None else f":{hashlib.sha256(np.asarray(rows, np.int64).tobytes()).hexdigest()}"
        return f"{self.manifest.digest}:{paint}{some}"

    def image(self, i: int) -> UInt8[np.ndarray, "h w 3"]:
        """Record ``i`` with its hidden cells filled in."""
        picture = super().image(i)
        grid, cell, _ = self.cells
        shown = np.zeros(grid * grid, bool)
        shown[self.visible([i])[1][0]] = True
        pixels = shown.reshape(grid, grid).repeat(cell, 0).repeat(cell, 1)
        return fill_in(picture, pixels, self._args[1], cell=cell)

    def __getstate__(self) -> dict[str, Any]:
        return {"args": self._args}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(*state["args"])  # type: ignore[misc]


def fill_in(picture: np.ndarray, shown: np.ndarray, paint: Paint, *, cell: int) -> UInt8[np.ndarray, "h w 3"]:
    """Hidden pixels from visible ones: their mean, or Σ G·x / Σ G over the visible, G a Gaussian of ``cell`` pixels."""
    if paint == "as stored" or not shown.any():
        return picture
    if paint == "mean":
        filled = np.broadcast_to(picture[shown].mean(axis=0), picture.shape)
    else:
        weight = gaussian_filter(shown.astype(np.float32), cell)[:, :, None]
        seen = np.where(shown[:, :, None], picture, 0).astype(np.float32)
        near = gaussian_filter(seen, (cell, cell, 0)) / np.maximum(weight, 1e-6)
        # Farther than a Gaussian reaches from any visible pixel there is only the mean of all of them.
        filled = np.where(weight > 1e-3, near, picture[shown].mean(axis=0))
    return np.where(shown[:, :, None], picture, filled.round().clip(0, 255)).astype(np.uint8)


@dataclass(frozen=True)
class Visible:
    """Visible patches in the place of the pictures that a decoder made of them, hidden cells painted as is best.

    What this finds comes from true pixels; what `retrieval` finds beyond it, from the decoder. The paint is chosen on
    public people held out, where their masked set is known, and is the set's own otherwise.
    """

    name: str = "visible patches"
    says: str = (
        "Somebody with photos of a person, a face recognition network and the visible patches from which the release "
        "was made looks for that person among the patches alone; success is an image of that person among the nearest."
    )

    def fit(self, owned: Owned) -> Fitted:
        """Choose the paint."""
        public = owned.protected
        tried = {} if public is None or public.masked is None else self._tried(owned, public, public.masked)
        chosen = best_of(tried) if tried else PAINTS[0]
        paint = next(paint for paint in PAINTS if paint == chosen)

        def find(released: Released) -> Rows:
            if released.masked is None:
                raise DataError(f"the {self.name} attacker", got="no visible patches", needed="the masked set")
            return _painted_vectors(owned, released.masked, paint)

        return Fitted(owned.judge.vectors, find, chosen, tried)

    def _tried(self, owned: Owned, public: Released, masked: FaceSet) -> dict[str, float]:
        held = split(public, owned.seed).held
        trial = Trial.of(public, held)
        probes = unit_rows(owned.judge.vectors(public.original)[public.photo[held]])
        return {paint: trial.score(probes, unit_rows(_painted_vectors(owned, masked, paint, held))) for paint in PAINTS}


def _painted_vectors(owned: Owned, masked: FaceSet, paint: Paint, rows: np.ndarray | None = None) -> Rows:
    """Raw vectors of the records ``rows``, or of all: nobody pays for pictures that choose nothing."""
    if rows is None and paint == PAINTS[0]:
        return owned.judge.vectors(masked)
    painted = Painted(FaceSet.open(masked.directory, kind="masked"), paint, rows)
    return own_vectors(owned, owned.judge.network, painted)
