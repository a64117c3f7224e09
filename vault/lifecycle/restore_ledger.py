"""The restore ledger: what a restore from a backup must not undo, in a database of its own.

An erasure, a restriction or a denial of consent is written here within its transaction, before that commits. It is then
in two places, and a backup of one is completed from the other. A line whose transaction did not commit (the process
died between the two) is at worst something that the person asked for. Lines contain ids, names of purposes and fields,
and keyed digests, and no value of a person.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from sqlalchemy import func, select

from vault.ids import DEFAULT_TENANT, TenantId, new_id
from vault.lifecycle.tables import TOMBSTONE_LEDGER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from datetime import datetime
    from uuid import UUID

    from vault.storage.database import Database

Kind = Literal["erasure", "consent", "merge", "hold", "hold-lifted", "access", "backup"]
"""What was done. ``consent`` is a consent event that denies, objects or restricts; ``access`` is a revoked key, a
disabled principal or a removed role; ``backup`` marks a backup, by which a restore recognises the current ledger."""
PAGE: Final = 500


class Tombstone(NamedTuple):
    """One line: what was done, to which subject and when; ``body`` is the JSON that repeating it needs."""

    tenant: TenantId
    id: UUID
    at: datetime
    kind: Kind
    subject: UUID | None
    body: bytes


class RestoreLedger:
    """The lines of all tenants.

    Args:
        database: the ledger's own.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, tenant: TenantId, kind: Kind, at: datetime, lines: Sequence[tuple[UUID | None, bytes]]) -> None:
        """Add lines: the subject of each, and its body. They are durable when this returns.

        Raises:
            Unavailable: the ledger does not answer; the transaction must not commit.
        """
        if lines:
            rows = [(tenant, new_id(), at, kind, subject, body) for subject, body in lines]
            await self._database.append({TOMBSTONE_LEDGER: rows})

    async def add_backup(self, backup: UUID, at: datetime) -> None:
        """Record that a backup was made; durable when this returns.

        Raises:
            Unavailable: the ledger does not answer; then there must be no such backup.
        """
        await self.add(DEFAULT_TENANT, "backup", at, [(backup, b"{}")])

    async def since(self, moment: datetime) -> AsyncIterator[Tombstone]:
        """Iterate over the lines from a moment on, the oldest first, in pages."""
        after: tuple[datetime, UUID] | None = None
        while True:
            rows = await self._page(moment, after)
            for row in rows:
                yield Tombstone(TenantId(row.tenant_id), row.id, row.at, row.kind, row.subject_id, row.body)
            if len(rows) < PAGE:
                return
            after = (rows[-1].at, rows[-1].id)

    async def newest(self) -> datetime | None:
        """Return when the last line was written, or None if there is none."""
        async with self._database.reading() as connection:
            found: datetime | None = (await connection.execute(select(func.max(TOMBSTONE_LEDGER.c.at)))).scalar_one()
        return found

    async def ping(self) -> None:
        """Check that the ledger answers; raises ``Unavailable`` if not."""
        await self._database.ping()

    async def close(self) -> None:
        """Close the database."""
        await self._database.close()

    async def _page(self, moment: datetime, after: tuple[datetime, UUID] | None) -> Sequence[Any]:
        table = TOMBSTONE_LEDGER
        statement = select(table).where(table.c.at >= moment).order_by(table.c.at, table.c.id).limit(PAGE)
        if after is not None:
            later = (table.c.at > after[0]) | ((table.c.at == after[0]) & (table.c.id > after[1]))
            statement = statement.where(later)
        async with self._database.reading() as connection:
            return (await connection.execute(statement)).all()
