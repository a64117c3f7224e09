"""Migrate a database's tables to the version of this code (alembic)."""

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
    """Run all pending migrations.

    Returns:
        the revision before and after; equal if nothing was pending.
    """
    async with database.transaction() as connection:
        if database.dialect == "postgresql":
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        before = await connection.run_sync(_current)
        await connection.run_sync(_upgrade, which)
        return before, await connection.run_sync(_current)


async def is_current(database: Database, which: Which) -> bool:
    """Return whether the database has the tables of this code's version."""
    async with database.reading() as connection:
        current = await connection.run_sync(_current)
    return current == _head(which)


def knows(which: Which, revision: str) -> bool:
    """Return whether this code knows a revision, so that it can run on it or migrate it."""
    return any(script.revision == revision for script in ScriptDirectory.from_config(_config(which)).walk_revisions())


@functools.cache
def _head(which: Which) -> str | None:
    """Return the newest revision; read once per process, because migrations come with the program."""
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
