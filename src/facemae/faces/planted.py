"""Releases with a known answer: what an audit must find in them, and where it must stay silent, is written down here.

An instrument is trusted for what it was seen to find. Each plant is data: which records show their own photo, which a
stranger's, how pixels are changed, what is kept beside them, and what follows from that for which instrument. Strangers
come from a second set (``donors``) of other people: photos of the release's own people under another name would let
every open-set attack find members rightly.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import numpy as np
from jaxtyping import Int, Int64, UInt8

from facemae.errors import DataError
from facemae.faces.disguise import fold, tint
from facemae.faces.distort import blur
from facemae.faces.masks import permutation, record_secret, record_seeds, splitmix64
from facemae.faces.traces.finding import Instrument

Attack = Literal[
    "retrieval",
    "templates",
    "open_set",
    "verification",
    "inverter",
    "parrot",
    "imitating_parrot",
    "imitator",
    "cross_matcher",
    "visible",
    "pixels",
]
"""Instruments that look at pixels. With a network as it is: single images, groups of images, membership, pairs. Then
the attackers of `facemae.attacks`: who restores, trains a network, repeats the process, maps vectors, looks at visible
patches, or lays thumbnails over one another."""

Watcher = Attack | Instrument
Expectation = Literal["found", "silent"]
Change = Literal["none", "scramble", "blur", "tint", "fold", "turn"]
Kept = Literal["order", "numbers", "names", "exif", "times"]
"""Places in the set, numbers of people, file and folder names, EXIF with name and date, times of change."""


@dataclass(frozen=True)
class Plant:
    """One release with a known answer.

    ``own``: share of the records that show their own photo, exactly round(own n) of them; the others show strangers.
    ``consistent``: whether one stranger stands for one person throughout. ``change``, ``strength``: what becomes of
    the pixels (side of the blocks of a scramble or a fold, the blur's standard deviation in pixels at 112 x 112, by
    what a tint divides contrast). ``behind``: share of the photo that is visible in the masked set from which the
    release is said to be made; 0 where there is none. ``keeps``: what comes along beside the pixels. ``expects``: what
    an instrument must do; where it says nothing, nothing is known beforehand.
    """

    name: str
    answer: str
    expects: Mapping[Watcher, Expectation]
    own: float = 0.0
    consistent: bool = True
    change: Change = "none"
    strength: float = 0.0
    behind: float = 0.0
    keeps: frozenset[Kept] = field(default_factory=frozenset)

    @property
    def needs_files(self) -> bool:
        """Whether it can only be a folder of files: our sets have neither names, EXIF nor times."""
        return not self.keeps.isdisjoint({"names", "exif", "times"})


class Scramble:
    """y = 127.5 + Q (x - 127.5), Q = (blocks change places) (inside each, signed permutation of its 3 b^2 values).

    Q is orthogonal and the same for all photos of a release: a linear map undoes it, so whoever has pairs fits the
    inverse, while a network trained on faces sees noise. Half of each block's values (rounded down)
    are mirrored at mid-grey: a flat block comes out grey on average whatever its colour. Exact in 8 bits: x or 255 - x.

    ``size`` is the side of square photos, a multiple of ``block``; all follows from ``secret``.
    """

    def __init__(self, size: int, block: int, secret: bytes) -> None:
        if block < 1 or size % block:
            raise DataError("the scramble's blocks do not tile the photo", got=f"{block} over {size} pixels")
        count, values = (size // block) ** 2, 3 * block * block
        places = np.arange(size * size * 3).reshape(size // block, block, size // block, block, 3)
        blocks = places.transpose(0, 2, 1, 3, 4).reshape(count, values)
        seeds = record_seeds(secret, "scramble", [str(i) for i in range(count)])
        steps = np.arange(1, values + 1, dtype=np.uint64)[None, :] * np.uint64(0x9E3779B97F4A7C15)
        inside = np.argsort(splitmix64(seeds[:, None] + steps), axis=1)
        mirrored = np.argsort(splitmix64(~seeds[:, None] + steps), axis=1) < values // 2
        moved = np.take_along_axis(blocks, inside, axis=1)[permutation(secret, "blocks", count)]
        self._source = np.empty(size * size * 3, np.int64)
        self._source[blocks.reshape(-1)] = moved.reshape(-1)
        self._flip = np.empty(size * size * 3, np.uint8)
        self._flip[blocks.reshape(-1)] = np.where(mirrored, 255, 0).astype(np.uint8).reshape(-1)

    def __call__(self, image: UInt8[np.ndarray, "s s 3"]) -> UInt8[np.ndarray, "s s 3"]:
        """The scrambled photo."""
        return (image.reshape(-1)[self._source] ^ self._flip).reshape(image.shape)

    def undo(self, image: UInt8[np.ndarray, "s s 3"]) -> UInt8[np.ndarray, "s s 3"]:
        """The photo, to the last bit: Q transposed."""
        photo = np.empty(image.size, np.uint8)
        photo[self._source] = image.reshape(-1) ^ self._flip
        return photo.reshape(image.shape)


class Changed:
    """What becomes of the pixels of one release of ``size`` x ``size`` photos.

    ``key``: of what is the same for all photos of a process; ``secret``: of what is drawn anew for every photo.
    """

    def __init__(self, plant: Plant, size: int, key: bytes, secret: bytes) -> None:
        self._plant, self._sigma, self._secret = plant, plant.strength * size / 112, secret
        self._scramble = Scramble(size, int(plant.strength), key) if plant.change == "scramble" else None

    def __call__(self, image: UInt8[np.ndarray, "s s 3"], i: int) -> UInt8[np.ndarray, "s s 3"]:
        """The photo as it is released for original ``i``."""
        change, strength = self._plant.change, self._plant.strength
        if self._scramble is not None:
            return self._scramble(image)
        if change == "blur":
            return blur(image, self._sigma)
        if change == "turn":
            return np.ascontiguousarray(image[::-1])
        seed = int(record_seeds(self._secret, change, [str(i)])[0])
        if change == "tint":
            return tint(image, strength, seed)
        return fold(image, int(strength), seed) if change == "fold" else image


def shown(
    plant: Plant, people: Int[np.ndarray, " n"], strangers: Int[np.ndarray, " m"], secret: bytes
) -> Int64[np.ndarray, " n"]:
    """Whose photo each record shows: -1 its own, else the record number of a donor.

    ``people``, ``strangers``: person number of every original and of every donor. Consistent: person p gets one donor
    person, drawn without regard to anything, no two people the same; photos in random order, again from the first where
    the donor has fewer. Otherwise every record gets a donor photo of its own, drawn in the same way from all.

    Raises:
        DataError: fewer donors (people or photos) than are to be replaced.
    """
    total = len(people)
    source = np.full(total, -1, np.int64)
    replaced = np.sort(permutation(secret, "planted", total)[round(plant.own * total) :])
    if not len(replaced):
        return source
    if not plant.consistent:
        _demand(len(strangers), len(replaced), "photos")
        source[replaced] = permutation(secret, "donor photos", len(strangers))[: len(replaced)]
        return source
    members, member = np.unique(people, return_inverse=True)
    donors, donor = np.unique(strangers, return_inverse=True)
    _demand(len(donors), len(members), "people")
    drawn = permutation(secret, "donors", len(donors))
    turn = permutation(secret, "donor photos", len(strangers))
    photos = [turn[donor[turn] == number] for number in range(len(donors))]
    used = np.zeros(len(members), np.int64)
    for row in replaced:
        own = photos[int(drawn[member[row]])]
        source[row] = own[used[member[row]] % len(own)]
        used[member[row]] += 1
    return source


def plant_photos(
    plant: Plant,
    photos: UInt8[np.ndarray, "n s s 3"],
    people: Int[np.ndarray, " n"],
    donors: UInt8[np.ndarray, "m s s 3"],
    strangers: Int[np.ndarray, " m"],
    *,
    secret: bytes,
) -> UInt8[np.ndarray, "n s s 3"]:
    """The release's pictures, record by record in the order of the originals (row i stands for original i)."""
    change = Changed(plant, photos.shape[1], secret, secret)
    source = shown(plant, people, strangers, secret)
    return np.stack([change(photos[i] if other < 0 else donors[other], i) for i, other in enumerate(source)])


def file_secret(secret: bytes, i: int) -> str:
    """A file name without meaning for record i: 24 hexadecimal digits of its keyed hash."""
    return record_secret(secret, "file", str(i))[:12].hex()


def _demand(have: int, need: int, what: str) -> None:
    if have < need:
        raise DataError("not enough donors for this plant", got=f"{have} {what}", needed=f"{need}")


_BESIDE: dict[Watcher, Expectation] = {
    "names": "silent",
    "carried": "silent",
    "order": "silent",
    "times": "silent",
    "label_order": "silent",
    "archive": "silent",
}
_STRANGERS: dict[Watcher, Expectation] = {
    **_BESIDE,
    "retrieval": "silent",
    "templates": "silent",
    "open_set": "silent",
    "verification": "silent",
    "inverter": "silent",
    "pixels": "silent",
    "duplicates": "silent",
}
_SAME: dict[Watcher, Expectation] = {
    **_BESIDE,
    "retrieval": "found",
    "templates": "found",
    "open_set": "found",
    "verification": "found",
    "duplicates": "found",
}


def _expects(
    base: Mapping[Watcher, Expectation], *found: Watcher, silent: tuple[Watcher, ...] = ()
) -> Mapping[Watcher, Expectation]:
    more: dict[Watcher, Expectation] = {**dict.fromkeys(found, "found"), **dict.fromkeys(silent, "silent")}
    return MappingProxyType({**base, **more})


def _kept(
    name: str, instrument: Instrument, *keeps: Kept, consistent: bool = True, open_: tuple[Instrument, ...] = ()
) -> Plant:
    """A release of strangers that keeps one thing; ``open_``: what may or may not show it too, by the form of files."""
    answer = f"only through {name.removeprefix('only-')}: pixels at chance"
    expects = {watcher: what for watcher, what in _STRANGERS.items() if watcher not in open_}
    return Plant(name, answer, _expects(expects, instrument), consistent=consistent, keeps=frozenset(keeps))


_ALL = (
    Plant("copied", "leak = Org. to Org., exactly", _expects(_SAME), own=1.0),
    Plant("replaced", "leak = chance", _expects(_STRANGERS, silent=("cross_matcher", "parrot"))),
    *(
        Plant(f"planted-{percent}", f"{percent} % of the records are originals", expects, own=percent / 100)
        for percent, expects in (
            (1, _expects(_BESIDE, "duplicates")),
            (5, _expects(_BESIDE, "duplicates")),
            (20, _expects(_BESIDE, "duplicates", "retrieval")),
        )
    ),
    Plant(
        "scrambled",
        "none to a network for faces; all of it to whoever fits a linear inverse on pairs or has the keyed process",
        # The same photo through the same keyed process is the same picture, to any network.
        _expects(_BESIDE, "inverter", "imitator", "imitating_parrot", silent=("retrieval", "duplicates")),
        own=1.0,
        change="scramble",
        strength=8.0,
    ),
    *(
        Plant(
            f"blurred-{sigma}", "less with every step of blur", expects, own=1.0, change="blur", strength=float(sigma)
        )
        for sigma, expects in (
            (1, _expects(_SAME)),
            (2, _expects(_BESIDE, "retrieval", "templates", "duplicates")),
            (4, _expects(_BESIDE)),
            (8, _expects(_BESIDE)),
        )
    ),
    # Folders are listed by person, so numbers and names that are kept show in the order of files as well.
    _kept("only-label-order", "label_order", "numbers", consistent=False, open_=("order",)),
    _kept("only-label-sizes", "group_sizes", consistent=False),
    _kept("only-order", "order", "order"),
    _kept("only-names", "names", "names", open_=("order", "label_order")),
    _kept("only-exif", "carried", "exif"),
    _kept("only-times", "times", "times"),
    Plant(
        "tinted",
        "little to a network that knows photos; all of it to the mean over colours, more to a network taught on tints",
        _expects(_BESIDE, "pixels", "parrot"),
        own=1.0,
        change="tint",
        strength=4.0,
    ),
    Plant(
        "turned",
        "little to a network for upright faces; more to whoever maps its vectors, all to whoever turns photos too",
        _expects(_BESIDE, "cross_matcher", "imitator"),
        own=1.0,
        change="turn",
    ),
    Plant(
        "folded",
        "little to a network, none to a linear inverse, all of it to whoever folds each point back",
        _expects(_BESIDE, "inverter"),
        own=1.0,
        change="fold",
        strength=16.0,
    ),
    Plant(
        "decoded",
        "only through the visible patches: the decoder's own pictures show strangers",
        _expects({name: what for name, what in _STRANGERS.items() if name != "inverter"}, "visible"),
        behind=0.25,
    ),
)

PLANTS: Mapping[str, Plant] = MappingProxyType({plant.name: plant for plant in _ALL})
"""All plants by name. What each `expects` follows from how it is made; that the duplicate check finds blur of 1 and 2
pixels was measured when its thresholds were set (`facemae.faces.traces.duplicates`); stronger blur is left open. What
attackers who learn must find, and for how many steps they learn there, was chosen on people of no repetition of the
bench; so is left open what plain search sees of tinted and turned photos: a tenth as much or less, but not nothing."""
