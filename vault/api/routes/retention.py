"""Retention: until when a person's values are kept, on which grounds, and what happens then."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from vault.api.answers import answer
from vault.api.doors import Rooms, SignedIn
from vault.catalogue.retention import Relationship, Since
from vault.ids import SubjectId
from vault.retention.explain import why
from vault.retention.why_shapes import State

if TYPE_CHECKING:
    from vault.retention.reviews import Review
    from vault.retention.why_shapes import Kept

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
    state: State
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
    house: Rooms,
    caller: SignedIn,
    field: Annotated[str, Query(max_length=130, description="A field's name.", examples=["birth_date"])],
    record: Annotated[UUID | None, Query(description="Only this record.")] = None,
) -> Response:
    """Tell until when a field of a person is kept, on which grounds, and what happens then. No value is opened."""
    found = await why(house, caller, SubjectId(subject), field, record)
    return answer({**found._asdict(), "values": [as_json(each) for each in found.values]})


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
