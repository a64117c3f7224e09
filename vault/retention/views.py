"""Views of retention: why a value is kept, reviews, events, and the relationship of a subject to the company.

Days are included: a value that is kept until a day is still there on it.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, WithJsonSchema

from vault.catalogue.retention import Relationship, Since
from vault.catalogue.retention_actions import RETAINING, THEN_DESCRIPTION
from vault.retention.clocks import Event
from vault.views import Moment, View

NO_END = "Null: no end yet."
OWN_STATES = ("kept", "over", "demanded", "held")

ReviewState = Literal["open", "keep", "erase"]
ReviewKind = Annotated[str, WithJsonSchema({"type": "string", "enum": [action.name for action in RETAINING]})]
ValueState = Annotated[
    str, WithJsonSchema({"type": "string", "enum": [*OWN_STATES, *(action.state for action in RETAINING)]})
]
Then = Annotated[str, Field(description=f"What happens after it: {THEN_DESCRIPTION}")]


class RetentionGround(View):
    """Why a value is kept."""

    ground: Annotated[str, Field(description="The purpose; or `reviewed`, because a review keeps the value.")]
    until: Annotated[date | None, Field(description=f"The last day. {NO_END}")]
    least: Annotated[date | None, Field(description="The last day on which a law demands it.")]
    since: Annotated[Since | None, Field(description="What the period counts from.")]
    counted_from: Annotated[date | None, Field(description="Which day that was. Null: it has not come.")]
    period: Annotated[str | None, Field(description="How long, as an ISO 8601 duration.")]
    lost: Annotated[bool, Field(description="Whether the ground itself ended before its period.")]
    then: Then
    views: Annotated[tuple[str, ...], Field(description="As which views it needs the field. Empty: all.")]
    law: Annotated[str | None, Field(description="The law that demands the value.")]
    article: Annotated[str | None, Field(description="The article that sets the period.")]
    reason: Annotated[str | None, Field(description="Why the period is that long.")]


class InactivePurpose(View):
    """A purpose that needs the field and does not keep the value."""

    purpose: str
    why: Annotated[
        Literal["consent-missing", "not-in-force", "ended", "not-brought-about"],
        Field(
            description="There was never a consent; the purpose is still to come; its ground ended without covering a "
            "day of the value; or it is a law that does not concern the subject."
        ),
    ]
    until: Annotated[date | None, Field(description="The last day on which it did apply.")] = None


class RetentionLimit(View):
    """What ends a value earlier, for all purposes."""

    name: str
    until: Annotated[date | None, Field(description=f"The last day that it allows. {NO_END}")]
    since: Since
    period: Annotated[str, Field(description="How long, as an ISO 8601 duration.")]
    then: Then
    article: str | None
    reason: str


class CoveringHold(View):
    """A legal hold that covers the value."""

    id: UUID
    purpose: str
    also_for: tuple[str, ...]


class RetentionReview(View):
    """A value whose retention has ended and that is kept until a person decides about it."""

    id: UUID
    subject: UUID
    record: UUID
    field: Annotated[str, Field(examples=["health_note.text"], description="With the view, if it was generalised.")]
    kind: Annotated[ReviewKind, Field(description="Why it is there: to be decided about, or stored and not used.")]
    state: Annotated[ReviewState, Field(description="`erase`: it goes with the next sweep.")]
    ended_on: Annotated[date, Field(description="The last day on which it was shown.")]
    keep_until: Annotated[date | None, Field(description="The last day for which a decision keeps it.")]
    created_at: Moment
    decided_at: Moment | None
    decided_by: Annotated[
        UUID | None, Field(description="The principal. Null: at the command line, or not decided yet.")
    ]


class RetentionReviewPage(View):
    """Reviews, the oldest first."""

    reviews: list[RetentionReview]
    next: Annotated[UUID | None, Field(description="The cursor of the next page. Null: this is the last one.")]
    audit: Annotated[UUID, Field(description="The audit entry of this answer.")]


class RetainedValue(View):
    """One value: its record, until when it is there, and why."""

    record: Annotated[UUID, Field(description="The record; for the profile, the subject's id.")]
    form: Annotated[str | None, Field(description="The view to which it was generalised.")]
    starts: Annotated[date, Field(description="The day from which it counts.")]
    collected: date | None
    source: str | None
    served_until: Annotated[date | None, Field(description=f"The last day on which it is shown. {NO_END}")]
    until: Annotated[
        date | None,
        Field(description=f"The last day on which it is there; a hold or a review may keep it longer. {NO_END}"),
    ]
    by: Annotated[str, Field(description="What decides that: a purpose, a limit, or the like.")]
    then: Then
    state: Annotated[ValueState, Field(description="How it is today.")]
    grounds: list[RetentionGround]
    idle: list[InactivePurpose]
    limits: list[RetentionLimit]
    holds: list[CoveringHold]
    review: RetentionReview | None


class RetentionExplanation(View):
    """Until when the values of a field are kept, and why; the newest record first."""

    subject: UUID
    field: str
    today: date
    relationship: Relationship
    values: list[RetainedValue]
    more: Annotated[bool, Field(description="Whether there are older records that this answer leaves out.")]
    audit: Annotated[UUID, Field(description="The audit entry of this answer.")]


class RetentionEvent(View):
    """An event, and the day of its clock: a later day, if one was recorded before."""

    event: Event
    on: date
    moved: Annotated[bool, Field(description="Whether the clock was moved; it never goes back.")]


class SubjectRelationship(View):
    """The relationship of a subject to the company today, and the clocks from which periods of retention count."""

    subject: UUID
    state: Relationship
    since: Annotated[date | None, Field(description="Null for a customer: the last order is kept, not the first.")]
    last_contact: Annotated[date | None, Field(description="The last order or message.")]
    until: Annotated[date | None, Field(description="A customer's last day as such, if there is no further contact.")]
    running: Annotated[list[Literal["contract", "claim"]], Field(description="What has begun and not ended.")]
    records: Annotated[dict[str, date], Field(description="By collection, the day of the newest record there was.")]
    events: Annotated[dict[Event, date], Field(description="The day of each event.")]
    audit: Annotated[UUID, Field(description="The audit entry of this answer.")]
