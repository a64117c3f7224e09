"""One picture of a database, held while it is copied: on SQLite a read transaction, on PostgreSQL an exported snapshot.

Readers and writers continue. Only while the snapshots of data and keys are taken, for some milliseconds, erasures and
writes wait (see docs/decisions).

The content of a database, read through connections of its own: its revision, its row counts, and whether it is intact.
"""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
import threading
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
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


class Snapshot(Protocol):
    """One picture of a database."""

    dialect: str
    tools: str

    async def contents(self) -> Contents:
        """Count the rows that are in it."""

    def chunks(self, scratch: Path) -> Iterator[bytes]:
        """Copy it; ``scratch`` is where a file may be made that loses its name at once."""

    async def close(self) -> None:
        """Let it go."""


class SqliteSnapshot:
    """A read transaction in WAL mode: what is committed later is not in it.

    Args:
        path: of the database.

    Raises:
        Unavailable: it is not there or locked.
        DatabaseDamaged: it is no database.
    """

    dialect = "sqlite"
    tools = f"SQLite {sqlite3.sqlite_version}"

    def __init__(self, path: str) -> None:
        self._path = path
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
        """Count the rows, after a look whether the pages are in order."""
        return await asyncio.to_thread(self._contents)

    def chunks(self, scratch: Path) -> Iterator[bytes]:
        """Copy the pages into a file without a name, and read it."""
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
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        with self._busy:
            self._connection.close()

    def _go_on(self, _status: int, _left: int, _all: int) -> None:
        if self._closed:
            raise sqlite3.OperationalError("interrupted")

    def _contents(self) -> Contents:
        with self._busy:
            return contents_of_sqlite(self._connection, "quick_check")


class PostgresSnapshot:
    """An exported snapshot: ``pg_dump`` sees what this transaction sees.

    Args:
        url: of the database.
        connection: in a transaction that is repeatable read and has exported its snapshot.
        snapshot: its name.
        tables: which are copied.
        tools: PostgreSQL's programs.
        version: which ``pg_dump`` it is.
    """

    dialect = "postgresql"

    def __init__(
        self,
        url: str,
        connection: asyncpg.Connection,
        snapshot: str,
        tables: Sequence[str],
        tools: PostgresTools,
        version: str,
    ) -> None:
        self._url = url
        self._connection = connection
        self._snapshot = snapshot
        self._tables = tables
        self._tools = tools
        self.tools = version

    @classmethod
    async def take(cls, url: str, tools: PostgresTools) -> PostgresSnapshot:
        """Take a picture; raises ``ToolFailed`` where there is no ``pg_dump`` for this server.

        Raises:
            Misconfigured: the vault's tables do not lie where they can be brought back to.
        """
        connection = await connect_postgres(url)
        try:
            version = tools.require("pg_dump", connection.get_server_version().major)
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            await connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            await connection.execute("SET LOCAL statement_timeout = 0")
            snapshot = await connection.fetchval("SELECT pg_export_snapshot()")
            tables = await _tables(connection)
        except BaseException:
            connection.terminate()
            raise
        return cls(url, connection, snapshot, tables, tools, version)

    async def contents(self) -> Contents:
        """Count the rows."""
        try:
            return await contents_of_postgres(self._connection)
        except FAILURES as error:
            raise unavailable(error) from None

    def chunks(self, scratch: Path) -> Iterator[bytes]:  # noqa: ARG002 - nothing of it touches the disk
        """Let ``pg_dump`` write it."""
        return self._tools.dump(self._url, self._snapshot, self._tables)

    async def close(self) -> None:
        """Let the picture go."""
        await self._connection.close(timeout=5)


async def _tables(connection: asyncpg.Connection) -> list[str]:
    tables = await tables_of_postgres(connection)
    if VERSION not in tables:
        raise Misconfigured(
            "the vault's tables are not in the schema `public` of their database",
            hint="move them there by ALTER TABLE … SET SCHEMA public: that is where a backup is brought back to",
        )
    return tables


@asynccontextmanager
async def pinned(urls: Mapping[Which, str], tools: PostgresTools) -> AsyncIterator[dict[Which, Snapshot]]:
    """Take one picture of data, keys and ledger that belong together, and hold them.

    1. No erasure, merge or reseal commits while the snapshots of data and keys are taken.
    2. Data first, keys after it: keys are durable before what they seal, so every value has its key in the picture.
    3. The ledger last: its lines are durable before the changes that they record, so none is missing.

    Raises:
        Unavailable: a database does not answer, or its writers did not let us in.
        DatabaseDamaged, ToolFailed: it cannot be copied.
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
    if make_url(url).get_backend_name() == "sqlite":
        return
    connection = await connect_postgres(url)
    try:
        await asyncio.to_thread(tools.require, "pg_dump", connection.get_server_version().major)
    finally:
        await connection.close(timeout=5)


async def _pin(url: str, tools: PostgresTools) -> Snapshot:
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return await asyncio.to_thread(SqliteSnapshot, parsed.database or "")
    return await PostgresSnapshot.take(url, tools)


@asynccontextmanager
async def _still(url: str) -> AsyncIterator[None]:
    """Block commits of erasures, merges and reseals: all of them write to subjects or erasures."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        connection = await asyncio.to_thread(_only_writer, parsed.database or "")
        try:
            yield
        finally:
            connection.close()
        return
    postgres = await connect_postgres(url)
    try:
        await _lock(postgres)
        yield
    finally:
        await postgres.close(timeout=5)


def _only_writer(path: str) -> sqlite3.Connection:
    connection = connect_sqlite(path)
    try:
        with reading_sqlite():
            connection.execute("BEGIN IMMEDIATE")
    except BaseException:
        connection.close()
        raise
    return connection


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
    """List the tables of the vault: it may read all of its own, so an unreadable table belongs to another program."""
    return [row[0] for row in await connection.fetch(_TABLES)]


def damaged() -> DatabaseDamaged:
    """Make the error for a damaged page."""
    return DatabaseDamaged(
        "a page of the database is damaged",
        hint="restore the newest backup that `cdv backup verify` accepts, and have the disk looked at",
    )


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
        raise damaged() from None


def _count(connection: sqlite3.Connection, table: str) -> int:
    return int(connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0])  # noqa: S608 - our own names


def unavailable(error: BaseException) -> Unavailable:
    """Say that a database did not answer, and by what kind of failure."""
    return Unavailable(
        f"a database did not take part ({type(error).__name__})",
        hint="try again; if it lasts, look at the database's log and disk space",
    )
