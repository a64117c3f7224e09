"""Objections, restrictions, disputes and verified values (Arts. 16, 18 and 21 GDPR)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import Field

from vault.access.recording import WriteResult
from vault.api.dependencies import CallerDep, ServicesDep, WriteDep
from vault.api.schemas import Body, Cursor, Limit, Purpose, Reason, error_responses, router_of
from vault.consent import restrictions
from vault.consent.views import LiftAnnouncement, RecordedEvent
from vault.ids import SubjectId
from vault.letters.about_requests import announce_lifting
from vault.rectification.accuracy import (
    DecidedDispute,
    Disputes,
    RectificationPage,
    dispute,
    list_rectifications,
    resolve_dispute,
    verify_values,
)
from vault.views import View

router = router_of("objections", prefix="/v1/subjects/{subject}")
rectification_router = router_of("rectification", prefix="/v1/subjects/{subject}")

Route = Callable[..., Awaitable[Response]]


def _creates(on: APIRouter, path: str, operation_id: str, view: type[View]) -> Callable[[Route], Route]:
    """Declare a route that records something about a person and answers 201 with what it recorded."""
    return on.post(
        path, status_code=201, operation_id=operation_id, response_model=view, responses=error_responses(409)
    )


Fields = Annotated[
    list[Annotated[str, Field(max_length=200)]],
    Field(min_length=1, max_length=100, description="Fields of the profile.", examples=[["email"]]),
]


class NewObjection(Body):
    """The purpose that a person objects to."""

    purpose: Purpose
    reason: Reason | None = None


class ObjectionDecision(Body):
    """The decision on an objection."""

    decision: Literal["upheld", "overruled"]
    reason: Reason


class NewRestriction(Body):
    """Why a person's data is restricted (Art. 18(1)(a) to (d) GDPR)."""

    ground: Literal["accuracy", "unlawful", "claims", "objection"]
    reason: Reason | None = None


class AnnounceLift(Body):
    """How the person was informed that the restriction will be lifted. Without it, a letter is sent to them."""

    told: Annotated[
        str | None,
        Field(max_length=500, description="How, such as `by post`: one line; sealed.", examples=["by post"]),
    ] = None


class Lift(Body):
    """Why a restriction is lifted."""

    reason: Reason | None = None


class NewDispute(Body):
    """The values that the person disputes."""

    fields: Fields
    statement: Annotated[
        str, Field(max_length=500, description="What the person says: one line, sealed under their own key.")
    ]
    restrict: Annotated[bool, Field(description="Restrict the person's data until it is decided (Art. 18(1)(a)).")] = (
        False
    )


class Verdict(Body):
    """The decision of a dispute: upheld if the value is wrong, refused if it is right."""

    decision: Literal["upheld", "refused"]
    reason: Reason


class VerifiedFields(Body):
    """Values that were checked now and are accurate."""

    fields: Fields
    purpose: Purpose


@_creates(router, "/objections", "recordObjection", RecordedEvent)
async def record_objection(subject: UUID, body: NewObjection, write: WriteDep) -> Response:
    """Record that a person objects: final at once against direct marketing; otherwise pending, and use stops."""
    return await write.once(restrictions.record_objection, SubjectId(subject), purpose=body.purpose, reason=body.reason)


@_creates(router, "/objections/{event}:decide", "decideObjection", RecordedEvent)
async def decide_objection(subject: UUID, event: UUID, body: ObjectionDecision, write: WriteDep) -> Response:
    """Decide an objection: upheld, use stays stopped; overruled, it may go on. The reason is recorded, sealed."""
    return await write.once(
        restrictions.decide_objection,
        SubjectId(subject),
        event,
        decision=body.decision,
        reason=body.reason,
    )


@_creates(router, "/restriction", "restrictProcessing", RecordedEvent)
async def restrict(subject: UUID, body: NewRestriction, write: WriteDep) -> Response:
    """Restrict a person's data: it is stored, and used only where an exception of Art. 18(2) applies."""
    return await write.once(restrictions.restrict, SubjectId(subject), ground=body.ground, reason=body.reason)


@_creates(router, "/restriction:announce", "announceRestrictionLift", LiftAnnouncement)
async def announce(subject: UUID, body: AnnounceLift, write: WriteDep) -> Response:
    """Inform the person, by letter, that the restriction will be lifted; or record how they were informed."""
    return await write.once(announce_lifting, SubjectId(subject), told=body.told)


@_creates(router, "/restriction:lift", "liftRestriction", RecordedEvent)
async def lift(subject: UUID, body: Lift, write: WriteDep) -> Response:
    """Lift the restriction, once the person was informed and the notice period is over (Art. 18(3))."""
    return await write.once(restrictions.lift_restriction, SubjectId(subject), reason=body.reason)


@_creates(rectification_router, "/disputes", "disputeFields", Disputes)
async def dispute_fields(subject: UUID, body: NewDispute, write: WriteDep) -> Response:
    """Note that the person disputes values; optionally their data is restricted until that is decided."""
    return await write.once(dispute, SubjectId(subject), **dict(body))


@_creates(rectification_router, "/disputes/{dispute}:resolve", "resolveDispute", DecidedDispute)
async def resolve(subject: UUID, dispute: UUID, body: Verdict, write: WriteDep) -> Response:
    """Decide a dispute. A wrong value is corrected by another call."""
    return await write.once(
        resolve_dispute,
        SubjectId(subject),
        dispute,
        verdict=body.decision,
        reason=body.reason,
    )


@rectification_router.post(
    "/fields:verify", operation_id="verifyFields", response_model=WriteResult, responses=error_responses(409)
)
async def verify(subject: UUID, body: VerifiedFields, write: WriteDep) -> Response:
    """Note that values of the profile were checked now and are accurate."""
    return await write.once(verify_values, SubjectId(subject), fields=body.fields, purpose=body.purpose)


@rectification_router.get("/rectifications", operation_id="listRectifications")
async def list_all(
    subject: UUID, services: ServicesDep, caller: CallerDep, cursor: Cursor = None, limit: Limit = 50
) -> RectificationPage:
    """List corrections, statements and disputes, the oldest first; the values stay sealed."""
    return await list_rectifications(services, caller, SubjectId(subject), cursor=cursor, limit=limit)
