"""Who is seen in faces of two people: read from the extras of a set, refused where they make no sense."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facemae.errors import Damaged, DataError
from facemae.faces.faceset import FaceSet
from facemae.faces.mixes import read_mixes
from helpers import smooth_photos, write_people_set, write_set


def mixed_set(directory: Path, *mixes: Any) -> FaceSet:
    extras = [None if mix is None else {"mix": mix, "age": 30} for mix in mixes]
    images = smooth_photos(1, len(mixes), size=16)
    return FaceSet.open(write_set(directory, images, [*range(3), *[2] * (len(mixes) - 3)], extras=extras))


def test_people_and_weights_of_every_record(tmp_path: Path) -> None:
    faces = mixed_set(tmp_path / "set", [[0, 0.75], [2, 0.25]], None, [[2, 1], [2, 0]], [[1, 0.333], [0, 0.666]])
    people, weights = read_mixes(faces)
    assert people.tolist() == [[0, 2], [1, 1], [2, 2], [1, 0]]
    np.testing.assert_allclose(weights, [[0.75, 0.25], [1, 0], [1, 0], [1 / 3, 2 / 3]], atol=1e-6)
    assert (people.dtype, weights.dtype) == (np.int64, np.float32)
    assert faces.extras(1) is None
    assert faces.extras(0) == {"mix": [[0, 0.75], [2, 0.25]], "age": 30} == faces.record(0).extras


@pytest.mark.parametrize(
    "mix",
    [
        [[0, 0.5], [3, 0.5]],
        [[-1, 0.5], [0, 0.5]],
        [[0, 0.5], [1, 0.4]],
        [[0, 1.5], [1, -0.5]],
        [[0, 1.0]],
        [[0, "1"], [1, 0.0]],
        [[True, 0.5], [1, 0.5]],
        [[0, float("nan")], [1, 0.5]],
        {"0": 1.0},
        "0_1",
        None,
    ],
)
def test_a_mix_of_no_sense_is_named(tmp_path: Path, mix: Any) -> None:
    extras = [{"mix": [[0, 0.5], [1, 0.5]]}, {"mix": mix}, None]
    faces = FaceSet.open(write_set(tmp_path / "set", smooth_photos(1, 3, size=16), [0, 1, 2], extras=extras))
    with pytest.raises(Damaged, match=r"record 00000001 of .* needed two of 3 people with weights") as raised:
        read_mixes(faces)
    assert "\n" not in str(raised.value)


def test_a_set_without_mixes_is_refused(tmp_path: Path) -> None:
    faces = FaceSet.open(write_people_set(tmp_path / "set", 2, 2, size=16))
    with pytest.raises(DataError, match=r"got no face that shows two people; .*or set mixup=none") as raised:
        read_mixes(faces)
    assert "\n" not in str(raised.value)


def test_extras_that_are_no_json_are_damage(tmp_path: Path) -> None:
    faces = mixed_set(tmp_path / "set", [[0, 0.75], [2, 0.25]], None, None)
    shard = tmp_path / "set" / "shards" / "00000.tar"
    shard.write_bytes(shard.read_bytes().replace(b'{"age"', b'{"age\xff', 1))
    with pytest.raises(Damaged, match=r"extras of record 00000000 of .* cannot be read"):
        FaceSet.open(tmp_path / "set").extras(0)
    assert faces.num_identities == 3
