"""The one lifecycle of every request: a table of which move leads from which state to which. Pure.

::

    received -> verifying -> in_review -> approved -> in_progress -> completed
                             rejected, cancelled, expired; reopened: back to received

A move that keeps the state (an extension, the first of two signatures) is in the table too: what is not in it is not
possible, for nobody.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, get_args

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
