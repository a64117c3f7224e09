"""One request, as it is kept: ids, codes and times, no word and no value of the person's.

What the person or staff wrote lies sealed beside it, under the person's own key.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal
from uuid import UUID

import msgspec

from vault.catalogue.scope import Scope
from vault.requests.machine import Kind, Move, State

Regime = Literal["gdpr", "ccpa"]
How = Literal["code", "session", "vouched", "staff"]
Level = Literal["single", "fresh"]


class Verification(msgspec.Struct, frozen=True, omit_defaults=True):
    """How somebody showed to be the person.

    Attributes:
        how: by a one-time code to a contact that the vault holds, a signed-in session, an app that vouches, or staff.
        level: ``fresh`` where it was shown within the minutes before.
        at: when it was shown.
        by: the principal that vouched or noted it.
        contact: the field to whose value a code went.
    """

    how: How
    level: Level
    at: datetime
    by: UUID | None = None
    contact: str | None = None


class Approval(msgspec.Struct, frozen=True):
    """Who approved, and when; an approval by rule has no principal."""

    at: datetime
    by: UUID | None = None


class Suspension(msgspec.Struct, frozen=True):
    """A span in which the clock stood still because identity was in question."""

    since: datetime
    until: datetime | None = None


class Extension(msgspec.Struct, frozen=True):
    """The one extension of a deadline (Art. 12(3), CCPA § 7021(b)): why, and when it was told."""

    at: datetime
    reason: Literal["complexity", "number"]


class Due(msgspec.Struct, frozen=True):
    """A date, and in words the rule that produced it."""

    on: date
    rule: str


class Request(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request.

    Attributes:
        subject: whom it is about; none where what was said of the identity leads to nobody.
        jurisdiction: country (or its part) whose holidays count: ISO 3166.
        received_at: when the clock began.
        due: the legal deadline.
        internal_due: the earlier one that the controller set for itself.
        language: in which the person is answered.
        recorder: the principal through which it came in.
        run: how often it was reopened; a job belongs to one run.
        verification: the best so far of this run; none where nobody has shown anything.
        ground: of a rejection: its code.
        duplicate_of: an open request of the same kind by the same person.
        follows: an earlier request that this one takes up again.
        package: the package that answers it.
        erasure: the erasure that carries it out.
        results: ids of what it changed: consent events, rectifications.
        carried_out: the last run in which what was asked for was done; a job that begins again does it no second time.
        outcome: of a review or a completed request, a code: what was decided.
    """

    id: UUID
    subject: UUID | None
    kind: Kind
    state: State
    regime: Regime
    jurisdiction: str
    received_at: datetime
    due: Due
    internal_due: Due
    language: str = "en"
    recorder: UUID | None = None
    channel: str | None = None
    scope: Scope = Scope()
    run: int = 0
    revision: int = 1
    verification: Verification | None = None
    approvals: tuple[Approval, ...] = ()
    suspensions: tuple[Suspension, ...] = ()
    extension: Extension | None = None
    ground: str | None = None
    duplicate_of: UUID | None = None
    follows: UUID | None = None
    package: UUID | None = None
    erasure: UUID | None = None
    results: tuple[UUID, ...] = ()
    carried_out: int | None = None
    outcome: str | None = None
    closed_at: datetime | None = None


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One move of a request: written once and never changed.

    Attributes:
        number: 1, 2, 3 … within the request.
        code: why, where there is a why in one word: a ground, a reason, a way of verifying.
        note: what was written about it, sealed under the person's key.
    """

    number: int
    at: datetime
    move: Move
    before: State | None
    after: State
    by: UUID | None = None
    by_name: str | None = None
    code: str | None = None
    note: bytes | None = None


_encoder = msgspec.json.Encoder(order="sorted")
_requests = msgspec.json.Decoder(Request)


def encode(request: Request) -> bytes:
    """Write a request as it is stored."""
    return _encoder.encode(request)


def decode(body: bytes) -> Request:
    """Read a stored request."""
    return _requests.decode(body)
