"""Request bodies of legal holds."""

from __future__ import annotations

from datetime import date
from typing import Annotated
from uuid import UUID

from pydantic import Field

from vault.api.schemas.subjects import Body, Purpose

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
