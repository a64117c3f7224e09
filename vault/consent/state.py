"""Where a person stands: the sum of their events, as every read needs it. Pure.

Deny wins until the person says otherwise:

- What is recorded from the person counts by the moment at which they said it: an earlier word does not undo a later
  one, and at the same moment the no counts.
- A no, an objection or a restriction from an import or a merge always counts.
- A yes from a merge counts only where nobody said no, one from an import also where only its own source did, before.
  It lifts neither an objection nor a restriction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec
from msgspec.structs import replace

from vault.clock import to_microseconds
from vault.consent.event import NO, OBJECTION, RESTRICTION, YES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vault.consent.event import Event


State = Literal["none", "pending", "given", "refused", "withdrawn", "expired"]
Objection = Literal["none", "pending", "upheld", "overruled"]
BY_OTHERS: Final = frozenset({"imported", "merged"})
HERE: Final = ""
DENIED: Final = frozenset({"refused", "withdrawn", "expired"})
_STATES: Final[dict[str, State]] = {
    "given": "given",
    "renewed": "given",
    "refused": "refused",
    "withdrawn": "withdrawn",
    "expired": "expired",
    "requested": "pending",
}
_OBJECTIONS: Final[dict[str, Objection]] = {
    "objected": "pending",
    "objection-upheld": "upheld",
    "objection-overruled": "overruled",
}


class PurposeStanding(msgspec.Struct, array_like=True, frozen=True):
    """What holds of one purpose; times in microseconds since 1970.

    Attributes:
        state: of the consent.
        since: when the person said so.
        event: the event that said so, 16 bytes.
        notice: the version that was agreed to.
        method: how.
        by: who said it.
        valid_until: when it ends by itself.
        source: the import that said it; none where it was recorded here.
        objection: whether the person objects.
        objected_at: since when.
        denied_by: who says no, with the moment: imports by their source, and "" for what was said here. Of a request
            that waits: who had said no before.
    """

    state: State = "none"
    since: int = 0
    event: bytes = b""
    notice: str | None = None
    method: str | None = None
    by: str | None = None
    valid_until: int | None = None
    source: str | None = None
    objection: Objection = "none"
    objected_at: int | None = None
    denied_by: dict[str, int] = {}


class Held(msgspec.Struct, array_like=True, frozen=True):
    """A legal hold on a part of a person's data; days as the proleptic calendar counts them, both included.

    Attributes:
        hold: its id, 16 bytes.
        purpose: for which what it covers is used.
        also_for: purposes that go on with it meanwhile.
        names: canonical names of the fields that it covers; ``*`` is everything.
        since: the first day on which a record that it covers happened; none: from the beginning.
        until: the last day.
    """

    hold: bytes
    purpose: str
    also_for: tuple[str, ...] = ()
    names: tuple[str, ...] = ("*",)
    since: int | None = None
    until: int | None = None


class ConsentState(msgspec.Struct, array_like=True, frozen=True):
    """What holds of one person.

    Attributes:
        purposes: by name, those of which anything was said.
        restricted_at: since when the person's data is restricted (Art. 18), in microseconds since 1970.
        kept_for: of somebody who was erased and of whom a law keeps something: the purposes it is kept for.
        holds: the legal holds on the person's data; no event of the consent ledger tells of them.
    """

    purposes: dict[str, PurposeStanding] = {}
    restricted_at: int | None = None
    kept_for: tuple[str, ...] = ()
    holds: tuple[Held, ...] = ()


NOTHING: Final = ConsentState()
UNSAID: Final = PurposeStanding()
_encode = msgspec.msgpack.Encoder(order="sorted").encode
_decode = msgspec.msgpack.Decoder(ConsentState).decode


class _Marks(msgspec.Struct, array_like=True, frozen=True):
    """A standing as far as holds go; the rest is passed over."""

    purposes: msgspec.Raw
    restricted_at: int | None = None
    kept_for: msgspec.Raw = msgspec.Raw()
    holds: tuple[Held, ...] = ()


_decode_marks = msgspec.msgpack.Decoder(_Marks).decode


def fold(events: Iterable[Event]) -> ConsentState:
    """Sum up events in the order of the ledger."""
    standing = NOTHING
    for event in events:
        standing = apply(standing, event)
    return standing


def apply(standing: ConsentState, event: Event) -> ConsentState:
    """Add one event."""
    if event.kind in RESTRICTION:
        return _restricted(standing, event)
    if event.purpose is None:
        raise ValueError("an event that is no restriction is about a purpose")
    before = standing.purposes.get(event.purpose, UNSAID)
    after = _objection(before, event) if event.kind in OBJECTION else _consent(before, event)
    if after is before:
        return standing
    return replace(standing, purposes={**standing.purposes, event.purpose: after})


def pack(standing: ConsentState) -> bytes | None:
    """Write a standing for the subject's row; none where nothing was ever said."""
    return None if standing == NOTHING else _encode(standing)


def unpack(packed: bytes | None) -> ConsentState:
    """Read a standing from the subject's row."""
    return NOTHING if packed is None else _decode(packed)


def has_holds(packed: bytes | None) -> bool:
    """Tell whether there is a hold on a person's data; a read asks it of everybody."""
    return packed is not None and bool(_decode_marks(packed).holds)


def _restricted(standing: ConsentState, event: Event) -> ConsentState:
    if event.kind == "restricted":
        # Of several, the latest: a consent has to be younger than all of them to be an exception.
        at = to_microseconds(event.occurred_at)
        return replace(standing, restricted_at=max(standing.restricted_at or 0, at))
    if event.kind == "lift-announced" or event.origin in BY_OTHERS:
        return standing
    return replace(standing, restricted_at=None)


def _objection(before: PurposeStanding, event: Event) -> PurposeStanding:
    objection: Objection = "upheld" if event.final and event.kind == "objected" else _OBJECTIONS[event.kind]
    if objection == "overruled" and event.origin in BY_OTHERS:
        return before
    if before.objection == "upheld" and objection == "pending":
        return before
    at = to_microseconds(event.occurred_at)
    after = replace(before, objection=objection, objected_at=max(before.objected_at or at, at))
    if event.final and before.state in {"given", "pending"}:
        return _said(after, event, "withdrawn")  # whoever objects to marketing does not go on agreeing to it
    return after


def _consent(before: PurposeStanding, event: Event) -> PurposeStanding:
    at = to_microseconds(event.occurred_at)
    if event.kind == "requested":  # to have been asked again takes no word back
        return _said(before, event, "pending") if before.state in {"none", "pending"} else before
    if event.origin in BY_OTHERS:
        return _consent_from_others(before, event, at)
    if not _counts(before, event, at):
        return _remembered(before, event)
    after = _said(before, event, _STATES[event.kind])
    if event.kind in YES and _lifts_objection(before, event):
        return replace(after, objection="none", objected_at=None)
    return after


def _counts(before: PurposeStanding, event: Event, at: int) -> bool:
    """Tell whether a word of the person's is the last one: by its time, and of two at the same time the no."""
    if before.state == "none" or at > before.since:
        return True
    return at == before.since and (event.kind not in YES or before.state not in DENIED)


def _remembered(before: PurposeStanding, event: Event) -> PurposeStanding:
    """Keep an older no beside a request that waits: the request goes on, and no import's yes outweighs the no."""
    if before.state != "pending" or event.kind in YES:
        return before
    return replace(before, denied_by=_denied_by(before, event))


def _consent_from_others(before: PurposeStanding, event: Event, at: int) -> PurposeStanding:
    if event.kind in NO:
        return _said(before, event, _STATES[event.kind])
    if event.kind in YES and before.objection in {"pending", "upheld"}:
        return before
    if event.kind in YES and before.denied_by:
        return _taken_back(before, event, at)
    return (
        _said(before, event, _STATES[event.kind])
        if before.state in {"none", "pending"} or at > before.since
        else before
    )


def _taken_back(before: PurposeStanding, event: Event, at: int) -> PurposeStanding:
    """Let an imported yes take back the no of its own source, and count if nobody else has said no."""
    own = None if event.origin == "merged" or event.source is None else before.denied_by.get(event.source)
    if own is None or at <= own:
        return before
    others = {source: moment for source, moment in before.denied_by.items() if source != event.source}
    return replace(before, denied_by=others) if others else _said(before, event, _STATES[event.kind])


def _lifts_objection(before: PurposeStanding, event: Event) -> bool:
    if before.objected_at is None or event.origin in BY_OTHERS or event.by == "app":
        return False
    return to_microseconds(event.occurred_at) > before.objected_at


def _said(before: PurposeStanding, event: Event, state: State) -> PurposeStanding:
    at = to_microseconds(event.occurred_at)
    return PurposeStanding(
        state=state,
        # Another's yes is as old as it is, so that a no which came after it counts. All else only moves on.
        since=at if event.kind in YES and event.origin in BY_OTHERS else max(at, before.since),
        event=event.id.bytes,
        notice=event.notice,
        method=event.method,
        by=event.by,
        valid_until=None if event.valid_until is None else to_microseconds(event.valid_until),
        source=event.source if event.origin == "imported" else None,
        objection=before.objection,
        objected_at=before.objected_at,
        denied_by=_denied_by(before, event) if state in DENIED else before.denied_by if state == "pending" else {},
    )


def _denied_by(before: PurposeStanding, event: Event) -> dict[str, int]:
    source = (event.source if event.origin == "imported" else None) or HERE
    at = to_microseconds(event.occurred_at)
    return {**before.denied_by, source: max(at, before.denied_by.get(source, at))}


def purposes_of(holds: Iterable[Held]) -> tuple[str, ...]:
    """Name the purposes for which anything is held: the holds' own, and those that go on meanwhile."""
    return tuple(sorted({name for held in holds for name in (held.purpose, *held.also_for)}))
