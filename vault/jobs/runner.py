"""The vault's durable jobs: start, run and list them."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import TYPE_CHECKING, Final

from sqlalchemy.exc import DBAPIError

from vault import logs
from vault.errors import Unavailable
from vault.jobs.database import JobDatabase
from vault.jobs.workflow import Work

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from uuid import UUID

    from vault.ids import TenantId
    from vault.jobs.store import JobStore
    from vault.jobs.worker import JobWorker
    from vault.jobs.workflow import Job, JobState, Plan, Workflow
    from vault.periodic import PeriodicTasks

log = logs.get_logger()


NOT_MADE: Final = ("42P01", "3F000")
"""The states of PostgreSQL for a table and for a schema that does not exist."""


class JobsUnavailable(Unavailable):
    """The database of jobs does not answer."""


class Jobs:
    """The vault's durable jobs: a job that was started is completed, by this process or, if it dies, by another.

    A process that serves runs jobs with :meth:`run_worker`. Other processes can only run them in the foreground.

    Args:
        url: of the database of jobs. It contains names of jobs and steps, and ids.
        takeover: seconds without a sign of life after which another process takes over the jobs of a process.
    """

    def __init__(self, url: str, *, takeover: float = 30.0) -> None:
        self._database = JobDatabase(url)
        self._takeover = takeover
        self._store: JobStore | None = None

    async def start(self, workflow: str, tenant: TenantId, id: UUID, *, run: int = 0) -> None:  # noqa: A002
        """Start a job, unless it was started before. Does nothing if this process runs no jobs.

        Call this after the commit of the work. A job that is not started here is not lost: each worker looks for
        pending work every few seconds, and starts it.
        """
        if self._store is None:
            return
        try:
            await asyncio.to_thread(self._store.begin, Work(workflow, tenant, id, run))
        except Exception as error:
            log.warning("a job is started later", tenant=tenant, exc_info=error)

    async def run_in_foreground(
        self,
        context: object,
        workflow: Workflow,
        tenant: TenantId,
        id: UUID,  # noqa: A002
        *,
        watch: Callable[[str], None] | None = None,
    ) -> float | None:
        """Run a job's steps in this task, one after the other.

        Args:
            context: the first argument of each step.
            workflow: the steps.
            id: what they work on.
            watch: is called with each step's name before it begins.

        Returns:
            None when all steps are done; otherwise the seconds after which a step is to be called again.
        """
        for name, step in workflow.steps:
            if watch is not None:
                watch(name)
            seconds = await step(context, tenant, id)
            if seconds is not None:
                return seconds
        return None

    async def run_worker(self, context: object, plan: Plan, periodic: PeriodicTasks) -> None:
        """Run jobs until this task is cancelled; then let the current steps end.

        Args:
            context: the first argument of each step.
            periodic: repeats what the worker does every few seconds, and this call if it raises.

        Raises:
            Unavailable: this process runs the jobs of another vault.
            DBAPIError, OSError: the database of jobs does not answer, or cannot be made.
        """
        # Importing DBOS takes a second: only processes that run jobs do it, and in a thread, so that requests go on.
        module = await asyncio.to_thread(import_module, "vault.jobs.worker")
        worker: JobWorker = module.JobWorker(self._database, self._takeover, plan, context)
        try:
            if not await worker.open():
                raise Unavailable("this process runs the jobs of another vault")
            self._store = worker.store
            await worker.work(periodic)
        finally:
            # Without a store nothing is started here any more: the next worker finds it among the pending work.
            self._store = None
            await worker.close()

    async def find(
        self,
        workflows: Mapping[str, Workflow],
        tenant: TenantId,
        *,
        states: Iterable[JobState],
        of: UUID | None = None,
        limit: int,
    ) -> list[Job]:
        """List a tenant's started jobs, newest first; the arguments are those of :meth:`JobStore.jobs`.

        Raises:
            JobsUnavailable: the database of jobs does not answer.
        """
        from vault.jobs.store import JobStore  # it imports the job engine

        def query() -> list[Job]:
            if not self._database.exists:
                return []
            engine = self._database.connect()
            try:
                store = JobStore(engine, self._database.schema)
                return store.jobs(workflows, tenant, states=states, of=of, limit=limit)
            except DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) in NOT_MADE or "no such table" in str(error.orig):
                    return []  # no job was ever started
                raise JobsUnavailable("the database of jobs does not answer", hint="try again in a moment") from None
            finally:
                engine.dispose()

        return await asyncio.to_thread(query)
