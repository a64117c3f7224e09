"""A request of a data subject, its events, and the one lifecycle of all requests. Pure.

A request contains ids, codes and times. What the person or staff wrote is stored next to it, sealed under the person's
own key.

::

    received -> verifying -> in_review -> approved -> in_progress -> completed
                             rejected, cancelled, expired; reopened: back to received

The table of moves includes moves that keep the state, such as an extension or the first of two approvals. A move that
is not in the table is not possible.
"""

from __future__ import annotations

from datetime import date, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, get_args
from uuid import UUID

import msgspec

from vault.catalogue.company import KindName
from vault.catalogue.model import Scope
from vault.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Mapping


State = Literal[
    "received", "verifying", "in_review", "approved", "in_progress", "completed", "rejected", "cancelled", "expired"
]
Move = Literal[
    "receive",
    "ask-identity",
    "verify",
    "sign",
    "approve",
    "reject",
    "extend",
    "start",
    "complete",
    "hand-back",
    "cancel",
    "expire",
    "reopen",
]
STATES: Final[tuple[str, ...]] = get_args(State)
OPEN: Final = frozenset({"received", "verifying", "in_review", "approved", "in_progress"})
CLOSED: Final = frozenset(STATES) - OPEN
UNVERIFIED: Final = frozenset({"received", "verifying"})
RUNNING: Final = "in_progress"
UNDER_WAY: Final = frozenset({"approved", RUNNING})
"""States in which a request has a job."""

_FROM: Mapping[Move, tuple[tuple[State, State], ...]] = {
    "ask-identity": (("received", "verifying"), ("in_review", "verifying")),
    "verify": (("received", "in_review"), ("verifying", "in_review"), ("in_review", "in_review")),
    "sign": (("in_review", "in_review"),),
    "approve": (("in_review", "approved"),),
    "reject": (("received", "rejected"), ("verifying", "rejected"), ("in_review", "rejected")),
    "extend": tuple((state, state) for state in ("received", "verifying", "in_review", "approved", "in_progress")),
    "start": (("approved", "in_progress"), ("in_progress", "in_progress")),
    "complete": (("in_progress", "completed"),),
    "hand-back": (("in_progress", "in_review"), ("approved", "in_review")),
    "cancel": tuple((state, "cancelled") for state in ("received", "verifying", "in_review", "approved")),
    "expire": (("received", "expired"), ("verifying", "expired")),
    "reopen": tuple((state, "received") for state in ("completed", "rejected", "cancelled", "expired")),
}
TABLE: Final[Mapping[tuple[State, Move], State]] = MappingProxyType(
    {(before, move): after for move, pairs in _FROM.items() for before, after in pairs}
)


class WrongState(Conflict):
    """The request's state does not allow this."""

    code = "wrong-state"


def after(state: State, move: Move) -> State:
    """Return the state to which a move leads.

    Raises:
        WrongState: the move is not possible from this state.
    """
    following = TABLE.get((state, move))
    if following is None:
        raise WrongState(f"a request that is {state} cannot {_PHRASES.get(move, move)}", hint=_hint(state))
    return following


_PHRASES: Final[Mapping[str, str]] = {
    "ask-identity": "be asked for identity",
    "verify": "be verified",
    "sign": "be signed",
    "approve": "be approved",
    "reject": "be rejected",
    "extend": "be extended",
    "start": "be started",
    "complete": "be completed",
    "hand-back": "be handed back",
    "cancel": "be cancelled",
    "expire": "expire",
    "reopen": "be reopened",
}


def _hint(state: State) -> str:
    moves = sorted(move for before, move in TABLE if before == state)
    return f"from here a request can {', '.join(_PHRASES[move] for move in moves)}"


Regime = Literal["gdpr", "ccpa"]
How = Literal["code", "session", "vouched", "staff"]
Level = Literal["single", "fresh"]


class Verification(msgspec.Struct, frozen=True, omit_defaults=True):
    """Proof that the requester is the person.

    Attributes:
        how: by a one-time code to a contact that the vault holds, a signed-in session, an app that vouches, or staff.
        level: ``fresh`` if it is at most minutes old.
        by: the principal that vouched, or noted the evidence.
        contact: the field to whose value the code was sent.
        young_contact: whether an address of the person had changed lately; then no rule approves.
    """

    how: How
    level: Level
    at: datetime
    by: UUID | None = None
    contact: str | None = None
    young_contact: bool = False


class Approval(msgspec.Struct, frozen=True):
    """An approval; one by rule has no principal."""

    at: datetime
    by: UUID | None = None


class Suspension(msgspec.Struct, frozen=True):
    """A span in which the deadline was suspended because identity was in doubt; it is open while ``until`` is None."""

    since: datetime
    until: datetime | None = None


class Extension(msgspec.Struct, frozen=True):
    """The one extension of a deadline, and when the person was informed (Art. 12(3) GDPR; 11 CCR § 7021(b))."""

    at: datetime
    reason: Literal["complexity", "number"]


class Due(msgspec.Struct, frozen=True):
    """A due date, and the rule that produced it."""

    on: date
    rule: str


class Request(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request.

    Attributes:
        subject: the person; None if the claimed identity matches no one.
        jurisdiction: the country, or a part of one, whose public holidays count (ISO 3166).
        received_at: the start of the period.
        due: the legal deadline.
        internal_due: the controller's own, earlier deadline.
        language: of the answer.
        recorder: the principal that submitted it.
        run: how often it was reopened or handed back; a job belongs to one run.
        verification: the best of this run.
        ground: the code of the ground on which it was rejected.
        duplicate_of: an open request of the same kind and scope by the same person.
        follows: an earlier request that this one continues.
        package: the package that answers it.
        erasure: the erasure that carries it out.
        results: ids of what it changed: consent events, rectifications.
        carried_out: the last run in which it was carried out; a job that starts again does not repeat it.
        outcome: a code; how a review, or another completed request, ended.
    """

    id: UUID
    subject: UUID | None
    kind: KindName
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
    """One move of a request. Events are append-only.

    Attributes:
        number: 1, 2, 3 … within the request.
        code: a ground, a reason, or a way of verification.
        note: staff's note, sealed under the person's key.
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
    """Encode a request for storage."""
    return _encoder.encode(request)


def decode(body: bytes) -> Request:
    """Decode a stored request."""
    return _requests.decode(body)
