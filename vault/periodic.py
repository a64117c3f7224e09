"""Periodic work of a process that cannot end in silence: a failure is logged and counted, and the work runs again."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from vault import logs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

log = logs.get_logger()

MISSED: Final = 5
"""Intervals without success after which work is behind."""
LEAST_PATIENCE: Final = 15.0
"""Seconds that pass at least before work is behind: a database may restart."""
LONGEST_WAIT: Final = 30.0
"""Seconds between two attempts at most, unless the interval itself is longer."""


@dataclass
class _Work:
    seconds: float
    do: Callable[[], Awaitable[object]]
    required: bool
    succeeded: float
    failures: int = 0
    failures_in_a_row: int = 0
    task: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def wait(self) -> float:
        """The seconds until the next attempt: twice as long after each failure, up to a limit."""
        return max(self.seconds, min(self.seconds * 2.0**self.failures_in_a_row, LONGEST_WAIT))


class PeriodicTasks:
    """The periodic work of one process.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._work: dict[str, _Work] = {}

    def start(
        self,
        name: str,
        seconds: float,
        do: Callable[[], Awaitable[object]],
        *,
        required: bool = False,
        delay: float = 0.0,
    ) -> None:
        """Begin to call a function every so many seconds.

        Args:
            name: of the work, for logs and metrics.
            seconds: between the end of a call and the beginning of the next one.
            do: the function; it is called again after any exception.
            required: without it the process decides on old data: :meth:`behind` names it if it does not succeed.
            delay: seconds before the first call.
        """
        work = self._work[name] = _Work(seconds, do, required, self._clock())
        work.task = asyncio.create_task(self._repeat(name, work, delay))

    def behind(self) -> list[str]:
        """Return the names of required work that has not succeeded for :data:`MISSED` intervals."""
        now = self._clock()
        return [
            name
            for name, work in self._work.items()
            if work.required and now - work.succeeded > max(MISSED * work.seconds, LEAST_PATIENCE)
        ]

    def stats(self) -> Mapping[str, Mapping[str, float]]:
        """Return for each work its failures, and the seconds since it succeeded."""
        now = self._clock()
        return {
            name: {"failures": work.failures, "seconds_since_success": now - work.succeeded}
            for name, work in self._work.items()
        }

    async def stop(self, *names: str) -> None:
        """End all work, or the work of these names, which is forgotten; calls that run are cancelled."""
        ending = [self._work.pop(name) for name in names] if names else list(self._work.values())
        tasks = [work.task for work in ending if work.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _repeat(self, name: str, work: _Work, delay: float) -> None:
        await asyncio.sleep(delay)
        while True:
            try:
                await work.do()
            except Exception:
                work.failures += 1
                work.failures_in_a_row += 1
                log.exception("periodic work failed", code=name, count=work.failures_in_a_row)
            else:
                work.failures_in_a_row = 0
                work.succeeded = self._clock()
            await asyncio.sleep(work.wait)
