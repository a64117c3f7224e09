"""An event: one thing that a person said about a purpose, or that was decided for them. Events are never changed."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal
from uuid import UUID

import msgspec

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


_encoder = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder(Event)


def encode(event: Event) -> bytes:
    """Encode an event for the database: canonical JSON."""
    return _encoder.encode(event)


def decode(body: bytes) -> Event:
    """Decode a stored event."""
    return _decoder.decode(body)
