"""One picture of a database, held while it is copied: on SQLite a read transaction, on PostgreSQL an exported snapshot.

Readers and writers go on meanwhile; only to take the pictures of data and keys, for some milliseconds, nobody erases
and nobody writes (see docs/decisions).
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from contextlib import AsyncExitStack, asynccontextmanager, closing
from typing import TYPE_CHECKING, Final, Protocol

import asyncpg
from sqlalchemy import make_url

from vault.backup.contents import (
    FAILURES,
    Contents,
    connect_postgres,
    connect_sqlite,
    contents_of_postgres,
    contents_of_sqlite,
    reading_sqlite,
    tables_of_postgres,
    unavailable,
)
from vault.errors import Misconfigured, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
    from pathlib import Path

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
                scratch.unlink()  # both have it open: whatever becomes of us, nobody finds it
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
        """Let the picture go; whoever counts or copies it in a thread stops first, for a crash would be the end."""
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

    1. Nobody erases, merges or seals anew while the pictures of data and keys are taken.
    2. Data first, keys after it: keys are durable before what they seal, so every value has its key in the picture.
    3. The ledger last: its lines are durable before what they tell of, so none of what the data show is missing.

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
            for url in urls.values():  # a server or program that is not there shows before anybody has to wait for us
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
    """Keep those who erase, merge or seal anew from committing: all of them write on persons or on erasures."""
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
    """Wait until nobody writes on persons, in short attempts: writers queue behind each of them."""
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
        f"somebody writes on persons all the time: no moment was found in {ATTEMPTS} attempts",
        hint="try again when the import or vacuum that is running has ended",
    )
