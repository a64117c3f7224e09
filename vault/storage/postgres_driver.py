"""The hot path on PostgreSQL: bare asyncpg; and the vacuum, without which the database keeps deleted rows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import asyncpg
from sqlalchemy.dialects import postgresql

from vault.errors import Misconfigured
from vault.storage.columns import Ids, brought
from vault.storage.failures import driver_failures
from vault.storage.urls import place_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from sqlalchemy import Table
    from sqlalchemy.types import TypeEngine

    from vault.storage.query import Fetched, Query

Admit = Callable[[asyncpg.Connection], Awaitable[None]]
_NAMED: Final = {"application_name": "customer-data-vault"}
"""What a connection says when it is opened: a pooler passes on no more than this."""
_SETTINGS: Final = "SET jit = off"
# Every statement of the hot path looks rows up by an index. A plan that was made while a table was small, or before its
# rows were counted, would go on reading all of it for as long as the connection lives.
_LANE_SETTINGS: Final = f"{_SETTINGS}; SET enable_seqscan = off"
_ANOTHER_SERVER: Final = "CDV01"
_WHO: Final = "SELECT pg_backend_pid()"
VACUUM_SECONDS: Final = 1_800.0
"""A vacuum of a large table takes minutes; only the job waits for it."""
FEW = 8
MOST_PREPARED: Final = 2_000
"""Rows of one prepared statement. ``COPY`` is faster for more, and takes two round trips more for each table."""


async def connect(url: str, patience: float, command_timeout: float | None = None) -> asyncpg.Connection:
    """Open a connection that is not of the hot path; a command may take ``patience`` seconds too, by default."""
    connection = await asyncpg.connect(
        url, timeout=patience, command_timeout=command_timeout or patience, server_settings=_NAMED
    )
    try:
        await _set_up(connection, url, patience, _SETTINGS)
    except BaseException:
        connection.terminate()
        raise
    return connection


async def _set_up(connection: asyncpg.Connection, url: str, patience: float, settings: str) -> None:
    """Set up the session of a new connection: one round trip, unless a pooler is in between.

    Raises:
        Misconfigured: there is a pooler in between that does not keep sessions.
    """
    # A pooler tells a process id of its own, and not that of the server which answers.
    pooled = (
        f"DO $$ BEGIN IF pg_backend_pid() <> {connection.get_server_pid()} THEN"
        f" RAISE EXCEPTION USING ERRCODE = '{_ANOTHER_SERVER}', MESSAGE = 'pooled'; END IF; END $$"
    )
    try:
        await connection.execute(f"{pooled}; {settings}")
    except asyncpg.PostgresError as error:
        if error.sqlstate != _ANOTHER_SERVER:
            raise
        if not await _keeps_session(connection, url, patience):
            raise Misconfigured(
                f"a pooler in front of the database {place_of(url)} does not keep sessions (PgBouncer: pool_mode ="
                " transaction or statement), which prepared statements and settings of a session need",
                hint="set pool_mode = session for this database, or give the URL of the server itself",
            ) from None
        await connection.execute(settings)


async def _keeps_session(connection: asyncpg.Connection, url: str, patience: float) -> bool:
    """Return whether a pooler gives each connection a server of its own, until the connection ends.

    Two connections take turns. Without sessions the second one gets the server that the first one used before, or the
    first one another server than before.
    """
    other = await asyncpg.connect(url, timeout=patience, command_timeout=patience, server_settings=_NAMED)
    try:
        async with connection.transaction():
            before = await connection.fetchval(_WHO)
        async with other.transaction():
            if await other.fetchval(_WHO) == before:
                return False
            async with connection.transaction():
                return bool(await connection.fetchval(_WHO) == before)
    except asyncpg.PostgresError:  # it mixes up prepared statements, or knows no transactions
        return False
    finally:
        other.terminate()


class PostgresLane:
    """A few asyncpg connections, kept open.

    Args:
        url: a libpq URL.
        timeout: seconds for a call, with the wait for a connection and the making of one.
        size: connections at the most.
        admit: gets every new connection first, and raises if it must not be used.
    """

    def __init__(self, url: str, *, timeout: float, size: int = 4, admit: Admit | None = None) -> None:
        self._url = url
        self._timeout = timeout
        self._size = size
        self._admit = admit
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()

    async def fetch(self, query: Query, values: Mapping[str, object]) -> Fetched:
        """Run a select."""
        text, arguments = query.for_postgresql(values)
        async with self._connection() as connection:
            rows: Fetched = await connection.fetch(text, *arguments)
            return query.read_postgresql(rows)

    async def append(self, batch: Mapping[Table, Sequence[tuple[object, ...]]]) -> None:
        """Insert rows into several tables by one statement: one round trip, one commit."""
        text, arguments = _insertion(batch)
        if not text:
            return
        async with self._connection() as connection:
            await connection.execute(text, *arguments)

    @staticmethod
    async def insert(connection: asyncpg.Connection, batch: Mapping[Table, Sequence[tuple[object, ...]]]) -> None:
        """Insert rows into several tables in another's transaction: few by one statement, many by ``COPY``."""
        if sum(map(len, batch.values())) <= MOST_PREPARED:
            text, arguments = _insertion(batch)
            if text:
                await connection.execute(text, *arguments)
            return
        for table, rows in batch.items():
            if rows:
                columns = [column.name for column in brought(table)]
                await connection.copy_records_to_table(table.name, records=rows, columns=columns)

    async def vacuum(self, tables: Sequence[str]) -> None:
        """Vacuum tables and their indexes, outside of any transaction."""
        connection = await connect(self._url, self._timeout, command_timeout=VACUUM_SECONDS)
        try:
            names = ", ".join(f'"{name}"' for name in tables)
            # Indexes too, for they repeat digests and ids. Without truncation: that would lock out all readers.
            await connection.execute(f"VACUUM (INDEX_CLEANUP ON, TRUNCATE OFF) {names}")
        finally:
            await connection.close(timeout=self._timeout)

    async def close(self) -> None:
        """Give the connections back; a database that does not answer is not waited for."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            try:
                await asyncio.wait_for(pool.close(), self._timeout)
            except driver_failures():
                pool.terminate()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        async with asyncio.timeout(self._timeout):
            pool = self._pool or await self._open()
            connection = await pool.acquire()
            try:
                yield connection
            except asyncio.CancelledError:
                # The server may hang: to ask it to stop, as giving the connection back would, could hang as well.
                connection.terminate()
                raise
            finally:
                await pool.release(connection)

    async def _open(self) -> asyncpg.Pool:
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self._url,
                    min_size=0,
                    max_size=self._size,
                    timeout=self._timeout,
                    init=self._start,
                    reset=_keep_as_it_is,
                    server_settings=_NAMED,
                )
            return self._pool

    async def _start(self, connection: asyncpg.Connection) -> None:
        await _set_up(connection, self._url, self._timeout, _LANE_SETTINGS)
        if self._admit is not None:
            await self._admit(connection)


async def _keep_as_it_is(_connection: asyncpg.Connection) -> None:
    """Skip the pool's reset on return: these connections only run single statements, which leave nothing behind."""


class Shape(NamedTuple):
    """The form of an insert into a table, for any values.

    Attributes:
        sames: for rows that travel as one array a column: which columns are one value for all of them.
        rows: for rows that travel value by value, because arrays of arrays do not: how many.
    """

    table: Table
    sames: tuple[bool, ...] = ()
    rows: int = 0

    @property
    def parameters(self) -> int:
        """Count the places for values."""
        return len(self.sames) or self.rows * len(brought(self.table))


def _insertion(batch: Mapping[Table, Sequence[tuple[object, ...]]]) -> tuple[str, list[object]]:
    """Write one statement that inserts rows into several tables, with its values; an empty text if there are no rows.

    Each column is an array: the text does not depend on the number of rows, and is prepared once.
    """
    shapes: list[Shape] = []
    arguments: list[object] = []
    for table, rows in batch.items():
        if rows:
            shape, values = _row_by_row(table, rows) if _has_array(table) else _column_by_column(table, rows)
            shapes.append(shape)
            arguments += values
    return (_insert_together(tuple(shapes)) if shapes else ""), arguments


def _column_by_column(table: Table, rows: Sequence[tuple[object, ...]]) -> tuple[Shape, list[object]]:
    columns = list(zip(*rows, strict=True))
    sames = tuple(map(_is_same, columns))
    return Shape(table, sames), [
        column[0] if same else list(column) for same, column in zip(sames, columns, strict=True)
    ]


def _row_by_row(table: Table, rows: Sequence[tuple[object, ...]]) -> tuple[Shape, list[object]]:
    return Shape(table, rows=len(rows)), [value for row in rows for value in row]


@lru_cache(maxsize=64)
def _has_array(table: Table) -> bool:
    return any(isinstance(column.type, Ids) for column in table.columns)


def _is_same(column: tuple[object, ...]) -> bool:
    """Tell whether a column of many rows holds one and the same thing, which then need not travel as an array."""
    first = column[0]
    return len(column) >= FEW and all(value is first for value in column)


@lru_cache(maxsize=256)
def _insert_together(shapes: tuple[Shape, ...]) -> str:
    """Write one statement that inserts into every table; several become common table expressions."""
    inserts, position = [], 0
    for shape in shapes:
        inserts.append(_insert_values(shape, position) if shape.rows else _insert_arrays(shape, position))
        position += shape.parameters
    *first, last = inserts
    if not first:
        return last
    return "WITH " + ", ".join(f"t{n} AS ({insert})" for n, insert in enumerate(first)) + " " + last


def _insert_values(shape: Shape, before: int) -> str:
    kinds = [_postgres_type(column.type) for column in brought(shape.table)]
    places = [
        ", ".join(f"${before + row * len(kinds) + n}::{kind}" for n, kind in enumerate(kinds, 1))
        for row in range(shape.rows)
    ]
    return f"{_into(shape.table)} VALUES ({'), ('.join(places)})"


def _into(table: Table) -> str:
    names = ", ".join(f'"{column.name}"' for column in brought(table))
    return f'INSERT INTO "{table.name}" ({names})'


def _insert_arrays(shape: Shape, before: int) -> str:
    table, sames = shape.table, shape.sames
    shown, arrays, aliases = [], [], []
    for position, (column, same) in enumerate(zip(brought(table), sames, strict=True), before + 1):
        kind = _postgres_type(column.type)
        shown.append(f"${position}::{kind}" if same else f"c{position}")
        if not same:
            arrays.append(f"${position}::{kind}[]")
            aliases.append(f"c{position}")
    return (
        f"{_into(table)} SELECT {', '.join(shown)} "  # noqa: S608 - names of our own tables
        f"FROM unnest({', '.join(arrays)}) AS rows ({', '.join(aliases)})"
    )


def _postgres_type(kind: TypeEngine[Any]) -> str:
    return str(kind.compile(dialect=postgresql.dialect())).partition("(")[0]  # type: ignore[no-untyped-call]
