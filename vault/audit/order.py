"""The order of the audit log: by numbers that the database gives, and by no clock.

A number says where an entry is in the log. Ids and times cannot: a clock may be set back, and nodes have several.

*What readers may rely on:* if an entry is on a page, every entry with a smaller number is in the log already. So a
reader who goes on after the last entry that it has seen misses nothing.

- SQLite has one writer at a time. Its transactions are committed in the order of their numbers.
- PostgreSQL commits in any order: who drew number 8 may be done before who drew 7. Each transaction therefore holds a
  shared lock from before its first number until it is committed or rolled back, and the key of the lock says which
  number was the last one before. A page ends at the smallest of these numbers. A transaction appends its entries at its
  end as a rule, so there are locks for milliseconds only, and readers wait that long for entries that are committed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

if TYPE_CHECKING:
    from vault.storage.database import Database

PATIENCE: Final = 1.0
"""Seconds to wait for transactions that append. After that a page leaves out what is not settled."""
PAUSE: Final = 0.005

NUMBERING: Final = (
    "CREATE OR REPLACE FUNCTION audit_entry_numbering() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
    " PERFORM pg_advisory_xact_lock_shared((25444::bigint << 48) | last_value) FROM audit_entry_number;"
    " RETURN NULL; END $$"
)
"""What PostgreSQL runs before entries are inserted. A dump of tables has the trigger and not its function: a restore
makes it first."""
_LAST: Final = text("SELECT last_value FROM audit_entry_number")
# pg_locks shows the 64 bits of a key as two halves: 16 bits mark it as ours, 48 are the number.
_OPEN: Final = text(
    "SELECT min((classid::bigint & 65535) << 32 | objid::bigint) FROM pg_locks"
    " WHERE locktype = 'advisory' AND mode = 'ShareLock' AND objsubid = 1 AND classid::bigint >> 16 = 25444"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


async def last_settled(database: Database, *, patience: float = PATIENCE) -> int | None:
    """Return a number up to which no entry can appear any more; None where there is always none (SQLite).

    It does not share a transaction with the page that it bounds: the page has to see what was committed before the
    locks were looked at.
    """
    if database.dialect == "sqlite":
        return None
    ends = asyncio.get_running_loop().time() + patience
    async with database.reading() as connection:
        last: int = (await connection.execute(_LAST)).scalar_one()
        while True:
            # Each number up to `last` was drawn by now, and locked before: its lock is here, or its entry is readable.
            still_open: int | None = (await connection.execute(_OPEN)).scalar_one()
            if still_open is None or still_open >= last:
                return last
            if asyncio.get_running_loop().time() >= ends:
                return still_open
            await asyncio.sleep(PAUSE)
