"""Answers about verification, sessions, and a person's own requests."""

from __future__ import annotations

from datetime import date
from typing import Annotated
from uuid import UUID

from pydantic import Field

from vault.requests.model import Level, Move, Request, State
from vault.requests.views import RequestStatus
from vault.views import Moment, View


class SentCode(View):
    """A one-time code was requested. Whether one was sent, only the person learns."""

    code_id: UUID
    expires_at: Moment


class VerifiedRequest(View):
    """A request after its verification."""

    id: UUID
    state: State
    due: date
    level: Level | None

    @classmethod
    def of(cls, request: Request) -> VerifiedRequest:
        """Return the view of a request that was just verified."""
        level = None if request.verification is None else request.verification.level
        return cls(id=request.id, state=request.state, due=request.due.on, level=level)


class SessionCode(View):
    """A one-time code for signing in was requested. Whether one was sent, only the person learns."""

    session: UUID
    expires_at: Moment


class OpenedSession(View):
    """A session. Its token is in this answer only."""

    token: Annotated[str, Field(repr=False, examples=["cdvs_…"])]
    expires_at: Moment
    fresh_until: Annotated[Moment, Field(description="Until then erasures, corrections and downloads are possible.")]


class MyRequestEvent(View):
    """One event of a person's own request, without who of the staff did it and what they noted."""

    at: Moment
    move: Move
    state: State
    code: str | None


class MyRequest(RequestStatus):
    """A person's own request, without what staff did and noted."""

    verified: Annotated[Level | None, Field(description="How fresh the person's proof of identity was, if any.")]


class MyRequestWithHistory(MyRequest):
    """A person's own request, and what has happened to it."""

    history: list[MyRequestEvent]


class MyRequestList(View):
    """A person's own requests, newest first."""

    requests: list[MyRequest]
