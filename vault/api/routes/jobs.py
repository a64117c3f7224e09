"""The vault's durable jobs, for those who look after it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from vault.api.answers import answer, moment
from vault.api.doors import Rooms, SignedIn
from vault.api.schemas import jobs as job_bodies
from vault.jobs.state import Job, State
from vault.workflows import OPEN, list_jobs

router = APIRouter(prefix="/v1", tags=["jobs"])


@router.get("/jobs", response_model=job_bodies.Jobs)
async def jobs(
    house: Rooms,
    caller: SignedIn,
    state: Annotated[list[State] | None, Query(description="Only these; all but `done` by default.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> Response:
    """List jobs: what they work on by id, where they are, and why they could not go on. Never anybody's data."""
    found = await list_jobs(house, caller, states=tuple(state) if state else OPEN, limit=limit)
    return answer({"jobs": [_written(each) for each in found.jobs], "audit": str(found.audit)})


def _written(job: Job) -> dict[str, Any]:
    return {**job._asdict(), "since": moment(job.since), "next_at": moment(job.next_at)}
