"""Workflows: named sequences of idempotent steps. A step receives a tenant and an id, and looks up everything else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from vault.ids import TenantId

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
