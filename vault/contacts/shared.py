"""Shared contacts: e-mail addresses by which a claim led to several people.

Such an address proves none of them alone. Staff see who shares one, and settle it: by a merge, or by the decision that
they are different people. A row has a part of the claim's keyed digest, and no address.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime  # noqa: TC003 - SQLModel reads the annotations
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

from sqlalchemy import Index, String, delete, func, select, update

from vault.ids import SubjectId
from vault.storage.columns import DataTable, Id, Moment, column, table_of
from vault.storage.query import insert_into

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.ids import PrincipalId, TenantId


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


SHARED_CONTACT = table_of(SharedContactRow)
_ROW = SHARED_CONTACT.c
MOST: Final = 100
"""Shared contacts in one list."""


class SharedContact(NamedTuple):
    """An address that several people share: who they are, since when it is known, and when it was claimed last."""

    id: UUID
    since: datetime
    claimed_at: datetime
    people: list[SubjectId]


async def note_shared(
    connection: AsyncConnection, tenant: TenantId, claim: bytes, fields: Mapping[SubjectId, str], now: datetime
) -> None:
    """Record that a claim led to several people. One more person reopens what was settled.

    Args:
        claim: the keyed digest of the claim.
        fields: by person, the field that has the address.
    """
    shared = UUID(bytes=claim[:16])
    known = _ROW.tenant_id == tenant, _ROW.id == shared
    there = set((await connection.execute(select(_ROW.subject_id).where(*known))).scalars())
    gone, come = there - fields.keys(), fields.keys() - there
    if gone:
        await connection.execute(delete(SHARED_CONTACT).where(*known, _ROW.subject_id.in_(sorted(gone))))
    changes: dict[str, object] = {"claimed_at": now}
    if come:
        changes |= {"settled_at": None, "settled_by": None}
    await connection.execute(update(SHARED_CONTACT).where(*known).values(changes))
    if come:
        common = {"tenant_id": tenant, "id": shared, "since": now, "claimed_at": now}
        people = [{**common, "subject_id": person, "field": fields[person]} for person in sorted(come)]
        # A concurrent claim for the same address may have been quicker.
        await connection.execute(insert_into(SHARED_CONTACT, connection.dialect.name).on_conflict_do_nothing(), people)


async def forget_shared(connection: AsyncConnection, tenant: TenantId, fields: Sequence[tuple[SubjectId, str]]) -> None:
    """Delete what was known of fields whose address has changed."""
    for subject, field in fields:
        this = _ROW.tenant_id == tenant, _ROW.subject_id == subject, _ROW.field == field
        await connection.execute(delete(SHARED_CONTACT).where(*this))


async def open_shared(connection: AsyncConnection, tenant: TenantId) -> tuple[list[SharedContact], bool]:
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
    statement = select(SHARED_CONTACT).where(*is_open, _ROW.id.in_(ids[:MOST])).order_by(_ROW.subject_id)
    people = defaultdict(list)
    for row in (await connection.execute(statement)).all():
        people[row.id].append(row)
    found = [
        SharedContact(
            id_,
            min(row.since for row in people[id_]),
            max(row.claimed_at for row in people[id_]),
            [SubjectId(row.subject_id) for row in people[id_]],
        )
        for id_ in ids[:MOST]
    ]
    return found, len(ids) > MOST


async def settle_shared(
    connection: AsyncConnection, tenant: TenantId, shared: UUID, by: PrincipalId, now: datetime
) -> list[SubjectId]:
    """Record that the people are different ones; return them. There are none if nothing is open under this id."""
    this = _ROW.tenant_id == tenant, _ROW.id == shared, _ROW.settled_at.is_(None)
    settled = update(SHARED_CONTACT).where(*this).values(settled_at=now, settled_by=by).returning(_ROW.subject_id)
    return [SubjectId(subject) for subject in (await connection.execute(settled)).scalars()]
