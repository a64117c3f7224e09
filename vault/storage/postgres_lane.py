"""The hot path on PostgreSQL: bare asyncpg."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import asyncpg
from sqlalchemy.dialects import postgresql

from vault.storage.failures import DRIVER_FAILURES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from sqlalchemy import Table

    from vault.storage.query import Query

SERVER_SETTINGS = {"application_name": "customer-data-vault", "jit": "off"}


class PostgresLane:
    """A few asyncpg connections, kept open.

    Args:
        url: a libpq URL.
        timeout: seconds for a call, with the wait for a connection and the making of one.
        size: connections at the most.
    """

    def __init__(self, url: str, *, timeout: float, size: int = 4) -> None:
        self._url = url
        self._timeout = timeout
        self._size = size
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()

    async def fetch(self, query: Query, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        """Run a select."""
        text, arguments = query.for_postgresql(values)
        async with self._connection() as connection:
            rows: list[tuple[Any, ...]] = await connection.fetch(text, *arguments)
            return rows

    async def append(self, batch: Mapping[Table, Sequence[tuple[Any, ...]]]) -> None:
        """Insert rows into several tables by one statement: one round trip, one commit."""
        filled = {table: rows for table, rows in batch.items() if rows}
        if not filled:
            return
        arguments = [list(column) for rows in filled.values() for column in zip(*rows, strict=True)]
        async with self._connection() as connection:
            await connection.execute(_insert_together(tuple(filled)), *arguments)

    async def close(self) -> None:
        """Give the connections back; a database that does not answer is not waited for."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            try:
                await asyncio.wait_for(pool.close(), self._timeout)
            except DRIVER_FAILURES:
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
                    reset=_keep_as_it_is,
                    server_settings=SERVER_SETTINGS,
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
