"""The restore ledger: what a restore from a backup must not undo, in a database of its own.

An erasure, a restriction or a denial of consent is written here within its transaction, before that commits: if the
ledger does not answer, nothing happens. It is then in two places, and a backup of one is completed from the other. A
line whose transaction did not commit (the process died between the two) is at worst something that the person asked
for. Lines contain ids, names of purposes and fields, days and keyed digests, and no value or word of a person.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy import Index, LargeBinary, String, func, select

from vault.catalogue.model import LegalClaim, Scope
from vault.ids import DEFAULT_TENANT, RoleName, TenantId, new_id
from vault.storage.columns import Id, LedgerTable, Moment, column, table_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from vault.context import Services
    from vault.storage.database import Database

Kind = Literal["erasure", "consent", "merge", "hold", "hold-lifted", "access", "backup"]
"""What was done. ``consent`` is a consent event that denies, objects or restricts; ``access`` is a revoked key, a
disabled principal or a removed role; ``backup`` marks a backup, by which a restore recognises the current ledger."""
PAGE: Final = 500


class LedgerRow(LedgerTable, table=True):
    """One thing that a restore must not undo."""

    __tablename__ = "tombstone_ledger"
    __table_args__ = (Index("ix_tombstone_ledger_at", "at"),)

    tenant_id: str = column(String(64), primary_key=True)
    id: UUID = column(Id, primary_key=True)
    at: datetime = column(Moment)
    kind: str = column(String(16))
    subject_id: UUID | None = column(Id, nullable=True)
    body: bytes = column(LargeBinary)


TOMBSTONE_LEDGER = table_of(LedgerRow)


class Tombstone(NamedTuple):
    """One line: what was done, to which subject and when; ``body`` is the JSON that repeating it needs."""

    tenant: TenantId
    id: UUID
    at: datetime
    kind: Kind
    subject: UUID | None
    body: bytes


class RestoreLedger:
    """The lines of all tenants, in a database of their own."""

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

    async def lines_of(self, tenant: TenantId, kind: Kind, subject: UUID) -> list[bytes]:
        """Return the bodies of a subject's lines of a kind, the oldest first.

        Raises:
            Unavailable: the ledger does not answer.
        """
        table = TOMBSTONE_LEDGER
        lines = table.c.tenant_id == tenant, table.c.kind == kind, table.c.subject_id == subject
        statement = select(table.c.body).where(*lines).order_by(table.c.at, table.c.id)
        async with self._database.reading() as connection:
            return list((await connection.execute(statement)).scalars())

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
            # By time and id: lines of one time may lie on both sides of a page's end, and none is skipped or read
            # twice.
            later = (table.c.at > after[0]) | ((table.c.at == after[0]) & (table.c.id > after[1]))
            statement = statement.where(later)
        async with self._database.reading() as connection:
            return (await connection.execute(statement)).all()


class ErasureLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """An erasure that was executed.

    Attributes:
        erasure: its id, which is on the certificate.
        request: that it carried out; None if there was none.
        scope: what was to be erased; empty: everything.
        started_at: when it began.
        aliases: subjects that had been merged into this one.
        tombstones: hexadecimal digests of what identified the subject, with the kind of each.
        claims: what staff kept for legal claims.
        gone: for an erasure in part, the erased fields. They may follow from policies that a backup does not have.
        cause: why it began without a request.
        rests: for an erasure in part with a cause, until when the erased values were collected, by field.
        resumes: the erasures that a hold had stopped, and that it continued.
    """

    erasure: UUID
    request: UUID | None
    scope: Scope
    started_at: datetime
    aliases: tuple[UUID, ...] = ()
    tombstones: dict[str, str] = {}
    claims: tuple[LegalClaim, ...] = ()
    gone: tuple[str, ...] = ()
    cause: str | None = None
    rests: dict[str, datetime] = {}
    resumes: tuple[UUID, ...] = ()

    def digests(self) -> dict[bytes, str]:
        """Return the tombstones."""
        return {bytes.fromhex(digest): kind for digest, kind in self.tombstones.items()}


class MergeLine(msgspec.Struct, frozen=True):
    """A merge: lines about the survivor apply to the duplicate too, which is a separate subject in an older backup."""

    duplicate: UUID


class AccessLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """An access that was revoked.

    Attributes:
        entry: the audit entry of the same transaction: a backup that contains it contains the revocation.
        action: what was done.
        target: the key or the principal.
        roles: that were removed.
    """

    entry: UUID
    action: Literal["revoke-key", "disable-principal", "set-roles"]
    target: UUID
    roles: tuple[RoleName, ...] = ()


_encode = msgspec.json.Encoder(order="sorted").encode
read_erasure = msgspec.json.Decoder(ErasureLine).decode
read_merge = msgspec.json.Decoder(MergeLine).decode
read_access = msgspec.json.Decoder(AccessLine).decode
_KINDS: Final[dict[type[msgspec.Struct], Kind]] = {ErasureLine: "erasure", MergeLine: "merge", AccessLine: "access"}


async def add_line(
    services: Services, tenant: TenantId, subject: UUID | None, line: ErasureLine | MergeLine | AccessLine
) -> None:
    """Add a line; call it last in the transaction of what it records.

    Raises:
        Unavailable: the ledger does not answer; the transaction must not commit.
    """
    await services.restore_ledger.add(tenant, _KINDS[type(line)], services.clock.now(), [(subject, _encode(line))])


class Joined:
    """Merges since a backup; in the backup the subjects are still separate."""

    def __init__(self) -> None:
        self._into: defaultdict[tuple[TenantId, UUID], list[UUID]] = defaultdict(list)

    def add(self, tenant: TenantId, survivor: UUID, duplicate: UUID) -> None:
        """Add a merge."""
        self._into[tenant, survivor].append(duplicate)

    def of(self, tenant: TenantId, subject: UUID) -> list[UUID]:
        """Return a subject and all subjects that were merged into it, directly or through another one."""
        joined = [subject]
        for member in joined:
            # The list grows while it is walked; nothing is added twice, so that a ring of merges ends.
            joined.extend(other for other in self._into.get((tenant, member), ()) if other not in joined)
        return joined
