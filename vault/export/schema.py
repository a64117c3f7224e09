"""The structure of a package's data.json. The file ``schema.json`` of this package is its JSON Schema."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from vault.catalogue.company import Controller

FORMAT: Final = "cdv-package-1"
PORTABILITY: Final = "portability"
Items = tuple[msgspec.Struct, ...]
PackageKind = Literal["access", "portability"]
InUse = Literal["in-use", "consent-missing", "objected", "restricted", "not-in-force"]


class AnsweredRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The request that the package answers."""

    id: str
    kind: str
    regime: str
    received_at: str


class Alias(msgspec.Struct, frozen=True, kw_only=True):
    """An entry about the same subject that was merged into this one."""

    id: str
    merged_at: str


class Person(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The subject. ``restricted_since`` is set while processing is restricted (Art. 18)."""

    id: str
    since: str
    aliases: tuple[Alias, ...] = ()
    restricted_since: str | None = None


class FieldDescription(msgspec.Struct, frozen=True, kw_only=True):
    """A field, and the purposes for which it is used at present.

    ``title`` is in the language of the package. ``values`` is the number of values.
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


class CollectionDescription(msgspec.Struct, frozen=True, kw_only=True):
    """A collection, and the number of its records."""

    title: str
    records: int


class RetentionDescription(msgspec.Struct, frozen=True, kw_only=True):
    """How long a purpose keeps its data: an ISO 8601 duration, its starting point and the reason."""

    keep: str
    since: str
    reason: str


class PurposeDescription(msgspec.Struct, frozen=True, kw_only=True):
    """A purpose (Art. 15(1)(a)), its legal ground, and the fields of this subject that it needs.

    Attributes:
        state: ``in-use``, or why the purpose does not use this subject's data at present.
        collects: whether data is collected for it; otherwise it only uses data that is there for other purposes.
        fields: whole names of the fields that it needs and that have values.
        recipients: categories of external recipients (Art. 15(1)(c)); ``recipients`` of the head lists the actual ones.
        logic: how the data is evaluated, with the ``consequences`` for the subject (Art. 15(1)(h)).
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
    retention: RetentionDescription | None
    automated_decision: bool
    logic: str | None
    consequences: str | None
    transfers: dict[str, str]


class DataCategory(msgspec.Struct, frozen=True, kw_only=True):
    """A category of data (Art. 15(1)(b)) and its fields."""

    category: str
    special: bool
    fields: tuple[str, ...]


class SourceSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A source of values (Art. 15(1)(g)): their number, fields, and the first and last time of collection."""

    source: str
    values: int
    first: str | None
    last: str | None
    fields: tuple[str, ...]


class RecipientSummary(msgspec.Struct, frozen=True, kw_only=True):
    """An actual recipient of data for a purpose (Art. 15(1)(c), C-154/21), from the audit log.

    ``kind`` is ``app``, or ``staff`` for people at work, who are not named (C-579/21).
    """

    recipient: str
    kind: str
    purpose: str | None
    times: int
    first: str
    last: str
    fields: tuple[str, ...]


class InferredField(msgspec.Struct, frozen=True, kw_only=True):
    """A field with values that were concluded and not collected, and the sources of these values."""

    field: str
    values: int
    sources: tuple[str, ...]


class Right(msgspec.Struct, frozen=True, kw_only=True):
    """A right of the subject (Art. 15(1)(e) and (f))."""

    article: str
    title: str
    text: str


class PackageHead(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """data.json without the records and the single disclosures, which are streamed after it.

    The fields with a default value are left out of a portability package. Owners of personal data fill the last four
    (:meth:`vault.lifecycle.personal_data.PersonalData.export`); ``more`` holds the sections that have no field here.
    """

    format: str
    kind: PackageKind
    language: str
    made_at: str
    request: AnsweredRequest
    controller: Controller | None
    person: Person
    policies: str
    counts: dict[str, int]
    collections: dict[str, CollectionDescription]
    fields: dict[str, FieldDescription]
    categories: tuple[DataCategory, ...]
    purposes: tuple[PurposeDescription, ...]
    sources: tuple[SourceSummary, ...]
    recipients: tuple[RecipientSummary, ...] = ()
    inferred: tuple[InferredField, ...] = ()
    rights: tuple[Right, ...] = ()
    history: Items = ()
    requests: Items = ()
    corrections: Items = ()
    more: dict[str, Items] = {}


OWNED_SECTIONS: Final = ("history", "requests", "corrections")
"""Sections of the head that owners of personal data fill."""


class RetentionEnd(msgspec.Struct, frozen=True):
    """Until when a value is kept (Art. 15(1)(d)).

    Attributes:
        until: the day; None while there is no end, for example because a contract or a claim continues.
        purpose: the purpose that keeps it longest, if any.
        moves: whether each new contact moves the day.
    """

    until: str | None = None
    purpose: str | None = None
    moves: bool = False


class ValueOrigin(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The origin of some values of a record, and the end of their retention."""

    fields: tuple[str, ...]
    source: str | None
    collected_at: str | None
    purpose: str | None
    keep: RetentionEnd
    verified_at: str | None = None


class PackageRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A record. ``masked`` maps the values that are about other people to the view that is shown (Art. 15(4))."""

    id: str
    recorded_at: str
    values: dict[str, msgspec.Raw]
    origins: tuple[ValueOrigin, ...]
    occurred_at: str | None = None
    masked: dict[str, str] = {}


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """A disclosure of data to a recipient."""

    at: str
    recipient: str
    kind: str
    action: str
    purpose: str | None
    fields: tuple[str, ...]
