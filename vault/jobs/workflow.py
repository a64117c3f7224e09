"""Workflows, which are named sequences of idempotent steps, and the answers about their jobs.

A step receives a tenant and an id, and looks up everything else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple
from uuid import UUID

from pydantic import Field

from vault.ids import TenantId
from vault.views import Moment, View

Step = Callable[[Any, TenantId, UUID], Awaitable[float | None]]
"""``await step(services, tenant, id)``. A step is idempotent. It returns None when it is done, and otherwise the number
of seconds after which it is to be called again; this wait is durable."""


@dataclass(frozen=True, slots=True)
class Workflow:
    """A named sequence of steps."""

    name: str
    steps: tuple[tuple[str, Step], ...]


class Work(NamedTuple):
    """One task for a workflow. Equal values are the same job."""

    workflow: str
    tenant: TenantId
    id: UUID
    run: int = 0


@dataclass(frozen=True, slots=True)
class Sweep:
    """A periodic task. At any time it runs in one process of the vault only.

    Attributes:
        seconds: from one start to the next.
        do: the task.
    """

    seconds: float
    do: Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a process that runs jobs needs to know.

    Attributes:
        workflows: by name.
        pending: lists all work that is not done yet, started or not.
        sweeps: periodic tasks, by name.
    """

    workflows: Mapping[str, Workflow]
    pending: Callable[[], Awaitable[Sequence[Work]]]
    sweeps: Mapping[str, Sweep]


class EndedJob(View):
    """A job that was run in the foreground, and how it ended."""

    workflow: str
    tenant: str
    id: UUID
    run: int
    goes_on_in: float | None = Field(description="Seconds until it can be continued; null once it is done or failed.")
    code: str | None = Field(description="Why it failed.")


JobState = Literal["pending", "waiting", "running", "done", "failed"]


class Job(View):
    """A durable job, by its last attempt. It contains names, ids and times only."""

    workflow: str = Field(
        description="What it does: the kind of a request, `notify`, `tell-…` for a letter, or `build-index`."
    )
    tenant: str
    id: UUID = Field(description="What it works on: a request, a notice, a changed contact or an index.")
    run: int = Field(description="Increases when the request is reopened or the notice is sent again.")
    state: JobState = Field(
        description="`pending`: not started yet; `waiting`: continues later; `failed`: starts again by itself."
    )
    step: str | None = Field(description="The current step; if the job has ended, the last one.")
    attempts: int = Field(description="How often the current step was tried.")
    since: Moment | None = Field(description="When the last attempt was started or scheduled.")
    next_at: Moment | None = Field(description="When the job continues, if it waits for a certain time.")
    code: str | None = Field(description="Why it could not continue: the code of a problem.")


class JobList(View):
    """Jobs, newest first."""

    jobs: list[Job]
    audit: UUID
