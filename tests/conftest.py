"""Shape annotations are checked in every test: jaxtyping's import hook wraps the rooms that carry them."""

from pathlib import Path

import pytest
from jaxtyping import install_import_hook

ROOMS = ["facemae.faces", "facemae.nn", "facemae.measure", "facemae.train", "facemae.attacks"]
install_import_hook(ROOMS, "beartype.beartype")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real faces beside the project; tests that need it skip where it is absent."""
    if not (SHARED / "data").is_dir():
        pytest.skip("the shared real faces are not on this machine")
    return SHARED
