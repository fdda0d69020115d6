"""Who serves for what follows from the name alone, by a hash that anyone can repeat."""

import hashlib

import pytest

from facemae.faces.splits import SPLITS, in_split, split_position

PUBLISHED = {
    "Ann": 0x81270E8D4976F14C,
    "Aaron_Eckhart": 0xE0D4756228002F43,
    "synthetic-000001": 0xBF0065BEA31E148E,
    "Zoë": 0x81D1AE14EA0EDB25,
}
"""First eight bytes of sha256("facemae-split-1:" + name in UTF-8)."""

NAMES = [f"person {i}" for i in range(20_000)]


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_positions(name: str) -> None:
    assert hashlib.sha256(b"facemae-split-1:" + name.encode()).hexdigest()[:16] == f"{PUBLISHED[name]:016x}"
    assert split_position(name) == PUBLISHED[name] / 2**64


@pytest.mark.parametrize(
    ("name", "member"),
    [
        ("Ann", {"P1", "D-in"}),
        ("Aaron_Eckhart", {"P3", "D-out"}),
        ("synthetic-000001", {"P2", "D-in"}),
        ("Zoë", {"P1", "D-in"}),
    ],
)
def test_published_members(name: str, member: set[str]) -> None:
    assert {split for split in SPLITS if in_split(name, split)} == member


@pytest.mark.parametrize(("family", "shares"), [("P", (0.60, 0.25, 0.15)), ("D", (0.80, 0.20))])
@pytest.mark.slow
def test_every_name_is_in_one_split_of_each_family(family: str, shares: tuple[float, ...]) -> None:
    splits = [split for split in SPLITS if split.startswith(family)]
    assert len(splits) == len(shares)
    counts = dict.fromkeys(splits, 0)
    for name in NAMES:
        member = [split for split in splits if in_split(name, split)]
        assert len(member) == 1
        counts[member[0]] += 1
    for split, share in zip(splits, shares, strict=True):
        # Five standard deviations of a binomial.
        assert abs(counts[split] - share * len(NAMES)) < 5 * (len(NAMES) * share * (1 - share)) ** 0.5
