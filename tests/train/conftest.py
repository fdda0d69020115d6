"""Several processes are started once for all tests of this room."""

from pathlib import Path

import pytest

from train.ranks import start


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """What two and then four processes left behind; the four go on with what the two were cut off from."""
    place = tmp_path_factory.mktemp("ranks")
    two = start(2, place / "two", None)
    return {2: two, 4: start(4, place / "four", two)}
