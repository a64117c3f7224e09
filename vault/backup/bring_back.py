"""Bring the databases of a backup back for good: each whole or not at all, so that whoever died begins anew with it.

The main database comes back closed: what opens it to a program, the version of its tables, comes in by the same
transaction, or with the same file, as the row that says that it was restored. No program ever finds it without.
"""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import asyncpg
from sqlalchemy import make_url

from vault.backup.contents import DatabaseDamaged, connect_postgres, contents_of_postgres
from vault.backup.load import load_database, require_empty
from vault.backup.sealed_file import open_part, sync_folder
from vault.errors import Misconfigured, Unavailable
from vault.storage.query import native

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vault.backup.location import Backup
    from vault.backup.manifest import Kind
    from vault.backup.postgres_tools import PostgresTools
    from vault.crypto.providers import KeyProvider

    Row = Mapping[str, Any]

VERSION: Final = "alembic_version"
UNFINISHED: Final = ".restoring"
_COMPANY: Final = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND usesysid IS NOT NULL AND pid <> pg_backend_pid()
"""
_PATIENCE: Final = (0.05, 0.1, 0.2, 0.4, 0.8, 0.0)
_BESIDE: Final = ("", "-wal", "-shm", "-journal")
_FAILURES: Final = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)


async def bring_back(backup: Backup, kind: Kind, provider: KeyProvider, url: str, tools: PostgresTools) -> None:
    """Bring the key store or the ledger back; raises what :func:`vault.backup.load.load_database` raises."""
    path = sqlite_path(url)
    if path is None:
        await load_database(backup, kind, provider, url, tools)
        return
    part = _cleared(path)
    await load_database(backup, kind, provider, f"sqlite:///{part}", tools)
    _put_in_place(part, path)


async def bring_back_closed(
    backup: Backup, provider: KeyProvider, url: str, tools: PostgresTools, *, table: str, row: Row
) -> None:
    """Bring the main database back together with a row of a table of its own.

    Args:
        backup: whose files were checked.
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
    """See that nobody else is connected to the main database: a program that is would read it before it is good.

    Raises:
        Misconfigured: somebody is.
        Unavailable: it does not answer.
    """
    if sqlite_path(url) is not None:
        return  # a file that is not there yet is nobody's
    try:
        connection = await connect_postgres(url)
        try:
            for pause in _PATIENCE:  # whoever has just left is counted for some milliseconds more
                if await connection.fetchval(_COMPANY) == 0:
                    return
                await asyncio.sleep(pause)
        finally:
            await connection.close(timeout=5)
    except _FAILURES as error:
        raise _unavailable(error) from None
    raise Misconfigured(
        "somebody else is connected to the data database",
        hint="stop every node of the vault, and whoever looks into the database, then try again",
    )


async def is_back(url: str) -> bool:
    """Tell whether a database that was to be brought back is there, as a whole.

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
    backup: Backup, provider: KeyProvider, url: str, tools: PostgresTools, table: str, row: Row
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


def _restore_all_but_version(backup: Backup, provider: KeyProvider, url: str, tools: PostgresTools) -> None:
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
        # Not into a log beside the file: what is there is moved, and nothing but the file itself goes along.
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
