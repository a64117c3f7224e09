"""The bodies of requests about corrected, disputed and confirmed values, and of their answers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from vault.api.schemas.consent import Reason
from vault.api.schemas.subjects import Body, Purpose

Fields = Annotated[
    list[Annotated[str, Field(max_length=200)]],
    Field(min_length=1, max_length=100, description="Fields of the profile.", examples=[["email"]]),
]


class NewDispute(Body):
    """Which values the person says are wrong."""

    fields: Fields
    statement: Annotated[
        str, Field(max_length=500, description="What the person says: one line, sealed under their own key.")
    ]
    restrict: Annotated[bool, Field(description="Restrict the person's data until it is decided (Art. 18(1)(a)).")] = (
        False
    )


class Disputed(BaseModel):
    """The dispute of each field, and how the person's data stands."""

    disputes: dict[str, UUID]
    state: str


class Verdict(Body):
    """How a dispute is decided: upheld, the value is wrong; refused, it is right."""

    decision: Literal["upheld", "refused"]
    reason: Reason


class Resolved(BaseModel):
    """The dispute that was decided."""

    id: UUID
    state: str


class Checked(Body):
    """Values that were checked now and are right."""

    fields: Fields
    purpose: Purpose


class Rectification(BaseModel):
    """A value that was corrected or is disputed, or a statement of the person's; never what the value was or is."""

    id: UUID
    request: UUID | None
    collection: str
    record: UUID
    field: Annotated[str, Field(description="`*` for a statement about no field in particular.")]
    state: Literal["corrected", "stated", "disputed", "upheld", "refused"]
    at: datetime
    closed_at: datetime | None
    statement: str | None
    reason: str | None


class RectificationPage(BaseModel):
    """Some of them, the oldest first, and where to go on."""

    results: list[Rectification]
    next: str | None
    audit: UUID
