"""The bodies of legal holds, as the OpenAPI document shows them."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field

from vault.api.schemas.subjects import Body, Purpose

Reference = Annotated[
    str,
    Field(
        max_length=80,
        description="Printable ASCII: a file number, a department. Nobody's name: it is kept in clear.",
        examples=["LG-2026-0815"],
    ),
]
Purposes = Annotated[
    tuple[Annotated[str, Field(max_length=64)], ...],
    Field(max_length=50, description="Purposes that go on with what is held.", examples=[["accounting"]]),
]
People = Annotated[tuple[UUID, ...], Field(max_length=10_000, description="Whom it covers.")]


class NewHold(Body):
    """A hold to be placed."""

    matter: Reference
    owner: Annotated[Reference, Field(description="Who answers for it, as a reference.", examples=["legal-dept"])]
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
    review_on: Annotated[date, Field(description="When somebody looks whether it is needed still.")]


class HoldChange(Body):
    """What is to be changed of a hold; what is left out stays as it is."""

    owner: Reference | None = None
    review_on: date | None = None
    also_for: Purposes | None = None
    add_subjects: People = ()
    remove_subjects: People = ()


class Lifting(Body):
    """Why a hold is lifted."""

    reason: Annotated[Reference, Field(description="Why, as a reference.", examples=["judgment-of-2027-03-01"])]


class Hold(Body):
    """A hold."""

    id: UUID
    state: Annotated[str, Field(description="`active` or `lifted`.")]
    matter: str
    owner: str
    purpose: str
    also_for: list[str]
    fields: list[str]
    since: date | None
    until: date | None
    review_on: date
    people: Annotated[int, Field(description="How many people it covers, or covered when it was lifted.")]
    placed_at: datetime
    lifted_at: datetime | None
    reason: Annotated[str | None, Field(description="Why it was lifted.")]


class HoldShown(Hold):
    """A hold, and whom it covers."""

    subjects: list[UUID]


class HoldPage(Body):
    """Some holds, the next due for review first; `next` is the cursor of the page after."""

    holds: list[Hold]
    next: UUID | None
