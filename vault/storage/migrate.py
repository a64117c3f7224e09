"""Bring a database's tables up to the version that this code runs on (alembic)."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from vault.storage.database import Database

Which = Literal["data", "keys", "ledger"]
LOCK = 0x63_64_76  # PostgreSQL advisory lock: two nodes that start together migrate one after the other


async def upgrade(database: Database, which: Which) -> tuple[str | None, str | None]:
    """Run all migrations that are missing.

    Returns:
        the revision before and after; alike where there was nothing to do.
    """
    async with database.transaction() as connection:
        if database.dialect == "postgresql":
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        before = await connection.run_sync(_current)
        await connection.run_sync(_upgrade, which)
        return before, await connection.run_sync(_current)


async def is_current(database: Database, which: Which) -> bool:
    """Tell whether the database has the tables that this code runs on."""
    async with database.reading() as connection:
        current = await connection.run_sync(_current)
    return current == _head(which)


def knows(which: Which, revision: str) -> bool:
    """Tell whether this code can bring tables of a revision up to date, or runs on them."""
    return any(each.revision == revision for each in ScriptDirectory.from_config(_config(which)).walk_revisions())


@functools.cache
def _head(which: Which) -> str | None:
    """Read the newest revision; once a process, for migrations come with the program."""
    return ScriptDirectory.from_config(_config(which)).get_current_head()


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _upgrade(connection: Connection, which: Which) -> None:
    config = _config(which)
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _config(which: Which) -> Config:
    config = Config()
    folder = Path(__file__).parent / "migrations" / which
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
