"""The parts of the record of processing, as they are written in JSON."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from vault.catalogue.controller import Controller

if TYPE_CHECKING:
    from uuid import UUID


class Category(msgspec.Struct, frozen=True, kw_only=True):
    """Data of one category of the catalogue. Fields are named as in purposes.toml: with a view where only that is used.

    ``special`` marks a category of Art. 9(1) GDPR.
    """

    category: str
    special: bool
    fields: tuple[str, ...]


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """How long data is kept for a purpose: ISO 8601 durations, for some fields another, and the reason."""

    keep: str
    since: str
    reason: str
    fields: dict[str, str]


class FieldRead(msgspec.Struct, frozen=True, kw_only=True):
    """How often one field was read and of how many people in all; somebody who is read ten times counts as ten."""

    field: str
    reads: int
    people: int
    first: str
    last: str


class Reader(msgspec.Struct, frozen=True, kw_only=True):
    """A principal that really read, and what.

    Attributes:
        principal: its id.
        name: its name on the audit log.
        state: ``active``, ``disabled``, ``issuer`` for somebody who signs in with an issuer's token, or ``unknown``.
        roles: those that it has today; of people who sign in with a token the vault knows none.
        named: whether the purpose names it, or grants one of its roles.
    """

    principal: str
    name: str
    state: str
    roles: tuple[str, ...]
    named: bool
    reads: int
    people: int
    first: str
    last: str
    fields: tuple[FieldRead, ...]


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """What a purpose was really used for in the period: how many requests read, searched and wrote, and who read."""

    reads: int
    searches: int
    writes: int
    people: int
    first: str | None
    last: str | None
    readers: tuple[Reader, ...]


class Activity(msgspec.Struct, frozen=True, kw_only=True):
    """One purpose with all that Art. 30(1)(b) to (g) GDPR asks for, and its real use."""

    purpose: str
    title: str
    description: str
    in_force: bool
    valid_from: date | None
    valid_until: date | None
    legal_basis: str
    legal_article: str
    law: str | None
    interest: str | None
    notice: str | None
    special_condition: str | None
    special_article: str | None
    owner: str
    data_subjects: tuple[str, ...]
    data: tuple[Category, ...]
    recipients: tuple[str, ...]
    roles: tuple[str, ...]
    transfers: str
    retention: Retention | None
    use: Use


class Finding(msgspec.Struct, frozen=True):
    """Something in which what is declared and what is done differ, or that nobody seems to need.

    ``code`` stays the same; ``fields`` and ``principal`` say what it is about, where that is not the whole purpose.
    ``purpose`` is empty where it is about the record as a whole.
    """

    code: str
    purpose: str
    detail: str
    remedy: str
    fields: tuple[str, ...] = ()
    principal: str | None = None


class Period(msgspec.Struct, frozen=True, kw_only=True):
    """The time of which the audit log was read (RFC 3339), both ends included."""

    since: str
    until: str


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """The whole record; ``generated_at`` is RFC 3339. ``controller`` is none where controller.toml is not there."""

    tenant: str
    controller: Controller | None
    generated_at: str
    policy_version: str
    period: Period
    activities: tuple[Activity, ...]
    security: tuple[str, ...]
    findings: tuple[Finding, ...]


class Made(NamedTuple):
    """A record, and the audit entry of its making."""

    record: Record
    audit: UUID
