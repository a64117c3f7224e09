"""The worker of one process: runs jobs, takes over those of dead processes, and starts pending work.

DBOS stores the state of jobs and distributes them among the processes of the vault. It has one instance per process and
threads of its own. The steps of a job run in the vault's event loop; DBOS's threads hand them over and wait for the
result. Only this module runs DBOS, and only processes that run jobs import it.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from dbos import DBOS, SetEnqueueOptions, SetWorkflowID

from vault import logs
from vault.errors import Unavailable, VaultError
from vault.ids import random_id
from vault.jobs.database import Leases
from vault.jobs.store import AGAIN, DONE, INTERNAL, JOB, NAME, QUEUE, VERSION, IdsOnly, JobFailed, JobStore, Task
from vault.jobs.workflow import Sweep

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Awaitable, Callable, Mapping
    from concurrent.futures import Future

    from sqlalchemy import Engine

    from vault.jobs.database import JobDatabase
    from vault.jobs.workflow import Plan, Step, Workflow
    from vault.periodic import PeriodicTasks

log = logs.get_logger()

CONCURRENCY: Final = 4
"""Jobs that one process runs at the same time."""
POLL_SECONDS: Final = 0.5
NAP_SECONDS: Final = 0.25
"""Polling interval of a DBOS thread that the vault does not use; closing waits for it."""
MOST_RECOVERIES: Final = 20
"""A job that was interrupted by the end of its process this often is paused."""
FIRST_WAIT: Final = 2.0
LONGEST_WAIT: Final = 300.0
_instance = threading.Lock()
"""Held while this process uses its only DBOS instance."""
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


class Stopped(BaseException):
    """The process ends. DBOS does not store this as the job's result, so another process takes the job over."""


def backoff(failures: int) -> float:
    """Return how many seconds to wait after this many consecutive failures."""
    return float(min(FIRST_WAIT * 2 ** min(failures - 1, 30), LONGEST_WAIT))


class Runner:
    """Runs jobs in this process until it is stopped.

    Args:
        executor: the unique name of this process.
        workflows: by name.
        context: the first argument of each step.
    """

    def __init__(
        self, engine: Engine, schema: str | None, executor: str, workflows: Mapping[str, Workflow], context: object
    ) -> None:
        self._engine = engine
        self._schema = schema
        self._executor = executor
        self._workflows = workflows
        self._context = context
        self._loop: AbstractEventLoop = asyncio.get_running_loop()
        self._running: set[Future[float | str | None]] = set()
        self._stopping = False
        self._job: Callable[..., str] | None = None

    def open(self) -> bool:
        """Start; returns False if the process's only DBOS instance is in use. Blocks: call it in a thread."""
        if not _instance.acquire(blocking=False):
            return False
        try:
            logs.take_over("dbos")
            DBOS(
                config={
                    "name": NAME,
                    "system_database_engine": self._engine,
                    "dbos_system_schema": self._schema,
                    "application_version": VERSION,
                    "executor_id": self._executor,
                    "serializer": IdsOnly(),
                    "use_listen_notify": False,
                    "notification_listener_polling_interval_sec": NAP_SECONDS,
                    "enable_otlp": False,
                    "log_level": "WARNING",
                }
            )
            self._job = self._register()
            DBOS.launch()
            DBOS.register_queue(QUEUE, worker_concurrency=CONCURRENCY, polling_interval_sec=POLL_SECONDS)
        except BaseException:
            self.close()
            raise
        return True

    async def stop(self, grace: float) -> None:
        """Wait for the current steps, and begin no new ones.

        Args:
            grace: seconds after which the steps are cancelled; their transactions are then rolled back.
        """
        self._stopping = True
        steps = [asyncio.wrap_future(step) for step in self._running]
        if steps:
            await asyncio.wait(steps, timeout=grace)
        for step in steps:
            step.cancel()
        await asyncio.gather(*steps, return_exceptions=True)

    def close(self) -> None:
        """Release the DBOS instance. Blocks: call it in a thread."""
        try:
            DBOS.destroy(destroy_registry=True)
        finally:
            _instance.release()

    def recover(self, executors: list[str]) -> None:
        """Take over the jobs of dead processes. If several processes try, each job goes to one of them."""
        DBOS._recover_pending_workflows(executors)  # noqa: SLF001 - there is no public name for it

    def _register(self) -> Callable[..., str]:
        """Register the one workflow that DBOS knows; it runs all of ours."""

        @DBOS.workflow(name=JOB, max_recovery_attempts=MOST_RECOVERIES)
        def job(*values: Any) -> str:
            return self._run(*values)

        return job

    def _run(self, *values: Any) -> str:
        """Continue a job."""
        task = Task(*values)
        for name, step in _remaining_steps(self._workflows, task):
            result = DBOS.run_step({"name": name}, self._run_step, task, step)
            if isinstance(result, str):
                failures = task.failures + 1 if name == task.begin else 1
                self._enqueue(task.next(name, failures=failures, code=result), backoff(failures))
                return AGAIN
            if result is not None:
                self._enqueue(task.next(name), result)
                return AGAIN
        return DONE

    def _enqueue(self, task: Task, seconds: float) -> None:
        assert self._job is not None  # noqa: S101 - only a registered job enqueues its next attempt
        values: tuple[Any, ...] = tuple(task)
        with ExitStack() as stack:
            stack.enter_context(SetWorkflowID(task.key))
            if seconds > 0:
                stack.enter_context(SetEnqueueOptions(delay_seconds=seconds))
            DBOS.enqueue_workflow(QUEUE, self._job, *values)

    def _run_step(self, task: Task, step: Step) -> float | str | None:
        """Run a step in the vault's event loop, and wait for it in this thread."""
        if self._stopping:
            raise Stopped
        future = asyncio.run_coroutine_threadsafe(self._call(task, step), self._loop)
        self._running.add(future)
        try:
            return future.result()
        except CancelledError:
            raise Stopped from None
        finally:
            self._running.discard(future)

    async def _call(self, task: Task, step: Step) -> float | str | None:
        """Call a step; returns an error code if it is to be retried.

        Raises:
            JobFailed: a retry would fail as well.
        """
        work = task.work
        try:
            return await step(self._context, work.tenant, work.id)
        except Unavailable as error:
            return error.code
        except VaultError as error:
            log.warning("a job failed", code=error.code, tenant=work.tenant)
            raise JobFailed(error.code) from None
        except Exception as error:
            log.exception("a job failed", code=INTERNAL, tenant=work.tenant, exc_info=error)
            raise JobFailed(INTERNAL) from None


def _remaining_steps(workflows: Mapping[str, Workflow], task: Task) -> tuple[tuple[str, Step], ...]:
    """Return the steps from the task's first one on; all steps if a newer version no longer has that step."""
    workflow = workflows.get(task.workflow)
    if workflow is None:
        raise JobFailed("unknown-job")
    names = [name for name, _step in workflow.steps]
    return workflow.steps[names.index(task.begin) if task.begin in names else 0 :]


class JobWorker:
    """Runs jobs in this process between :meth:`open` and :meth:`close`.

    Args:
        takeover: seconds without a sign of life after which another process takes over the jobs of a process.
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

    async def work(self, periodic: PeriodicTasks) -> None:
        """Run until this task is cancelled.

        Args:
            periodic: gets the work of every few seconds. All of it is required: without a lease another process takes
                the jobs over, and without the rest, requests that were approved are carried out by no process.
        """
        interval = min(LOOK_SECONDS, self._takeover / 3)
        renew = partial(asyncio.to_thread, self._leases.hold, _NODE + self._name, self._takeover)
        works: dict[str, tuple[float, Callable[[], Awaitable[object]]]] = {
            "renew-lease": (self._takeover / 3, renew),
            "take-over": (interval, partial(asyncio.to_thread, self._take_over)),
            "begin-pending": (interval, self._begin_pending),
            "start-sweeps": (interval, self._start_sweeps),
        }
        for name, (seconds, do) in works.items():
            periodic.start(name, seconds, do, required=True)
        try:
            await asyncio.Event().wait()
        finally:
            await periodic.stop(*works)

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
