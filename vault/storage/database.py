"""One database: transactions for operations, a bare driver for the hot path, one error for every failure."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import event, make_url
from sqlalchemy import exc as sa_exc
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from vault.errors import Misconfigured
from vault.storage import sqlite_driver
from vault.storage.failures import ReadOnly, hush, hush_engine, translated
from vault.storage.query import native

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    import asyncpg
    from sqlalchemy import Table
    from sqlalchemy.engine import Connection
    from sqlalchemy.ext.asyncio import AsyncEngine

    from vault.storage.postgres_driver import Admit, PostgresLane
    from vault.storage.query import Fetched, Query

DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}


class Database:
    """The main database or the key store.

    Args:
        url: ``sqlite:///path`` or ``postgresql://user@host/name``; the driver is chosen here.
        timeout: seconds that one statement, or the wait for the one writer of SQLite, may take.
        size: connections of the engine, and as many of the hot path, on PostgreSQL.

    Raises:
        Misconfigured: the URL names no database that the vault runs on.

    Every method raises :class:`vault.errors.Unavailable` when the database is gone, full, locked or too slow;
    ``sqlalchemy.exc.IntegrityError`` passes, for only the operation knows what it means.
    """

    def __init__(self, url: str, *, timeout: float = 5.0, size: int = 4) -> None:
        self._url = _with_driver(url)
        self.timeout = timeout
        self.dialect: Literal["sqlite", "postgresql"] = (
            "sqlite" if self._url.get_backend_name() == "sqlite" else "postgresql"
        )
        self._writer = asyncio.Lock()
        self._file = sqlite_driver.SqliteFile(self._url.database or "") if self.dialect == "sqlite" else None
        self._raw = sqlite_driver.RawFiles()
        self._admits: Admit | None = None
        self._engine = self._make_engine(size)
        self._lane = self._make_lane(size)

    def __repr__(self) -> str:
        return f"Database({self.dialect})"

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that writes; it commits at the end of the block and rolls back on any error.

        On SQLite there is one writer at a time: the wait for it is bounded by ``timeout``.
        """
        with translated():
            if self.dialect == "sqlite":
                async with asyncio.timeout(self.timeout):
                    await self._writer.acquire()
            try:
                async with self._connected(writes=True) as connection:
                    yield connection
            finally:
                if self.dialect == "sqlite":
                    self._writer.release()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that only reads: one consistent picture, and no lock that a writer waits for."""
        with translated():
            async with self._connected(writes=False) as connection:
                yield connection

    async def fetch(self, query: Query, **values: object) -> Fetched:
        """Run a hot query and return its rows."""
        with translated():
            return await self._lane.fetch(query, values)

    async def append(self, batch: Mapping[Table, Sequence[tuple[object, ...]]]) -> None:
        """Insert whole rows (all columns but those of the database) into several tables by one durable commit."""
        with translated():
            await self._lane.append(batch)

    async def bulk(self, connection: AsyncConnection, table: Table, rows: Sequence[tuple[object, ...]]) -> None:
        """Insert whole rows into one table; see :meth:`insert`."""
        await self.insert(connection, {table: rows})

    async def insert(self, connection: AsyncConnection, batch: Mapping[Table, Sequence[tuple[object, ...]]]) -> None:
        """Insert whole rows into several tables inside a transaction, without the cost of SQLAlchemy."""
        if isinstance(self._lane, sqlite_driver.SqliteLane):
            for table, rows in batch.items():
                if rows:
                    text = sqlite_driver.insert_text(table)
                    await connection.exec_driver_sql(text, [tuple(map(native, row)) for row in rows])
            return
        raw = await connection.get_raw_connection()
        driver: asyncpg.Connection = raw.driver_connection
        if not driver.is_in_transaction():
            await connection.exec_driver_sql("SELECT 1")  # the engine begins its transaction with the first statement
        try:
            with translated():
                await self._lane.insert(driver, batch)
        except (TypeError, ValueError, ArithmeticError) as error:
            hush(error)  # asyncpg quotes what it cannot encode
            raise

    async def scrub(self, tables: Sequence[Table]) -> bool:
        """Take what was deleted from tables out of the database's files.

        Returns:
            whether it is done; on SQLite a reader may stand in the way for a moment: then try again.
        """
        with translated():
            if not isinstance(self._lane, sqlite_driver.SqliteLane):
                await self._lane.vacuum([table.name for table in tables])
                return True
            async with asyncio.timeout(self.timeout):
                await self._writer.acquire()
            try:
                return await asyncio.to_thread(self._lane.cut_log)
            finally:
                self._writer.release()

    def files(self) -> list[Path]:
        """List the files of an SQLite database; an empty list for PostgreSQL."""
        return sqlite_driver.files_of(self._url.database or "") if self._file is not None else []

    def raw(self, file: Path) -> int:
        """Return the descriptor of one of :meth:`files`; it stays open, and no other code may open and close the file.

        Raises:
            OSError: the file no longer exists.
        """
        return self._raw.descriptor(file)

    def admit(self, check: Admit) -> None:
        """Check every new connection to PostgreSQL from now on, before it is used.

        A database can be dropped and restored under the same name; all connections end with the old one. A replaced
        SQLite file is refused in any case.

        Args:
            check: gets the connection, and raises if it must not be used.
        """
        self._admits = check

    async def ping(self) -> None:
        """Run an empty query, to see whether the database answers and takes writes.

        Raises:
            ReadOnly: it can only be read: a standby of PostgreSQL, or files of SQLite that others may write.
        """
        async with self.reading() as connection:
            if self._file is None:
                asked = await connection.exec_driver_sql("SELECT current_setting('transaction_read_only')")
                is_read_only = asked.scalar_one() == "on"
            else:
                await connection.exec_driver_sql("SELECT 1")
                is_read_only = not sqlite_driver.are_writable(self.files())
        if is_read_only:
            raise ReadOnly

    async def close(self) -> None:
        """Close all connections."""
        await self._lane.close()
        await self._engine.dispose()
        self._raw.close()

    def _make_engine(self, size: int) -> AsyncEngine:
        if self._file is not None:
            # Made of parts: a folder's name may hold what means something in a URL.
            url = URL.create(DRIVERS["sqlite"], database=self._file.address, query={"mode": "rw", "uri": "true"})
            engine = create_async_engine(
                url, pool_size=size, hide_parameters=True, connect_args={"timeout": self.timeout}
            )
            event.listen(engine.sync_engine, "connect", _settle_sqlite)
            event.listen(engine.sync_engine, "begin", _begin_sqlite)
            event.listen(engine.sync_engine, "handle_error", hush_engine)
            return engine
        engine = create_async_engine(
            self._url.set(query={}),
            pool_size=size,
            hide_parameters=True,
            async_creator=self._connect_postgres,
        )
        event.listen(engine.sync_engine, "checkout", _refuse_closed)
        event.listen(engine.sync_engine, "handle_error", hush_engine)
        return engine

    def _make_lane(self, size: int) -> PostgresLane | sqlite_driver.SqliteLane:
        if self._file is not None:
            return sqlite_driver.SqliteLane(self._file, timeout=self.timeout, writer=self._writer)
        from vault.storage.postgres_driver import PostgresLane  # the driver is slow to import

        return PostgresLane(self._libpq_url, timeout=self.timeout, size=size, admit=self._admitted)

    @property
    def _libpq_url(self) -> str:
        return self._url.set(drivername="postgresql").render_as_string(hide_password=False)

    async def _connect_postgres(self) -> asyncpg.Connection:
        """Connect as the hot path does, so that both understand the same URLs (``?sslmode=…``)."""
        from vault.storage.postgres_driver import connect

        connection = await connect(self._libpq_url, self.timeout)
        try:
            await self._admitted(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def _admitted(self, connection: asyncpg.Connection) -> None:
        if self._admits is not None:
            await self._admits(connection)

    @asynccontextmanager
    async def _connected(self, *, writes: bool) -> AsyncIterator[AsyncConnection]:
        if self._file is not None:
            self._file.check()
        async with AsyncExitStack() as stack:
            async with asyncio.timeout(self.timeout):
                connection = await stack.enter_async_context(self._engine.connect())
            await connection.execution_options(cdv_writes=writes)
            transaction = await connection.begin()
            try:
                yield connection
                await transaction.commit()
            except (TimeoutError, asyncio.CancelledError):
                await self._drop(connection)
                raise
            except BaseException:
                await transaction.rollback()
                raise

    async def _drop(self, connection: AsyncConnection) -> None:
        """Part with a connection on which a statement did not end.

        PostgreSQL may hang, and would hang over the rollback as well; it rolls back by itself when the line is cut.
        """
        if self.dialect == "postgresql" and not connection.invalidated:
            raw = await connection.get_raw_connection()
            if raw.driver_connection is not None:
                raw.driver_connection.terminate()
            await connection.invalidate()


def _with_driver(url: str) -> URL:
    try:
        parsed = make_url(url)
        driver = DRIVERS[parsed.get_backend_name()]
    except (sa_exc.ArgumentError, KeyError):
        raise Misconfigured(
            "the database URL names no database that the vault runs on",
            hint="use sqlite:///path/to/file or postgresql://user@host/name",
        ) from None
    if driver == DRIVERS["sqlite"] and not parsed.database:
        raise Misconfigured("an SQLite database needs a file", hint="use sqlite:///path/to/file")
    return parsed.set(drivername=driver)


def _refuse_closed(connection: Any, _record: object, _proxy: object) -> None:
    """Replace pooled connections that the server has closed: the driver knows, a ping would cost three round trips."""
    if connection.driver_connection.is_closed():
        raise sa_exc.InvalidatePoolError


def _settle_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where we say so, see below
    cursor = connection.cursor()
    for setting in sqlite_driver.SETTINGS:
        cursor.execute(setting)
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    """Take the write lock at once: a transaction that reads first and writes later could fail half-way instead."""
    writes = connection.get_execution_options().get("cdv_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
