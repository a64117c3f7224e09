"""Consent events, and the state of a subject: the fold of its events, as every read needs it. Pure.

An event is one thing that a person said about a purpose, or that was decided for them. Events are never changed.

A denial wins until the person says otherwise:

- Events recorded from the person count by the time at which they were said: an earlier event does not undo a later one,
  and of two at the same time the denial counts.
- A denial, an objection or a restriction from an import or a merge always counts.
- An agreement from a merge counts only if there is no denial; one from an import also if only its own source denied,
  and earlier. It lifts neither an objection nor a restriction.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal
from uuid import UUID

import msgspec
from msgspec.structs import replace

from vault.clock import to_microseconds

if TYPE_CHECKING:
    from collections.abc import Iterable


Kind = Literal[
    "given",
    "refused",
    "withdrawn",
    "expired",
    "renewed",
    "requested",
    "objected",
    "objection-upheld",
    "objection-overruled",
    "restricted",
    "lift-announced",
    "restriction-lifted",
]
By = Literal["subject", "guardian", "staff", "app"]
Source = Literal["recorded", "imported", "merged", "system"]
Method = Literal[
    "checkbox",
    "button",
    "signature",
    "form",
    "statement",
    "oral",
    "double-opt-in",
    "settings",
    "signal",
    "import",
    "other",
]
EXPLICIT: Final = frozenset({"checkbox", "signature", "form", "statement", "oral", "double-opt-in"})
"""Methods that state the person's will expressly, as Art. 9(2)(a) requires (EDPB 05/2020, 4)."""

YES: Final = frozenset({"given", "renewed"})
NO: Final = frozenset({"refused", "withdrawn"})
CONSENT: Final = YES | NO | {"expired", "requested"}
OBJECTION: Final = frozenset({"objected", "objection-upheld", "objection-overruled"})
RESTRICTION: Final = frozenset({"restricted", "lift-announced", "restriction-lifted"})


class Event(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """One event of a subject.

    Attributes:
        id: UUIDv7; the order of a subject's ids is the order of its events.
        kind: what happened.
        purpose: the purpose concerned; None for a restriction, which concerns all of them.
        notice: the version that the person saw, ``name@version``.
        notice_digest: SHA-256 of that text, ``sha256:…``.
        language: of that text.
        channel: where it was said: web, app, phone, store …
        method: how the person indicated it.
        by: the person, a guardian, a member of staff on their behalf, or an app.
        recorder: the principal that recorded it.
        evidence: reference to proof, sealed under the subject's key.
        jurisdiction: ISO 3166 code of the law that applies.
        valid_until: of a consent, when it expires; of an announced lifting, until when the restriction stays.
        occurred_at: when the person said it.
        recorded_at: when the vault recorded it.
        origin: how the vault came to record it.
        source: of an import: the system that the event comes from.
        answers: the event that this one confirms, ends, decides or copies.
        final: of an objection: it needs no decision, because it is to direct marketing (Art. 21(3) GDPR).
        ground: of a restriction: why (Art. 18(1)).
        policy: version of the policies at that time.
    """

    id: UUID
    subject: UUID
    kind: Kind
    by: By
    occurred_at: datetime
    recorded_at: datetime
    origin: Source = "recorded"
    purpose: str | None = None
    notice: str | None = None
    notice_digest: str | None = None
    language: str | None = None
    channel: str | None = None
    method: Method | None = None
    recorder: UUID | None = None
    evidence: bytes | None = None
    jurisdiction: str | None = None
    valid_until: datetime | None = None
    source: str | None = None
    answers: UUID | None = None
    final: bool = False
    ground: str | None = None
    policy: str | None = None


def bare(event: Event) -> Event:
    """Reduce an event to the proof that it was, for which purpose, by which text and when."""
    return replace(event, evidence=None, channel=None, language=None, jurisdiction=None)


_encoder = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder(Event)


def encode(event: Event) -> bytes:
    """Encode an event for the database: canonical JSON."""
    return _encoder.encode(event)


def decode(body: bytes) -> Event:
    """Decode a stored event."""
    return _decoder.decode(body)


State = Literal["none", "pending", "given", "refused", "withdrawn", "expired"]
Objection = Literal["none", "pending", "upheld", "overruled"]
BY_OTHERS: Final = frozenset({"imported", "merged"})
HERE: Final = ""
"""The vault itself, among the sources of denials."""
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


class PurposeState(msgspec.Struct, array_like=True, frozen=True):
    """The state of one purpose; times in microseconds since 1970.

    Attributes:
        state: of the consent.
        since: when the person said so.
        event: id of the event that set the state, 16 bytes.
        notice: the version that was agreed to.
        method: how the person indicated it.
        by: who said it.
        valid_until: when the consent expires.
        source: the import that the event came with; None if it was recorded here.
        objection: the state of the person's objection.
        objected_at: the time of the objection.
        denied_by: the sources that deny, with the time: imports by their source, and "" for events recorded here. In
            the state ``pending``: the sources that denied before.
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
    """A legal hold on a part of a person's data; days are proleptic Gregorian ordinals, both included.

    Attributes:
        hold: its id, 16 bytes.
        purpose: the purpose that the held data may be used for.
        also_for: purposes that may go on using it during the hold.
        names: canonical names of the fields that it covers; ``*`` is everything.
        since: the first day of the records that it covers; None for all up to ``until``.
        until: the last day of the records that it covers.
    """

    hold: bytes
    purpose: str
    also_for: tuple[str, ...] = ()
    names: tuple[str, ...] = ("*",)
    since: int | None = None
    until: int | None = None


class ConsentState(msgspec.Struct, array_like=True, frozen=True):
    """The state of one person.

    Attributes:
        purposes: by name, those with at least one event.
        restricted_at: since when the person's data is restricted (Art. 18), in microseconds since 1970.
        kept_for: of an erased person with retained data: the purposes that it is retained for.
        holds: the legal holds on the person's data; they do not come from consent events.
    """

    purposes: dict[str, PurposeState] = {}
    restricted_at: int | None = None
    kept_for: tuple[str, ...] = ()
    holds: tuple[Held, ...] = ()


NOTHING: Final = ConsentState()
UNSAID: Final = PurposeState()
_encode = msgspec.msgpack.Encoder(order="sorted").encode
_decode = msgspec.msgpack.Decoder(ConsentState).decode


class _HoldsOnly(msgspec.Struct, array_like=True, frozen=True):
    """The holds of a state; the rest is not decoded."""

    purposes: msgspec.Raw
    restricted_at: int | None = None
    kept_for: msgspec.Raw = msgspec.Raw()
    holds: tuple[Held, ...] = ()


_decode_holds = msgspec.msgpack.Decoder(_HoldsOnly).decode


def fold(events: Iterable[Event]) -> ConsentState:
    """Fold events, in their order."""
    state = NOTHING
    for event in events:
        state = apply(state, event)
    return state


def apply(state: ConsentState, event: Event) -> ConsentState:
    """Add one event."""
    if event.kind in RESTRICTION:
        return _restricted(state, event)
    if event.purpose is None:
        raise ValueError("only an event about a restriction has no purpose")
    before = state.purposes.get(event.purpose, UNSAID)
    after = _objection(before, event) if event.kind in OBJECTION else _consent(before, event)
    if after is before:
        return state
    return replace(state, purposes={**state.purposes, event.purpose: after})


def pack(state: ConsentState) -> bytes | None:
    """Encode a state for the subject's row; None for the empty state."""
    return None if state == NOTHING else _encode(state)


def unpack(packed: bytes | None) -> ConsentState:
    """Decode the state of a subject's row."""
    return NOTHING if packed is None else _decode(packed)


def has_holds(packed: bytes | None) -> bool:
    """Return whether there is a hold on a person's data. Every read calls this, so it decodes no more than it needs."""
    return packed is not None and bool(_decode_holds(packed).holds)


def _restricted(state: ConsentState, event: Event) -> ConsentState:
    if event.kind == "restricted":
        # The latest of several counts: only a consent younger than all of them is an exception (Art. 18(2)).
        at = to_microseconds(event.occurred_at)
        return replace(state, restricted_at=max(state.restricted_at or 0, at))
    if event.kind == "lift-announced" or event.origin in BY_OTHERS:
        return state
    return replace(state, restricted_at=None)


def _objection(before: PurposeState, event: Event) -> PurposeState:
    objection: Objection = "upheld" if event.final and event.kind == "objected" else _OBJECTIONS[event.kind]
    if objection == "overruled" and event.origin in BY_OTHERS:
        return before
    if before.objection == "upheld" and objection == "pending":
        return before
    at = to_microseconds(event.occurred_at)
    after = replace(before, objection=objection, objected_at=max(before.objected_at or at, at))
    if event.final and before.state in {"given", "pending"}:
        return _set_state(after, event, "withdrawn")  # an objection to marketing withdraws the consent
    return after


def _consent(before: PurposeState, event: Event) -> PurposeState:
    at = to_microseconds(event.occurred_at)
    if event.kind == "requested":  # asking again changes nothing that the person said
        return _set_state(before, event, "pending") if before.state in {"none", "pending"} else before
    if event.origin in BY_OTHERS:
        return _consent_from_others(before, event, at)
    if not _counts(before, event, at):
        return _with_earlier_denial(before, event)
    after = _set_state(before, event, _STATES[event.kind])
    if event.kind in YES and _lifts_objection(before, event):
        return replace(after, objection="none", objected_at=None)
    return after


def _counts(before: PurposeState, event: Event, at: int) -> bool:
    """Return whether an event of the person is the latest: by its time, and of two at the same time the denial."""
    if before.state == "none" or at > before.since:
        return True
    return at == before.since and (event.kind not in YES or before.state not in DENIED)


def _with_earlier_denial(before: PurposeState, event: Event) -> PurposeState:
    """Keep an older denial with a pending request, so that no import's agreement outweighs it."""
    if before.state != "pending" or event.kind in YES:
        return before
    return replace(before, denied_by=_denied_by(before, event))


def _consent_from_others(before: PurposeState, event: Event, at: int) -> PurposeState:
    if event.kind in NO:
        return _set_state(before, event, _STATES[event.kind])
    if event.kind in YES and before.objection in {"pending", "upheld"}:
        return before
    if event.kind in YES and before.denied_by:
        return _retracted(before, event, at)
    return (
        _set_state(before, event, _STATES[event.kind])
        if before.state in {"none", "pending"} or at > before.since
        else before
    )


def _retracted(before: PurposeState, event: Event, at: int) -> PurposeState:
    """Let an imported agreement retract the denial of its own source, and count if no other source denies."""
    denied_at = None if event.origin == "merged" or event.source is None else before.denied_by.get(event.source)
    if denied_at is None or at <= denied_at:
        return before
    others = {source: moment for source, moment in before.denied_by.items() if source != event.source}
    return replace(before, denied_by=others) if others else _set_state(before, event, _STATES[event.kind])


def _lifts_objection(before: PurposeState, event: Event) -> bool:
    if before.objected_at is None or event.origin in BY_OTHERS or event.by == "app":
        return False
    return to_microseconds(event.occurred_at) > before.objected_at


def _set_state(before: PurposeState, event: Event, state: State) -> PurposeState:
    at = to_microseconds(event.occurred_at)
    return PurposeState(
        state=state,
        # An agreement from elsewhere keeps its own time, so that a denial said after it counts. All others only move
        # the time forward.
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


def _denied_by(before: PurposeState, event: Event) -> dict[str, int]:
    source = (event.source if event.origin == "imported" else None) or HERE
    at = to_microseconds(event.occurred_at)
    return {**before.denied_by, source: max(at, before.denied_by.get(source, at))}


def purposes_of(holds: Iterable[Held]) -> tuple[str, ...]:
    """Return the purposes for which data is held: those of the holds, and those that may go on during them."""
    return tuple(sorted({name for held in holds for name in (held.purpose, *held.also_for)}))
