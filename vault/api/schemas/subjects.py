"""The bodies of requests, as the OpenAPI document shows them. Unknown keys are refused: typos show."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

Purpose = Annotated[
    str,
    Field(max_length=64, description="Why: a purpose of purposes.toml.", examples=["order-fulfilment"]),
]
Source = Annotated[
    str | None, Field(max_length=64, description="Where the values come from, such as a form.", examples=["web-order"])
]
FieldNames = Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=200)]
Profile = Annotated[dict[str, Any], Field(examples=[{"name": "Ada Lovelace", "email": "ada@example.org"}])]
ExternalIds = Annotated[dict[str, Any], Field(max_length=20, examples=[{"shop": "4711"}])]


class Body(BaseModel):
    """What all bodies share."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class NewSubject(Body):
    """A customer to be created or, by external id, brought up to date."""

    profile: Profile
    external_ids: ExternalIds = {}
    source: Source = None
    purpose: Purpose
    returning: Annotated[
        bool, Field(description="Somebody who was erased earlier has come back by themselves: no conflict, then.")
    ] = False


class NewRecord(Body):
    """A record to be appended."""

    fields: Annotated[dict[str, Any], Field(examples=[{"amount": "12.90", "currency": "EUR"}])]
    external_id: Annotated[str | None, Field(max_length=200)] = None
    occurred_at: AwareDatetime | None = None
    expires_at: AwareDatetime | None = None
    source: Source = None
    purpose: Purpose


class RecordsAsk(Body):
    """Which fields of a collection's records to show."""

    fields: FieldNames
    purpose: Purpose
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: Annotated[str | None, Field(max_length=64, description="`next` of the page before.")] = None


class SearchAsk(Body):
    """Whom to find and what to show of them."""

    match: Annotated[dict[str, Any], Field(min_length=1, max_length=5, examples=[{"email": "ada@example.org"}])]
    fields: FieldNames = []
    purpose: Purpose
    limit: Annotated[int, Field(ge=1, le=100)] = 20


class ExplainAsk(Body):
    """What to explain."""

    fields: Annotated[FieldNames, Field(min_length=1)]
    purpose: Purpose
    action: Literal["read", "write", "search"] = "read"
    subject: UUID | None = None
    roles: Annotated[
        list[Annotated[str, Field(max_length=64)]] | None,
        Field(max_length=20, description="Explain for these roles instead of the caller's; needs the right to it."),
    ] = None


class Refused(BaseModel):
    """Why a field was not shown."""

    code: str
    detail: str
    rule: str


class Fault(BaseModel):
    """One thing wrong with a request."""

    at: Annotated[str, Field(description="JSON pointer (RFC 6901)")]
    code: str
    detail: str


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    hint: str | None = None
    denied: dict[str, Refused] | None = None
    errors: list[Fault] | None = None
    audit: UUID | None = None
    merged_into: Annotated[UUID | None, Field(description="The id that stands for this person now.")] = None
    request_id: str | None = None


class ReadResult(BaseModel):
    """What was shown of one subject, and why the rest was not."""

    subject: UUID
    fields: dict[str, Any]
    denied: dict[str, Refused]
    audit: UUID | None = None


class SearchResult(BaseModel):
    """Who was found."""

    results: list[ReadResult]
    more: bool
    audit: UUID


class Written(BaseModel):
    """The id and revision of what was written."""

    id: UUID
    revision: int


class SubjectState(BaseModel):
    """That a subject is there."""

    id: UUID
    state: str
    revision: int


class RecordShown(BaseModel):
    """One record as shown."""

    id: UUID
    revision: int
    occurred_at: datetime | None
    created_at: datetime
    fields: dict[str, Any]
    denied: dict[str, Refused]


class RecordPage(BaseModel):
    """Records, newest first."""

    results: list[RecordShown]
    denied: dict[str, Refused]
    next: str | None
    audit: UUID


class Explained(BaseModel):
    """The answer for one field."""

    allowed: bool
    step: int
    code: str
    detail: str
    rule: str


class Explanation(BaseModel):
    """The answer for all fields."""

    fields: dict[str, Explained]
    policy_version: str
    audit: UUID
