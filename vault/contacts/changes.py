"""Changes of e-mail addresses: when a value of a profile changed, and the address that was there before.

Who may write an address could enter one of their own, and receive the codes for the person. So a changed address proves
no one before it has been there for ``contact_days`` of requests.toml, and the person is told at the former address.

What counts is the value: a write of the same address changes nothing, and an address that is written back is a changed
one again. The addresses with which a profile was created are none: nothing was stored before that they could lead to.

A row has the former address, sealed under the person's key, until the letter is sent; rows are deleted after
``contact_days``.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple
from uuid import UUID  # noqa: TC003 - SQLModel reads the annotations

from sqlalchemy import Column, Index, LargeBinary, String, delete, insert, select, update

from vault.catalogue.types import encode, index_text
from vault.contacts.shared import forget_shared
from vault.crypto.seal import record_aad
from vault.ids import SubjectId, TenantId, new_id
from vault.storage.columns import DataTable, Id, Moment, column, table_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.catalogue.model import Field
    from vault.catalogue.types import JsonValue
    from vault.context import Services
    from vault.crypto.seal import SubjectKeys
    from vault.storage.columns import AnyRow


class ContactChangeRow(DataTable, table=True):
    """A changed address of a profile; ``former`` is the one before, sealed, as long as a letter has to go there."""

    __tablename__ = "contact_change"
    __table_args__ = (
        Index(
            "ix_contact_change_untold",
            "tenant_id",
            "id",
            sqlite_where=Column("told_at").is_(None),
            postgresql_where=Column("told_at").is_(None),
        ),
    )

    tenant_id: str = column(String(64), primary_key=True)
    subject_id: UUID = column(Id, primary_key=True)
    id: UUID = column(Id, primary_key=True)
    field: str = column(String(64))
    kind: str = column(String(16))
    changed_at: datetime = column(Moment)
    told_at: datetime | None = column(Moment, nullable=True)
    former: bytes | None = column(LargeBinary, nullable=True)


CONTACT_CHANGE = table_of(ContactChangeRow)
_ROW = CONTACT_CHANGE.c

ChangeKind = Literal["added", "replaced", "removed"]
COLLECTION: Final = "contact"
FORMER: Final = "address"
EMAIL: Final = "email"
"""The type of the fields with addresses for letters and codes."""


class ContactHolder(NamedTuple):
    """The person whose profile is written, with the keys that seal, and the time of the write."""

    tenant: TenantId
    subject: SubjectId
    keys: SubjectKeys
    now: datetime


class ContactChange(NamedTuple):
    """One changed address; ``former`` is sealed."""

    subject: SubjectId
    id: UUID
    field: str
    kind: ChangeKind
    changed_at: datetime
    told_at: datetime | None = None
    former: bytes | None = None


def contact_fields(fields: Mapping[str, Field]) -> list[str]:
    """Return the names of a profile's fields with addresses, in the order of the catalogue."""
    return [name for name, field in fields.items() if field.type == EMAIL]


def changes_of(
    holder: ContactHolder, fields: Mapping[str, Field], old: Mapping[str, JsonValue], new: Mapping[str, JsonValue]
) -> list[ContactChange]:
    """Compare the addresses of a profile before and after a write; a value that means the same is no change."""
    changes = []
    for name in contact_fields(fields):
        before, after = old.get(name), new.get(name)
        if same_address(before, after):
            continue
        kind: ChangeKind = "added" if before is None else "removed" if after is None else "replaced"
        changes.append(sealed_change(holder, name, kind, before))
    return changes


def same_address(one: JsonValue, other: JsonValue) -> bool:
    """Return whether two values are the same address, as searches compare them; None is no address."""
    if not isinstance(one, str) or not isinstance(other, str):
        return one == other
    return index_text(EMAIL, one) == index_text(EMAIL, other)


def sealed_change(holder: ContactHolder, field: str, kind: ChangeKind, former: JsonValue = None) -> ContactChange:
    """Return a change, with the former address sealed."""
    id_, sealed = new_id(), None
    if former is not None:
        aad = record_aad(holder.tenant, holder.subject, COLLECTION, id_)
        sealed = holder.keys.seal(FORMER, encode(former), aad)
    return ContactChange(holder.subject, id_, field, kind, holder.now, former=sealed)


async def add_changes(connection: AsyncConnection, tenant: TenantId, changes: Sequence[ContactChange]) -> None:
    """Insert changes, in the transaction that changes the values."""
    rows = [
        {
            "tenant_id": tenant,
            "subject_id": change.subject,
            "id": change.id,
            "field": change.field,
            "kind": change.kind,
            "changed_at": change.changed_at,
            "told_at": change.told_at,
            "former": change.former,
        }
        for change in changes
    ]
    if rows:
        await connection.execute(insert(CONTACT_CHANGE), rows)
        await forget_shared(connection, tenant, [(change.subject, change.field) for change in changes])


async def young_contacts(
    services: Services, connection: AsyncConnection, tenant: TenantId, subject: SubjectId
) -> frozenset[str]:
    """Return the fields of a profile whose address has changed within ``contact_days``: they prove no one yet."""
    statement = select(_ROW.field).where(
        _ROW.tenant_id == tenant,
        _ROW.subject_id == subject,
        _ROW.changed_at > services.clock.now() - quarantine(services, tenant),
        _ROW.kind != "removed",
    )
    return frozenset((await connection.execute(statement)).scalars())


async def changed_since(
    connection: AsyncConnection, tenant: TenantId, subject: SubjectId, field: str, moment: datetime
) -> bool:
    """Return whether the address in a field has changed at or after a moment."""
    this = _ROW.tenant_id == tenant, _ROW.subject_id == subject, _ROW.field == field, _ROW.changed_at >= moment
    return (await connection.execute(select(_ROW.id).where(*this).limit(1))).first() is not None


def quarantine(services: Services, tenant: TenantId) -> timedelta:
    """Return for how long a changed address has to be there."""
    return timedelta(days=services.policies.active(tenant).policy_set.requests.contact_days)


async def changes_of_subjects(
    connection: AsyncConnection, tenant: TenantId, subjects: Collection[SubjectId]
) -> list[ContactChange]:
    """Return the changes of several subjects, oldest first."""
    statement = select(CONTACT_CHANGE).where(_ROW.tenant_id == tenant, _ROW.subject_id.in_(subjects)).order_by(_ROW.id)
    return [_change(row) for row in (await connection.execute(statement)).all()]


async def untold_change(connection: AsyncConnection, tenant: TenantId, change: UUID) -> ContactChange | None:
    """Return a change of which the person was not told yet; None if there is none."""
    statement = select(CONTACT_CHANGE).where(_ROW.tenant_id == tenant, _ROW.id == change, _ROW.told_at.is_(None))
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else _change(row)


async def untold_changes(connection: AsyncConnection, *, limit: int) -> Sequence[tuple[TenantId, UUID]]:
    """Return the newest changes of which the person was not told yet, of all tenants."""
    statement = select(_ROW.tenant_id, _ROW.id).where(_ROW.told_at.is_(None)).order_by(_ROW.id.desc()).limit(limit)
    return [(TenantId(row.tenant_id), row.id) for row in (await connection.execute(statement)).all()]


async def mark_notified(connection: AsyncConnection, tenant: TenantId, change: ContactChange, now: datetime) -> None:
    """Record that the person was told, and let the former address go."""
    this = _ROW.tenant_id == tenant, _ROW.subject_id == change.subject, _ROW.id == change.id
    await connection.execute(update(CONTACT_CHANGE).where(*this).values(told_at=now, former=None))


async def forget_changes(services: Services) -> int:
    """Delete the changes of addresses that have been there for ``contact_days``; return how many."""
    deleted = 0
    async with services.data.transaction() as connection:
        for active in services.policies.all_active():
            tenant = TenantId(active.decisions.tenant)
            old = _ROW.changed_at <= services.clock.now() - quarantine(services, tenant)
            deleted += (await connection.execute(delete(CONTACT_CHANGE).where(_ROW.tenant_id == tenant, old))).rowcount
    return deleted


def _change(row: AnyRow) -> ContactChange:
    values: dict[str, Any] = {name: getattr(row, name) for name in ContactChange._fields if name != "subject"}
    return ContactChange(SubjectId(row.subject_id), **values)
