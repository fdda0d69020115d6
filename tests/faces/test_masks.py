"""Masks belong to records: golden counts, the public-domain generator, independence of company, uniformity."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from facemae.faces.masks import (
    coin_flips,
    kept_cells,
    permutation,
    record_secret,
    record_seeds,
    seed_bytes,
    splitmix64,
    visible_cells,
)

GOLDEN = 0x9E3779B97F4A7C15
WORD = 2**64 - 1
SECRETS = st.binary(min_size=1, max_size=64)
KEYS = st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=8)


def mixed(state: int) -> int:
    """The finaliser in whole numbers of any length, from the reference's C."""
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & WORD
    return state ^ (state >> 31)


@pytest.mark.parametrize(
    ("cells", "ratio", "kept"),
    [
        (196, 0.3, 137), (196, 0.5, 98), (196, 0.75, 49), (196, 0.85, 29), (196, 0.9, 19),
        (100, 0.8, 20), (100, 0.9, 10), (16, 0.75, 4), (64, 0.75, 16), (4, 0.99, 0),
    ],
)  # fmt: skip
def test_kept_cells(cells: int, ratio: float, kept: int) -> None:
    assert kept_cells(cells, ratio) == kept


def test_splitmix64_is_the_public_domain_generator() -> None:
    steps = np.arange(1, 4, dtype=np.uint64) * np.uint64(GOLDEN)
    assert [int(value) for value in splitmix64(steps)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


@given(st.lists(st.integers(0, WORD), min_size=1, max_size=20))
def test_splitmix64_against_whole_numbers(states: list[int]) -> None:
    before = np.array(states, np.uint64)
    assert [int(value) for value in splitmix64(before)] == [mixed(state) for state in states]
    assert before.tolist() == states


def test_seeds_are_keyed_hashes() -> None:
    secret = b"s" * 32
    digests = [hashlib.blake2b(f"mask:{key}:3".encode(), key=secret, digest_size=8).digest() for key in ("a", "b")]
    expected = [int.from_bytes(digest, "little") for digest in digests]
    assert [int(seed) for seed in record_seeds(secret, "mask", ["a", "b"], 3)] == expected


def test_golden_seeds_and_masks() -> None:
    seeds = record_seeds(seed_bytes(0), "mask", ["00000000", "00000001"], 3)
    assert [int(seed) for seed in seeds] == [0x8090C0651E6D6AA3, 0x213AB6469DFDC7DB]
    assert visible_cells(seeds, 16, 4).tolist() == [[8, 9, 10, 11], [6, 7, 10, 12]]


def test_every_input_of_a_seed_counts() -> None:
    one = [
        record_seeds(b"s", "mask", ["a"], 0),
        record_seeds(b"t", "mask", ["a"], 0),
        record_seeds(b"s", "flip", ["a"], 0),
        record_seeds(b"s", "mask", ["b"], 0),
        record_seeds(b"s", "mask", ["a"], 1),
    ]
    assert len({int(seeds[0]) for seeds in one}) == len(one)
    assert seed_bytes(0) != seed_bytes(1)
    assert len(seed_bytes(0)) == 32


@given(secret=SECRETS, keys=KEYS, epoch=st.integers(0, 1000), data=st.data())
def test_a_mask_never_depends_on_its_batch(secret: bytes, keys: list[str], epoch: int, data: st.DataObject) -> None:
    together = visible_cells(record_seeds(secret, "mask", keys, epoch), 25, 6)
    alone = [visible_cells(record_seeds(secret, "mask", [key], epoch), 25, 6)[0].tolist() for key in keys]
    assert together.tolist() == alone
    order = data.draw(st.permutations(range(len(keys))))
    shuffled = visible_cells(record_seeds(secret, "mask", [keys[i] for i in order], epoch), 25, 6)
    assert shuffled.tolist() == [alone[i] for i in order]


@given(seed=st.integers(0, WORD), cells=st.integers(1, 60), data=st.data())
def test_visible_cells_are_those_of_least_noise(seed: int, cells: int, data: st.DataObject) -> None:
    keep = data.draw(st.integers(0, cells))
    noise = [mixed((seed + (j + 1) * GOLDEN) & WORD) for j in range(cells)]
    expected = sorted(sorted(range(cells), key=noise.__getitem__)[:keep])
    assert visible_cells(np.array([seed], np.uint64), cells, keep).tolist() == [expected]


@given(seed=st.integers(0, WORD), cells=st.integers(1, 60), data=st.data())
def test_hidden_cells_are_never_visible_and_the_others_keep_their_order(
    seed: int, cells: int, data: st.DataObject
) -> None:
    hidden = sorted(data.draw(st.sets(st.integers(0, cells - 1))))
    keep = data.draw(st.integers(0, cells - len(hidden)))
    seeds = np.array([seed], np.uint64)
    shown = visible_cells(seeds, cells, keep, hidden=np.array(hidden, np.int64))[0].tolist()
    # The oracle: of all cells in the order of their noise, the first that are not hidden.
    noise = [mixed((seed + (j + 1) * GOLDEN) & WORD) for j in range(cells)]
    allowed = [j for j in sorted(range(cells), key=noise.__getitem__) if j not in hidden]
    assert shown == sorted(allowed[:keep])
    assert len(shown) == keep
    if not hidden:
        assert shown == visible_cells(seeds, cells, keep)[0].tolist()


def test_a_records_secret_is_a_keyed_hash_of_its_own() -> None:
    expected = hashlib.blake2b(b"noise:00000007", key=b"s" * 32, digest_size=64).digest()
    assert record_secret(b"s" * 32, "noise", "00000007") == expected


def test_every_cell_is_visible_equally_often() -> None:
    cells, keep, count = 49, 12, 8000
    shown = visible_cells(record_seeds(seed_bytes(7), "mask", [str(i) for i in range(count)]), cells, keep)
    assert all(len(set(row)) == keep for row in shown[:50].tolist())
    frequency = np.bincount(shown.ravel(), minlength=cells)
    share = keep / cells
    # Drawing without replacement: the counts' covariance has rank cells - 1.
    statistic = ((frequency - count * share) ** 2).sum() / (count * share * (1 - share)) * (cells - 1) / cells
    low, high = chi2.ppf([1e-4, 1 - 1e-4], cells - 1)
    assert low < statistic < high


def test_neighbouring_cells_are_visible_together_as_often_as_any() -> None:
    cells, keep, count = 49, 12, 8000
    shown = visible_cells(record_seeds(seed_bytes(8), "mask", [str(i) for i in range(count)]), cells, keep)
    neighbours = (np.diff(shown, axis=1) == 1).sum()
    expected = count * (cells - 1) * (keep / cells) * ((keep - 1) / (cells - 1))
    assert abs(neighbours - expected) < 5 * np.sqrt(expected)


def test_coins_are_fair_and_belong_to_the_record() -> None:
    seeds = record_seeds(seed_bytes(1), "flip", [str(i) for i in range(10_000)])
    flips = coin_flips(seeds)
    assert flips.dtype == bool
    assert abs(int(flips.sum()) - 5000) < 4 * 50
    assert flips[:64].tolist() == [mixed(int(seed)) >= 2**63 for seed in seeds[:64]]
    assert np.array_equal(coin_flips(seeds[::-1]), flips[::-1])


@given(secret=SECRETS, count=st.integers(0, 200))
def test_a_permutation_holds_everything_once(secret: bytes, count: int) -> None:
    assert sorted(permutation(secret, "order", count).tolist()) == list(range(count))


def test_permutations_differ_by_secret_and_purpose() -> None:
    one = permutation(seed_bytes(0), "order", 100)
    assert np.array_equal(one, permutation(seed_bytes(0), "order", 100))
    assert not np.array_equal(one, permutation(seed_bytes(1), "order", 100))
    assert not np.array_equal(one, permutation(seed_bytes(0), "people", 100))
    assert (one == np.arange(100)).sum() < 10


def test_a_long_permutation_is_that_of_all_seeds_at_once() -> None:
    """Longer than the blocks in which the seeds are made."""
    seeds = record_seeds(seed_bytes(3), "order", [str(i) for i in range(9000)])
    np.testing.assert_array_equal(permutation(seed_bytes(3), "order", 9000), np.argsort(seeds, kind="stable"))
