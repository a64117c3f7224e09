"""Snapshots of databases, held while they are copied: on SQLite a read transaction, on PostgreSQL an exported snapshot.

Readers and writers continue. Only while the snapshots of data and keys are taken, for some milliseconds, erasures and
writes wait (see docs/decisions).

The content of a database is read through connections of its own: the revision, row counts, and whether it is intact.
"""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
import threading
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol
from urllib.parse import quote

import asyncpg
from sqlalchemy import make_url

from vault.errors import Misconfigured, Unavailable, VaultError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from vault.backup.postgres_tools import PostgresTools
    from vault.storage.migrate import Which


ATTEMPTS: Final = 40
LOCK_MILLISECONDS: Final = 500
"""For so long writers on PostgreSQL queue behind an attempt; far less than their own deadline."""
_PAUSE: Final = 0.25
_CHUNK: Final = 1024 * 1024
_PAGES: Final = 2048
VERSION: Final = "alembic_version"
PATIENCE: Final = 30.0
"""Seconds for SQLite's one writer to let us in."""
FAILURES: Final = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
_TABLES: Final = """
SELECT c.relname FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
AND has_table_privilege(c.oid, 'SELECT') ORDER BY 1
"""


class DatabaseDamaged(VaultError):
    """A database has a damaged page, or does not contain what it should."""

    code = "database-damaged"


class Contents(NamedTuple):
    """The content of a database: the revision of its tables, and the number of rows by table."""

    revision: str
    rows: dict[str, int]


def connect_sqlite(path: Path) -> sqlite3.Connection:
    """Open an existing SQLite database, without implicit transactions.

    Raises:
        Unavailable: it does not exist, or cannot be read.
    """
    try:
        return sqlite3.connect(
            f"file:{quote(str(path.absolute()))}?mode=rw",
            uri=True,
            timeout=PATIENCE,
            isolation_level=None,
            check_same_thread=False,
        )
    except sqlite3.Error as error:
        raise unavailable(error) from None


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Connect to a PostgreSQL database, and close the connection at the end; raises what the driver raises."""
    connection = await connect_postgres(url)
    try:
        yield connection
    finally:
        await connection.close(timeout=5)


async def connect_postgres(url: str) -> asyncpg.Connection:
    """Connect to a PostgreSQL database; raises what the driver raises."""
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(plain, timeout=10, server_settings={"application_name": "cdv backup"})
    try:
        await connection.execute("SET jit = off")  # a pooler does not pass it on with the start of a connection
    except BaseException:
        connection.terminate()
        raise
    return connection


@contextmanager
def answering() -> Iterator[None]:
    """Translate failures of PostgreSQL and of the network; raises ``Unavailable``."""
    try:
        yield
    except FAILURES as error:
        raise unavailable(error) from None


def sqlite_path(url: str) -> Path | None:
    """Return the path of an SQLite database; None for another database."""
    parsed = make_url(url)
    return Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None


def contents_of_sqlite(connection: sqlite3.Connection, check: str) -> Contents:
    """Check an SQLite database and count its rows.

    Args:
        check: ``quick_check`` or ``integrity_check``.

    Raises:
        DatabaseDamaged: a page is damaged.
    """
    with reading_sqlite():
        if connection.execute(f"PRAGMA {check}(1)").fetchone() != ("ok",):
            raise _damaged()
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        rows = {
            name: int(connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0])  # noqa: S608 - our own names
            for (name,) in sorted(names.fetchall())
        }
        revision = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return Contents(str(revision[0]), rows)


async def contents_of_postgres(connection: asyncpg.Connection) -> Contents:
    """Count the rows of a PostgreSQL database."""
    names = await tables_of_postgres(connection)
    rows = {name: await connection.fetchval(f'SELECT count(*) FROM public."{name}"') for name in names}  # noqa: S608
    return Contents(await connection.fetchval("SELECT version_num FROM public.alembic_version"), rows)


async def tables_of_postgres(connection: asyncpg.Connection) -> list[str]:
    """List the tables of the vault: it may read all of its own, so an unreadable table belongs to another program."""
    return [row[0] for row in await connection.fetch(_TABLES)]


@contextmanager
def reading_sqlite(copy: Path | None = None) -> Iterator[None]:
    """Translate errors of SQLite: damage is distinguished from transient failures.

    Args:
        copy: the file being written; a full disk is reported for it.
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        if copy is not None and error.sqlite_errorcode in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE}:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(copy)) from None
        raise unavailable(error) from None
    except sqlite3.DatabaseError:  # "malformed", "not a database"
        raise _damaged() from None


def _damaged() -> DatabaseDamaged:
    return DatabaseDamaged(
        "a page of the database is damaged",
        hint="restore the newest backup that `cdv backup verify` accepts, and have the disk looked at",
    )


def unavailable(error: BaseException) -> Unavailable:
    """Return the error for a database that did not answer, with the kind of failure."""
    return Unavailable(
        f"a database did not take part ({type(error).__name__})",
        hint="try again; if it lasts, look at the database's log and disk space",
    )


class Snapshot(Protocol):
    """A snapshot of a database."""

    dialect: str
    tools: str

    async def contents(self) -> Contents:
        """Count the rows."""

    def chunks(self, scratch: Path) -> Iterator[bytes]:
        """Copy the database. A file may be created at ``scratch``; it is unlinked at once."""

    async def close(self) -> None:
        """Release the snapshot."""


class SqliteSnapshot:
    """A read transaction in WAL mode, which does not see later commits.

    Raises:
        Unavailable: the database does not exist or is locked.
        DatabaseDamaged: the file is not a database.
    """

    dialect = "sqlite"
    tools = f"SQLite {sqlite3.sqlite_version}"

    def __init__(self, path: Path) -> None:
        self._closed = False
        self._busy = threading.Lock()
        self._connection = connect_sqlite(path)
        try:
            with reading_sqlite():
                self._connection.execute("PRAGMA query_only = ON")
                self._connection.execute("BEGIN")
                self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # from here on it is pinned
        except BaseException:
            self._connection.close()
            raise

    async def contents(self) -> Contents:
        """Check the pages and count the rows."""

        def contents() -> Contents:
            with self._busy:
                return contents_of_sqlite(self._connection, "quick_check")

        return await asyncio.to_thread(contents)

    def chunks(self, scratch: Path) -> Iterator[bytes]:
        """Copy the pages into an unlinked file, and read it."""
        opened = os.open(scratch, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with closing(sqlite3.connect(scratch, check_same_thread=False)) as copy:
                scratch.unlink()  # both have it open, so it disappears with the process
                with self._busy, reading_sqlite(scratch):
                    copy.execute("PRAGMA journal_mode = OFF")
                    copy.execute("PRAGMA synchronous = OFF")
                    # The source is within a read transaction, so every step copies the same picture.
                    self._connection.backup(copy, pages=_PAGES, sleep=0, progress=self._go_on)
            with os.fdopen(os.dup(opened), "rb") as file:
                while chunk := file.read(_CHUNK):
                    yield chunk
        finally:
            os.close(opened)

    async def close(self) -> None:
        """Release the snapshot. Threads that count or copy it stop first, because SQLite would crash otherwise."""
        self._closed = True
        self._connection.interrupt()

        def close() -> None:
            with self._busy:
                self._connection.close()

        await asyncio.to_thread(close)

    def _go_on(self, _status: int, _left: int, _all: int) -> None:
        if self._closed:
            raise sqlite3.OperationalError("interrupted")


@dataclass(slots=True)
class PostgresSnapshot:
    """An exported snapshot: ``pg_dump`` sees what this transaction sees.

    Attributes:
        connection: in a transaction that is repeatable read and has exported the snapshot.
        name: of the snapshot.
        tables: those that are copied.
        programs: PostgreSQL's programs.
        tools: the version of ``pg_dump``.
    """

    url: str
    connection: asyncpg.Connection
    name: str
    tables: Sequence[str]
    programs: PostgresTools
    tools: str
    dialect: str = "postgresql"

    @classmethod
    async def take(cls, url: str, programs: PostgresTools) -> PostgresSnapshot:
        """Take a snapshot; raises ``ToolFailed`` if there is no ``pg_dump`` for this server.

        Raises:
            Misconfigured: the vault's tables are in another schema than the one to which backups are restored.
        """
        connection = await connect_postgres(url)
        try:
            tools = programs.require("pg_dump", connection.get_server_version().major)
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            await connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            await connection.execute("SET LOCAL statement_timeout = 0")
            name = await connection.fetchval("SELECT pg_export_snapshot()")
            tables = await _require_tables(connection)
        except BaseException:
            connection.terminate()
            raise
        return cls(url, connection, name, tables, programs, tools)

    async def contents(self) -> Contents:
        """Count the rows."""
        with answering():
            return await contents_of_postgres(self.connection)

    def chunks(self, scratch: Path) -> Iterator[bytes]:  # noqa: ARG002 - nothing is written to the disk
        """Copy the database by ``pg_dump``."""
        return self.programs.dump(self.url, self.name, self.tables)

    async def close(self) -> None:
        """Release the snapshot."""
        await self.connection.close(timeout=5)


async def _require_tables(connection: asyncpg.Connection) -> list[str]:
    tables = await tables_of_postgres(connection)
    if VERSION not in tables:
        raise Misconfigured(
            "the vault's tables are not in the schema `public` of their database",
            hint="move them there by ALTER TABLE … SET SCHEMA public: that is where a backup is brought back to",
        )
    return tables


@asynccontextmanager
async def pinned(urls: Mapping[Which, str], tools: PostgresTools) -> AsyncIterator[dict[Which, Snapshot]]:
    """Take snapshots of data, keys and ledger that belong together, and hold them.

    1. No erasure, merge or reseal commits while the snapshots of data and keys are taken.
    2. First the data, then the keys: keys are durable before what they seal, so the key of every value is included.
    3. The ledger last: its lines are durable before the changes that they record, so none is missing.

    Raises:
        Unavailable: a database does not answer, or could not be locked because of constant writes.
        DatabaseDamaged, ToolFailed: a database cannot be copied.
    """
    async with AsyncExitStack() as stack:
        held: dict[Which, Snapshot] = {}

        async def pin(kind: Which) -> None:
            held[kind] = snapshot = await _pin(urls[kind], tools)
            stack.push_async_callback(snapshot.close)

        try:
            for url in urls.values():  # a missing server or program is found before any writer has to wait
                await _reach(url, tools)
            async with _still(urls["data"]):
                await pin("data")
                await pin("keys")
            await pin("ledger")
        except asyncpg.InsufficientPrivilegeError:
            raise Misconfigured(
                "this role may not lock `subject` and `erasure`, or not read what is backed up",
                hint="back up as the role that the vault itself works as",
            ) from None
        except FAILURES as error:
            raise unavailable(error) from None
        yield held


async def _reach(url: str, tools: PostgresTools) -> None:
    if sqlite_path(url) is None:
        async with connected(url) as connection:
            await asyncio.to_thread(tools.require, "pg_dump", connection.get_server_version().major)


async def _pin(url: str, tools: PostgresTools) -> Snapshot:
    path = sqlite_path(url)
    return await PostgresSnapshot.take(url, tools) if path is None else await asyncio.to_thread(SqliteSnapshot, path)


@asynccontextmanager
async def _still(url: str) -> AsyncIterator[None]:
    """Block commits of erasures, merges and reseals: all of them write to subjects or erasures."""
    path = sqlite_path(url)
    if path is None:
        async with connected(url) as postgres:
            await _lock(postgres)
            yield
        return
    with closing(connect_sqlite(path)) as connection:
        with reading_sqlite():
            await asyncio.to_thread(connection.execute, "BEGIN IMMEDIATE")
        yield


async def _lock(connection: asyncpg.Connection) -> None:
    """Wait until no transaction writes to subjects, in short attempts, because writers queue behind each attempt."""
    for _attempt in range(ATTEMPTS):
        await connection.execute("BEGIN")
        await connection.execute(f"SET LOCAL lock_timeout = {LOCK_MILLISECONDS}")
        try:
            await connection.execute("LOCK TABLE subject, erasure IN SHARE MODE")
        except asyncpg.LockNotAvailableError:
            await connection.execute("ROLLBACK")
            await asyncio.sleep(_PAUSE)
        else:
            return
    raise Unavailable(
        f"subjects are written all the time: no free moment was found in {ATTEMPTS} attempts",
        hint="try again when the import or vacuum that is running has ended",
    )
