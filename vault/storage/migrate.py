"""Migrate a database's tables to the version of this code (alembic)."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sqlalchemy import inspect, text

if TYPE_CHECKING:
    from alembic.config import Config
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
    return revision in _revisions(which)


# Opening a vault only compares revisions. They are read here without alembic, whose import takes as long as the rest.
@functools.cache
def _revisions(which: Which) -> dict[str, str | None]:
    """Read the revisions from the scripts, each with the one before it; once a process."""
    scripts = [path.read_text(encoding="utf-8") for path in (_folder(which) / "versions").glob("*.py")]
    return {
        revision: before
        for script in scripts
        for revision, before in [(_assigned(script, "revision"), _assigned(script, "down_revision"))]
        if revision is not None
    }


def _assigned(script: str, name: str) -> str | None:
    found = re.search(rf'^{name}(?:: [^=\n]+)? = "([^"\n]+)"$', script, re.MULTILINE)
    return None if found is None else found[1]


def _head(which: Which) -> str | None:
    """Return the newest revision: the one that none comes after."""
    revisions = _revisions(which)
    return next(iter(revisions.keys() - revisions.values()), None)


def _current(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    current: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return current


def _upgrade(connection: Connection, which: Which) -> None:
    from alembic import command

    config = _config(which)
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _config(which: Which) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_folder(which)).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _folder(which: Which) -> Path:
    return Path(__file__).parent / "migrations" / which
