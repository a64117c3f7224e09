"""How a person stands to the company, and what is recorded of it beside records: contracts, claims, a farewell."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from vault.access.recording import Keep
from vault.api.answers import answer
from vault.api.dependencies import Told, once
from vault.api.doors import Rooms, SignedIn
from vault.api.responses import refusals
from vault.api.routes.subjects import IdempotencyKey
from vault.api.schemas.common import Body
from vault.catalogue.retention import Relationship
from vault.ids import SubjectId
from vault.retention.clocks import Event
from vault.retention.events import relationship_of
from vault.retention.retention_events import Recorded, record_event

router = APIRouter(prefix="/v1", tags=["retention"])


class NewEvent(Body):
    """Something began or ended."""

    event: Annotated[Event, Field(description="What began or ended.", examples=["contract-ended"])]
    on: Annotated[date | None, Field(description="The day, in UTC, and not in the future; today by default.")] = None


class EventTold(BaseModel):
    """An event, and the day on which its clock stands now: a later one, where that was recorded before."""

    event: Event
    on: date


class RelationshipTold(BaseModel):
    """How a person stands to the company today, and the clocks from which periods of retention count."""

    subject: UUID
    state: Relationship
    since: Annotated[date | None, Field(description="Null of a customer: the last order is kept, not the first.")]
    last_contact: Annotated[date | None, Field(description="The last order or message.")]
    until: Annotated[date | None, Field(description="A customer's last day as such, if nothing more is heard.")]
    running: Annotated[list[Literal["contract", "claim"]], Field(description="What has begun and not ended.")]
    records: Annotated[dict[str, date], Field(description="By collection, the day of the newest record there was.")]
    events: Annotated[dict[Event, date], Field(description="The day of each event.")]
    audit: UUID


@router.post(
    "/subjects/{subject}/retention-events",
    status_code=201,
    response_model=EventTold,
    responses={200: {"model": EventTold}, **refusals(409)},
)
async def record(
    request: Request,
    subject: UUID,
    body: NewEvent,
    house: Rooms,
    caller: SignedIn,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Record that a contract, a claim or the relationship began or ended. A clock never goes back (then 200)."""

    async def run(keep: Keep | None) -> Recorded:
        return await record_event(house, caller, SubjectId(subject), body.event, body.on, keep=keep)

    return await once(house, caller, request, idempotency_key, "record-event", run, _told)


@router.get("/subjects/{subject}/relationship", response_model=RelationshipTold)
async def relationship(subject: UUID, house: Rooms, caller: SignedIn) -> Response:
    """Tell how a person stands to the company: prospect, customer or former, and since when."""
    found = await relationship_of(house, caller, SubjectId(subject))
    return answer({"subject": found.subject, **found.stand._asdict(), "audit": found.audit})


def _told(recorded: Recorded) -> Told:
    return Told(201 if recorded.created else 200, {"event": recorded.event, "on": recorded.on})
