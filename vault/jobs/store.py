"""The stored state of jobs, written and read through DBOS's client.

It contains names, ids and numbers. :class:`IdsOnly` refuses everything else, so that no personal data gets into it.
"""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

from dbos import DBOSClient, Serializer

from vault.ids import TenantId
from vault.jobs.workflow import Job, Work

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dbos import WorkflowStatus
    from sqlalchemy import Engine

    from vault.jobs.workflow import JobState, Workflow


DONE: Final = "done"
AGAIN: Final = "again"
INTERNAL: Final = "internal-error"
_WORD: Final = re.compile(r"[a-z0-9][a-z0-9_.:-]{0,199}")
"""Names of jobs, steps and tenants, ids, and error codes. Names of people (capitals) and addresses (@) do not match."""


class Task(NamedTuple):
    """One attempt at a job, as it is stored: the arguments of DBOS's workflow, in this order.

    A job that has to wait ends its attempt and enqueues the next one with a delay, so that waiting occupies nothing.

    Attributes:
        begin: the step to begin with; empty: the first.
        failures: consecutive failures of that step.
        code: of the last failure.
    """

    workflow: str
    tenant: str
    id: str
    run: int
    attempt: int = 0
    begin: str = ""
    failures: int = 0
    code: str | None = None

    @property
    def key(self) -> str:
        """Return the attempt's id. It begins with the tenant: a tenant's jobs are listed by this prefix."""
        job = f"{self.tenant}:{self.workflow}:{self.id}:{self.run}"
        return f"{job}:{self.attempt}" if self.attempt else job

    @property
    def work(self) -> Work:
        """Return the work that this is an attempt at."""
        return Work(self.workflow, TenantId(self.tenant), UUID(self.id), self.run)

    def next(self, begin: str = "", *, failures: int = 0, code: str | None = None) -> Task:
        """Return the attempt after this one."""
        return self._replace(attempt=self.attempt + 1, begin=begin, failures=failures, code=code)


def first_task(work: Work) -> Task:
    """Return the first attempt at a job."""
    return Task(work.workflow, work.tenant, str(work.id), work.run)


class JobFailed(Exception):
    """A job cannot continue. It contains the code of the error and not its message, which may quote a value."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code if _WORD.fullmatch(code) else INTERNAL


def encode(value: object) -> str:
    """Write what is stored of a job as JSON.

    Raises:
        TypeError: it contains something other than numbers and the program's own words.
    """
    if isinstance(value, BaseException):
        value = {"failed": value.code if isinstance(value, JobFailed) else INTERNAL}
    _check(value)
    return json.dumps(value, separators=(",", ":"))


def decode(text: str) -> Any:
    """Read what :func:`encode` wrote; a failure becomes a :class:`JobFailed` again."""
    value = json.loads(text)
    if isinstance(value, dict) and value.keys() == {"failed"}:
        return JobFailed(value["failed"])
    return value


def _check(value: object) -> None:
    if isinstance(value, dict):
        for key, member in value.items():
            _check_word(key)
            _check(member)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check(item)
    elif value is not None and not isinstance(value, (bool, int, float)):
        _check_word(value)


def _check_word(value: object) -> None:
    if not isinstance(value, str) or (value and _WORD.fullmatch(value) is None):
        raise TypeError("the state of a job holds names and ids only")


NAME: Final = "customer-data-vault"
VERSION: Final = "1"
"""Version of the state, not of the program: a newer program completes jobs that an older one started. If their steps
have changed, the attempt fails and the next one starts from the first step; steps are idempotent."""
QUEUE: Final = "jobs"
JOB: Final = "job"
FIRST_REST: Final = 10.0
LONGEST_REST: Final = 3600.0
_STATES: Final[Mapping[str, JobState]] = {
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
_DELETE_BATCH: Final = 1000


class IdsOnly(Serializer):
    """DBOS's serializer: accepts names, ids and numbers only."""

    def serialize(self, data: Any) -> str:
        """Write."""
        return encode(data)

    def deserialize(self, serialized_data: str) -> Any:
        """Read."""
        return decode(serialized_data)

    def name(self) -> str:
        """Return the name that DBOS stores with what this wrote."""
        return "cdv-ids"


class JobStore:
    """The stored jobs of one vault. All methods block: call them in a thread."""

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
        """Enqueue a job, unless it was started before."""
        self._enqueue(first_task(work))

    def begin_pending(self, pending: Iterable[Work]) -> None:
        """Enqueue pending work that was never started, or whose last attempt has ended, after a delay."""
        attempts = self._list(status=_ACTIVE, load_input=False, load_output=False)
        active = {_job_of(attempt.workflow_id) for attempt in attempts}
        for work in pending:
            first = first_task(work)
            if first.key not in active:
                self._begin_again(first)

    def running_by(self) -> set[str]:
        """List the processes, alive or dead, whose jobs are marked as running."""
        running = self._list(status="PENDING", load_input=False, load_output=False)
        return {attempt.executor_id for attempt in running if attempt.executor_id is not None}

    def jobs(
        self,
        workflows: Mapping[str, Workflow],
        tenant: str,
        *,
        states: Iterable[JobState],
        of: UUID | None,
        limit: int,
    ) -> list[Job]:
        """List a tenant's jobs, newest first.

        Args:
            workflows: by name, to find out at which step a job is.
            states: of the jobs to list.
            of: the id that they work on; None: any.
            limit: at most this many.
        """
        prefixes = [f"{tenant}:"] if of is None else [f"{tenant}:{name}:{of}:" for name in workflows]
        statuses = [status for status, state in _STATES.items() if state in set(states)]
        attempts = self._list(status=statuses, workflow_id_prefix=prefixes, limit=limit, sort_desc=True)
        tasks = [(status, task) for status in attempts if (task := _task_of(status)) is not None]
        # Only the last attempt stands for the job: leave out those that have a successor.
        successors = [task.next().key for _status, task in tasks]
        later = self._list(workflow_ids=successors, load_input=False, load_output=False) if successors else []
        existing = {status.workflow_id for status in later}
        return [self._job(status, task, workflows) for status, task in tasks if task.next().key not in existing]

    def attempts(self, work: Work) -> list[Task]:
        """List the attempts at a job, oldest first."""
        return [task for _status, task in self._attempts(first_task(work))]

    def forget(self, before: datetime) -> int:
        """Delete the jobs that ended before a moment, in batches; returns how many attempts were deleted."""
        moment, deleted = before.isoformat(), 0
        while old := self._list(completed_before=moment, limit=_DELETE_BATCH, load_input=False, load_output=False):
            self._client.delete_workflows([status.workflow_id for status in old])
            deleted += len(old)
        return deleted

    def _enqueue(self, task: Task) -> None:
        self._client.enqueue(
            {"workflow_name": JOB, "queue_name": QUEUE, "workflow_id": task.key, "app_version": VERSION}, *task
        )

    def _begin_again(self, first: Task) -> None:
        attempts = self._attempts(first)
        if not attempts:
            self._enqueue(first)
            return
        status, task = attempts[-1]
        if status.status in _ACTIVE:
            return  # it was enqueued since the active jobs were listed
        ended = (status.completed_at or status.updated_at or 0) / 1000
        if time.time() >= ended + rest(task.failures):
            self._enqueue(task.next(failures=task.failures + 1, code=_code(status)))

    def _attempts(self, first: Task) -> list[tuple[WorkflowStatus, Task]]:
        tasks = [(status, _task_of(status)) for status in self._list(workflow_id_prefix=first.key)]
        # A prefix may match more than the job: run 1 is a prefix of run 10.
        attempts = [(status, task) for status, task in tasks if task is not None and _job_of(task.key) == first.key]
        return sorted(attempts, key=lambda attempt: attempt[1].attempt)

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
        """Return the step after the last one that succeeded."""
        names = [] if workflow is None else [name for name, _step in workflow.steps]
        begin = names.index(task.begin) if task.begin in names else 0
        if status.status in {"ENQUEUED", "DELAYED"}:
            return next(iter(names[begin:]), None)
        steps = self._client.list_workflow_steps(status.workflow_id)
        succeeded = {step["function_name"] for step in steps if step["error"] is None}
        return next((name for name in names[begin:] if name not in succeeded), None)

    def _list(self, **filters: Any) -> list[WorkflowStatus]:
        return self._client.list_workflows(**filters)


def rest(failures: int) -> float:
    """Return the seconds between a failed attempt and the next one of a job whose work is still pending."""
    return float(min(FIRST_REST * 2 ** min(failures, 30), LONGEST_REST))


def _job_of(key: str) -> str:
    return ":".join(key.split(":")[:4])


def _task_of(status: WorkflowStatus) -> Task | None:
    """Read an attempt from its stored arguments; None if it is not one of ours."""
    arguments = status.input["args"] if isinstance(status.input, dict) else ()
    return Task(*arguments) if status.name == JOB and len(arguments) == len(Task._fields) else None


def _code(status: WorkflowStatus) -> str | None:
    if status.status == "ERROR":
        return status.error.code if isinstance(status.error, JobFailed) else INTERNAL
    return _CODES.get(status.status)


def _moment(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)
