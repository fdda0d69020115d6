"""Jobs of one or more tables side by side, each as soon as what it needs is there."""

import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

from facemae.errors import DiskFull, FaceMAEError
from facemae.plan.jobs import Job, Plan
from facemae.spec.execution import Execution, Silent

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""What libraries read when they are loaded, each in its own process."""


def run_side_by_side(
    plans: Sequence[Plan], wanted: Mapping[int, Sequence[str]], count: int, execution: Execution
) -> None:
    """Make what can be made of the jobs ``wanted`` (names, by number of the plan), ``count`` of them at a time.

    Every process gets its share of this one's threads. A job that fails keeps only those from running that need it, and
    is not told of: whoever runs the plan afterwards meets its error again, in its place.

    Raises:
        DiskFull: nothing more is begun. FaceMAEError: a process ended from outside, as for lack of memory.
    """
    queue = _Queue.of(plans, wanted)
    context = multiprocessing.get_context("spawn")
    share = max(1, torch.get_num_threads() // count)
    with (
        _threads(share),
        execution.progress.task("reproduce", len(queue.waiting), "stages") as task,
        ProcessPoolExecutor(count, mp_context=context, initializer=torch.set_num_threads, initargs=(share,)) as pool,
    ):
        running: dict[Future[str | None], _Place] = {}
        try:
            while queue.waiting or running:
                for place in queue.ready(count - len(running)):
                    plan = replace(plans[place.plan], execution=replace(execution, progress=Silent()))
                    running[pool.submit(_make, plan, place.name)] = place
                task.advance(0, ", ".join(place.name for place in running.values()))
                if not running:  # what is left needs something that failed
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    if future.result() is None:
                        queue.blocking.discard(running[future].name)
                    del running[future]
                    task.advance()
        except BrokenProcessPool:
            raise FaceMAEError(
                "a process of this run has ended",
                got=", ".join(place.name for place in running.values()),
                remedy="it may have lacked memory: with fewer --jobs the same command goes on",
            ) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@dataclass(frozen=True)
class _Place:
    """A job, by the plan that makes it; a directory that several tables share is made by the first."""

    plan: int
    name: str


@dataclass
class _Queue:
    """What is not begun yet, in the order of the tables, and the names of all that is not done."""

    waiting: dict[_Place, Job]
    blocking: set[str]

    @classmethod
    def of(cls, plans: Sequence[Plan], wanted: Mapping[int, Sequence[str]]) -> "_Queue":
        first: dict[tuple[str, str], tuple[_Place, Job]] = {}
        for number, names in wanted.items():
            for job in plans[number].jobs():
                if job.name in names:
                    first.setdefault((str(plans[number].runs), job.name), (_Place(number, job.name), job))
        return cls(dict(first.values()), {name for _, name in first})

    def ready(self, count: int) -> list[_Place]:
        """At most so many jobs that wait for nothing any more; they are taken from the queue."""
        free = [place for place, job in self.waiting.items() if not job.needs & self.blocking][:count]
        for place in free:
            del self.waiting[place]
        return free


def _make(plan: Plan, name: str) -> str | None:
    """In a process of its own: one job; the error of a person's mistake as text."""
    try:
        next(job for job in plan.jobs() if job.name == name).make()
    except DiskFull:
        raise
    except FaceMAEError as error:
        return str(error)
    return None


@contextmanager
def _threads(share: int) -> Iterator[None]:
    """Processes that are started meanwhile begin with so many threads."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, str(share)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
