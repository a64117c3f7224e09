"""Reviews: values whose time is up and of which somebody has to say whether they go."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from vault.access.recording import Keep
from vault.api.answers import answer, moment
from vault.api.dependencies import Told, once
from vault.api.doors import Rooms, SignedIn
from vault.api.routes.subjects import IdempotencyKey
from vault.api.schemas.common import Body
from vault.retention.retention_reviews import MOST, Decision, Reason, decide_review, list_reviews
from vault.retention.reviews import Kind, Review, State

router = APIRouter(prefix="/v1/retention/reviews", tags=["retention"])

STATES: dict[str, tuple[State, ...]] = {
    "open": ("open",),
    "decided": ("keep", "erase"),
    "all": ("open", "keep", "erase"),
}


class ReviewTold(BaseModel):
    """One value whose time is up."""

    id: UUID
    subject: UUID
    record: UUID
    field: Annotated[str, Field(examples=["health_note.text"], description="With the view, if it was generalised.")]
    kind: Annotated[Kind, Field(description="Why it is there: to be decided about, or stored and not used.")]
    state: Annotated[State, Field(description="`erase`: it goes with the next sweep.")]
    ended_on: Annotated[date, Field(description="The last day on which it was shown.")]
    keep_until: date | None
    created_at: datetime
    decided_at: datetime | None
    decided_by: Annotated[UUID | None, Field(description="The principal; null: at the command line, or nobody yet.")]


class ReviewsTold(BaseModel):
    """Reviews, the oldest first."""

    reviews: list[ReviewTold]
    next: UUID | None
    audit: UUID


class ReviewDecision(Body):
    """What becomes of the value."""

    decision: Decision
    until: Annotated[
        date | None, Field(description="With `keep`: the last day, in UTC; it is looked at again then.")
    ] = None
    reason: Annotated[Reason | None, Field(description="With `keep`: why.")] = None


@router.get("", response_model=ReviewsTold)
async def reviews(
    house: Rooms,
    caller: SignedIn,
    state: Annotated[Literal["open", "decided", "all"], Query()] = "open",
    after: Annotated[UUID | None, Query(description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST)] = 50,
) -> Response:
    """List values whose time is up and that wait for a decision; or those of which there is one."""
    page = await list_reviews(house, caller, states=STATES[state], after=after, limit=limit)
    return answer({"reviews": [told_of(each) for each in page.reviews], "next": page.next, "audit": page.audit})


@router.post("/{review}:decide", response_model=ReviewTold)
async def decide(
    request: Request,
    review: UUID,
    body: ReviewDecision,
    house: Rooms,
    caller: SignedIn,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Decide about a value: it goes with the next sweep, or is kept until a day. The last decision counts."""

    async def run(keep: Keep | None) -> Review:
        how = {"decision": body.decision, "until": body.until, "reason": body.reason}
        return await decide_review(house, caller, review, **how, keep=keep)  # type: ignore[arg-type]

    return await once(house, caller, request, idempotency_key, "decide-review", run, _told)


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


def _told(review: Review) -> Told:
    return Told(200, told_of(review))
