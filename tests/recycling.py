"""PostgreSQL databases for the tests, used again and again: to make one takes longer than most tests.

A database that comes back is put as it was made: its rows are deleted and those of the template brought in again. One
of which the shape has changed (a table renamed, a trigger, a schema, a setting) is thrown away instead.
"""

from __future__ import annotations

import asyncio
import io
import itertools
from typing import NamedTuple

import asyncpg

SHAPE = """
SELECT md5(string_agg(part, ',' ORDER BY part)) FROM (
  SELECT n.nspname::text || ':' || c.relname::text || ':' || c.relkind::text || ':' || coalesce(a.attname::text, '') || ':'
      || coalesce(a.atttypid::text, '') AS part
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
    WHERE n.nspname !~ '^(pg_|information_schema)'
  UNION ALL SELECT 'schema:' || nspname::text FROM pg_namespace WHERE nspname !~ '^pg_'
  UNION ALL SELECT 'trigger:' || tgname::text FROM pg_trigger WHERE NOT tgisinternal
  UNION ALL SELECT 'setting:' || array_to_string(setconfig, ',') FROM pg_db_role_setting
    WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
) AS parts
"""
TABLES = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY relname"
OTHERS = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


class Contents(NamedTuple):
    """What a database was made with: its shape, and the rows of its tables that have any."""

    shape: str
    rows: dict[str, bytes]


class Recycled:
    """Databases made from a template, and made anew from what they were used for.

    Args:
        uri: of the server, ending in ``/postgres?…``.
        template: the database to copy; nobody is connected to it.
    """

    def __init__(self, uri: str, template: str) -> None:
        self._uri = uri
        self._template = template
        self._contents: Contents | None = None
        self._numbers = itertools.count()
        self._spare: list[str] = []

    def url(self, name: str) -> str:
        """Return a database's URL."""
        return self._uri.replace("/postgres?", f"/{name}?", 1)

    def take(self) -> str:
        """Return the name of a database that is as the template is."""
        return self._spare.pop() if self._spare else asyncio.run(self._make())

    def give_back(self, name: str) -> None:
        """Take a database back, whatever was done to it."""
        if asyncio.run(self._restore(name)):
            self._spare.append(name)
        else:
            asyncio.run(self._on("postgres", f"DROP DATABASE {name} WITH (FORCE)"))

    async def _make(self) -> str:
        if self._contents is None:
            self._contents = await self._read()
        name = f"{self._template}_{next(self._numbers)}"
        await self._on("postgres", f"CREATE DATABASE {name} TEMPLATE {self._template} STRATEGY FILE_COPY")
        return name

    async def _read(self) -> Contents:
        connection = await asyncpg.connect(self.url(self._template))
        try:
            rows = {}
            for table in await _tables(connection):
                if await connection.fetchval(f'SELECT EXISTS (SELECT FROM "{table}")'):
                    sink = io.BytesIO()
                    await connection.copy_from_table(table, output=sink, format="binary")
                    rows[table] = sink.getvalue()
            return Contents(await connection.fetchval(SHAPE), rows)
        finally:
            await connection.close()

    async def _restore(self, name: str) -> bool:
        assert self._contents is not None
        try:
            connection = await asyncpg.connect(self.url(name), timeout=10)
        except (OSError, asyncpg.PostgresError):
            return False
        try:
            await connection.execute(OTHERS)
            if await connection.fetchval(SHAPE) != self._contents.shape:
                return False
            async with connection.transaction():
                await connection.execute("SET LOCAL session_replication_role = replica")  # no look at foreign keys
                await connection.execute(";".join(f'DELETE FROM "{table}"' for table in await _tables(connection)))
                for table, rows in self._contents.rows.items():
                    await connection.copy_to_table(table, source=io.BytesIO(rows), format="binary")
            return True
        finally:
            await connection.close()

    async def _on(self, database: str, statement: str) -> None:
        connection = await asyncpg.connect(self.url(database) if database != "postgres" else self._uri)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


async def _tables(connection: asyncpg.Connection) -> list[str]:
    return [row[0] for row in await connection.fetch(TABLES)]
