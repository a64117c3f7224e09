"""Bring the databases of a backup back: into new SQLite files, or into empty databases of PostgreSQL.

Restore the databases of a backup, each whole or not at all, so that an interrupted restore starts with it again.

The main database comes back closed: what opens it to a program, the version of its tables, comes in by the same
transaction, or with the same file, as the row that says that it was restored. No program ever finds it without.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import tempfile
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import asyncpg
from sqlalchemy import make_url

from vault.backup.sealed_file import open_part, sync_folder, writing
from vault.backup.snapshot import (
    FAILURES,
    Contents,
    DatabaseDamaged,
    connect_postgres,
    contents_of_postgres,
    contents_of_sqlite,
    unavailable,
)
from vault.errors import Misconfigured, Unavailable
from vault.storage.query import native

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from vault.backup.location import BackupFolder
    from vault.backup.manifest import Kind
    from vault.backup.postgres_tools import PostgresTools
    from vault.crypto.providers import KeyProvider

    Row = Mapping[str, Any]


async def load_database(
    backup: BackupFolder, kind: Kind, provider: KeyProvider, url: str, tools: PostgresTools
) -> Contents:
    """Bring one database of a backup back and see that it holds what the manifest says.

    Args:
        backup: its files were accepted by :func:`vault.backup.sealed_file.check_files`.
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

    def write() -> None:
        with open_part(backup, kind, provider) as opener:
            if path is not None:
                _write_sqlite(path, opener)
            else:
                tools.restore(url, opener)

    await asyncio.to_thread(write)
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
    """Check a database that is not in use, and count its rows.

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
        # From template0: template1 may contain tables, and a connection to it blocks CREATE DATABASE.
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
    counts = [f"{name} has {found.get(name, 0):,} of {written.get(name, 0):,}" for name in names[:5]]
    return "; ".join(counts) or "the tables are of another revision"


def _not_empty(kind: Kind) -> Misconfigured:
    return Misconfigured(
        f"the place for the {kind} database is not empty; nothing was touched",
        hint="name a new folder, or an empty database",
    )


VERSION: Final = "alembic_version"
UNFINISHED: Final = ".restoring"
_COMPANY: Final = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND usesysid IS NOT NULL AND pid <> pg_backend_pid()
"""
_PATIENCE: Final = (0.05, 0.1, 0.2, 0.4, 0.8, 0.0)
_BESIDE: Final = ("", "-wal", "-shm", "-journal")
_FAILURES: Final = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)


async def bring_back(backup: BackupFolder, kind: Kind, provider: KeyProvider, url: str, tools: PostgresTools) -> None:
    """Bring the key store or the ledger back; raises what :func:`vault.backup.load.load_database` raises."""
    path = sqlite_path(url)
    if path is None:
        await load_database(backup, kind, provider, url, tools)
        return
    part = _cleared(path)
    await load_database(backup, kind, provider, f"sqlite:///{part}", tools)
    _put_in_place(part, path)


async def bring_back_closed(
    backup: BackupFolder, provider: KeyProvider, url: str, tools: PostgresTools, *, table: str, row: Row
) -> None:
    """Bring the main database back together with a row of a table of its own.

    Args:
        backup: its files were checked.
        provider: holds the root key.
        url: of the database, which is empty, or has been begun by this restore.
        tools: PostgreSQL's programs.
        table: in which the row goes.
        row: its values by column.

    Raises:
        DatabaseDamaged: what was brought back is not what was backed up; then it stays closed.
        Misconfigured, ToolFailed, Unavailable: it cannot be brought there.
    """
    path = sqlite_path(url)
    if path is None:
        await _postgres(backup, provider, url, tools, table, row)
        return
    part = _cleared(path)
    await load_database(backup, "data", provider, f"sqlite:///{part}", tools)
    try:
        await asyncio.to_thread(_insert, part, table, row)
    except sqlite3.Error as error:
        raise _unavailable(error) from None
    _put_in_place(part, path)


async def require_alone(url: str) -> None:
    """Require that no other client is connected to the main database: it could read data before the replay.

    Raises:
        Misconfigured: another client is connected.
        Unavailable: it does not answer.
    """
    if sqlite_path(url) is not None:
        return  # a file that does not exist has no users
    try:
        connection = await connect_postgres(url)
        try:
            for pause in _PATIENCE:  # a closed connection is counted for some milliseconds more
                if await connection.fetchval(_COMPANY) == 0:
                    return
                await asyncio.sleep(pause)
        finally:
            await connection.close(timeout=5)
    except _FAILURES as error:
        raise _unavailable(error) from None
    raise Misconfigured(
        "another client is connected to the data database",
        hint="stop all vault nodes and other database clients, then try again",
    )


async def is_back(url: str) -> bool:
    """Return whether a database was restored completely.

    Raises:
        Unavailable: it does not answer.
    """
    path = sqlite_path(url)
    if path is not None:
        return path.exists()
    tables = await _rows_of_version(url)
    return tables is not None and tables > 0


def sqlite_path(url: str) -> Path | None:
    """Return the path of an SQLite database; none of another."""
    parsed = make_url(url)
    return Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None


async def _postgres(
    backup: BackupFolder, provider: KeyProvider, url: str, tools: PostgresTools, table: str, row: Row
) -> None:
    """First all but the version, in one transaction of ``pg_restore``; then the version and the row, in another."""
    facts = backup.manifest.files["data"]
    await require_alone(url)
    if await _rows_of_version(url) is None:
        await require_empty("data", facts.dialect, url, tools)
        await asyncio.to_thread(_restore_all_but_version, backup, provider, url, tools)
    try:
        connection = await connect_postgres(url)
        try:
            rows = (await contents_of_postgres(connection)).rows | {VERSION: 1}
            if rows != facts.rows:
                raise DatabaseDamaged(
                    "the data database does not hold the rows that were backed up", hint="take another backup"
                )
            async with connection.transaction():
                numbers = ", ".join(f"${number}" for number in range(1, len(row) + 1))
                await connection.execute(
                    f'INSERT INTO "{table}" ({", ".join(row)}) VALUES ({numbers})',  # noqa: S608 - our own names
                    *row.values(),
                )
                await connection.execute(f"INSERT INTO {VERSION} VALUES ($1)", facts.revision)  # noqa: S608 - as above
        finally:
            await connection.close(timeout=5)
    except _FAILURES as error:
        raise _unavailable(error) from None


def _restore_all_but_version(backup: BackupFolder, provider: KeyProvider, url: str, tools: PostgresTools) -> None:
    with open_part(backup, "data", provider) as opener:
        listed = tools.listing(url, opener)
    lines = [line for line in listed.splitlines() if f" TABLE DATA public {VERSION} " not in line]
    with tempfile.NamedTemporaryFile("w", suffix=".list", encoding="utf-8") as chosen:
        chosen.write("\n".join(lines) + "\n")
        chosen.flush()
        with open_part(backup, "data", provider) as opener:
            tools.restore(url, opener, chosen=Path(chosen.name))


async def _rows_of_version(url: str) -> int | None:
    """Count the rows of the table of versions: none where there is no such table, and so nothing at all."""
    try:
        connection = await connect_postgres(url)
        try:
            if await connection.fetchval("SELECT to_regclass($1)", f"public.{VERSION}") is None:
                return None
            return int(await connection.fetchval(f"SELECT count(*) FROM {VERSION}"))  # noqa: S608 - our own name
        finally:
            await connection.close(timeout=5)
    except _FAILURES as error:
        raise _unavailable(error) from None


def _cleared(path: Path) -> Path:
    """Return the temporary name of a database, with nothing there any more."""
    part = path.with_name(path.name + UNFINISHED)
    for end in _BESIDE:
        part.with_name(part.name + end).unlink(missing_ok=True)
    return part


def _put_in_place(part: Path, path: Path) -> None:
    part.rename(path)
    for end in _BESIDE[1:]:
        with suppress(OSError):
            part.with_name(part.name + end).unlink()
    sync_folder(path.parent)


def _insert(path: Path, table: str, row: Row) -> None:
    marks = ", ".join("?" for _ in row)
    with closing(sqlite3.connect(path)) as connection:
        # Without a log: only the file itself is moved into place.
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(
            f'INSERT INTO "{table}" ({", ".join(row)}) VALUES ({marks})',  # noqa: S608 - our own names
            [native(value) for value in row.values()],
        )
        connection.commit()


def _unavailable(error: BaseException) -> Unavailable:
    return Unavailable(
        f"the database did not take part in the restore ({type(error).__name__})",
        hint="see whether it runs, then run `cdv restore --continue`",
    )
