"""Restore the databases of a backup into new SQLite files, or into empty databases of PostgreSQL.

Each database is restored as a whole or not at all, so that an interrupted restore starts with it again.

The main database is restored closed. No program opens it without the version of its tables. This version comes in the
same transaction, or with the same file, as the row that marks the database as restored and not replayed.
"""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import asyncpg
from sqlalchemy import make_url

from vault.audit.order import NUMBERING
from vault.backup import snapshot
from vault.backup.gate import RESTORE, row_of
from vault.backup.sealed_file import open_part, sync_folder, write_file
from vault.errors import Misconfigured, Unavailable
from vault.storage.query import native

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from vault.backup.gate import Restore
    from vault.backup.manifest import BackupFolder, Kind, VaultParts
    from vault.backup.postgres_tools import PostgresTools
    from vault.storage.migrate import Which

UNFINISHED: Final = ".restoring"
_OTHER_CLIENTS: Final = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND usesysid IS NOT NULL AND pid <> pg_backend_pid()
"""
_PAUSES: Final = (0.05, 0.1, 0.2, 0.4, 0.8, 0.0)
_SUFFIXES: Final = ("", "-wal", "-shm", "-journal")


async def load_database(backup: BackupFolder, kind: Which, target: VaultParts) -> snapshot.Contents:
    """Restore one database of a backup, and check that it contains what the manifest says.

    Args:
        backup: its files were accepted by :func:`vault.backup.sealed_file.check_files`.
        target: the URL is of a file that does not exist yet, or of an empty database of PostgreSQL.

    Raises:
        Misconfigured: the backup is of the other kind of database, or the target is not empty; nothing was touched.
        DatabaseDamaged: the restored content differs from the manifest.
        ToolFailed: ``pg_restore`` failed; the database is as empty as before.
    """
    facts, url = backup.manifest.files[kind], target.urls[kind]
    await require_empty(backup, kind, url, target.tools)
    path = snapshot.sqlite_path(url)

    def write() -> None:
        with open_part(backup, kind, target.provider) as opener:
            if path is None:
                target.tools.restore(url, opener)
            else:
                write_file(path, opener)
                sync_folder(path.parent)

    if path is None and kind == "data":
        await _run(url, NUMBERING)
    await asyncio.to_thread(write)
    contents = await contents_of(url)
    if contents != (facts.revision, facts.rows):
        difference = _difference(contents.rows, facts.rows)
        raise snapshot.DatabaseDamaged(
            f"the {kind} database does not hold the rows that were backed up: {difference}", hint="take another backup"
        )
    return contents


async def require_empty(backup: BackupFolder, kind: Which, url: str, tools: PostgresTools) -> None:
    """Require that a database of a backup can be restored to a URL, and that nothing is there.

    Raises:
        Misconfigured: it is of the other kind, something is there, or there is no ``pg_restore`` for the server.
    """
    path, dialect = snapshot.sqlite_path(url), backup.manifest.files[kind].dialect
    if dialect != ("postgresql" if path is None else "sqlite"):
        raise Misconfigured(
            f"the {kind} database was backed up from {dialect}, and the URL names the other kind",
            hint="a backup goes back to the kind of database that it came from",
        )
    if path is not None:
        is_empty = not path.exists()
    else:
        with snapshot.answering():
            async with snapshot.connected(url) as connection:
                tools.require("pg_restore", connection.get_server_version().major)
                is_empty = await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
    if not is_empty:
        raise Misconfigured(
            f"the place for the {kind} database is not empty; nothing was touched",
            hint="name a new folder, or an empty database",
        )


async def contents_of(url: str) -> snapshot.Contents:
    """Check a database that is not in use, and count its rows.

    Raises:
        DatabaseDamaged: a page is damaged.
        Unavailable: the database does not answer.
    """
    path = snapshot.sqlite_path(url)
    if path is None:
        with snapshot.answering():
            async with snapshot.connected(url) as connection:
                return await snapshot.contents_of_postgres(connection)

    def contents() -> snapshot.Contents:
        with closing(sqlite3.connect(path)) as connection:
            return snapshot.contents_of_sqlite(connection, "integrity_check")

    return await asyncio.to_thread(contents)


def _difference(rows: dict[str, int], expected: dict[str, int]) -> str:
    names = [name for name in sorted({*rows, *expected}) if rows.get(name) != expected.get(name)]
    counts = [f"{name} has {rows.get(name, 0):,} of {expected.get(name, 0):,}" for name in names[:5]]
    return "; ".join(counts) or "the tables are of another revision"


@asynccontextmanager
async def temporary_database(url: str) -> AsyncIterator[str]:
    """Create an empty database with a random name on a PostgreSQL server, yield its URL, and drop it at the end.

    Args:
        url: of any database on that server.

    Raises:
        Misconfigured: the role may not create databases.
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
    except snapshot.FAILURES as error:
        raise snapshot.unavailable(error) from None
    try:
        yield make_url(url).set(database=name).render_as_string(hide_password=False)
    finally:
        try:
            await _run(url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        except snapshot.FAILURES as error:
            raise Unavailable(
                f"the temporary database {name} could not be dropped ({type(error).__name__})",
                hint="drop it by hand: a copy of the backup is in it",
            ) from None


async def _run(url: str, statement: str) -> None:
    # Each statement has its own connection: hours may pass between two of them, and an idle connection may be closed.
    async with snapshot.connected(url) as connection:
        await connection.execute(statement)


async def bring_back(backup: BackupFolder, kind: Which, target: VaultParts) -> None:
    """Restore the key store or the ledger; raises what :func:`load_database` raises."""
    path = snapshot.sqlite_path(target.urls[kind])
    if path is None:
        await load_database(backup, kind, target)
        return
    part = await _load_part(backup, kind, target, path)
    _put_in_place(part, path)


async def bring_back_closed(backup: BackupFolder, target: VaultParts, restore: Restore) -> None:
    """Restore the main database together with the row that keeps it closed.

    Args:
        target: the database is empty, or was begun by this restore.

    Raises:
        DatabaseDamaged: the restored content differs from the manifest; the database stays closed.
        Misconfigured, ToolFailed, Unavailable: it cannot be restored there.
    """
    row, path = row_of(restore), snapshot.sqlite_path(target.urls["data"])
    if path is None:
        await _postgres(backup, target, row)
        return
    part = await _load_part(backup, "data", target, path)
    try:
        await asyncio.to_thread(_insert, part, row)
    except sqlite3.Error as error:
        raise _unavailable(error) from None
    _put_in_place(part, path)


async def require_alone(url: str) -> None:
    """Require that no other client is connected to the main database: it could read data before the replay.

    Raises:
        Misconfigured: another client is connected.
        Unavailable: the database does not answer.
    """
    if snapshot.sqlite_path(url) is not None:
        return  # a file that does not exist has no users
    with _restoring():
        async with snapshot.connected(url) as connection:
            for pause in _PAUSES:  # a closed connection is counted for some milliseconds more
                if await connection.fetchval(_OTHER_CLIENTS) == 0:
                    return
                await asyncio.sleep(pause)
    raise Misconfigured(
        "another client is connected to the data database",
        hint="stop all vault nodes and other database clients, then try again",
    )


async def is_back(url: str) -> bool:
    """Return whether a database was restored completely.

    Raises:
        Unavailable: the database does not answer.
    """
    path = snapshot.sqlite_path(url)
    return bool(await _count_versions(url)) if path is None else path.exists()


async def _postgres(backup: BackupFolder, target: VaultParts, row: dict[str, object]) -> None:
    """Restore all but the version in one transaction of ``pg_restore``; add the version and the row in another."""
    facts, url = backup.manifest.files["data"], target.urls["data"]
    await require_alone(url)
    if await _count_versions(url) is None:
        await require_empty(backup, "data", url, target.tools)
        await _run(url, NUMBERING)
        await asyncio.to_thread(_restore_all_but_version, backup, target)
    with _restoring():
        async with snapshot.connected(url) as connection:
            rows = (await snapshot.contents_of_postgres(connection)).rows | {snapshot.VERSION: 1}
            if rows != facts.rows:
                raise snapshot.DatabaseDamaged(
                    "the data database does not hold the rows that were backed up", hint="take another backup"
                )
            async with connection.transaction():
                numbers = ", ".join(f"${number}" for number in range(1, len(row) + 1))
                await connection.execute(_insert_statement(row, numbers), *row.values())
                await connection.execute(f"INSERT INTO {snapshot.VERSION} VALUES ($1)", facts.revision)  # noqa: S608 - our own


def _restore_all_but_version(backup: BackupFolder, target: VaultParts) -> None:
    kind: Kind = "data"
    url, tools = target.urls["data"], target.tools
    with open_part(backup, kind, target.provider) as opener:
        contents = tools.listing(url, opener)
    lines = [line for line in contents.splitlines() if f" TABLE DATA public {snapshot.VERSION} " not in line]
    with tempfile.NamedTemporaryFile("w", suffix=".list", encoding="utf-8") as chosen:
        chosen.write("\n".join(lines) + "\n")
        chosen.flush()
        with open_part(backup, kind, target.provider) as opener:
            tools.restore(url, opener, chosen=Path(chosen.name))


async def _count_versions(url: str) -> int | None:
    """Count the rows of the table of versions; None if the table does not exist, so that nothing was restored yet."""
    with _restoring():
        async with snapshot.connected(url) as connection:
            if await connection.fetchval("SELECT to_regclass($1)", f"public.{snapshot.VERSION}") is None:
                return None
            return int(await connection.fetchval(f"SELECT count(*) FROM {snapshot.VERSION}"))  # noqa: S608 - our own name


async def _load_part(backup: BackupFolder, kind: Which, target: VaultParts, path: Path) -> Path:
    """Restore an SQLite database under a temporary name, and return this name."""
    part = path.with_name(path.name + UNFINISHED)
    for suffix in _SUFFIXES:
        part.with_name(part.name + suffix).unlink(missing_ok=True)
    await load_database(backup, kind, target._replace(urls={kind: f"sqlite:///{part}"}))
    return part


def _put_in_place(part: Path, path: Path) -> None:
    part.rename(path)
    for suffix in _SUFFIXES[1:]:
        with suppress(OSError):
            part.with_name(part.name + suffix).unlink()
    sync_folder(path.parent)


def _insert(path: Path, row: dict[str, object]) -> None:
    with closing(sqlite3.connect(path)) as connection:
        # Without a log: only the file itself is moved into place.
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA synchronous = FULL")
        marks = ", ".join("?" for _ in row)
        connection.execute(_insert_statement(row, marks), [native(value) for value in row.values()])
        connection.commit()


def _insert_statement(row: dict[str, object], marks: str) -> str:
    return f'INSERT INTO "{RESTORE.name}" ({", ".join(row)}) VALUES ({marks})'  # noqa: S608 - our own names


@contextmanager
def _restoring() -> Iterator[None]:
    """Translate failures of PostgreSQL during a restore."""
    try:
        yield
    except snapshot.FAILURES as error:
        raise _unavailable(error) from None


def _unavailable(error: BaseException) -> Unavailable:
    return Unavailable(
        f"the database did not take part in the restore ({type(error).__name__})",
        hint="see whether it runs, then run `cdv restore --continue`",
    )
