"""The bodies of requests about subjects and records. Unknown keys are errors, so that a typo is noticed."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

Purpose = Annotated[
    str,
    Field(max_length=64, description="A purpose of purposes.toml.", examples=["order-fulfilment"]),
]
Source = Annotated[
    str | None, Field(max_length=64, description="Where the values come from, such as a form.", examples=["web-order"])
]
FieldNames = Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=200)]
Profile = Annotated[dict[str, Any], Field(examples=[{"name": "Ada Lovelace", "email": "ada@example.org"}])]
ExternalIds = Annotated[dict[str, Any], Field(max_length=20, examples=[{"shop": "4711"}])]


class Body(BaseModel):
    """The base of all request bodies."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class NewSubject(Body):
    """A customer to create or, by external id, to update."""

    profile: Profile
    external_ids: ExternalIds = {}
    source: Source = None
    purpose: Purpose
    returning: Annotated[
        bool, Field(description="Whether a person who was erased earlier has come back by their own choice.")
    ] = False


class NewRecord(Body):
    """A record to append."""

    fields: Annotated[dict[str, Any], Field(examples=[{"amount": "12.90", "currency": "EUR"}])]
    external_id: Annotated[str | None, Field(max_length=200)] = None
    occurred_at: AwareDatetime | None = None
    expires_at: AwareDatetime | None = None
    source: Source = None
    purpose: Purpose


class ListRequest(Body):
    """Fields of a collection's records to show."""

    fields: FieldNames
    purpose: Purpose
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: Annotated[str | None, Field(max_length=64, description="`next` of the page before.")] = None


class SearchRequest(Body):
    """Criteria of a search, and the fields to show of each match."""

    match: Annotated[dict[str, Any], Field(min_length=1, max_length=5, examples=[{"email": "ada@example.org"}])]
    fields: FieldNames = []
    purpose: Purpose
    limit: Annotated[int, Field(ge=1, le=100)] = 20


class ExplainRequest(Body):
    """A decision to explain."""

    fields: Annotated[FieldNames, Field(min_length=1)]
    purpose: Purpose
    action: Literal["read", "write", "search"] = "read"
    subject: UUID | None = None
    roles: Annotated[
        list[Annotated[str, Field(max_length=64)]] | None,
        Field(max_length=20, description="Explain for these roles instead of the caller's; needs a permission."),
    ] = None


class MergeRequest(Body):
    """Two entries of one person, and how that is known."""

    survivor: Annotated[UUID, Field(description="The id that stays.")]
    duplicate: Annotated[UUID, Field(description="The id that will lead to the other.")]
    evidence: Annotated[
        str,
        Field(
            max_length=500,
            description="Why they are the same person; stored sealed in the audit log.",
            examples=["ticket 4711: the customer confirmed both accounts by telephone"],
        ),
    ]
