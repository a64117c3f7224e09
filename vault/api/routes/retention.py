"""Routes of retention: explanations, reviews, events, and the relationship of a subject to the company."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from vault.api.dependencies import CallerDep, ServicesDep, StoredResponse, respond_once
from vault.api.responses import error_responses
from vault.api.routes.subjects import IdempotencyKey
from vault.api.schemas.retention import NewRetentionEvent, ReviewDecision
from vault.ids import SubjectId
from vault.retention.events import record_event, show_relationship
from vault.retention.explain import explain_retention
from vault.retention.reviews import MOST, decide_review, list_reviews
from vault.retention.views import (
    RetentionEvent,
    RetentionExplanation,
    RetentionReview,
    RetentionReviewPage,
    ReviewState,
    SubjectRelationship,
)

if TYPE_CHECKING:
    from vault.access.recording import SaveResponse

router = APIRouter(prefix="/v1", tags=["retention"])
reviews_router = APIRouter(prefix="/v1/retention/reviews", tags=["retention"])

STATES: dict[str, tuple[ReviewState, ...]] = {
    "open": ("open",),
    "decided": ("keep", "erase"),
    "all": ("open", "keep", "erase"),
}


@router.get("/subjects/{subject}/retention", operation_id="explainRetention")
async def explain(
    subject: UUID,
    services: ServicesDep,
    caller: CallerDep,
    field: Annotated[str, Query(max_length=130, description="A field's name.", examples=["birth_date"])],
    record: Annotated[UUID | None, Query(description="Only this record.")] = None,
) -> RetentionExplanation:
    """Explain until when a field of a subject is kept, why, and what happens then. No value is opened."""
    return await explain_retention(services, caller, SubjectId(subject), field, record)


@reviews_router.get("", operation_id="listRetentionReviews")
async def index(
    services: ServicesDep,
    caller: CallerDep,
    state: Annotated[Literal["open", "decided", "all"], Query()] = "open",
    after: Annotated[UUID | None, Query(description="`next` of the previous page.")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST)] = 50,
) -> RetentionReviewPage:
    """List values whose retention has ended and that wait for a decision, or about which one was made."""
    return await list_reviews(services, caller, states=STATES[state], after=after, limit=limit)


@reviews_router.post("/{review}:decide", operation_id="decideRetentionReview", response_model=RetentionReview)
async def decide(
    request: Request,
    review: UUID,
    body: ReviewDecision,
    services: ServicesDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Decide about a value: it goes with the next sweep, or is kept until a day. The last decision counts."""

    async def run(on_commit: SaveResponse | None) -> RetentionReview:
        return await decide_review(
            services,
            caller,
            review,
            decision=body.decision,
            until=body.until,
            reason=body.reason,
            on_commit=on_commit,
        )

    return await respond_once(
        services, caller, request, idempotency_key, "decide-review", run, lambda view: StoredResponse(200, view)
    )


@router.post(
    "/subjects/{subject}/retention-events",
    operation_id="recordRetentionEvent",
    status_code=201,
    response_model=RetentionEvent,
    responses={200: {"model": RetentionEvent}, **error_responses(409)},
)
async def record(
    request: Request,
    subject: UUID,
    body: NewRetentionEvent,
    services: ServicesDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Record that a contract, a claim or the relationship began or ended. A clock never goes back (then 200)."""

    async def run(on_commit: SaveResponse | None) -> RetentionEvent:
        return await record_event(services, caller, SubjectId(subject), body.event, body.on, on_commit=on_commit)

    return await respond_once(
        services,
        caller,
        request,
        idempotency_key,
        "record-event",
        run,
        lambda event: StoredResponse(201 if event.moved else 200, event),
    )


@router.get("/subjects/{subject}/relationship", operation_id="showRelationship")
async def relationship(subject: UUID, services: ServicesDep, caller: CallerDep) -> SubjectRelationship:
    """Show the relationship of a subject to the company: prospect, customer or former, and since when."""
    return await show_relationship(services, caller, SubjectId(subject))
