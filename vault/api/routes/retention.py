"""Retention: until when a person's values are kept, on which grounds, and what happens then.

Reviews: values whose time is up and of which somebody has to say whether they go.

How a person stands to the company, and what is recorded of it beside records: contracts, claims, a farewell.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from vault.access.recording import SaveResponse
from vault.api.dependencies import CallerDep, ServicesDep, StoredResponse, respond_once
from vault.api.responses import error_responses, json_response, moment
from vault.api.routes.subjects import IdempotencyKey
from vault.api.schemas.subjects import Body
from vault.catalogue.retention import Relationship, Since
from vault.ids import SubjectId
from vault.retention.clocks import Event
from vault.retention.events import Recorded, record_event, relationship_of
from vault.retention.explain import why
from vault.retention.review_store import Review
from vault.retention.review_store import State as ReviewState
from vault.retention.reviews import MOST, Decision, Reason, decide_review, list_reviews

if TYPE_CHECKING:
    from vault.retention.explain import Kept


router = APIRouter(prefix="/v1", tags=["retention"])

NO_END = "Null: no end yet."


class GroundTold(BaseModel):
    """Why a value is kept."""

    ground: Annotated[str, Field(description="The purpose; or `reviewed`, because somebody decided so.")]
    until: Annotated[date | None, Field(description=f"The last day. {NO_END}")]
    least: Annotated[date | None, Field(description="The last day on which a law demands it.")]
    since: Annotated[Since | None, Field(description="What the period counts from.")]
    counted_from: Annotated[date | None, Field(description="Which day that was. Null: it has not come.")]
    period: Annotated[str | None, Field(description="How long, as an ISO 8601 duration.")]
    lost: Annotated[bool, Field(description="Whether the ground itself ended before its period.")]
    then: Annotated[str, Field(description="What happens at its end.")]
    views: Annotated[list[str], Field(description="As which views it needs the field. Empty: all.")]
    law: str | None
    article: str | None
    reason: str | None


class IdleTold(BaseModel):
    """A purpose that needs the field and keeps nothing."""

    purpose: str
    why: Literal["consent-missing", "not-in-force", "ended", "not-brought-about"]
    until: Annotated[date | None, Field(description="The last day on which it did apply.")]


class LimitTold(BaseModel):
    """What ends a value earlier, whatever claims it."""

    name: str
    until: Annotated[date | None, Field(description=f"The last day that it allows. {NO_END}")]
    since: Since
    period: str
    then: str
    article: str | None
    reason: str


class HoldTold(BaseModel):
    """A legal hold that covers the value."""

    id: UUID
    purpose: str
    also_for: list[str]


class ReviewTold(BaseModel):
    """What was or is to be decided about the value at its end."""

    id: UUID
    kind: Literal["review", "restrict"]
    state: Literal["open", "keep", "erase"]
    ended_on: date
    keep_until: date | None


class KeptTold(BaseModel):
    """One value: where it lies, until when it is there, and why."""

    record: UUID
    form: Annotated[str | None, Field(description="The view to which it was generalised.")]
    starts: Annotated[date, Field(description="The day from which it counts.")]
    collected: date | None
    source: str | None
    served_until: Annotated[date | None, Field(description=f"The last day on which it is shown. {NO_END}")]
    until: Annotated[date | None, Field(description=f"The last day on which it is there. {NO_END}")]
    by: Annotated[str, Field(description="What decides that.")]
    then: Annotated[str, Field(description="What happens after it: erase, restrict, review, or a view's name.")]
    state: str
    grounds: list[GroundTold]
    idle: list[IdleTold]
    limits: list[LimitTold]
    holds: list[HoldTold]
    review: ReviewTold | None


class WhyTold(BaseModel):
    """Until when the values of a field are kept, and why; the newest record first."""

    subject: UUID
    field: str
    today: date
    relationship: Relationship
    values: list[KeptTold]
    more: Annotated[bool, Field(description="Whether there are older records that are not told of.")]
    audit: UUID


@router.get("/subjects/{subject}/retention", response_model=WhyTold)
async def retention(
    subject: UUID,
    services: ServicesDep,
    caller: CallerDep,
    field: Annotated[str, Query(max_length=130, description="A field's name.", examples=["birth_date"])],
    record: Annotated[UUID | None, Query(description="Only this record.")] = None,
) -> Response:
    """Tell until when a field of a person is kept, on which grounds, and what happens then. No value is opened."""
    found = await why(services, caller, SubjectId(subject), field, record)
    return json_response({**found._asdict(), "values": [as_json(each) for each in found.values]})


def as_json(kept: Kept) -> dict[str, Any]:
    """Write why one value is kept."""
    return {
        **kept._asdict(),
        "grounds": [each._asdict() for each in kept.grounds],
        "idle": [each._asdict() for each in kept.idle],
        "limits": [each._asdict() for each in kept.limits],
        "holds": [{**each._asdict(), "id": str(UUID(each.id))} for each in kept.holds],
        "review": None if kept.review is None else _review(kept.review),
    }


def _review(review: Review) -> dict[str, Any]:
    return {
        "id": review.id,
        "kind": review.kind,
        "state": review.state,
        "ended_on": review.ended_on,
        "keep_until": review.keep_until,
    }


reviews_router = APIRouter(prefix="/v1/retention/reviews", tags=["retention"])

STATES: dict[str, tuple[ReviewState, ...]] = {
    "open": ("open",),
    "decided": ("keep", "erase"),
    "all": ("open", "keep", "erase"),
}


class ReviewItem(BaseModel):
    """One value whose time is up."""

    id: UUID
    subject: UUID
    record: UUID
    field: Annotated[str, Field(examples=["health_note.text"], description="With the view, if it was generalised.")]
    kind: Annotated[str, Field(description="Why it is there: to be decided about, or stored and not used.")]
    state: Annotated[ReviewState, Field(description="`erase`: it goes with the next sweep.")]
    ended_on: Annotated[date, Field(description="The last day on which it was shown.")]
    keep_until: date | None
    created_at: datetime
    decided_at: datetime | None
    decided_by: Annotated[UUID | None, Field(description="The principal; null: at the command line, or nobody yet.")]


class ReviewItems(BaseModel):
    """Reviews, the oldest first."""

    reviews: list[ReviewItem]
    next: UUID | None
    audit: UUID


class ReviewDecision(Body):
    """What becomes of the value."""

    decision: Decision
    until: Annotated[
        date | None, Field(description="With `keep`: the last day, in UTC; it is looked at again then.")
    ] = None
    reason: Annotated[Reason | None, Field(description="With `keep`: why.")] = None


@reviews_router.get("", response_model=ReviewItems)
async def reviews(
    services: ServicesDep,
    caller: CallerDep,
    state: Annotated[Literal["open", "decided", "all"], Query()] = "open",
    after: Annotated[UUID | None, Query(description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST)] = 50,
) -> Response:
    """List values whose time is up and that wait for a decision; or those of which there is one."""
    page = await list_reviews(services, caller, states=STATES[state], after=after, limit=limit)
    return json_response({"reviews": [told_of(each) for each in page.reviews], "next": page.next, "audit": page.audit})


@reviews_router.post("/{review}:decide", response_model=ReviewItem)
async def decide(
    request: Request,
    review: UUID,
    body: ReviewDecision,
    services: ServicesDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Decide about a value: it goes with the next sweep, or is kept until a day. The last decision counts."""

    async def run(on_commit: SaveResponse | None) -> Review:
        how = {"decision": body.decision, "until": body.until, "reason": body.reason}
        return await decide_review(services, caller, review, **how, on_commit=on_commit)  # type: ignore[arg-type]

    return await respond_once(services, caller, request, idempotency_key, "decide-review", run, _told)


def told_of(review: Review) -> dict[str, Any]:
    """Write a review."""
    return {
        "id": review.id,
        "subject": review.subject,
        "record": review.record,
        "field": review.name,
        "kind": review.kind,
        "state": review.state,
        "ended_on": review.ended_on,
        "keep_until": review.keep_until,
        "created_at": moment(review.created_at),
        "decided_at": moment(review.decided_at),
        "decided_by": review.decided_by,
    }


def _told(review: Review) -> StoredResponse:
    return StoredResponse(200, told_of(review))


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
    responses={200: {"model": EventTold}, **error_responses(409)},
)
async def record(
    request: Request,
    subject: UUID,
    body: NewEvent,
    services: ServicesDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Record that a contract, a claim or the relationship began or ended. A clock never goes back (then 200)."""

    async def run(on_commit: SaveResponse | None) -> Recorded:
        return await record_event(services, caller, SubjectId(subject), body.event, body.on, on_commit=on_commit)

    return await respond_once(services, caller, request, idempotency_key, "record-event", run, _told_relationship)


@router.get("/subjects/{subject}/relationship", response_model=RelationshipTold)
async def relationship(subject: UUID, services: ServicesDep, caller: CallerDep) -> Response:
    """Tell how a person stands to the company: prospect, customer or former, and since when."""
    found = await relationship_of(services, caller, SubjectId(subject))
    return json_response({"subject": found.subject, **found.stand._asdict(), "audit": found.audit})


def _told_relationship(recorded: Recorded) -> StoredResponse:
    return StoredResponse(201 if recorded.created else 200, {"event": recorded.event, "on": recorded.on})
