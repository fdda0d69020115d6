"""Do the names in a release repeat, contain or hash those of the originals?

Three questions, each with its own guard against coincidence:

- *own*: a name holds the name of its own original, more often than of other people's originals (permuted linkage). It
  needs the linkage, and sees names that are mere numbers as well.
- *known*: a name holds a word that belongs to one person of the originals alone ("ann lee 0002", not "img 0002").
- *hash*: a run of 8 or more hexadecimal digits begins the MD5, SHA-1, SHA-256, SHA-512 or is the CRC-32 of an
  original's path, name, person or bytes; judged by Poisson's law with the number of coincidences expected.
"""

import hashlib
import math
import re
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

import numpy as np
from jaxtyping import Int64

LETTERS = 4
"""Letters that a word has at least to tell a person; signs of East Asia, two of which are a whole name, count twice."""

_WORD = re.compile(r"[^\W_]+")
_HEX = re.compile(r"[0-9a-f]{8,128}")
_JOINED = 6
_KINDS = ("md5", "sha1", "sha256", "sha512")


def plain(text: str) -> str:
    """Letters and digits alone, case folded, without accents."""
    return "".join(_words(text))


def stem(path: str) -> str:
    """File name without folder and suffix."""
    return PurePosixPath(path).stem


def joins(text: str) -> set[str]:
    """Every run of up to six consecutive words of a name, joined: "ann-lee 2" holds "ann", "annlee", "annlee2" …"""
    words = _words(text)
    return {"".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, min(len(words), i + _JOINED) + 1)}


class Names:
    """The names of the originals; record i is called ``files[i]`` and shows ``people[person[i]]``."""

    def __init__(self, files: Sequence[str], people: Sequence[str], person: Int64[np.ndarray, " n"]) -> None:
        self._stems = [plain(stem(file)) for file in files]
        self._people = [plain(name) for name in people]
        owners: dict[str, set[int]] = {}
        for i, owner in enumerate(map(int, person)):
            for word in (_letters(self._stems[i]), _letters(self._people[owner])):
                owners.setdefault(word, set()).add(owner)
        self._telling = {word for word, who in owners.items() if _weight(word) >= LETTERS and len(who) == 1}
        known = {*self._stems, *self._people}
        # A set of one person has no second one to share a word with.
        self._known = {name for name in known if _letters(name) in self._telling} if len(people) > 1 else set()
        self._codes = {name: code for code, name in enumerate(sorted(known))}
        self.stem_codes = np.array([self._codes[name] for name in self._stems], np.int64)
        self.people_codes = np.array([self._codes[self._people[int(owner)]] for owner in person], np.int64)

    def knows(self, text: str) -> bool:
        """Whether a text holds a name that belongs to one person alone."""
        return not self._known.isdisjoint(joins(text))

    def codes(self, texts: Sequence[str]) -> Int64[np.ndarray, "n c"]:
        """For each text the numbers of all original names that it holds, padded with -1."""
        found = [sorted(self._codes[name] for name in joins(text) & self._codes.keys()) for text in texts]
        table = np.full((len(texts), max(map(len, found), default=0) or 1), -1, np.int64)
        for row, codes in zip(table, found, strict=True):
            row[: len(codes)] = codes
        return table


class Hashes:
    """Digests of what the originals are called and of their bytes, 8 bytes a digest in memory."""

    def __init__(self) -> None:
        self._long: list[bytes] = []
        self._crc: list[int] = []
        self._sorted: tuple[np.ndarray, np.ndarray] | None = None

    def add(self, content: bytes) -> None:
        """One text or file."""
        self._long += [hashlib.new(kind, content, usedforsecurity=False).digest()[:8] for kind in _KINDS]
        self._crc.append(zlib.crc32(content))
        self._sorted = None

    def add_names(self, files: Sequence[str], people: Sequence[str]) -> None:
        """Paths, file names, stems and people."""
        texts = {text for file in files for text in (file, PurePosixPath(file).name, stem(file))} | set(people)
        for text in texts:
            self.add(text.encode("utf-8", "surrogateescape"))

    def holds(self, text: str) -> bool:
        """Whether a run of hexadecimal digits in a text is, or begins, one of the digests."""
        return any(self._found(token) for token in tokens(text))

    def holds_surely(self, text: str) -> bool:
        """The same for runs of 16 digits or more, which chance does not bring about."""
        return any(len(token) >= 16 and self._found(token) for token in tokens(text))

    def expected(self, texts: Sequence[str]) -> float:
        """Coincidences to expect in so many texts: digests / 16^digits, summed over their runs of digits."""
        lengths = [min(len(token), 16) for text in texts for token in tokens(text)]
        counts = len(self._long) + len(self._crc)
        return float(sum(counts * 16.0**-length for length in lengths))

    def _found(self, token: str) -> bool:
        if self._sorted is None:
            long = np.frombuffer(b"".join(self._long), ">u8").astype(np.uint64)
            self._sorted = np.sort(long), np.sort(np.array(self._crc, np.uint64))
        long, crc = self._sorted
        digits = token[:16]
        free = 4 * (16 - len(digits))
        low = int(digits, 16) << free
        start = int(np.searchsorted(long, np.uint64(low)))
        begins = start < len(long) and int(long[start]) <= low + (1 << free) - 1
        return begins or (len(token) == 8 and _among(crc, int(token, 16)))


def tokens(text: str) -> Iterator[str]:
    """Runs of 8 to 128 hexadecimal digits in a name; the dashes of a UUID do not part them."""
    return iter(_HEX.findall(text.lower().replace("-", "")))


def poisson_tail(count: int, expected: float) -> float:
    """P(X >= count) for X of Poisson's law with this mean."""
    if count == 0:
        return 1.0
    if expected > 700:  # exp underflows; the bound of Chernoff is enough
        ratio = count / expected
        return 1.0 if ratio <= 1 else math.exp(-expected * (ratio * math.log(ratio) - ratio + 1))
    # Summed from the tail's first term: 1 - sum below would lose what is smaller than the rounding.
    term = math.exp(count * math.log(expected) - expected - math.lgamma(count + 1)) if expected > 0 else 0.0
    total, place = 0.0, count
    while term > total * 1e-16:
        total, place = total + term, place + 1
        term *= expected / place
    return min(1.0, total)


def _words(text: str) -> list[str]:
    # Systems spell an accented letter as one sign or as two, and some tools drop the accent: all count as one name.
    apart = unicodedata.normalize("NFKD", text.casefold())
    return _WORD.findall("".join(sign for sign in apart if not unicodedata.combining(sign)))


def _weight(letters: str) -> int:
    return sum(2 if sign >= "\u2e80" else 1 for sign in letters)


def _letters(name: str) -> str:
    return "".join(sign for sign in name if sign.isalpha())


def _among(ordered: np.ndarray, value: int) -> bool:
    place = int(np.searchsorted(ordered, np.uint64(value)))
    return place < len(ordered) and int(ordered[place]) == value
