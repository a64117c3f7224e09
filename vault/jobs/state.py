"""The state of jobs: names, ids and numbers, and nothing that could be a value of somebody's."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple
from uuid import UUID

from vault.ids import TenantId
from vault.jobs.workflow import Work

if TYPE_CHECKING:
    from datetime import datetime

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
