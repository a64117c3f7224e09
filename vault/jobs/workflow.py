"""What a job is: a name, and idempotent steps that know nothing but a tenant and an id."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from vault.ids import TenantId

Step = Callable[[Any, TenantId, UUID], Awaitable[float | None]]
"""``await step(house, tenant, id)``. Doing it twice does no more than doing it once. It answers nothing when it is
done, and otherwise after how many seconds it wants to be called again; that waiting is durable as well."""


class Workflow(NamedTuple):
    """A job's steps, in order."""

    name: str
    steps: tuple[tuple[str, Step], ...]


class Work(NamedTuple):
    """Something that a job has to do: the same workflow, tenant, id and run are the same job."""

    workflow: str
    tenant: TenantId
    id: UUID
    run: int = 0


class Sweep(NamedTuple):
    """Something that is done again and again, by one process of all at a time."""

    seconds: float
    """From one beginning to the next."""
    do: Callable[[], Awaitable[object]]


class Plan(NamedTuple):
    """All that a process which runs jobs has to know."""

    workflows: Mapping[str, Workflow]
    """By their names."""
    pending: Callable[[], Awaitable[Sequence[Work]]]
    """All that jobs have yet to do, whether or not they were begun."""
    sweeps: Mapping[str, Sweep]
