"""One request, as it is kept: ids, codes and times, no word and no value of the person's.

What the person or staff wrote lies sealed beside it, under the person's own key.

The one lifecycle of every request: a table of which move leads from which state to which. Pure.

::

    received -> verifying -> in_review -> approved -> in_progress -> completed
                             rejected, cancelled, expired; reopened: back to received

A move that keeps the state (an extension, the first of two signatures) is in the table too: what is not in it is not
possible, for nobody.

On which grounds a request may be refused, each with its article; there are no others. Pure.

Who is refused is told the ground, that they may complain to a supervisory authority, and that they may go to court
(Art. 12(4) GDPR; 11 CCR § 7022(f) and others of the CCPA regulations).
"""

from __future__ import annotations

from datetime import date, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, get_args
from uuid import UUID

import msgspec

from vault.catalogue.model import Scope
from vault.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Mapping


Kind = Literal["access", "portability", "rectification", "erasure", "restriction", "objection", "withdrawal", "review"]
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
KINDS: Final[tuple[str, ...]] = get_args(Kind)
STATES: Final[tuple[str, ...]] = get_args(State)
OPEN: Final = frozenset({"received", "verifying", "in_review", "approved", "in_progress"})
CLOSED: Final = frozenset(STATES) - OPEN

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
    found = TABLE.get((state, move))
    if found is None:
        raise WrongState(f"a request that is {state} cannot {_SAID.get(move, move)}", hint=_hint(state))
    return found


_SAID: Final[Mapping[str, str]] = {
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
    return f"from here a request can {', '.join(_SAID[move] for move in moves)}"


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


class Ground(NamedTuple):
    """A ground of refusal.

    Attributes:
        code: its name.
        title: what it says.
        gdpr: the article on which it rests; empty: no ground under the GDPR.
        ccpa: the section on which it rests; empty: no ground under the CCPA.
    """

    code: str
    title: str
    gdpr: str
    ccpa: str

    def article(self, regime: Regime) -> str:
        """Return on what it rests; empty where it is no ground under that law."""
        return self.gdpr if regime == "gdpr" else self.ccpa


_IDENTITY = Ground(
    "identity-not-shown",
    "it could not be made sure that the person asked",
    "Art. 12(2) and (6) GDPR",
    "11 CCR § 7060",
)
_UNFOUNDED = Ground(
    "manifestly-unfounded",
    "the request is manifestly unfounded",
    "Art. 12(5)(b) GDPR",
    "Cal. Civ. Code § 1798.145(h)(3)",
)
_EXCESSIVE = Ground(
    "excessive",
    "the request is excessive, in particular because it is repeated",
    "Art. 12(5)(b) GDPR",
    "Cal. Civ. Code § 1798.145(h)(3)",
)
_NO_DATA = Ground("no-data", "nothing is held about the person", "Art. 15(1) GDPR", "Cal. Civ. Code § 1798.100")
_LAW = Ground("restricted-by-law", "a law restricts this right", "Art. 23 GDPR", "Cal. Civ. Code § 1798.145(a)")
_ALWAYS: Final = (_IDENTITY, _UNFOUNDED, _EXCESSIVE, _LAW)

_OF_KIND: Final[Mapping[Kind, tuple[Ground, ...]]] = {
    "access": (
        _NO_DATA,
        Ground(
            "rights-of-others",
            "a copy would harm the rights and freedoms of others",
            "Art. 15(4) GDPR",
            "Cal. Civ. Code § 1798.145(k)",
        ),
    ),
    "portability": (
        Ground("not-portable", "the data rests neither on consent nor on a contract", "Art. 20(1) GDPR", ""),
        Ground("public-task", "the data serves a task in the public interest", "Art. 20(3) GDPR", ""),
        Ground(
            "rights-of-others",
            "handing the data over would harm the rights and freedoms of others",
            "Art. 20(4) GDPR",
            "Cal. Civ. Code § 1798.145(k)",
        ),
    ),
    "rectification": (
        Ground("data-accurate", "the data is accurate and complete", "Art. 16 GDPR", "11 CCR § 7023(b)"),
    ),
    "erasure": (
        Ground("no-ground", "none of the grounds for erasure applies", "Art. 17(1) GDPR", ""),
        Ground("freedom-of-expression", "for freedom of expression and information", "Art. 17(3)(a) GDPR",
               "Cal. Civ. Code § 1798.105(d)(4)"),
        Ground("legal-obligation", "a law obliges to keep the data", "Art. 17(3)(b) GDPR",
               "Cal. Civ. Code § 1798.105(d)(8)"),
        Ground("public-health", "for reasons of public interest in public health", "Art. 17(3)(c) GDPR", ""),
        Ground("archiving", "for archiving in the public interest, research or statistics", "Art. 17(3)(d) GDPR",
               "Cal. Civ. Code § 1798.105(d)(6)"),
        Ground("legal-claims", "for legal claims", "Art. 17(3)(e) GDPR", "Cal. Civ. Code § 1798.145(a)"),
        Ground("contract-under-way", "to perform the contract with the person", "",
               "Cal. Civ. Code § 1798.105(d)(1)"),
    ),
    "restriction": (Ground("no-ground", "none of the grounds for restriction applies", "Art. 18(1) GDPR", ""),),
    "objection": (
        Ground("compelling-grounds", "compelling legitimate grounds override the person's", "Art. 21(1) GDPR", ""),
        Ground("legal-claims", "the processing is for legal claims", "Art. 21(1) GDPR", "Cal. Civ. Code § 1798.145(a)"),
        Ground("public-interest", "the research or statistics are in the public interest", "Art. 21(6) GDPR", ""),
    ),
    "review": (
        Ground("no-automated-decision", "nothing was decided by automated means alone", "Art. 22(1) GDPR", ""),
    ),
}  # fmt: skip
_WITHDRAWAL: Final = (
    _IDENTITY,
    Ground("no-consent", "there is no consent to take back", "Art. 7(3) GDPR", "Cal. Civ. Code § 1798.120"),
)
"""Who takes a consent back gives no reason and is not weighed: Art. 12(5) is about other rights."""


def grounds_for(kind: Kind, regime: Regime, *, final: bool = False) -> Mapping[str, Ground]:
    """List the grounds on which a request of a kind may be refused, by code.

    Args:
        kind: of the request.
        regime: whose rules count.
        final: whether an objection leaves nothing to weigh: it is to direct marketing (Art. 21(3)).
    """
    if kind == "withdrawal":
        found: tuple[Ground, ...] = _WITHDRAWAL
    elif final:
        found = (_IDENTITY,)
    else:
        found = (*_ALWAYS, *_OF_KIND.get(kind, ()))
    return MappingProxyType({each.code: each for each in found if each.article(regime)})
