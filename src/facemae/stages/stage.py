"""The one way a directory comes into being: a partial sibling, the manifest last, then one rename."""

import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facemae import __version__
from facemae.errors import DiskFull, OutputExists, StageError
from facemae.spec.manifest import Kind, Manifest, digest_of, read_manifest, write_manifest

try:
    import fcntl
except ImportError:  # a system without POSIX locks
    fcntl = None  # type: ignore[assignment]


@dataclass
class Stage:
    """A stage at work: ``directory`` is where it writes; `publish` makes it OUT.

    ``digest`` names the request. A stage that is interrupted finds its partial directory again by that digest.
    """

    name: str
    out: Path
    spec: dict[str, Any]
    parents: dict[str, str]
    digest: str
    directory: Path
    finished: bool = field(default=False)

    def publish(self, kind: Kind, facts: Mapping[str, Any], *, digest: str | None = None) -> None:
        """Write the manifest and give the directory its name; ``digest`` replaces the request's for masked sets."""
        masked = digest is not None
        manifest = Manifest(
            stage=self.name,
            kind=kind,
            digest=digest or self.digest,
            spec=self.spec,
            parents={} if masked else self.parents,
            facts=dict(facts),
            facemae=__version__,
        )
        for path in self.directory.rglob("*"):
            _sync(path)
        write_manifest(self.directory, manifest)
        _sync(self.directory)
        self.directory.rename(self.out)
        _sync(self.out.parent)
        self.finished = True


@contextmanager
def open_stage(
    name: str,
    out: Path,
    *,
    spec: Mapping[str, Any],
    parents: Mapping[str, str],
    resumable: bool = False,
    existing: str | None = None,
    main: bool = True,
) -> Iterator[Stage]:
    """Open OUT for writing; where it holds this very result already, the stage comes back ``finished``.

    ``existing`` is the digest that a finished OUT must show to count as this result (the request's own by default).
    A stage that is not resumable starts from an empty directory each time. One process at a time makes OUT: a second
    one waits and then finds it finished; of several ranks that make it together only the ``main`` one counts: it alone
    makes and removes the directory, and what it finds finished is finished.

    Raises:
        OutputExists: OUT holds something else.
        DiskFull: no space is left; the partial directory of a resumable stage stays for the next try.
    """
    digest = digest_of(name, spec, parents)
    out = Path(os.path.abspath(out))
    partial = out.parent / f".{out.name}.{digest[:12]}.partial"
    stage = Stage(name, out, dict(spec), dict(parents), digest, partial)
    with nullcontext() if out.exists() or not main else alone(out):
        if out.exists():
            _demand_same(out, existing or digest)
            stage.finished, stage.directory = True, out
            yield stage
            return
        try:
            if main and partial.exists() and not resumable:
                shutil.rmtree(partial)
            with naming_full_disk(out):
                if main:
                    partial.mkdir(parents=True, exist_ok=True)
                yield stage
        finally:
            if main and not stage.finished and not resumable:
                shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def naming_full_disk(out: Path) -> Iterator[None]:
    """Turn the system's error for a full disk or quota into ours."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                f"no space left while writing {out}",
                remedy="free some space and run the same command again; everything finished before is untouched",
            ) from None
        raise


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Hold the lock on OUT; whoever waits for it looks again afterwards. Where there are no locks, nothing is held."""
    if fcntl is None:
        yield
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    path = out.with_name(f".{out.name}.lock")
    while True:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # The one before us removes the file: a lock on a removed file keeps nobody out.
        if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
            break
        os.close(descriptor)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _demand_same(out: Path, digest: str) -> None:
    try:
        found = read_manifest(out).digest
    except StageError:
        raise OutputExists(
            f"{out} exists and is not a finished facemae directory", remedy="name another OUT or remove it"
        ) from None
    if found != digest:
        raise OutputExists(
            f"{out} holds another result",
            got=f"digest {found[:12]}",
            needed=digest[:12],
            remedy="name another OUT, or remove it to make it again with these settings",
        )


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
