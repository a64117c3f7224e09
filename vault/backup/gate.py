"""The gate of a restored vault: it does not open until the ledger of tombstones has been replayed into it.

A backup contains subjects who were erased since, and consents that were withdrawn since. A row in the restored database
marks it as not replayed. The transaction or the file that brings the data contains this row.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID  # noqa: TC003 - SQLModel reads the annotations

import msgspec
from sqlalchemy import LargeBinary, select, update

from vault.clock import rfc3339
from vault.errors import Misconfigured, Unavailable
from vault.storage.columns import DataTable, Id, Moment, column, table_of

if TYPE_CHECKING:
    from pathlib import Path

    import asyncpg
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.storage.database import Database


class RestoreRow(DataTable, table=True):
    """A restore of this database from a backup. While ``replayed_at`` is empty, the vault does not open for readers."""

    __tablename__ = "restore"

    id: UUID = column(Id, primary_key=True)
    backup_id: UUID = column(Id)
    backed_up_at: datetime = column(Moment)
    restored_at: datetime = column(Moment)
    replayed_at: datetime | None = column(Moment, nullable=True)
    body: bytes = column(LargeBinary)


RESTORE = table_of(RestoreRow)


class Facts(msgspec.Struct, frozen=True, omit_defaults=True):
    """Facts of a restore, stored as JSON in one column.

    Attributes:
        without_ledger: why the ledger of tombstones is lost; None if it exists and is replayed.
    """

    without_ledger: str | None = None


class Restore(NamedTuple):
    """A restore: of which backup, and when."""

    id: UUID
    backup: UUID
    backed_up_at: datetime
    restored_at: datetime
    facts: Facts


class NotReplayed(Misconfigured):
    """The vault was restored, and the ledger has not been replayed yet."""

    code = "not-replayed"


_facts = msgspec.json.Decoder(Facts)
ORDER: Final = "restoring.json"
"""A file in the folder of a vault while it is being restored."""
_IS_OPEN: Final = (
    "SELECT EXISTS (SELECT FROM alembic_version) AND NOT EXISTS (SELECT FROM restore WHERE replayed_at IS NULL)"
)
CONTINUE: Final = "run `cdv restore --continue`"


def row_of(restore: Restore) -> dict[str, object]:
    """Return the row of a restore that is not replayed, by column."""
    return {
        "id": restore.id,
        "backup_id": restore.backup,
        "backed_up_at": restore.backed_up_at,
        "restored_at": restore.restored_at,
        "replayed_at": None,
        "body": msgspec.json.encode(restore.facts),
    }


async def waiting(database: Database) -> Restore | None:
    """Return the restore that is not replayed yet, or None if the vault may be read."""
    async with database.reading() as connection:
        return await waiting_in(connection)


async def waiting_in(connection: AsyncConnection) -> Restore | None:
    """Return the restore that is not replayed yet, within a transaction."""
    statement = select(RESTORE).where(RESTORE.c.replayed_at.is_(None)).order_by(RESTORE.c.restored_at).limit(1)
    row = (await connection.execute(statement)).one_or_none()
    if row is None:
        return None
    return Restore(row.id, row.backup_id, row.backed_up_at, row.restored_at, _facts.decode(row.body))


async def close_all(connection: AsyncConnection, now: datetime) -> None:
    """Mark all restores as replayed: this one, and earlier ones whose rows were in the backup."""
    await connection.execute(update(RESTORE).where(RESTORE.c.replayed_at.is_(None)).values(replayed_at=now))


def require_whole(folder: Path) -> None:
    """Refuse a folder with an interrupted restore.

    Raises:
        NotReplayed: the folder contains the order of a restore.
    """
    if (folder / ORDER).is_file():
        raise NotReplayed("a restore into this folder was cut off, and is not whole", hint=CONTINUE)


async def require_replayed(database: Database) -> None:
    """Refuse a restored vault that is not replayed yet.

    Raises:
        NotReplayed: it was not.
    """
    restore = await waiting(database)
    if restore is not None:
        raise NotReplayed(
            f"this vault was restored from a backup of {described(restore.backed_up_at)} and not yet replayed: "
            "later erasures and withdrawals are missing in it",
            hint=CONTINUE,
        )


async def require_open(connection: asyncpg.Connection) -> None:
    """Refuse a new connection to a main database that is empty, or restored and not replayed.

    A node may still run that was connected to the lost database; it then finds another one at the same URL.

    Raises:
        Unavailable: the database is empty or not replayed.
    """
    import asyncpg

    try:
        is_open = await connection.fetchval(_IS_OPEN)
    except asyncpg.UndefinedTableError:
        is_open = False
    if not is_open:
        raise Unavailable("the database is being restored, and not yet replayed", hint=CONTINUE)


def described(moment: datetime) -> str:
    """Format a time to the second."""
    return rfc3339(moment.astimezone(UTC).replace(microsecond=0)).replace(".000000", "")
