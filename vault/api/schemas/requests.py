"""The bodies of requests of people about their data, and of their answers."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field

from vault.api.schemas.subjects import Body
from vault.catalogue.requests import KindName
from vault.requests.decide import Outcome, Reason
from vault.requests.model import How, Level, Move, Regime, State

Note = Annotated[str | None, Field(max_length=2000, description="Why: one line of up to 500 characters; it is sealed.")]
Names = Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=100)]


class Scope(Body):
    """What a request is about; nothing named: everything."""

    fields: Names = Field([], examples=[["profile.phone"]])
    collections: Names = Field([])
    purposes: Names = Field([])


class Identity(Body):
    """Whom a person claims to be: an e-mail address that the vault may hold, or ids in other systems."""

    email: Annotated[str | None, Field(max_length=320, examples=["ada@example.org"])] = None
    external_id: Annotated[dict[str, Any] | None, Field(max_length=20, examples=[{"shop": "4711"}])] = None


class NewRequest(Body):
    """A request of a person about their own data."""

    kind: KindName
    subject: Annotated[UUID | None, Field(description="The person's id; or else `identity`.")] = None
    identity: Annotated[
        Identity | None, Field(description="Answered alike, whether or not there is such a person.")
    ] = None
    regime: Annotated[Regime, Field(description="Whose rules and deadlines count.")] = "gdpr"
    jurisdiction: Annotated[
        str | None,
        Field(max_length=10, description="Whose public holidays count: ISO 3166.", examples=["DE-BY"]),
    ] = None
    language: Annotated[str | None, Field(max_length=10, description="In which the person is answered.")] = None
    channel: Annotated[str | None, Field(max_length=64, description="Where it came in.", examples=["web"])] = None
    scope: Scope = Scope()
    details: dict[str, Any] = Field({}, description="What the person says; sealed under their key.")
    received_at: Annotated[
        AwareDatetime | None, Field(description="When it reached you, within the last 60 days; now by default.")
    ] = None
    follows: Annotated[UUID | None, Field(description="An earlier request of theirs that this takes up again.")] = None


class Submitted(BaseModel):
    """What became of it."""

    id: UUID
    state: State
    due: date
    due_rule: str
    internal_due: date
    duplicate_of: UUID | None = None


class NoteOnly(Body):
    """A note, if any."""

    note: Note = None


class Rejection(Body):
    """Why a request is refused."""

    ground: Annotated[str, Field(max_length=64, description="One that the law gives.", examples=["legal-obligation"])]
    note: Note = None


class Extending(Body):
    """Why it takes longer."""

    reason: Reason
    note: Note = None


class Completion(Body):
    """How a review ended."""

    outcome: Outcome
    note: Note = None


class Contact(BaseModel):
    """A supervisory authority."""

    name: str
    url: str | None = None
    email: str | None = None
    address: str | None = None
    phone: str | None = None


class Remedies(BaseModel):
    """What somebody can do whose request was refused."""

    complaint: str
    authority: Contact | None
    court: str


class Verified(BaseModel):
    """How somebody has shown to be the person."""

    how: How
    level: Level
    at: datetime
    by: UUID | None = None
    contact: str | None = None


class Moved(BaseModel):
    """One event of a request's history."""

    number: int
    at: datetime
    move: Move
    before: State | None
    after: State
    by: UUID | None
    by_name: str | None
    code: str | None
    note: str | None


class Shown(BaseModel):
    """A request. What an app may not see of a request that it brought in itself is left out."""

    id: UUID
    kind: KindName
    state: State
    regime: Regime
    jurisdiction: str
    received_at: datetime
    due: date
    due_rule: str
    internal_due: date
    days_left: Annotated[int | None, Field(description="Until `due`; null where the clock does not run.")]
    suspended: bool
    extended: bool
    language: str
    channel: str | None
    scope: dict[str, list[str]]
    ground: str | None
    outcome: str | None
    closed_at: datetime | None
    remedies: Remedies | None = None
    subject: UUID | None = None
    recorder: UUID | None = None
    verification: Verified | None = None
    approvals: list[dict[str, Any]] | None = None
    approval: Annotated[
        Literal["automatic", "review", "four-eyes"] | None, Field(description="Who approves, by the rules in force.")
    ] = None
    duplicate_of: UUID | None = None
    follows: UUID | None = None
    package: UUID | None = None
    erasure: UUID | None = None
    results: list[UUID] | None = None


class ShownWhole(Shown):
    """A request with its history and what was written about it."""

    details: dict[str, Any] | None = None
    history: list[Moved] | None = None
    audit: UUID


class RequestPage(BaseModel):
    """Some requests, the most urgent first."""

    requests: list[Shown]
    next: str | None
    audit: UUID
