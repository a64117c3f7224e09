"""DBOS, which keeps the state of jobs and gives them out to the processes that run them.

It is loaded when jobs are first run or looked for, and only here. It has one instance a process, and threads of its
own; a job's steps belong to the vault's event loop, and are handed over to it.

Where the state of jobs lies: an SQLite file of its own, or a schema of its own in PostgreSQL.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dbos import DBOS, SetEnqueueOptions, SetWorkflowID
from sqlalchemy import URL, create_engine, event, make_url

from vault import logs
from vault.errors import Unavailable, VaultError
from vault.jobs.store import AGAIN, DONE, INTERNAL, JOB, NAME, QUEUE, VERSION, IdsOnly, JobFailed, Task

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Mapping
    from concurrent.futures import Future

    from sqlalchemy import Engine

    from vault.jobs.workflow import Step, Workflow


log = logs.get_logger()

AT_ONCE: Final = 4
"""Jobs at once in one process."""
POLL_SECONDS: Final = 0.5
NAP_SECONDS: Final = 0.25
"""How long a thread of DBOS's sleeps that has nothing to do here, but is waited for at the end."""
MOST_RECOVERIES: Final = 20
"""A job that takes its process with it so often is left alone for a while."""
FIRST_WAIT: Final = 2.0
LONGEST_WAIT: Final = 300.0
_one = threading.Lock()
"""Held by whoever has the instance of this process."""


class Stopped(BaseException):
    """This process ends. No error of the job's: it is not kept, and another process takes the job over."""


def backoff(failures: int) -> float:
    """Return how many seconds to wait after so many failures in a row."""
    return float(min(FIRST_WAIT * 2 ** min(failures - 1, 30), LONGEST_WAIT))


class Runner:
    """Runs jobs in this process, until it is told to stop.

    Args:
        engine: of the database of jobs.
        schema: of its tables.
        executor: name of this process among all that ever run jobs.
        workflows: by their names.
        context: what the steps work with.
    """

    def __init__(
        self, engine: Engine, schema: str | None, executor: str, workflows: Mapping[str, Workflow], context: Any
    ) -> None:
        self._engine = engine
        self._schema = schema
        self._executor = executor
        self._workflows = workflows
        self._context = context
        self._loop: AbstractEventLoop = asyncio.get_running_loop()
        self._at_work: set[Future[float | str | None]] = set()
        self._stopping = False
        self._job: Any = None

    def open(self) -> bool:
        """Begin; tells whether this process's one instance was free. Blocks: for a thread."""
        if not _one.acquire(blocking=False):
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
            self._job = self._registered()
            DBOS.launch()
            DBOS.register_queue(QUEUE, worker_concurrency=AT_ONCE, polling_interval_sec=POLL_SECONDS)
        except BaseException:
            self.close()
            raise
        return True

    async def stop(self, grace: float) -> None:
        """Let steps under way end, and begin no new ones.

        Args:
            grace: seconds after which they are broken off; their transactions are rolled back then.
        """
        self._stopping = True
        waiting = [asyncio.wrap_future(each) for each in self._at_work]
        if waiting:
            await asyncio.wait(waiting, timeout=grace)
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    def close(self) -> None:
        """Give the instance back. Blocks: for a thread."""
        try:
            DBOS.destroy(destroy_registry=True)
        finally:
            _one.release()

    def recover(self, executors: list[str]) -> None:
        """Take over the jobs of processes that are dead; of several who try, one gets each job."""
        DBOS._recover_pending_workflows(executors)  # noqa: SLF001 - there is no public name for it

    def _registered(self) -> Any:
        """Register the one workflow that DBOS knows."""

        @DBOS.workflow(name=JOB, max_recovery_attempts=MOST_RECOVERIES)
        def job(*values: Any) -> str:
            return self._run(*values)

        return job

    def _run(self, *values: Any) -> str:
        """Go on with a job."""
        task = Task(*values)
        for name, step in _from(self._workflows, task):
            said = DBOS.run_step({"name": name}, self._step, task, step)
            if isinstance(said, str):
                failures = task.failures + 1 if name == task.begin else 1
                self._later(task.next(name, failures=failures, code=said), backoff(failures))
                return AGAIN
            if said is not None:
                self._later(task.next(name), said)
                return AGAIN
        return DONE

    def _later(self, task: Task, seconds: float) -> None:
        values: tuple[Any, ...] = tuple(task)
        with ExitStack() as stack:
            stack.enter_context(SetWorkflowID(task.key))
            if seconds > 0:
                stack.enter_context(SetEnqueueOptions(delay_seconds=seconds))
            DBOS.enqueue_workflow(QUEUE, self._job, *values)

    def _step(self, task: Task, step: Step) -> float | str | None:
        """Do a step on the vault's loop, and wait for it in this thread."""
        if self._stopping:
            raise Stopped
        doing = asyncio.run_coroutine_threadsafe(self._do(task, step), self._loop)
        self._at_work.add(doing)
        try:
            return doing.result()
        except CancelledError:
            raise Stopped from None
        finally:
            self._at_work.discard(doing)

    async def _do(self, task: Task, step: Step) -> float | str | None:
        """Do a step; a word says why it cannot be done for the moment.

        Raises:
            JobFailed: it cannot be done at all.
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


def _from(workflows: Mapping[str, Workflow], task: Task) -> tuple[tuple[str, Step], ...]:
    """Return the steps that are left; all of them where the one to begin with is not there any more."""
    workflow = workflows.get(task.workflow)
    if workflow is None:
        raise JobFailed("unknown-job")
    names = [name for name, _ in workflow.steps]
    return workflow.steps[names.index(task.begin) if task.begin in names else 0 :]


SCHEMA: Final = "cdv_jobs"
CONNECTIONS: Final = 4
"""Kept open; as many again are opened when there is a lot to do."""
PATIENCE: Final = 30
"""Seconds that SQLite waits for the one writer."""


class Place:
    """The database of jobs.

    Args:
        url: ``sqlite:///path`` or ``postgresql://…``, as of the vault's other databases.
    """

    def __init__(self, url: str) -> None:
        self._url = make_url(url)
        self._file = Path(self._url.database or "") if self._url.get_backend_name() == "sqlite" else None

    @property
    def schema(self) -> str | None:
        """Return the schema of the tables; SQLite has none."""
        return SCHEMA if self._file is None else None

    @property
    def is_made(self) -> bool:
        """Tell whether there can be any state: a look at it is not to make an SQLite file."""
        return self._file is None or self._file.exists()

    def make(self) -> None:
        """Make an SQLite file that nobody but its owner can read."""
        if self._file is not None:
            self._file.touch(mode=0o600)

    def connect(self) -> Engine:
        """Make an engine; it connects when it is used."""
        if self._file is None:
            url = self._url.set(drivername="postgresql+psycopg")
            return create_engine(
                url, pool_size=CONNECTIONS, max_overflow=CONNECTIONS, pool_pre_ping=True, hide_parameters=True
            )
        address = URL.create("sqlite", database=str(self._file))
        engine = create_engine(
            address,
            pool_size=CONNECTIONS,
            max_overflow=CONNECTIONS,
            hide_parameters=True,
            connect_args={"timeout": PATIENCE, "check_same_thread": False},
        )
        event.listen(engine, "connect", _settle)
        return engine


def _settle(connection: Any, _record: object) -> None:
    connection.isolation_level = "IMMEDIATE"  # who means to write waits for the lock at the beginning
    for setting in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "secure_delete = ON"):
        connection.execute(f"PRAGMA {setting}")
