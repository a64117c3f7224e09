"""The worker of one process: runs jobs, takes over those of dead processes, and starts pending work."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from vault import logs
from vault.ids import random_id
from vault.jobs.engine import Runner
from vault.jobs.leases import Leases
from vault.jobs.store import JobStore
from vault.jobs.workflow import Sweep

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from vault.jobs.database import JobDatabase
    from vault.jobs.workflow import Plan

log = logs.get_logger()

LOOK_SECONDS: Final = 5.0
"""Interval between two searches for pending work and dead processes."""
GRACE_SECONDS: Final = 5.0
"""Time that current steps have to end when the process is stopped."""
SWEEP_RETRY_SECONDS: Final = 60.0
KEPT_DAYS: Final = 30
"""Days for which completed jobs are listed."""
FORGET_SECONDS: Final = 3600.0
_NODE: Final = "node:"
_SWEEP: Final = "sweep:"


class JobWorker:
    """Runs jobs in this process between :meth:`open` and :meth:`close`.

    Args:
        database: of the jobs.
        takeover: seconds without a sign of life after which another process takes over the jobs of a process.
        plan: the workflows, and the work to do.
        context: the first argument of each step.
    """

    def __init__(self, database: JobDatabase, takeover: float, plan: Plan, context: object) -> None:
        self._database = database
        self._takeover = takeover
        self._engine = database.connect()
        self._name = random_id().hex
        self._leases = Leases(self._engine, database.schema)
        self._runner = Runner(self._engine, database.schema, self._name, plan.workflows, context)
        self._plan = plan
        self._sweeps = {**plan.sweeps, "forget-jobs": Sweep(FORGET_SECONDS, self._forget)}
        self._opening: asyncio.Task[bool] | None = None
        self._sweeping: set[asyncio.Task[None]] = set()
        self.store = JobStore(self._engine, database.schema)

    async def open(self) -> bool:
        """Start; returns False if this process runs the jobs of another vault already."""
        self._opening = asyncio.create_task(asyncio.to_thread(self._open))
        return await asyncio.shield(self._opening)

    def _open(self) -> bool:
        self._database.create()
        self._leases.prepare()
        self._leases.hold(_NODE + self._name, self._takeover)
        return self._runner.open()

    async def work(self) -> None:
        """Run until this task is cancelled."""
        interval = min(LOOK_SECONDS, self._takeover / 3)
        async with asyncio.TaskGroup() as group:
            group.create_task(_repeat(self._takeover / 3, self._renew_lease))
            group.create_task(_repeat(interval, lambda: asyncio.to_thread(self._take_over)))
            group.create_task(_repeat(interval, self._begin_pending))
            group.create_task(_repeat(interval, self._start_sweeps))

    async def close(self) -> None:
        """Stop: wait for the current steps and release everything."""
        opened = False
        if self._opening is not None:
            await asyncio.wait([self._opening])
            opened = self._opening.exception() is None and self._opening.result()
        for task in self._sweeping:
            task.cancel()
        await asyncio.gather(*self._sweeping, return_exceptions=True)
        if opened:
            await self._runner.stop(GRACE_SECONDS)
        await asyncio.to_thread(self._close, opened)

    def _close(self, opened: bool) -> None:
        try:
            if opened:
                self._runner.close()
            self._leases.release(_NODE + self._name)  # so that another process takes over the remaining jobs at once
        except Exception as error:
            log.warning("the end of a process is not recorded; its jobs are taken over later", exc_info=error)
        finally:
            self._engine.dispose()

    async def _renew_lease(self) -> None:
        await asyncio.to_thread(self._leases.hold, _NODE + self._name, self._takeover)

    async def _begin_pending(self) -> None:
        if pending := await self._plan.pending():
            await asyncio.to_thread(self.store.begin_pending, pending)

    def _take_over(self) -> None:
        """Take over the jobs of processes whose lease has expired."""
        dead = self.store.running_by() - self._leases.held(_NODE) - {self._name}
        if dead:
            self._runner.recover(sorted(dead))

    async def _start_sweeps(self) -> None:
        for name, sweep in self._sweeps.items():
            if await asyncio.to_thread(self._leases.take, _SWEEP + name, sweep.seconds):
                task = asyncio.create_task(self._sweep(name, sweep))
                self._sweeping.add(task)
                task.add_done_callback(self._sweeping.discard)

    async def _sweep(self, name: str, sweep: Sweep) -> None:
        try:
            await sweep.do()
        except Exception as error:
            log.warning("a sweep failed", code=name, exc_info=error)
            await asyncio.to_thread(self._leases.hold, _SWEEP + name, min(SWEEP_RETRY_SECONDS, sweep.seconds))

    async def _forget(self) -> None:
        await asyncio.to_thread(self.store.forget, datetime.now(UTC) - timedelta(days=KEPT_DAYS))


async def _repeat(seconds: float, do: Callable[[], Awaitable[object]]) -> None:
    """Call a function again and again. A failure is logged; the next call may succeed."""
    while True:
        try:
            await do()
        except Exception as error:
            log.warning("the work on jobs is behind", exc_info=error)
        await asyncio.sleep(seconds)
