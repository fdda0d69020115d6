"""What an attacker may own, what they may ask, and the one form in which all of them answer.

An attacker is fitted once on what they own, and then puts two kinds of pictures into one space: photos of people they
look for (members or strangers alike) and released records. Every measure (retrieval, open set, linking, templates)
takes the two `View`s and knows nothing of the attacker.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32, Int64

from facemae.errors import DataError, RecipeError
from facemae.faces.faceset import FaceSet
from facemae.nn.embedder import Embedder
from facemae.spec.execution import Execution
from facemae.train.world import World, join


@dataclass(frozen=True)
class Released:
    """Pictures that went through a process, and which photo is behind each: ``original`` record ``photo[i]``.

    ``masked``: the visible patches from which record i was made, as record i of a masked set, where they are known.
    Of the people of the release only the auditor has this; of public people whoever repeats the process on them.

    Raises:
        DataError: not one photo a record, a photo that ``original`` does not hold, or as many masked records.
    """

    faces: FaceSet
    original: FaceSet
    photo: Int64[np.ndarray, " n"]
    masked: FaceSet | None = None

    def __post_init__(self) -> None:
        count = len(self.faces)
        if len(self.photo) != count or (self.masked is not None and len(self.masked) != count):
            raise DataError(f"linkage of {self.faces.directory}", got=f"{len(self.photo)} rows", needed=count)
        if count and not 0 <= self.photo.min() <= self.photo.max() < len(self.original):
            raise DataError(f"linkage of {self.faces.directory}", needed=f"record numbers of {self.original.directory}")

    @property
    def person(self) -> Int64[np.ndarray, " n"]:
        """Whom each record truly shows: a number of ``original``."""
        return self.original.identities[self.photo].astype(np.int64)


Process = Callable[[FaceSet, int], Released]
"""``process(photos, seed)``: all photos of a finished set through the release's own process, with masks that follow
from ``seed`` and are not those of the release."""


@dataclass(frozen=True)
class Judge:
    """A face recognition network in the attacker's hands.

    ``vectors(faces)``: raw vectors of every record, n x d; ``views(faces)``: and of its mirror image, n x 2 x d, at
    twice the cost. Both are kept by whoever made the judge, and only for sets that lie finished on disk. ``network`` is
    frozen; ``fingerprint`` names its weights.
    """

    name: str
    network: Embedder
    fingerprint: str
    vectors: Callable[[FaceSet], Float32[np.ndarray, "n d"]]
    views: Callable[[FaceSet], Float32[np.ndarray, "n 2 d"]]


@dataclass(frozen=True)
class Owned:
    """All that an attacker may own; nothing here is of the people of the release.

    ``protected``: public people (P2), through the owner's process; its ``original`` are their photos. ``process``: the
    process itself; None for a foreign release. ``steps``: optimiser steps of whatever an attacker trains. ``cache``:
    where fitted networks and vectors are kept, so that a second call finds them and an interrupted one goes on.
    ``precision``: of networks of the attacker's own making when they look at a set.
    """

    judge: Judge
    execution: Execution
    cache: Path
    protected: Released | None = None
    process: Process | None = None
    seed: int = 0
    steps: int = 2000
    precision: str = "fp32"

    @property
    def world(self) -> World:
        """The ranks that share the work."""
        return join(self.execution.device)

    def public(self, attacker: str) -> Released:
        """The protected public people, or one line about who needs them.

        Raises:
            RecipeError: there are none.
        """
        if self.protected is None:
            raise RecipeError(f"the {attacker} attacker", needed="public people who went through the same process")
        return self.protected

    def converter(self, attacker: str) -> Process:
        """The process, or one line about who needs it.

        Raises:
            RecipeError: it is not known.
        """
        if self.process is None:
            raise RecipeError(f"the {attacker} attacker", needed="the process itself: a model and how it masks")
        return self.process


@dataclass(frozen=True)
class View:
    """One side of an attack: unit rows, whom each truly shows, and the photo behind it (-1: several photos).

    ``group``: what the attacker may put together: the person of a photo of their own, the number of a released record.
    ``behind``: how many images each row is made of; None where every row is one image.
    """

    vectors: Float32[np.ndarray, "n d"]
    person: Int64[np.ndarray, " n"]
    photo: Int64[np.ndarray, " n"]
    group: Int64[np.ndarray, " n"]
    behind: Int64[np.ndarray, " n"] | None = None


Rows = Float[np.ndarray, "n d"]


@dataclass(frozen=True)
class Fitted:
    """A fitted attacker: ``ask`` gives one vector a photo, ``find`` one a released record, in one space.

    ``chosen`` names the candidate that was best on public people held out, ``tried`` what each of them reached there.
    """

    ask: Callable[[FaceSet], Rows]
    find: Callable[[Released], Rows]
    chosen: str = ""
    tried: Mapping[str, float] = field(default_factory=dict)

    def probes(self, photos: FaceSet) -> View:
        """Photos of people who are looked for; strangers go the same way as members."""
        person = photos.identities.astype(np.int64)
        return View(unit_rows(self.ask(photos)), person, np.arange(len(photos)), person)

    def gallery(self, released: Released) -> View:
        """The released records."""
        group = released.faces.identities.astype(np.int64)
        return View(unit_rows(self.find(released)), released.person, released.photo, group)


@runtime_checkable
class Attacker(Protocol):
    """``says``: one sentence: who attacks, what they own, and what success means."""

    @property
    def name(self) -> str:
        """Under which results are told."""

    @property
    def says(self) -> str:
        """Who attacks, what they own, what success means."""

    def fit(self, owned: Owned) -> Fitted:
        """Learn whatever is to be learned, on public people only."""


def unit_rows(vectors: Rows) -> Float32[np.ndarray, "n d"]:
    """x / ‖x‖, row by row, in float32; rows of 0 stay."""
    rows = np.array(vectors, dtype=np.float32)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return rows
