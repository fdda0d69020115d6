"""`bench`: measure, keep, say."""

import os
import shlex
from pathlib import Path

from facemae.cli.common import execution, say


def measure(out: Path | None, device: str, peers: bool, only: str, quick: bool, as_json: bool) -> None:
    """Run a bench on the threads that OMP_NUM_THREADS names; one where it names none, beside a GPU all."""
    # Before numpy, torch and every peer are loaded: each of them reads it once.
    if not device.startswith("cuda"):
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    from facemae.bench.page import summary
    from facemae.bench.result import write_result
    from facemae.bench.run import run_bench

    options = [*(["--no-peers"] if not peers else []), *(["--quick"] if quick else [])]
    options += [] if only == "*" else ["--only", only]
    options += [] if device == "auto" else ["--device", device]
    result = run_bench(
        device=device,
        with_peers=peers,
        only=only,
        quick=quick,
        command=shlex.join(["facemae", "bench", *([out.name] if out else []), *options]),
        progress=execution(device).progress,
    )
    written = [str(path) for path in write_result(out, result)] if out else []
    say(result.to_dict(), as_json, "\n".join([summary(result), *written]))
