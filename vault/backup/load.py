"""Bring the databases of a backup back: into new SQLite files, or into empty databases of PostgreSQL."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import asyncpg
from sqlalchemy import make_url

from vault.backup.contents import (
    FAILURES,
    Contents,
    DatabaseDamaged,
    connect_postgres,
    contents_of_postgres,
    contents_of_sqlite,
    unavailable,
)
from vault.backup.sealed_file import open_part, sync_folder, writing
from vault.errors import Misconfigured, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from vault.backup.location import Backup
    from vault.backup.manifest import Kind
    from vault.backup.postgres_tools import PostgresTools
    from vault.crypto.providers import KeyProvider


async def load_database(backup: Backup, kind: Kind, provider: KeyProvider, url: str, tools: PostgresTools) -> Contents:
    """Bring one database of a backup back and see that it holds what the manifest says.

    Args:
        backup: whose files :func:`vault.backup.sealed_file.check_files` has accepted.
        kind: which database.
        provider: holds the root key.
        url: of a file that is not there yet, or of an empty database of PostgreSQL.
        tools: PostgreSQL's programs.

    Raises:
        Misconfigured: the backup is of the other kind of database, or the place is not empty; nothing was touched.
        DatabaseDamaged: what was brought back is not what was backed up.
        ToolFailed: ``pg_restore`` could not; the database is as empty as before.
    """
    facts = backup.manifest.files[kind]
    await require_empty(kind, facts.dialect, url, tools)
    path = _sqlite_path(url)
    with open_part(backup, kind, provider) as opener:
        if path is not None:
            await asyncio.to_thread(_write_sqlite, path, opener)
        else:
            await asyncio.to_thread(tools.restore, url, opener)
    found = await contents_of(url)
    if found != (facts.revision, facts.rows):
        raise DatabaseDamaged(
            f"the {kind} database does not hold the rows that were backed up: {_difference(found.rows, facts.rows)}",
            hint="take another backup",
        )
    return found


async def require_empty(kind: Kind, dialect: str, url: str, tools: PostgresTools) -> None:
    """See that a database of a backup can be brought back to a place where nothing is.

    Raises:
        Misconfigured: it is of the other kind, something is there, or there is no ``pg_restore`` for the server.
    """
    path = _sqlite_path(url)
    if dialect != ("postgresql" if path is None else "sqlite"):
        raise Misconfigured(
            f"the {kind} database was backed up from {dialect}, and the URL names the other kind",
            hint="a backup goes back to the kind of database that it came from",
        )
    if path is not None:
        if path.exists():
            raise _not_empty(kind)
        return
    try:
        connection = await connect_postgres(url)
    except FAILURES as error:
        raise unavailable(error) from None
    try:
        tools.require("pg_restore", connection.get_server_version().major)
        if (await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")) > 0:
            raise _not_empty(kind)
    finally:
        await connection.close(timeout=5)


async def contents_of(url: str) -> Contents:
    """Check a database that nobody else uses and count its rows.

    Raises:
        DatabaseDamaged: a page is damaged.
        Unavailable: it does not answer.
    """
    path = _sqlite_path(url)
    if path is not None:
        return await asyncio.to_thread(_look_at_sqlite, path)
    try:
        connection = await connect_postgres(url)
        try:
            return await contents_of_postgres(connection)
        finally:
            await connection.close(timeout=5)
    except FAILURES as error:
        raise unavailable(error) from None


@asynccontextmanager
async def temporary_database(url: str) -> AsyncIterator[str]:
    """Make an empty database on a PostgreSQL server, named at random, and drop it again; gives its URL.

    Args:
        url: of any database on that server.

    Raises:
        Misconfigured: the role may not make databases.
        Unavailable: the server does not answer.
    """
    name = f"cdv_verify_{uuid4().hex[:16]}"
    try:
        # From template0: in template1 there may be tables, and somebody who is connected to it stands in the way.
        await _run(url, f'CREATE DATABASE "{name}" TEMPLATE template0')
    except asyncpg.InsufficientPrivilegeError:
        raise Misconfigured(
            "this role may not make a database to try the restore in",
            hint="name another server or role by --into, or give the role CREATEDB",
        ) from None
    except FAILURES as error:
        raise unavailable(error) from None
    try:
        yield make_url(url).set(database=name).render_as_string(hide_password=False)
    finally:
        try:
            await _run(url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        except FAILURES as error:
            raise Unavailable(
                f"the temporary database {name} could not be dropped ({type(error).__name__})",
                hint="drop it by hand: a copy of the backup is in it",
            ) from None


async def _run(url: str, statement: str) -> None:
    """Run one statement on a connection of its own: between two of them hours may go by, and an idle one be cut."""
    connection = await connect_postgres(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close(timeout=5)


def _write_sqlite(path: Path, chunks: Iterable[bytes]) -> None:
    with writing(path) as opened:
        for chunk in chunks:
            view = memoryview(chunk)
            while view:
                view = view[os.write(opened, view) :]
        os.fsync(opened)
    sync_folder(path.parent)


def _look_at_sqlite(path: Path) -> Contents:
    with closing(sqlite3.connect(path)) as connection:
        return contents_of_sqlite(connection, "integrity_check")


def _sqlite_path(url: str) -> Path | None:
    parsed = make_url(url)
    return Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None


def _difference(found: dict[str, int], written: dict[str, int]) -> str:
    names = [name for name in sorted({*found, *written}) if found.get(name) != written.get(name)]
    told = [f"{name} has {found.get(name, 0):,} of {written.get(name, 0):,}" for name in names[:5]]
    return "; ".join(told) or "the tables are of another revision"


def _not_empty(kind: Kind) -> Misconfigured:
    return Misconfigured(
        f"the place for the {kind} database is not empty; nothing was touched",
        hint="name a new folder, or an empty database",
    )
