"""The gate of a restored vault: it does not open before the ledger of tombstones has been replayed into it.

A backup holds people who were erased since, and consents that were withdrawn since. A row in the restored database,
written by the very transaction or file that brings the data, says that this has yet to be made good.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from sqlalchemy import select, update

from vault.backup.tables import RESTORE
from vault.clock import rfc3339
from vault.errors import Misconfigured, Unavailable

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    import asyncpg
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.storage.database import Database


class Facts(msgspec.Struct, frozen=True, omit_defaults=True):
    """Facts of a restore, stored as JSON in one column.

    Attributes:
        without_ledger: why the ledger of tombstones is lost; None if it exists and is replayed.
    """

    without_ledger: str | None = None


class Restore(NamedTuple):
    """A restore: which backup, of when, and when it was brought in."""

    id: UUID
    backup: UUID
    backed_up_at: datetime
    restored_at: datetime
    facts: Facts


class NotReplayed(Misconfigured):
    """The vault was restored, and what happened since the backup has yet to be made good."""

    code = "not-replayed"


_facts = msgspec.json.Decoder(Facts)
TABLE: Final = "restore"
ORDER: Final = "restoring.json"
"""A file in the folder of a vault while it is being restored."""
_IS_OPEN: Final = (
    "SELECT EXISTS (SELECT FROM alembic_version) AND NOT EXISTS (SELECT FROM restore WHERE replayed_at IS NULL)"
)
CONTINUE: Final = "run `cdv restore --continue`"


def row_of(restore: Restore) -> dict[str, Any]:
    """Write a restore that is not replayed as a row of :data:`TABLE`, by column."""
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
    """Return the same within a transaction."""
    statement = select(RESTORE).where(RESTORE.c.replayed_at.is_(None)).order_by(RESTORE.c.restored_at).limit(1)
    row = (await connection.execute(statement)).one_or_none()
    if row is None:
        return None
    return Restore(row.id, row.backup_id, row.backed_up_at, row.restored_at, _facts.decode(row.body))


async def close_all(connection: AsyncConnection, now: datetime) -> None:
    """Write down that what had to be replayed is; earlier restores that lay in the backup are made good with it."""
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

    A node that ran on the database that was lost goes on, and finds another one under its name.

    Raises:
        Unavailable: it is one of these.
    """
    import asyncpg

    try:
        is_open = await connection.fetchval(_IS_OPEN)
    except asyncpg.UndefinedTableError:
        is_open = False
    if not is_open:
        raise Unavailable("the database is being restored, and not yet replayed", hint=CONTINUE)


def described(moment: datetime) -> str:
    """Write a moment to the second."""
    return rfc3339(moment.astimezone(UTC).replace(microsecond=0)).replace(".000000", "")
