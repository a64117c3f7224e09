"""Leases in the database of jobs: which processes are alive, and which of them runs a periodic task.

A lease is a row with a name and an expiry time. The database's clock decides, so that processes need not agree on time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import BigInteger, Column, MetaData, String, Table, delete, inspect, literal_column, select, text
from sqlalchemy.dialects.postgresql import insert as insert_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_sqlite
from sqlalchemy.schema import CreateSchema, CreateTable

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Engine

_DAY: Final = 86_400_000
_ADVISORY_LOCK: Final = 4_846_220_413_067
"""Key of the lock under which one of several nodes creates the table. The number is arbitrary."""


class Leases:
    """The leases of one vault. All methods block: call them in a thread.

    Args:
        engine: of the database of jobs.
        schema: of the table, on PostgreSQL.
    """

    def __init__(self, engine: Engine, schema: str | None) -> None:
        self._engine = engine
        self._schema = schema or ""
        self._postgresql = engine.dialect.name == "postgresql"
        self._table = Table(
            "cdv_lease",
            MetaData(schema=schema),
            Column("name", String(120), primary_key=True),
            Column("until_ms", BigInteger, nullable=False),
        )

    def prepare(self) -> None:
        """Create the table and its schema if they do not exist."""
        with self._engine.begin() as connection:
            if self._postgresql:
                # CREATE ... IF NOT EXISTS fails on PostgreSQL when two sessions run it at the same moment.
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
                if not inspect(connection).has_schema(self._schema):
                    connection.execute(CreateSchema(self._schema))
            connection.execute(CreateTable(self._table, if_not_exists=True))

    def hold(self, name: str, seconds: float) -> None:
        """Acquire or extend a lease, even if another process holds it."""
        self._upsert(name, seconds, only_expired=False)

    def take(self, name: str, seconds: float) -> bool:
        """Acquire a free or expired lease; returns whether it was acquired. Of concurrent callers, one acquires it."""
        return self._upsert(name, seconds, only_expired=True)

    def release(self, name: str) -> None:
        """End a lease."""
        with self._engine.begin() as connection:
            connection.execute(delete(self._table).where(self._table.c.name == name))

    def held(self, prefix: str) -> set[str]:
        """List the unexpired leases whose name has a prefix, without the prefix; delete those expired for a day."""
        name, until = self._table.c.name, self._table.c.until_ms
        with self._engine.begin() as connection:
            connection.execute(delete(self._table).where(name.startswith(prefix), until < self._now() - _DAY))
            names = connection.execute(select(name).where(name.startswith(prefix), until > self._now())).scalars()
            return {lease.removeprefix(prefix) for lease in names}

    def _upsert(self, name: str, seconds: float, *, only_expired: bool) -> bool:
        insert = insert_postgresql if self._postgresql else insert_sqlite
        until = self._now() + int(seconds * 1000)
        statement = insert(self._table).values(name=name, until_ms=until)
        upsert = statement.on_conflict_do_update(
            index_elements=["name"],
            set_={"until_ms": statement.excluded.until_ms},
            where=self._table.c.until_ms <= self._now() if only_expired else None,
        ).returning(self._table.c.name)
        with self._engine.begin() as connection:
            return connection.execute(upsert).first() is not None

    def _now(self) -> ColumnElement[int]:
        now = (
            "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
            if self._postgresql
            else "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"
        )
        return literal_column(now, BigInteger)
