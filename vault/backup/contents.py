"""What lies in a database, asked past the vault's own connections: its revision, its rows, and whether it is whole."""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote

import asyncpg
from sqlalchemy import make_url

from vault.errors import Unavailable, VaultError

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE: Final = 30.0
"""Seconds for SQLite's one writer to let us in."""
FAILURES: Final = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
_TABLES: Final = """
SELECT c.relname FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
AND has_table_privilege(c.oid, 'SELECT') ORDER BY 1
"""


class DatabaseDamaged(VaultError):
    """A database's file has a damaged page."""

    code = "database-damaged"


class Contents(NamedTuple):
    """What a database holds: the revision of its tables, and rows in each."""

    revision: str
    rows: dict[str, int]


def connect_sqlite(path: str) -> sqlite3.Connection:
    """Open an SQLite database that is there; its transactions begin where we say so.

    Raises:
        Unavailable: it is not there, or cannot be read.
    """
    try:
        return sqlite3.connect(
            f"file:{quote(str(Path(path).absolute()))}?mode=rw",
            uri=True,
            timeout=PATIENCE,
            isolation_level=None,
            check_same_thread=False,
        )
    except sqlite3.Error as error:
        raise unavailable(error) from None


async def connect_postgres(url: str) -> asyncpg.Connection:
    """Connect to a PostgreSQL database; raises what the driver raises."""
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    return await asyncpg.connect(plain, timeout=10, server_settings={"application_name": "cdv backup", "jit": "off"})


def contents_of_sqlite(connection: sqlite3.Connection, check: str) -> Contents:
    """Check an SQLite database and count its rows.

    Args:
        connection: open on it.
        check: ``quick_check`` or ``integrity_check``.

    Raises:
        DatabaseDamaged: a page is damaged.
    """
    with reading_sqlite():
        if connection.execute(f"PRAGMA {check}(1)").fetchone() != ("ok",):
            raise damaged()
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        rows = {name: _count(connection, name) for (name,) in sorted(names.fetchall())}
        revision = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return Contents(str(revision[0]), rows)


async def contents_of_postgres(connection: asyncpg.Connection) -> Contents:
    """Count the rows of a PostgreSQL database."""
    names = await tables_of_postgres(connection)
    rows = {name: await connection.fetchval(f'SELECT count(*) FROM public."{name}"') for name in names}  # noqa: S608
    return Contents(await connection.fetchval("SELECT version_num FROM public.alembic_version"), rows)


async def tables_of_postgres(connection: asyncpg.Connection) -> list[str]:
    """Name the tables that are the vault's: it reads all of its own, so what it may not read is somebody else's."""
    return [row[0] for row in await connection.fetch(_TABLES)]


def damaged() -> DatabaseDamaged:
    """Make the error for a damaged page."""
    return DatabaseDamaged(
        "a page of the database is damaged",
        hint="restore the newest backup that `cdv backup verify` accepts, and have the disk looked at",
    )


@contextmanager
def reading_sqlite(copy: Path | None = None) -> Iterator[None]:
    """Turn what SQLite complains of into the vault's errors: damage is told apart from what may pass.

    Args:
        copy: where something is written meanwhile; if the disk is full, it is that one.
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        if copy is not None and error.sqlite_errorcode in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE}:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(copy)) from None
        raise unavailable(error) from None
    except sqlite3.DatabaseError:  # "malformed", "not a database"
        raise damaged() from None


def _count(connection: sqlite3.Connection, table: str) -> int:
    return int(connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0])  # noqa: S608 - our own names


def unavailable(error: BaseException) -> Unavailable:
    """Say that a database did not answer, and by what kind of failure."""
    return Unavailable(
        f"a database did not take part ({type(error).__name__})",
        hint="try again; if it lasts, look at the database's log and disk space",
    )
