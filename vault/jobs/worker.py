"""One process's shift: it runs jobs, looks after those of dead processes, and begins what nobody has begun."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from vault import logs
from vault.ids import random_id
from vault.jobs.engine import Runner
from vault.jobs.leases import Leases
from vault.jobs.store import JobStore
from vault.jobs.workflow import Sweep

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from vault.jobs.engine import Place
    from vault.jobs.workflow import Plan

log = logs.get_logger()

LOOK_SECONDS: Final = 5.0
GRACE_SECONDS: Final = 5.0
"""Steps under way get so long to end when the process is told to stop."""
SWEEP_AGAIN_SECONDS: Final = 60.0
"""After a failure."""
KEPT_DAYS: Final = 30
"""Jobs that have ended are listed for so long."""
FORGET_SECONDS: Final = 3600.0
_NODE: Final = "node:"
_SWEEP: Final = "sweep:"


class JobWorker:
    """The time in which this process runs jobs.

    Args:
        place: the database of jobs.
        takeover: seconds without a sign of life after which others take a process's jobs over.
        plan: what jobs there are, and what is to be done.
        context: what the steps work with.
    """

    def __init__(self, place: Place, takeover: float, plan: Plan, context: Any) -> None:
        self._place = place
        self._takeover = takeover
        self._engine = place.connect()
        self._name = random_id().hex
        self._leases = Leases(self._engine, place.schema)
        self._runner = Runner(self._engine, place.schema, self._name, plan.workflows, context)
        self._plan = plan
        self._sweeps = {**plan.sweeps, "forget-jobs": Sweep(FORGET_SECONDS, self._forget)}
        self._opening: asyncio.Task[bool] | None = None
        self._sweeping: set[asyncio.Task[None]] = set()
        self.book = JobStore(self._engine, place.schema)

    async def open(self) -> bool:
        """Begin; tells whether this process runs no other vault's jobs already."""
        self._opening = asyncio.create_task(asyncio.to_thread(self._open))
        return await asyncio.shield(self._opening)

    def _open(self) -> bool:
        self._place.make()
        self._leases.prepare()
        self._leases.hold(_NODE + self._name, self._takeover)
        return self._runner.open()

    async def work(self) -> None:
        """Work until this is cancelled."""
        look = min(LOOK_SECONDS, self._takeover / 3)
        async with asyncio.TaskGroup() as group:
            group.create_task(_again(self._takeover / 3, self._live))
            group.create_task(_again(look, lambda: asyncio.to_thread(self._take_over)))
            group.create_task(_again(look, self._begin_again))
            group.create_task(_again(look, self._sweep))

    async def close(self) -> None:
        """End: let the steps under way come to their end, and give everything back."""
        opened = False
        if self._opening is not None:
            await asyncio.wait([self._opening])
            opened = self._opening.exception() is None and self._opening.result()
        for each in self._sweeping:
            each.cancel()
        await asyncio.gather(*self._sweeping, return_exceptions=True)
        if opened:
            await self._runner.stop(GRACE_SECONDS)
        await asyncio.to_thread(self._close, opened)

    def _close(self, opened: bool) -> None:
        try:
            if opened:
                self._runner.close()
            self._leases.give_back(_NODE + self._name)  # what is left of the jobs can be taken over at once
        except Exception as error:
            log.warning("the end of a process is not told to the others", exc_info=error)
        finally:
            self._engine.dispose()

    async def _live(self) -> None:
        await asyncio.to_thread(self._leases.hold, _NODE + self._name, self._takeover)

    async def _begin_again(self) -> None:
        if wanted := await self._plan.pending():
            await asyncio.to_thread(self.book.begin_again, wanted)

    def _take_over(self) -> None:
        """Take over the jobs of processes that have not been heard of for long enough."""
        dead = self.book.running_by() - self._leases.held(_NODE) - {self._name}
        if dead:
            self._runner.recover(sorted(dead))

    async def _sweep(self) -> None:
        for name, sweep in self._sweeps.items():
            if await asyncio.to_thread(self._leases.take, _SWEEP + name, sweep.seconds):
                task = asyncio.create_task(self._swept(name, sweep))
                self._sweeping.add(task)
                task.add_done_callback(self._sweeping.discard)

    async def _swept(self, name: str, sweep: Sweep) -> None:
        try:
            await sweep.do()
        except Exception as error:
            log.warning("a sweep failed", code=name, exc_info=error)
            again = min(SWEEP_AGAIN_SECONDS, sweep.seconds)
            await asyncio.to_thread(self._leases.hold, _SWEEP + name, again)

    async def _forget(self) -> None:
        await asyncio.to_thread(self.book.forget, datetime.now(UTC) - timedelta(days=KEPT_DAYS))


async def _again(seconds: float, do: Callable[[], Awaitable[Any]]) -> None:
    """Do something again and again; a failure is logged and tried anew, for the next time may be better."""
    while True:
        try:
            await do()
        except Exception as error:
            log.warning("the work on jobs is behind", exc_info=error)
        await asyncio.sleep(seconds)
