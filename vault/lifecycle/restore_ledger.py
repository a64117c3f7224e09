"""The ledger of tombstones: what a restore from a backup must not undo, in a database of its own.

Whoever erases, restricts, or records a no, writes it here within the transaction that does so, before that commits:
what was promised to a person is then in two places, and a backup of one can be made good by the other. What stands
here and never came about (the process died between the two) is at worst something that the person asked for.
There is no value of a person in it: ids, names of purposes and fields, keyed digests.
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
"""What was done: ``consent`` is any event of the consent ledger that is a no, an objection or a restriction; ``access``
is a key revoked, a principal shut out, or a role taken away; ``backup`` is that one was made, by which a restore knows
the ledger for the vault's own, and for no older one."""
PAGE: Final = 500


class Tombstone(NamedTuple):
    """One line: what was done, to whom and when; ``body`` is what doing it again needs (JSON)."""

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
        """Write lines down: whom each is about, and its body. Durable before it returns.

        Raises:
            Unavailable: the ledger does not answer; then what it is about must not happen either.
        """
        if lines:
            rows = [(tenant, new_id(), at, kind, subject, body) for subject, body in lines]
            await self._database.append({TOMBSTONE_LEDGER: rows})

    async def add_backup(self, backup: UUID, at: datetime) -> None:
        """Write down that a backup was made; durable before it returns.

        Raises:
            Unavailable: the ledger does not answer; then there must be no such backup.
        """
        await self.add(DEFAULT_TENANT, "backup", at, [(backup, b"{}")])

    async def since(self, moment: datetime) -> AsyncIterator[Tombstone]:
        """Go through the lines from a moment on, the oldest first, some at a time."""
        after: tuple[datetime, UUID] | None = None
        while True:
            rows = await self._page(moment, after)
            for row in rows:
                yield Tombstone(TenantId(row.tenant_id), row.id, row.at, row.kind, row.subject_id, row.body)
            if len(rows) < PAGE:
                return
            after = (rows[-1].at, rows[-1].id)

    async def newest(self) -> datetime | None:
        """Tell when the last line was written; none where there is none."""
        async with self._database.reading() as connection:
            found: datetime | None = (await connection.execute(select(func.max(TOMBSTONE_LEDGER.c.at)))).scalar_one()
        return found

    async def ping(self) -> None:
        """Ask whether the ledger answers; raises ``Unavailable`` if not."""
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
