"""How a run begins and how it ends: a person's mistake is one line and an exit code, however many processes met it."""

import time
import warnings
from typing import NoReturn

from facemae.cli.app import app
from facemae.cli.common import processes, rank, tell
from facemae.errors import FaceMAEError, RecipeError

INTERRUPTED = 130
"""Exit code after Ctrl-C."""

GRACE = 2.0
"""Seconds that a process waits before it ends for a reason that others may have too: time for the first one to speak,
and for `torchrun`, which looks ten times a second, to end the rest."""


def main() -> None:
    """Run a verb; a person's mistake ends in one line and exit code 2."""
    warnings.filterwarnings("ignore", module="PIL")
    try:
        app()
    except FaceMAEError as error:
        _let_the_first_speak()
        # A wrong setting is wrong in every process, so the first one says it; all else may be one machine's affair.
        _fail(str(error) if rank() == 0 or not isinstance(error, RecipeError) else None, error.exit_code)
    except OSError as error:
        _let_the_first_speak()
        _fail(f"{error.filename or 'input or output'}: {error.strerror or error}", 2)
    except RuntimeError as error:
        if processes() == 1 or not _lost(error):
            raise
        time.sleep(GRACE)  # `torchrun` ends this process meanwhile; one that was started otherwise ends by itself
        _fail("another process of this run has ended; its own message says why", 2)
    except SystemExit as end:
        if end.code == INTERRUPTED:  # Typer's way to end after Ctrl-C; it says nothing
            _fail("interrupted; the same command goes on from the last checkpoint", INTERRUPTED)
        raise


def _let_the_first_speak() -> None:
    """What is wrong in all processes is said once: `torchrun` ends the others when the first one has ended."""
    if rank() > 0:
        time.sleep(GRACE)


def _lost(error: RuntimeError) -> bool:
    """Whether the words between processes failed: never a cause, always another process's end."""
    return type(error).__name__.startswith("Dist") or "gloo" in str(error)


def _fail(line: str | None, code: int) -> NoReturn:
    if line is not None:
        tell(line)
    raise SystemExit(code)
