"""Shared contacts: e-mail addresses by which a claim led to several people.

Such an address proves none of them alone. Staff see who shares one, and settle it: by a merge, or by the decision that
they are different people. A row has a part of the claim's keyed digest, and no address. It has a MAC: only the vault
proposes people to staff.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime  # noqa: TC003 - SQLModel reads the annotations
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from sqlalchemy import Index, LargeBinary, String, delete, func, select, update

from vault.crypto.row_mac import MacedTable
from vault.ids import SubjectId
from vault.storage.columns import DataTable, Id, Moment, column, table_of
from vault.storage.query import insert_into

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.context import Caller
    from vault.crypto.row_mac import RowKeys
    from vault.ids import TenantId


class SharedContactRow(DataTable, table=True):
    """One of the people who share an address; ``id`` is the beginning of the claim's keyed digest."""

    __tablename__ = "shared_contact"
    __table_args__ = (Index("ix_shared_contact_subject", "tenant_id", "subject_id"),)

    tenant_id: str = column(String(64), primary_key=True)
    id: UUID = column(Id, primary_key=True)
    subject_id: UUID = column(Id, primary_key=True)
    field: str = column(String(64))
    since: datetime = column(Moment)
    claimed_at: datetime = column(Moment)
    settled_at: datetime | None = column(Moment, nullable=True)
    settled_by: UUID | None = column(Id, nullable=True)
    mac: bytes | None = column(LargeBinary, nullable=True)


SHARED_CONTACT = table_of(SharedContactRow)
SHARED = MacedTable(
    SHARED_CONTACT,
    *("tenant_id", "id", "subject_id", "field", "since", "claimed_at", "settled_at", "settled_by"),
)
_ROW = SHARED_CONTACT.c
MOST: Final = 100
"""Shared contacts in one list."""


@dataclass(frozen=True, slots=True)
class SharedContact:
    """An address that several people share: who they are, since when it is known, and when it was claimed last."""

    id: UUID
    since: datetime
    claimed_at: datetime
    people: list[SubjectId]


@dataclass(frozen=True, slots=True)
class ClaimedContact:
    """A claim that led to several people.

    Attributes:
        claim: its keyed digest.
        fields: by person, the field that has the address.
    """

    tenant: TenantId
    claim: bytes
    fields: Mapping[SubjectId, str]
    now: datetime


async def note_shared(connection: AsyncConnection, keys: RowKeys, claimed: ClaimedContact) -> None:
    """Record that a claim led to several people. One more person reopens what was settled."""
    shared, fields, now = UUID(bytes=claimed.claim[:16]), claimed.fields, claimed.now
    known = _ROW.tenant_id == claimed.tenant, _ROW.id == shared
    there = {row.subject_id: row for row in await _genuine(connection, keys, *known)}
    reopened = bool(fields.keys() - there.keys())
    rows = []
    for person in sorted(fields):
        before = there.get(person)
        settled = None if before is None or reopened else before
        row = {
            "tenant_id": claimed.tenant,
            "id": shared,
            "subject_id": person,
            "field": fields[person],
            "since": now if before is None else before.since,
            "claimed_at": now,
            "settled_at": None if settled is None else settled.settled_at,
            "settled_by": None if settled is None else settled.settled_by,
        }
        rows.append(SHARED.seal(keys, row))
    await connection.execute(delete(SHARED_CONTACT).where(*known))
    # A concurrent claim for the same address may have been quicker.
    await connection.execute(insert_into(SHARED_CONTACT, connection.dialect.name).on_conflict_do_nothing(), rows)


async def _genuine(connection: AsyncConnection, keys: RowKeys, *where: ColumnElement[bool]) -> list[Any]:
    """Return and lock rows, without those that the vault did not write."""
    statement = select(*SHARED.columns).where(*where).order_by(_ROW.id, _ROW.subject_id).with_for_update()
    return [row for row in (await connection.execute(statement)).all() if SHARED.is_genuine(keys, row)]


async def forget_shared(connection: AsyncConnection, tenant: TenantId, fields: Sequence[tuple[SubjectId, str]]) -> None:
    """Delete what was known of fields whose address has changed."""
    for subject, field in fields:
        this = _ROW.tenant_id == tenant, _ROW.subject_id == subject, _ROW.field == field
        await connection.execute(delete(SHARED_CONTACT).where(*this))


async def open_shared(connection: AsyncConnection, keys: RowKeys, tenant: TenantId) -> tuple[list[SharedContact], bool]:
    """Return the shared contacts that are not settled, the last claimed first, and whether there are more."""
    is_open = _ROW.tenant_id == tenant, _ROW.settled_at.is_(None)
    last = func.max(_ROW.claimed_at)
    shared = (
        select(_ROW.id)
        .where(*is_open)
        .group_by(_ROW.id)
        .having(func.count() > 1)  # the others were merged, erased, or have another address now
        .order_by(last.desc(), _ROW.id)
        .limit(MOST + 1)
    )
    ids = list((await connection.execute(shared)).scalars())
    statement = select(*SHARED.columns).where(*is_open, _ROW.id.in_(ids[:MOST])).order_by(_ROW.subject_id)
    people = defaultdict(list)
    for row in (await connection.execute(statement)).all():
        if SHARED.is_genuine(keys, row):
            people[row.id].append(row)
    found = [
        SharedContact(
            id_,
            min(row.since for row in people[id_]),
            max(row.claimed_at for row in people[id_]),
            [SubjectId(row.subject_id) for row in people[id_]],
        )
        for id_ in ids[:MOST]
        if len(people[id_]) > 1
    ]
    return found, len(ids) > MOST


async def settle_shared(
    connection: AsyncConnection, keys: RowKeys, by: Caller, shared: UUID, now: datetime
) -> list[SubjectId]:
    """Record that the people are different ones; return them. There are none if nothing is open under this id."""
    this = _ROW.tenant_id == by.tenant, _ROW.id == shared
    rows = await _genuine(connection, keys, *this, _ROW.settled_at.is_(None))
    for row in rows:
        settled = SHARED.reseal(keys, row, settled_at=now, settled_by=by.principal.id)
        await connection.execute(update(SHARED_CONTACT).where(*this, _ROW.subject_id == row.subject_id).values(settled))
    return [SubjectId(row.subject_id) for row in rows]
