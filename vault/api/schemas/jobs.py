"""The shape of answers about jobs."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, Field

from vault.jobs.store import State


class Job(BaseModel):
    """A job: names and ids, and nothing else."""

    workflow: str = Field(description="What it does: a request's kind, or `notify`.")
    tenant: str
    id: UUID = Field(description="What it works on: a request or a notice.")
    run: int = Field(description="Grows with every reopening of the request, or sending of the notice.")
    state: State = Field(
        description="`pending`: nobody has begun it; `waiting`: it goes on later; `failed`: it begins anew by itself."
    )
    step: str | None = Field(description="Where it is.")
    attempts: int = Field(description="How often the present step was tried.")
    since: datetime | None = Field(description="Since when it stands there.")
    next_at: datetime | None = Field(description="When it goes on, if it waits for a certain time.")
    code: str | None = Field(description="Why it could not go on: the code of a problem.")


class Jobs(BaseModel):
    """Jobs, the newest first."""

    jobs: list[Job]
    audit: UUID
