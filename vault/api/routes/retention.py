"""Retention: explanations, reviews, events, sweeps and their preview; and legal holds."""

from __future__ import annotations

from datetime import date
from functools import partial
from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import Query, Response
from pydantic import BaseModel, Field

from vault.api.dependencies import CallerDep, ServicesDep, StoredResponse, WriteDep
from vault.api.schemas import Body, Limit, PageId, Purpose, error_responses, router_of
from vault.holds.manage import PAGE_LIMIT as MOST_HOLDS
from vault.holds.manage import HoldChanges, HoldDraft, Which, change_hold, lift_hold, list_holds, place_hold, show_hold
from vault.holds.views import Hold, HoldDetails, HoldPage
from vault.ids import SubjectId
from vault.retention.clocks import Event
from vault.retention.events import record_event
from vault.retention.explain import explain_retention, show_relationship
from vault.retention.reviews import MOST as MOST_REVIEWS
from vault.retention.reviews import Decision, decide_review, list_reviews
from vault.retention.reviews import Reason as ReviewReason
from vault.retention.views import (
    RetentionEvent,
    RetentionExplanation,
    RetentionReview,
    RetentionReviewPage,
    ReviewState,
    SubjectRelationship,
)
from vault.sweep.query import DAYS, MOST_DAYS, MOST_PEOPLE, PEOPLE, list_sweeps, start_sweep
from vault.sweep.query import preview as preview_retention
from vault.sweep.views import RetentionPreview, Sweep, SweepPage

router = router_of("retention", prefix="/v1")
holds_router = router_of("holds", prefix="/v1/holds")

NO_LONGER_NEEDED: Final = "no-longer-needed"
STATES: Final[dict[str, tuple[ReviewState, ...]]] = {
    "open": ("open",),
    "decided": ("keep", "erase"),
    "all": ("open", "keep", "erase"),
}

Reference = Annotated[
    str,
    Field(
        max_length=80,
        description="Printable ASCII: a file number, a department. No name of a person: it is stored in clear.",
        examples=["LG-2026-0815"],
    ),
]
Purposes = Annotated[
    tuple[Annotated[str, Field(max_length=64)], ...],
    Field(max_length=50, description="Purposes that may go on using what is held.", examples=[["accounting"]]),
]
People = Annotated[tuple[UUID, ...], Field(max_length=10_000, description="The subjects that it covers.")]


class ReviewDecision(Body):
    """A decision about a value whose retention has ended."""

    decision: Decision
    until: Annotated[
        date | None, Field(description="With `keep`: the last day, in UTC; it is reviewed again then.")
    ] = None
    reason: Annotated[ReviewReason | None, Field(description="With `keep`: why.")] = None


class NewRetentionEvent(Body):
    """An event: something began or ended."""

    event: Annotated[Event, Field(description="What began or ended.", examples=["contract-ended"])]
    on: Annotated[date | None, Field(description="The day, in UTC, and not in the future; today by default.")] = None


class PreviewQuery(BaseModel):
    """What a preview covers."""

    days: Annotated[int, Field(ge=0, le=MOST_DAYS, description="0: only what is already over.")] = DAYS
    field: Annotated[str | None, Field(max_length=200, description="Only this field.")] = None
    after: Annotated[UUID | None, Field(description="`next` of the previous answer.")] = None
    limit: Annotated[int, Field(ge=1, le=MOST_PEOPLE, description="Subjects evaluated for one answer.")] = PEOPLE


class NewHold(Body):
    """A hold to be placed."""

    matter: Reference
    owner: Annotated[
        Reference, Field(description="Who is responsible for it, as a reference.", examples=["legal-dept"])
    ]
    purpose: Purpose = "legal-claims"
    also_for: Purposes = ()
    subjects: Annotated[People, Field(min_length=1)]
    fields: Annotated[
        tuple[Annotated[str, Field(max_length=200)], ...],
        Field(
            max_length=200,
            description="Fields and collections; `*` is everything.",
            examples=[["purchase.*", "email"]],
        ),
    ] = ("*",)
    since: Annotated[date | None, Field(description="The first day of the records that it covers.")] = None
    until: Annotated[date | None, Field(description="The last such day.")] = None
    review_on: Annotated[date, Field(description="When to check whether it is still needed.")]


class HoldFilter(BaseModel):
    """Which holds to list."""

    due: Annotated[bool, Field(description="Only active holds whose review is due.")] = False
    state: Annotated[str, Field(pattern="^(active|lifted|all)$", description="`active`, `lifted` or `all`.")] = "active"
    after: Annotated[UUID | None, Field(description="`next` of the previous page.")] = None
    limit: Annotated[int, Field(ge=1, le=MOST_HOLDS)] = 50

    @property
    def which(self) -> Which:
        """Return the state, or ``due``, which is about active holds only."""
        return "due" if self.due else "lifted" if self.state == "lifted" else "all" if self.state == "all" else "active"


class HoldChange(Body):
    """Changes of a hold; a key that is left out changes nothing."""

    owner: Reference | None = None
    review_on: date | None = None
    also_for: Purposes | None = None
    add_subjects: People = ()
    remove_subjects: People = ()


class HoldLifting(Body):
    """The reason for lifting a hold."""

    reason: Annotated[Reference, Field(description="Why, as a reference.", examples=["judgment-of-2027-03-01"])]


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


@router.get("/retention/reviews", operation_id="listRetentionReviews")
async def reviews(
    services: ServicesDep,
    caller: CallerDep,
    state: Annotated[Literal["open", "decided", "all"], Query()] = "open",
    after: PageId = None,
    limit: Annotated[int, Query(ge=1, le=MOST_REVIEWS)] = 50,
) -> RetentionReviewPage:
    """List values whose retention has ended and that wait for a decision, or about which one was made."""
    return await list_reviews(services, caller, states=STATES[state], after=after, limit=limit)


@router.post("/retention/reviews/{review}:decide", operation_id="decideRetentionReview", response_model=RetentionReview)
async def decide(review: UUID, body: ReviewDecision, write: WriteDep) -> Response:
    """Decide about a value: it goes with the next sweep, or is kept until a day. The last decision counts."""
    return await write.once(decide_review, review, decision=body.decision, until=body.until, reason=body.reason)


@router.post(
    "/subjects/{subject}/retention-events",
    operation_id="recordRetentionEvent",
    status_code=201,
    response_model=RetentionEvent,
    responses={200: {"model": RetentionEvent}, **error_responses(409)},
)
async def record(subject: UUID, body: NewRetentionEvent, write: WriteDep) -> Response:
    """Record that a contract, a claim or the relationship began or ended. A clock never goes back (then 200)."""
    run = partial(record_event, write.services, write.caller, SubjectId(subject), body.event, body.on)
    return await write.respond(run, lambda event: StoredResponse(201 if event.moved else 200, event))


@router.get("/subjects/{subject}/relationship", operation_id="showRelationship")
async def relationship(subject: UUID, services: ServicesDep, caller: CallerDep) -> SubjectRelationship:
    """Show the relationship of a subject to the company: prospect, customer or former, and since when."""
    return await show_relationship(services, caller, SubjectId(subject))


@router.get("/retention/due", operation_id="previewRetention")
async def preview(
    query: Annotated[PreviewQuery, Query()], services: ServicesDep, caller: CallerDep
) -> RetentionPreview:
    """Count what ends in the next days by day and field, and what is already over."""
    return await preview_retention(
        services, caller, days=query.days, field=query.field, after=query.after, limit=query.limit
    )


@router.get("/retention/sweeps", operation_id="listSweeps")
async def sweeps(services: ServicesDep, caller: CallerDep, before: PageId = None, limit: Limit = 50) -> SweepPage:
    """List sweeps, the newest first: how far each is, and what it did."""
    return await list_sweeps(services, caller, before=before, limit=limit)


@router.post(
    "/retention/sweeps",
    operation_id="startSweep",
    status_code=202,
    response_model=Sweep,
    responses=error_responses(409),
)
async def start(write: WriteDep) -> Response:
    """Start a sweep as a job; if one is under way, join it."""
    return await write.once(start_sweep)


@holds_router.post("", operation_id="placeHold", status_code=201, response_model=Hold, responses=error_responses(409))
async def place(body: NewHold, write: WriteDep) -> Response:
    """Place a hold. Nothing deletes what it covers, and it is read for the hold's purposes only."""
    draft = HoldDraft(
        matter=body.matter,
        owner=body.owner,
        purpose=body.purpose,
        subjects=[SubjectId(subject) for subject in body.subjects],
        review_on=body.review_on,
        also_for=body.also_for,
        fields=body.fields,
        since=body.since,
        until=body.until,
    )
    return await write.once(place_hold, draft)


@holds_router.get("", operation_id="listHolds")
async def holds(query: Annotated[HoldFilter, Query()], services: ServicesDep, caller: CallerDep) -> HoldPage:
    """List holds, the next due for review first."""
    return await list_holds(services, caller, which=query.which, after=query.after, limit=query.limit)


@holds_router.get("/{hold}", operation_id="showHold")
async def show(hold: UUID, services: ServicesDep, caller: CallerDep) -> HoldDetails:
    """Show a hold and the subjects that it covers; a lifted hold covers none."""
    return await show_hold(services, caller, hold)


@holds_router.patch("/{hold}", operation_id="changeHold", responses=error_responses(409))
async def change(hold: UUID, body: HoldChange, services: ServicesDep, caller: CallerDep) -> Hold:
    """Change the owner of a hold, its review, the purposes that may go on, or the subjects that it covers."""
    changes = HoldChanges(
        owner=body.owner,
        review_on=body.review_on,
        also_for=body.also_for,
        add=[SubjectId(subject) for subject in body.add_subjects],
        remove=[SubjectId(subject) for subject in body.remove_subjects],
    )
    return await change_hold(services, caller, hold, changes)


@holds_router.post("/{hold}:lift", operation_id="liftHold", responses=error_responses(409))
async def lift(hold: UUID, body: HoldLifting, services: ServicesDep, caller: CallerDep) -> Hold:
    """Lift a hold; erasures that waited for it continue by themselves."""
    return await lift_hold(services, caller, hold, reason=body.reason)


@holds_router.delete("/{hold}", operation_id="deleteHold", responses=error_responses(409))
async def delete(hold: UUID, services: ServicesDep, caller: CallerDep) -> Hold:
    """Lift a hold that is no longer needed: `POST /v1/holds/{id}:lift` with the reason `no-longer-needed`."""
    return await lift_hold(services, caller, hold, reason=NO_LONGER_NEEDED)
