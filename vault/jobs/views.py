"""Answers about jobs."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from pydantic import Field

from vault.views import Moment, View

JobState = Literal["pending", "waiting", "running", "done", "failed"]


class Job(View):
    """A durable job, by its last attempt. It contains names, ids and times only."""

    workflow: str = Field(description="What it does: the kind of a request, or `notify`.")
    tenant: str
    id: UUID = Field(description="What it works on: a request or a notice.")
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
