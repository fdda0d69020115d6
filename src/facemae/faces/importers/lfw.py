"""Pair lists in the format of Labeled Faces in the Wild: ``pairs.txt``, ``pairsDevTrain.txt``, ``pairsDevTest.txt``."""

from pathlib import Path

from facemae.errors import DataError
from facemae.faces.importers.protocol import ListedPair


def read_pairs_txt(path: Path) -> list[ListedPair]:
    """Line 1: folds and pairs per class in a fold (``10 300``), or pairs per class alone for a single fold (300).

    Then per fold the matched pairs, ``name n1 n2``, and the mismatched ones, ``name1 n1 name2 n2``.

    Raises:
        DataError: a line of another form, or fewer or more lines than line 1 announces.
    """
    try:
        lines = [line.split() for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read", got=error) from None
    header = lines[0] if lines else []
    if len(header) not in (1, 2) or not all(word.isdigit() and int(word) > 0 for word in header):
        raise DataError(
            f"{path} is no pair list", got=f"line 1 {' '.join(header)!r}", needed="folds and pairs, as 10 300"
        )
    folds, per_class = (1, int(header[0])) if len(header) == 1 else (int(header[0]), int(header[1]))
    if len(lines) - 1 != 2 * folds * per_class:
        raise DataError(f"{path} is incomplete", got=f"{len(lines) - 1} pairs", needed=2 * folds * per_class)
    return [_pair(path, number, words, (number - 1) // (2 * per_class)) for number, words in enumerate(lines[1:], 1)]


def _pair(path: Path, number: int, words: list[str], fold: int) -> ListedPair:
    if len(words) == 3 and words[1].isdigit() and words[2].isdigit():
        return ListedPair(_spellings(words[0], words[1]), _spellings(words[0], words[2]), True, fold)
    if len(words) == 4 and words[1].isdigit() and words[3].isdigit():
        return ListedPair(_spellings(words[0], words[1]), _spellings(words[2], words[3]), False, fold)
    raise DataError(
        f"{path}, pair {number} is malformed", got=repr(" ".join(words)), needed="name n1 n2 or name1 n1 name2 n2"
    )


def _spellings(name: str, number: str) -> tuple[str, ...]:
    counted = f"{int(number):04d}"
    return f"{name}/{name}_{counted}", f"{name}_{counted}", f"{name}/{counted}"
