"""The parts of a package's data.json, as they are written; data.schema.json describes them for others."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from vault.catalogue.controller import Controller

FORMAT = "cdv-package-1"

PackageKind = Literal["access", "portability"]
InUse = Literal["in-use", "consent-missing", "objected", "restricted", "not-in-force"]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The request that the package answers."""

    id: str
    kind: str
    regime: str
    received_at: str


class Alias(msgspec.Struct, frozen=True, kw_only=True):
    """An earlier entry about the same person that was merged into this one."""

    id: str
    merged_at: str


class Person(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whom it is about. ``restricted_since`` is set while the data is only stored (Art. 18)."""

    id: str
    since: str
    aliases: tuple[Alias, ...] = ()
    restricted_since: str | None = None


class FieldTold(msgspec.Struct, frozen=True, kw_only=True):
    """What a field is, and for which purposes it is used at present.

    ``title`` is in the language of the package. ``values`` counts those that are held.
    """

    title: str
    collection: str
    name: str
    type: str
    category: str
    special: bool
    origin: str
    others: bool
    purposes: tuple[str, ...]
    values: int


class CollectionTold(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of record, and how many there are."""

    title: str
    records: int


class RetentionTold(msgspec.Struct, frozen=True, kw_only=True):
    """How long a purpose keeps what it needs: an ISO 8601 duration, from when on, and why."""

    keep: str
    since: str
    reason: str


class PurposeTold(msgspec.Struct, frozen=True, kw_only=True):
    """Why data is used (Art. 15(1)(a)), on which ground, and what of this person's.

    Attributes:
        state: ``in-use``, or why it is not for this person at present.
        collects: whether it is a reason to hold data, and not only to use what is there.
        fields: whole names of fields that it needs and that hold values.
        recipients: categories of recipients outside (Art. 15(1)(c)); who really read stands under ``recipients``.
        logic: how the data is evaluated, and ``consequences`` what follows (Art. 15(1)(h)).
        transfers: safeguards by third country (Art. 15(2)).
    """

    name: str
    title: str
    description: str
    state: InUse
    legal_basis: str
    article: str
    law: str | None
    interest: str | None
    notice: str | None
    special_condition: str | None
    special_article: str | None
    owner: str
    collects: bool
    fields: tuple[str, ...]
    recipients: tuple[str, ...]
    retention: RetentionTold | None
    automated_decision: bool
    logic: str | None
    consequences: str | None
    transfers: dict[str, str]


class CategoryTold(msgspec.Struct, frozen=True, kw_only=True):
    """A category of data (Art. 15(1)(b)) and the fields that belong to it."""

    category: str
    special: bool
    fields: tuple[str, ...]


class SourceTold(msgspec.Struct, frozen=True, kw_only=True):
    """Where values come from (Art. 15(1)(g)): how many, of which fields, between which moments."""

    source: str
    values: int
    first: str | None
    last: str | None
    fields: tuple[str, ...]


class RecipientTold(msgspec.Struct, frozen=True, kw_only=True):
    """Who really received data for a purpose (Art. 15(1)(c), C-154/21), from the audit log.

    ``kind`` is ``app``, or ``staff`` for people at work, who are told by that and not by name (C-579/21).
    """

    recipient: str
    kind: str
    purpose: str | None
    times: int
    first: str
    last: str
    fields: tuple[str, ...]


class EventTold(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event of the history of consents, objections and restrictions."""

    id: str
    at: str
    recorded_at: str
    kind: str
    by: str
    purpose: str | None = None
    notice: str | None = None
    notice_title: str | None = None
    language: str | None = None
    method: str | None = None
    channel: str | None = None
    source: str | None = None
    valid_until: str | None = None
    ground: str | None = None
    words: str | None = None


class InferredTold(msgspec.Struct, frozen=True, kw_only=True):
    """A label that was concluded and not collected: the field, and by which sources it was set."""

    field: str
    values: int
    sources: tuple[str, ...]


class RequestTold(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request of the person's, and what became of it."""

    id: str
    kind: str
    state: str
    received_at: str
    due: str
    closed_at: str | None = None
    ground: str | None = None
    outcome: str | None = None


class CorrectionTold(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A value that was corrected, or that the person disputes; ``details`` say what was there before and after."""

    id: str
    field: str
    record: str
    state: str
    at: str
    closed_at: str | None = None
    details: dict[str, Any] | None = None


class RightTold(msgspec.Struct, frozen=True, kw_only=True):
    """A right that the person has (Art. 15(1)(e) and (f))."""

    article: str
    title: str
    text: str


class Head(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All of data.json but the records and the single accesses, which are streamed after it.

    What only access tells of is empty, and so left out, in a package of portability.
    """

    format: str
    kind: PackageKind
    language: str
    made_at: str
    request: Asked
    controller: Controller | None
    person: Person
    policies: str
    counts: dict[str, int]
    collections: dict[str, CollectionTold]
    fields: dict[str, FieldTold]
    categories: tuple[CategoryTold, ...]
    purposes: tuple[PurposeTold, ...]
    sources: tuple[SourceTold, ...]
    recipients: tuple[RecipientTold, ...] = ()
    history: tuple[EventTold, ...] = ()
    inferred: tuple[InferredTold, ...] = ()
    requests: tuple[RequestTold, ...] = ()
    corrections: tuple[CorrectionTold, ...] = ()
    rights: tuple[RightTold, ...] = ()


class Keeping(msgspec.Struct, frozen=True):
    """Until when a value is kept (Art. 15(1)(d)).

    Attributes:
        until: the day; none where there is no end yet, because a contract or a claim runs.
        purpose: the purpose that keeps it longest; none where none does.
        moves: whether the day moves on with each new contact.
    """

    until: str | None = None
    purpose: str | None = None
    moves: bool = False


class OriginTold(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where some values of a record come from, since when they are there and until when they are kept."""

    fields: tuple[str, ...]
    source: str | None
    collected_at: str | None
    purpose: str | None
    keep: Keeping
    verified_at: str | None = None


class RecordTold(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One record. ``masked`` names the values that are about others and how they are shown (Art. 15(4))."""

    id: str
    recorded_at: str
    values: dict[str, msgspec.Raw]
    origins: tuple[OriginTold, ...]
    occurred_at: str | None = None
    masked: dict[str, str] = {}


class AccessTold(msgspec.Struct, frozen=True, kw_only=True):
    """One time that data was shown to somebody."""

    at: str
    recipient: str
    kind: str
    action: str
    purpose: str | None
    fields: tuple[str, ...]
