"""The bodies of requests about identity and of people's own sessions, and of their answers."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from vault.api.schemas.requests import Identity, Scope, Shown
from vault.api.schemas.subjects import Body
from vault.catalogue.requests import KindName
from vault.requests.model import Level, Move, Regime, State

Evidence = Annotated[
    str, Field(max_length=2000, description="One line of up to 500 characters; sealed under the person's own key.")
]
Code = Annotated[str, Field(max_length=40, description="As it stands in the letter.", examples=["1234 5678"])]
Language = Annotated[str | None, Field(max_length=10, description="Of the letter.", examples=["de"])]


class Vouch(Body):
    """What an app says of a person who is signed in there."""

    level: Annotated[Level, Field(description="`fresh`: the person signed in there within the minutes before.")]
    evidence: Evidence | None = None


class Verify(Body):
    """One way of verifying a request: `send_code`; `code_id` with `code`; `vouch`; or `evidence`."""

    send_code: Annotated[
        Literal[True] | None, Field(description="Have a code sent to a contact that the vault holds already.")
    ] = None
    code_id: UUID | None = None
    code: Code | None = None
    vouch: Vouch | None = None
    evidence: Annotated[Evidence | None, Field(description="What a member of staff has seen; sealed.")] = None


class CodeSent(BaseModel):
    """A code was asked for; whether one was sent, only the person learns."""

    code_id: UUID
    expires_at: datetime


class Verified(BaseModel):
    """A request, after it was verified."""

    id: UUID
    state: str
    due: date
    level: Level


class SignIn(Body):
    """Who wants to sign in."""

    identity: Identity
    tenant: Annotated[str, Field(max_length=64, description="The controller, where the vault has several.")] = "default"
    language: Language = None


class Asked(BaseModel):
    """A code was asked for; whether one was sent, only the person learns."""

    session: UUID
    expires_at: datetime


class Open(Body):
    """The code that came by letter."""

    session: UUID
    code: Code


class Opened(BaseModel):
    """A session: `token` is told once."""

    token: Annotated[str, Field(examples=["cdvs_…"])]
    expires_at: datetime
    fresh_until: Annotated[datetime, Field(description="Until then erasures, corrections and downloads are possible.")]


class MyNewRequest(Body):
    """A request of a person's own."""

    kind: KindName
    regime: Annotated[Regime, Field(description="Whose rules and deadlines count.")] = "gdpr"
    jurisdiction: Annotated[
        str | None, Field(max_length=10, description="Whose public holidays count: ISO 3166.", examples=["DE-BY"])
    ] = None
    language: Language = None
    scope: Scope = Scope()
    details: Annotated[
        dict[str, Any] | None, Field(max_length=50, description="As for `POST /v1/requests`; sealed.")
    ] = None
    follows: Annotated[UUID | None, Field(description="An earlier request that this one takes up again.")] = None


class MyMove(BaseModel):
    """One thing that happened to a request."""

    at: datetime
    move: Move
    state: State
    code: str | None


class MyRequest(Shown):
    """A person's own request. Who of the staff did what, and what they noted, is none of it."""

    verified: Annotated[Level | None, Field(description="Whether, and how freshly, they showed that it is theirs.")]
    history: list[MyMove] | None = None


class MyRequests(BaseModel):
    """A person's own requests, newest first."""

    requests: list[MyRequest]


class Passphrase(Body):
    """To what a package is to be encrypted."""

    passphrase: Annotated[str, Field(max_length=2_000, examples=["correct horse battery staple"])]
