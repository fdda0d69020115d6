"""Where an export goes."""

from pathlib import Path

from facemae.errors import OutputExists


def start_empty(directory: Path) -> None:
    """Make ``directory``, unless it is there and empty.

    Raises:
        OutputExists: it holds something.
    """
    if directory.exists() and any(directory.iterdir()):
        raise OutputExists(f"{directory} holds something", needed="an empty or a new directory")
    directory.mkdir(parents=True, exist_ok=True)
