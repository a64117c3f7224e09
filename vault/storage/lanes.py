"""The bare drivers under the hot path, one class a database, behind the same three calls."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import ssl
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import asyncpg
from sqlalchemy.dialects import postgresql

from vault.errors import Unavailable
from vault.storage.query import native

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Table

    from vault.storage.query import Query

    Batch = Mapping[Table, Sequence[tuple[Any, ...]]]

DRIVER_FAILURES: tuple[type[BaseException], ...] = (
    OSError,
    ssl.SSLError,
    TimeoutError,
    sqlite3.DatabaseError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
)


def unavailable(error: BaseException) -> Unavailable:
    """Say that the database did not answer; the driver's own words stay in the cause, for they may quote values."""
    return Unavailable(
        f"the database did not take part in time ({type(error).__name__}); nothing was shown or changed",
        hint="try again; if it lasts, look at the database's log and disk space",
    )


class PostgresLane:
    """A few asyncpg connections, kept open."""

    def __init__(self, url: str, *, timeout: float, size: int = 4) -> None:
        self._url = url
        self._timeout = timeout
        self._size = size
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()

    async def fetch(self, query: Query, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        """Run a select."""
        text, arguments = query.for_postgresql(values)
        pool = self._pool or await self._open()
        async with pool.acquire(timeout=self._timeout) as connection:
            rows: list[tuple[Any, ...]] = await connection.fetch(text, *arguments)
            return rows

    async def append(self, batch: Batch) -> None:
        """Insert rows into several tables by one statement: one round trip, one commit."""
        filled = {table: rows for table, rows in batch.items() if rows}
        if not filled:
            return
        arguments = [list(column) for rows in filled.values() for column in zip(*rows, strict=True)]
        pool = self._pool or await self._open()
        async with pool.acquire(timeout=self._timeout) as connection:
            await connection.execute(_insert_together(tuple(filled)), *arguments)

    async def close(self) -> None:
        """Give the connections back; a database that does not answer is not waited for."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            try:
                await asyncio.wait_for(pool.close(), self._timeout)
            except DRIVER_FAILURES:
                pool.terminate()

    async def _open(self) -> asyncpg.Pool:
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncio.wait_for(
                    asyncpg.create_pool(
                        self._url,
                        min_size=1,
                        max_size=self._size,
                        command_timeout=self._timeout,
                        timeout=self._timeout,
                        reset=_keep_as_it_is,
                        server_settings={"application_name": "customer-data-vault", "jit": "off"},
                    ),
                    self._timeout,
                )
            return self._pool


async def _keep_as_it_is(_connection: asyncpg.Connection) -> None:
    """Skip the pool's reset on return: these connections only run single statements, which leave nothing behind."""


@lru_cache(maxsize=64)
def _insert_together(tables: tuple[Table, ...]) -> str:
    """Write one statement that inserts arrays into every table; several become common table expressions."""
    inserts, position = [], 0
    for table in tables:
        names, arrays = [], []
        for column in table.columns:
            position += 1
            names.append(f'"{column.name}"')
            arrays.append(f"${position}::{_postgres_type(column.type)}[]")
        inserts.append(f'INSERT INTO "{table.name}" ({", ".join(names)}) SELECT * FROM unnest({", ".join(arrays)})')  # noqa: S608 - names of our own tables
    *first, last = inserts
    if not first:
        return last
    return "WITH " + ", ".join(f"t{n} AS ({insert})" for n, insert in enumerate(first)) + " " + last


def _postgres_type(kind: Any) -> str:
    return str(kind.compile(dialect=postgresql.dialect())).partition("(")[0]  # type: ignore[no-untyped-call]


class SqliteLane:
    """One connection that reads, inline on the event loop, and one that writes, in a thread of its own.

    A read from the page cache takes 20 µs, less than a thread's hand-over. A commit waits for the disk, which may
    stall: there the thread keeps the event loop, and with it the deadline, alive.
    """

    def __init__(self, path: str, *, timeout: float, writer: asyncio.Lock) -> None:
        self._path = path
        self._timeout = timeout
        self._writer = writer
        self._reading: sqlite3.Connection | None = None
        self._writing: sqlite3.Connection | None = None
        self._inode: int | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite-append")

    async def fetch(self, query: Query, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        """Run a select."""
        text, arguments = query.for_sqlite(values)
        self._check_file()
        if self._reading is None:
            self._reading = connect_sqlite(self._path, timeout=0.05)
            self._reading.execute("PRAGMA query_only = ON")
        return query.read_sqlite(self._reading.execute(text, arguments).fetchall())

    async def append(self, batch: Batch) -> None:
        """Insert rows into several tables in one durable transaction."""
        async with asyncio.timeout(self._timeout):
            async with self._writer:
                work = asyncio.get_running_loop().run_in_executor(self._thread, self._append, batch)
                # Where the deadline strikes while the thread is at work, the lock must outlast the work.
                await _finish(work)

    def _append(self, batch: Batch) -> None:
        self._check_file()
        if self._writing is None:
            self._writing = connect_sqlite(self._path, timeout=self._timeout)
        connection = self._writing
        connection.execute("BEGIN IMMEDIATE")
        try:
            for table, rows in batch.items():
                connection.executemany(insert_text(table), [tuple(map(native, row)) for row in rows])
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _check_file(self) -> None:
        """Refuse to go on when the file is gone or replaced: SQLite itself would write into a file without a name."""
        inode = os.stat(self._path).st_ino  # noqa: PTH116 - a third of the time, before every read
        if self._inode is None:
            self._inode = inode
        elif inode != self._inode:
            raise sqlite3.OperationalError("the database file was replaced")

    async def close(self) -> None:
        """Close both connections."""
        self._thread.shutdown(wait=True)
        for connection in (self._reading, self._writing):
            if connection is not None:
                connection.close()
        self._reading = self._writing = None


async def _finish(work: asyncio.Future[None]) -> None:
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        work.add_done_callback(_forget)
        raise


def _forget(work: asyncio.Future[None]) -> None:
    if not work.cancelled():
        work.exception()  # it was told to nobody: the caller had its 503 already


@lru_cache(maxsize=64)
def insert_text(table: Table) -> str:
    """Write the plain insert of whole rows, in the table's order of columns."""
    names = ", ".join(f'"{column.name}"' for column in table.columns)
    marks = ", ".join("?" * len(table.columns))
    return f'INSERT INTO "{table.name}" ({names}) VALUES ({marks})'  # noqa: S608 - names of our own tables


def connect_sqlite(path: str, *, timeout: float) -> sqlite3.Connection:
    """Open a SQLite file that exists already, with the settings that every connection has."""
    connection = sqlite3.connect(
        f"file:{path}?mode=rw", uri=True, timeout=timeout, isolation_level=None, check_same_thread=False
    )
    for setting in SQLITE_SETTINGS:
        connection.execute(setting)
    return connection


SQLITE_SETTINGS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",  # a commit is on the disk before anybody is told
    "PRAGMA secure_delete = ON",  # what is deleted is overwritten
    "PRAGMA foreign_keys = ON",
    "PRAGMA temp_store = MEMORY",  # nothing spills into a temp file
)
