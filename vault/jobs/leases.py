"""Who is alive, and whose turn it is: rows that say until when something is taken, by the database's own clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import BigInteger, Column, MetaData, String, Table, delete, inspect, literal_column, select, text
from sqlalchemy.dialects.postgresql import insert as insert_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_sqlite
from sqlalchemy.schema import CreateSchema, CreateTable

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Engine

_DAY: Final = 86_400_000
_TURN: Final = 4_846_220_413_067
"""Number of the lock under which a node of several makes the table; any number that nobody else uses will do."""


class Leases:
    """Leases in the database of jobs. All methods block: they are for threads.

    Args:
        engine: of that database.
        schema: in which the table lies, on PostgreSQL.
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
        """Make the table if it is not there, and the schema."""
        with self._engine.begin() as connection:
            if self._postgresql:
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_TURN})"))
                if not inspect(connection).has_schema(self._schema):
                    connection.execute(CreateSchema(self._schema))
            connection.execute(CreateTable(self._table, if_not_exists=True))

    def hold(self, name: str, seconds: float) -> None:
        """Take a lease, or go on holding it, whoever had it."""
        self._put(name, seconds, only_free=False)

    def take(self, name: str, seconds: float) -> bool:
        """Take a lease that nobody holds; of several who try at once, one gets it."""
        return self._put(name, seconds, only_free=True)

    def give_back(self, name: str) -> None:
        """End a lease."""
        with self._engine.begin() as connection:
            connection.execute(delete(self._table).where(self._table.c.name == name))

    def held(self, prefix: str) -> set[str]:
        """List the leases that have not run out, by what comes after the prefix; forget those of yesterday."""
        name, until = self._table.c.name, self._table.c.until_ms
        with self._engine.begin() as connection:
            connection.execute(delete(self._table).where(name.startswith(prefix), until < self._now() - _DAY))
            found = connection.execute(select(name).where(name.startswith(prefix), until > self._now()))
            return {each.removeprefix(prefix) for each in found.scalars()}

    def _put(self, name: str, seconds: float, *, only_free: bool) -> bool:
        insert = insert_postgresql if self._postgresql else insert_sqlite
        until = self._now() + int(seconds * 1000)
        statement = insert(self._table).values(name=name, until_ms=until)
        put = statement.on_conflict_do_update(
            index_elements=["name"],
            set_={"until_ms": statement.excluded.until_ms},
            where=self._table.c.until_ms <= self._now() if only_free else None,
        ).returning(self._table.c.name)
        with self._engine.begin() as connection:
            return connection.execute(put).first() is not None

    def _now(self) -> ColumnElement[int]:
        now = (
            "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
            if self._postgresql
            else "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"
        )
        return literal_column(now, BigInteger)
