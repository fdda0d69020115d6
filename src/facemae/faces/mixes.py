"""Who is seen in each face of a set whose faces may show two people at once."""

from typing import Any

import numpy as np
from jaxtyping import Float32, Int64

from facemae.errors import Damaged, DataError
from facemae.faces.faceset import FaceSet
from facemae.faces.record import key_of

TOLERANCE = 1e-3
"""How far the weights of a mix may be from 1 in sum: they come from file names, with a few digits."""


def read_mixes(faces: FaceSet) -> tuple[Int64[np.ndarray, "n 2"], Float32[np.ndarray, "n 2"]]:
    """Both people of every record and their weights, which sum to 1.

    A record's extras tell them as ``{"mix": [[person, weight], [person, weight]]}``; without that it shows its own
    person alone, with the weights (1, 0).

    Raises:
        DataError: no record of the set tells of a mix.
        Damaged: a mix is something else, names a person the set does not have, or has weights that do not sum to 1.
    """
    people = np.repeat(faces.identities.astype(np.int64)[:, None], 2, axis=1)
    weights = np.tile(np.array([1.0, 0.0], np.float32), (len(faces), 1))
    told = np.flatnonzero(faces.index["extras_length"])
    found = 0
    for i in told.tolist():
        extras = faces.extras(i)
        if not isinstance(extras, dict) or "mix" not in extras:
            continue
        pairs = _checked(extras["mix"], faces.num_identities)
        if pairs is None:
            raise Damaged(
                f"record {key_of(i)} of {faces.directory} is a mixture of no sense",
                got=str(extras["mix"])[:80],
                needed=f"two of {faces.num_identities} people with weights that sum to 1",
                remedy="make the set again from its source",
            )
        found += 1
        people[i] = [person for person, _ in pairs]
        weights[i] = [weight / sum(weight for _, weight in pairs) for _, weight in pairs]
    if not found:
        raise DataError(
            f"cannot mix the people of {faces.directory}",
            got="no face that shows two people",
            needed="a set that tells who is mixed in its faces",
            remedy="import one of mixed people, or set mixup=none",
        )
    return people, weights


def _checked(mix: Any, people: int) -> list[tuple[int, float]] | None:
    if not isinstance(mix, list) or len(mix) != 2:
        return None
    pairs = []
    for part in mix:
        if not isinstance(part, list) or len(part) != 2:
            return None
        person, weight = part
        if type(person) is not int or not 0 <= person < people:
            return None
        if type(weight) not in (int, float) or not 0 <= weight <= 1:
            return None
        pairs.append((person, float(weight)))
    return pairs if abs(sum(weight for _, weight in pairs) - 1) <= TOLERANCE else None
