"""Durable jobs: what was begun is ended, by this process or by another, and however often one of them is killed."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import TYPE_CHECKING, Any

from vault import logs
from vault.errors import Unavailable
from vault.jobs.engine import Place
from vault.jobs.workflow import Work

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from uuid import UUID

    from vault.ids import TenantId
    from vault.jobs.store import Job, JobStore, State
    from vault.jobs.worker import JobWorker
    from vault.jobs.workflow import Plan, Workflow

log = logs.get_logger()


class Jobs:
    """The vault's durable jobs.

    A process that serves runs them by :meth:`tend`; in others they can be begun nowhere but in the foreground.

    Args:
        url: of the database in which the state of jobs is kept: names of jobs and steps, ids, nothing else.
        takeover: seconds without a sign of life after which others take a process's jobs over.
    """

    def __init__(self, url: str, *, takeover: float = 30.0) -> None:
        self._place = Place(url)
        self._takeover = takeover
        self._book: JobStore | None = None

    async def start(self, workflow: str, tenant: TenantId, id: UUID, *, run: int = 0) -> None:  # noqa: A002
        """Start a job, unless it was started before; does nothing where this process runs no jobs.

        To be called after the commit of what the job has to do. A job that is not started here is not lost: whoever
        looks for what is pending starts it seconds later.
        """
        if self._book is None:
            return
        try:
            await asyncio.to_thread(self._book.begin, Work(workflow, tenant, id, run))
        except Exception as error:
            log.warning("a job is started later", tenant=tenant, exc_info=error)

    async def run_here(
        self,
        context: Any,
        workflow: Workflow,
        tenant: TenantId,
        id: UUID,  # noqa: A002
        *,
        watch: Callable[[str], None] | None = None,
    ) -> float | None:
        """Run a job's steps in the foreground, one after the other.

        Args:
            context: what the steps work with.
            workflow: the job.
            id: of what it is to do.
            watch: is told each step's name before it begins.

        Returns:
            nothing when all is done, or after how many seconds a step wants to be called again.
        """
        for name, step in workflow.steps:
            if watch is not None:
                watch(name)
            seconds = await step(context, tenant, id)
            if seconds is not None:
                return seconds
        return None

    async def tend(self, context: Any, plan: Plan) -> None:
        """Run jobs until this is cancelled; the steps under way are ended first.

        Args:
            context: what the steps work with.
            plan: what jobs there are, and what is to be done.
        """
        # Loads DBOS: for that nobody is to wait who runs no jobs, nor any request that comes meanwhile.
        room = await asyncio.to_thread(import_module, "vault.jobs.worker")
        while True:
            shift: JobWorker = room.Shift(self._place, self._takeover, plan, context)
            try:
                if await shift.open():
                    self._book = shift.book
                    await shift.work()
                log.warning("this process runs the jobs of another vault")
            except Exception as error:
                log.warning("jobs cannot be run", exc_info=error)
            finally:
                self._book = None
                await shift.close()
            await asyncio.sleep(self._takeover / 3)

    async def find(
        self,
        workflows: Mapping[str, Workflow],
        tenant: TenantId,
        *,
        states: Iterable[State],
        of: UUID | None = None,
        limit: int,
    ) -> list[Job]:
        """List a tenant's jobs that were begun, the newest first.

        Args:
            workflows: by their names, to tell at which step a job is.
            states: in which the jobs are.
            of: only those that work on this.
            limit: at most so many.

        Raises:
            Unavailable: the database of jobs does not answer.
        """

        def look(book: JobStore) -> list[Job]:
            return book.jobs(workflows, tenant, states=states, of=of, limit=limit)

        return await asyncio.to_thread(self._look, look)

    def _look(self, look: Callable[[JobStore], list[Job]]) -> list[Job]:
        if not self._place.is_made:
            return []
        from sqlalchemy.exc import DBAPIError, ProgrammingError

        from vault.jobs.store import JobStore

        engine = self._place.connect()
        try:
            return look(JobStore(engine, self._place.schema))
        except DBAPIError as error:
            if isinstance(error, ProgrammingError) or "no such table" in str(error.orig):
                return []  # no job was ever begun
            raise Unavailable("the database of jobs does not answer", hint="try again in a moment") from None
        finally:
            engine.dispose()
