"""What both loops do beside learning: tell of the loss, stop where it is no number, keep what is needed to go on."""

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from facemae.errors import NonFiniteLoss
from facemae.spec.execution import Execution
from facemae.train.checkpoint import all_finite, save_checkpoint
from facemae.train.journal import Journal
from facemae.train.world import World, all_agree, mean_over_ranks, wait_for_all

REPORT = 10
"""Steps between two rows of the journal; the loss is looked at for NaN as often."""


class Watch:
    """The journal and the checkpoints of the steps ``begin`` ... ``end - 1`` of one run in ``directory``.

    ``step`` is the word for a step, ``remedy`` what to do about a loss that is no number.
    """

    def __init__(
        self,
        directory: Path,
        *,
        world: World,
        execution: Execution,
        begin: int,
        end: int,
        every: int,
        step: str,
        remedy: Callable[[], str],
    ) -> None:
        self._directory, self._world, self._seconds = directory, world, execution.checkpoint_seconds
        self._end, self._every, self._step, self._remedy = end, every, step, remedy
        self._journal = Journal(directory / "journal.jsonl", begin) if world.main else None
        self._saved = time.monotonic()

    def report(self, step: int, **terms: Tensor) -> str:
        """After every ``every``-th step and the last: a row of the means over ranks, and the first term in words.

        Raises:
            NonFiniteLoss: the first term, the loss, is no number.
        """
        if not self._turn(step):
            return ""
        values = dict(zip(terms, mean_over_ranks([term.item() for term in terms.values()], self._world), strict=True))
        loss = next(iter(values.values()))
        if not math.isfinite(loss):
            raise NonFiniteLoss(f"the loss became {loss} at {self._step} {step + 1}", remedy=self._remedy())
        if self._journal:
            self._journal.write(step + 1, **values)
        return f"loss {loss:.4f}"

    def keep(
        self,
        step: int,
        module: nn.Module,
        state: Callable[[], Mapping[str, Any]],
        rows: Mapping[str, Tensor] | None = None,
    ) -> None:
        """After the last step, and whenever the time between two checkpoints is over: save, if ``module`` is finite.

        Without ``rows`` the main rank saves alone. With them all ranks save together, so they also decide together;
        several of them do so only when they report, because asking costs them a wait for one another.
        """
        if not (self._alone(step, module) if rows is None else self._together(step, module)):
            return
        if self._journal:
            self._journal.flush()
        save_checkpoint(self._directory, {"step": step + 1, **state()}, world=self._world, rows=rows)
        self._saved = time.monotonic()

    def close(self) -> None:
        """Wait until every rank is through; no more rows."""
        wait_for_all(self._world)
        if self._journal:
            self._journal.close()

    def _alone(self, step: int, module: nn.Module) -> bool:
        return self._world.main and self._due(step) and all_finite(module)

    def _together(self, step: int, module: nn.Module) -> bool:
        if self._world.size > 1 and not self._turn(step):
            return False
        # Only the main rank looks at the clock: those of the others run differently.
        due = all_agree(self._due(step) or not self._world.main, self._world)
        return due and all_agree(all_finite(module), self._world)

    def _due(self, step: int) -> bool:
        return step + 1 == self._end or time.monotonic() - self._saved > self._seconds

    def _turn(self, step: int) -> bool:
        return (step + 1) % self._every == 0 or step + 1 == self._end
