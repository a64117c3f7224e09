"""The book of jobs: what was begun, what waits, what has failed. DBOS keeps it, and is the one that is asked.

The state of jobs: names, ids and numbers, and nothing that could be a value of somebody's.
"""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple
from uuid import UUID

from dbos import DBOSClient, Serializer

from vault.ids import TenantId
from vault.jobs.workflow import Work

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dbos import WorkflowStatus
    from sqlalchemy import Engine

    from vault.jobs.workflow import Workflow


State = Literal["pending", "waiting", "running", "done", "failed"]
DONE: Final = "done"
AGAIN: Final = "again"
INTERNAL: Final = "internal-error"
_WORD: Final = re.compile(r"[a-z0-9][a-z0-9_.:-]{0,199}")
"""Names of jobs, steps and tenants, ids, and codes of errors. Anybody's name or address has something else in it."""


class Task(NamedTuple):
    """One attempt at a job, as it is kept.

    A job that has to wait ends its attempt and leaves the next one behind, to begin at a certain time: what waits
    occupies nothing.
    """

    workflow: str
    tenant: str
    id: str
    run: int
    attempt: int = 0
    begin: str = ""
    """The step to begin with; empty: the first."""
    failures: int = 0
    """How often in a row it could not go on."""
    code: str | None = None
    """Why it could not."""

    @property
    def key(self) -> str:
        """Return the attempt's id. It begins with the tenant, so that a tenant's jobs can be listed by its prefix."""
        job = f"{self.tenant}:{self.workflow}:{self.id}:{self.run}"
        return f"{job}:{self.attempt}" if self.attempt else job

    @property
    def work(self) -> Work:
        """Return what there is to do."""
        return Work(self.workflow, TenantId(self.tenant), UUID(self.id), self.run)

    def next(self, begin: str = "", *, failures: int = 0, code: str | None = None) -> Task:
        """Make the attempt after this one."""
        return self._replace(attempt=self.attempt + 1, begin=begin, failures=failures, code=code)


def first_task(work: Work) -> Task:
    """Make the first attempt at a job."""
    return Task(work.workflow, work.tenant, str(work.id), work.run)


class Job(NamedTuple):
    """A job as it is shown: its last attempt."""

    workflow: str
    tenant: str
    id: UUID
    run: int
    state: State
    step: str | None
    """Where it is, or where it ended."""
    attempts: int
    """How often the present step was tried."""
    since: datetime | None
    """When the attempt was begun, or left behind for later."""
    next_at: datetime | None
    """When it goes on, where it waits for a certain time."""
    code: str | None
    """Why it could not go on."""


class JobFailed(Exception):
    """A job cannot go on; keeps the code of the error, and not its message."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code if _WORD.fullmatch(code) else INTERNAL


def encode(value: Any) -> str:
    """Write what is kept of a job as JSON.

    Raises:
        TypeError: it holds something else than numbers and words of the program's own.
    """
    if isinstance(value, BaseException):
        value = {"failed": value.code if isinstance(value, JobFailed) else INTERNAL}
    _check(value)
    return json.dumps(value, separators=(",", ":"))


def decode(text: str) -> Any:
    """Read what :func:`encode` wrote; a failure becomes its exception again."""
    value = json.loads(text)
    if isinstance(value, dict) and value.keys() == {"failed"}:
        return JobFailed(value["failed"])
    return value


def _check(value: Any) -> None:
    if isinstance(value, dict):
        for key, each in value.items():
            _check_word(key)
            _check(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            _check(each)
    elif value is not None and not isinstance(value, (bool, int, float)):
        _check_word(value)


def _check_word(value: Any) -> None:
    if not isinstance(value, str) or (value and _WORD.fullmatch(value) is None):
        raise TypeError("the state of a job holds names and ids only")


NAME: Final = "customer-data-vault"
VERSION: Final = "1"
"""Of the state, not of the program: jobs that an older version began are ended by a newer one. Where their steps have
changed meanwhile, the attempt fails and the next one begins anew, for steps are idempotent."""
QUEUE: Final = "jobs"
JOB: Final = "job"
FIRST_REST: Final = 10.0
LONGEST_REST: Final = 3600.0
_STATES: Final[Mapping[str, State]] = {
    "ENQUEUED": "waiting",
    "DELAYED": "waiting",
    "PENDING": "running",
    "SUCCESS": "done",
    "ERROR": "failed",
    "CANCELLED": "failed",
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": "failed",
}
_ACTIVE: Final = ["ENQUEUED", "DELAYED", "PENDING"]
_CODES: Final = {"CANCELLED": "cancelled", "MAX_RECOVERY_ATTEMPTS_EXCEEDED": "killed-too-often"}
_OLD_AT_ONCE: Final = 1000


class IdsOnly(Serializer):
    """Writes what DBOS keeps; refuses everything but names, ids and numbers."""

    def serialize(self, data: Any) -> str:
        """Write."""
        return encode(data)

    def deserialize(self, serialized_data: str) -> Any:
        """Read."""
        return decode(serialized_data)

    def name(self) -> str:
        """Return the name that stands beside what is written."""
        return "cdv-ids"


class JobStore:
    """The jobs of one vault. All methods block: they are for threads.

    Args:
        engine: of the database of jobs.
        schema: of its tables.
    """

    def __init__(self, engine: Engine, schema: str | None) -> None:
        self._client = DBOSClient(
            system_database_engine=engine,
            dbos_system_schema=schema,
            serializer=IdsOnly(),
            application_name=NAME,
            lazy=True,
            retry_connection_errors=False,
        )

    def begin(self, work: Work) -> None:
        """Leave a job behind for whoever has time; does nothing where it was begun before."""
        self._leave(first_task(work))

    def begin_again(self, wanted: Iterable[Work]) -> None:
        """Begin what was never begun; and what has ended without having done its work, after a rest."""
        active = {_job_of(each.workflow_id) for each in self._list(status=_ACTIVE, load_input=False, load_output=False)}
        for work in wanted:
            first = first_task(work)
            if first.key not in active:
                self._begin_again(first)

    def running_by(self) -> set[str]:
        """List the processes by which jobs are being run, dead ones among them."""
        running = self._list(status="PENDING", load_input=False, load_output=False)
        return {each.executor_id for each in running if each.executor_id is not None}

    def jobs(
        self,
        workflows: Mapping[str, Workflow],
        tenant: str,
        *,
        states: Iterable[State],
        of: UUID | None,
        limit: int,
    ) -> list[Job]:
        """List a tenant's jobs, the newest first.

        Args:
            workflows: by their names, to tell at which step a job is.
            states: in which the jobs are.
            of: only those that work on this.
            limit: at most so many.
        """
        prefixes = [f"{tenant}:"] if of is None else [f"{tenant}:{name}:{of}:" for name in workflows]
        wanted = [status for status, state in _STATES.items() if state in set(states)]
        found = self._list(status=wanted, workflow_id_prefix=prefixes, limit=limit, sort_desc=True)
        tasks = [(each, task) for each in found if (task := _task_of(each)) is not None]
        # An attempt with one after it is history.
        after = [task.next().key for _, task in tasks]
        passed = {each.workflow_id for each in self._of_ids(after)}
        return [self._job(each, task, workflows) for each, task in tasks if task.next().key not in passed]

    def attempts(self, work: Work) -> list[Task]:
        """List the attempts at a job, the first one first."""
        return [task for _, task in self._attempts(first_task(work))]

    def forget(self, before: datetime) -> int:
        """Forget the jobs that ended before a moment, some at a time; tells how many."""
        how = {"completed_before": before.isoformat(), "limit": _OLD_AT_ONCE, "load_input": False, "load_output": False}
        gone = 0
        while old := self._list(**how):
            self._client.delete_workflows([each.workflow_id for each in old])
            gone += len(old)
        return gone

    def _leave(self, task: Task) -> None:
        options: Any = {"workflow_name": JOB, "queue_name": QUEUE, "workflow_id": task.key, "app_version": VERSION}
        self._client.enqueue(options, *task)

    def _begin_again(self, first: Task) -> None:
        attempts = self._attempts(first)
        if not attempts:
            self._leave(first)
            return
        status, task = attempts[-1]
        if status.status in _ACTIVE:
            return  # it was left behind a moment ago
        ended = (status.completed_at or status.updated_at or 0) / 1000
        if time.time() >= ended + rest(task.failures):
            self._leave(task.next(failures=task.failures + 1, code=_code(status)))

    def _attempts(self, first: Task) -> list[tuple[WorkflowStatus, Task]]:
        found = self._list(workflow_id_prefix=first.key)
        tasks = [(each, task) for each in found if (task := _task_of(each)) is not None]
        return sorted(
            ((each, task) for each, task in tasks if _job_of(task.key) == first.key), key=lambda pair: pair[1].attempt
        )

    def _job(self, status: WorkflowStatus, task: Task, workflows: Mapping[str, Workflow]) -> Job:
        state = _STATES[status.status]
        return Job(
            workflow=task.workflow,
            tenant=task.tenant,
            id=task.work.id,
            run=task.run,
            state=state,
            step=None if state == DONE else self._step(status, task, workflows.get(task.workflow)),
            attempts=task.failures + 1,
            since=_moment(status.created_at),
            next_at=_moment(status.delay_until_epoch_ms) if status.status == "DELAYED" else None,
            code=task.code if state in {"waiting", "running"} else _code(status),
        )

    def _step(self, status: WorkflowStatus, task: Task, workflow: Workflow | None) -> str | None:
        """Tell the step after the last one that ended well."""
        names = [] if workflow is None else [name for name, _ in workflow.steps]
        begin = names.index(task.begin) if task.begin in names else 0
        if status.status in {"ENQUEUED", "DELAYED"}:
            return next(iter(names[begin:]), None)
        ended = {
            each["function_name"]
            for each in self._client.list_workflow_steps(status.workflow_id)
            if each["error"] is None
        }
        return next((name for name in names[begin:] if name not in ended), None)

    def _of_ids(self, ids: list[str]) -> list[WorkflowStatus]:
        return self._list(workflow_ids=ids, load_input=False, load_output=False) if ids else []

    def _list(self, **how: Any) -> list[WorkflowStatus]:
        return self._client.list_workflows(**how)


def rest(failures: int) -> float:
    """Return how many seconds pass before what has ended without having done its work begins anew."""
    return float(min(FIRST_REST * 2 ** min(failures, 30), LONGEST_REST))


def _job_of(key: str) -> str:
    return ":".join(key.split(":")[:4])


def _task_of(status: WorkflowStatus) -> Task | None:
    """Read an attempt from what is kept of it; none where it is nothing of ours."""
    given = status.input["args"] if isinstance(status.input, dict) else ()
    return Task(*given) if status.name == JOB and len(given) == len(Task._fields) else None


def _code(status: WorkflowStatus) -> str | None:
    if status.status == "ERROR":
        return status.error.code if isinstance(status.error, JobFailed) else INTERNAL
    return _CODES.get(status.status)


def _moment(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)
