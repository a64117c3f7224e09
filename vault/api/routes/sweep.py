"""What ends in the next days, and the sweeps that take away what has ended."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from vault.api.dependencies import CallerDep, ServicesDep, StoredResponse, respond_once
from vault.api.responses import error_responses, json_response, moment
from vault.api.routes.subjects import IdempotencyKey
from vault.sweep.query import DAYS, MOST_DAYS, MOST_PEOPLE, PEOPLE, Keep, list_sweeps, start_sweep
from vault.sweep.query import due as due_in
from vault.sweep.store import Kind, State, SweepRun

router = APIRouter(prefix="/v1", tags=["retention"])


class EndsTold(BaseModel):
    """How many values of a field end on a day."""

    on: Annotated[date, Field(description="The first day on which they are gone (UTC).")]
    field: Annotated[str, Field(examples=["profile.email"])]
    then: Annotated[str, Field(description="`erase`, `restrict`, `review`, or the view that takes their place.")]
    values: int


class WaitingTold(BaseModel):
    """How many values of a field are over and still there, or are held beyond their end."""

    field: str
    state: Literal["next-sweep", "in-review", "held"]
    then: str
    values: int


class DueTold(BaseModel):
    """What ends in the next days, as things stand today; counted without opening a value."""

    today: date
    until: date
    ends: list[EndsTold]
    waiting: list[WaitingTold]
    people: Annotated[int, Field(description="So many were looked at for this answer.")]
    next: Annotated[UUID | None, Field(description="Ask again with it as `after` and add up; null: these were all.")]
    audit: UUID


class CountsTold(BaseModel):
    """What a sweep did so far."""

    of: Annotated[int, Field(description="People there were to look at when it began.")]
    people: int
    records: int
    erased: Annotated[int, Field(description="Values.")]
    generalised: Annotated[int, Field(description="Values of which a view was kept.")]
    restricted: Annotated[int, Field(description="Values that are only stored from now on.")]
    reviews: Annotated[int, Field(description="Values that wait for a decision from now on.")]
    whole: Annotated[int, Field(description="People of whom nothing was left.")]
    waiting: Annotated[int, Field(description="People left alone until the next day: a request of theirs is open.")]
    unreadable: Annotated[int, Field(description="People left alone because something of theirs does not open.")]


class SweepTold(BaseModel):
    """One sweep."""

    id: UUID
    kind: Annotated[Kind, Field(description="`all` after a change of the policies; else over those who are due.")]
    state: Annotated[State, Field(description="`to-confirm`: it takes nothing before somebody has confirmed it.")]
    policy: str
    started_at: datetime
    changed_at: datetime
    finished_at: datetime | None
    counts: CountsTold


class SweepsTold(BaseModel):
    """Sweeps, the newest first."""

    sweeps: list[SweepTold]
    next: UUID | None


@router.get("/retention/due", response_model=DueTold)
async def due(
    services: ServicesDep,
    caller: CallerDep,
    days: Annotated[int, Query(ge=0, le=MOST_DAYS, description="0: only what is over already.")] = DAYS,
    field: Annotated[str | None, Query(max_length=200, description="Only this field.")] = None,
    after: Annotated[UUID | None, Query(description="`next` of the answer before.")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_PEOPLE, description="People looked at for one answer.")] = PEOPLE,
) -> Response:
    """Count what ends in the next days by day and field, and what is over already."""
    found = await due_in(services, caller, days=days, field=field, after=after, limit=limit)
    told = {**found._asdict(), "ends": [each._asdict() for each in found.ends]}
    return json_response({**told, "waiting": [each._asdict() for each in found.waiting]})


@router.get("/retention/sweeps", response_model=SweepsTold)
async def sweeps(
    services: ServicesDep,
    caller: CallerDep,
    before: Annotated[UUID | None, Query(description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """List sweeps, the newest first: how far each has come, and what it did."""
    page = await list_sweeps(services, caller, before=before, limit=limit)
    return json_response({"sweeps": [told_of(each) for each in page.sweeps], "next": page.next})


@router.post("/retention/sweeps", status_code=202, response_model=SweepTold, responses=error_responses(409))
async def start(
    request: Request, services: ServicesDep, caller: CallerDep, idempotency_key: IdempotencyKey = None
) -> Response:
    """Start a sweep now, as a job; where one is under way, that one is meant."""

    async def run(keep: Keep | None) -> SweepRun:
        return await start_sweep(services, caller, keep)

    return await respond_once(
        services, caller, request, idempotency_key, "sweep", run, lambda run: StoredResponse(202, told_of(run))
    )


def told_of(run: SweepRun) -> dict[str, Any]:
    """Write a sweep."""
    return {
        "id": run.id,
        "kind": run.kind,
        "state": run.state,
        "policy": run.policy,
        "started_at": moment(run.started_at),
        "changed_at": moment(run.changed_at),
        "finished_at": moment(run.finished_at),
        "counts": run.counts.by_name(),
    }
