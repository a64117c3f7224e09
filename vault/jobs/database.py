"""The database that stores the state of jobs: an SQLite file of its own, or a schema of its own on PostgreSQL.

It also has leases: which processes are alive, and which of them runs a periodic task. A lease is a row with a name and
an expiry time. The database's clock decides, so that processes need not agree on time.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa
from sqlalchemy.schema import CreateSchema, CreateTable

from vault.storage.query import insert_into

if TYPE_CHECKING:
    from sqlite3 import Connection


SCHEMA: Final = "cdv_jobs"
NEEDS: Final = (
    f"DO $$ BEGIN IF to_regnamespace('{SCHEMA}') IS NULL AND NOT has_database_privilege(current_database(), 'CREATE')"
    f" THEN RAISE insufficient_privilege USING MESSAGE = 'permission denied to create the schema {SCHEMA}'; END IF;"
    f" IF to_regnamespace('{SCHEMA}') IS NOT NULL AND NOT has_schema_privilege('{SCHEMA}', 'USAGE, CREATE')"
    f" THEN RAISE insufficient_privilege USING MESSAGE = 'permission denied for schema {SCHEMA}'; END IF; END $$"
)
"""What fails on PostgreSQL where the vault's role may not make the tables of jobs."""
CONNECTIONS: Final = 4
"""Connections that stay open; under load, as many again are opened."""
LOCK_TIMEOUT: Final = 30
"""Seconds for which a connection to SQLite waits for the write lock."""
_DAY: Final = 86_400_000
_ADVISORY_LOCK: Final = 4_846_220_413_067
"""Key of the lock under which one of several nodes creates the table. The number is arbitrary."""


class JobDatabase:
    """The database of jobs.

    Args:
        url: ``sqlite:///path`` or ``postgresql://…``, as for the vault's other databases.
    """

    def __init__(self, url: str) -> None:
        self._url = sa.make_url(url)
        self._file = Path(self._url.database or "") if self._url.get_backend_name() == "sqlite" else None

    @property
    def schema(self) -> str | None:
        """Return the schema of the tables; None on SQLite."""
        return SCHEMA if self._file is None else None

    @property
    def exists(self) -> bool:
        """Return False if there is no SQLite file yet, so that a query does not create one."""
        return self._file is None or self._file.exists()

    def create(self) -> None:
        """Create an SQLite file that only its owner can read."""
        if self._file is not None:
            self._file.touch(mode=0o600)

    def connect(self) -> sa.Engine:
        """Create an engine; it connects on first use."""
        if self._file is None:
            url = self._url.set(drivername="postgresql+psycopg")
            return sa.create_engine(
                url, pool_size=CONNECTIONS, max_overflow=CONNECTIONS, pool_pre_ping=True, hide_parameters=True
            )
        address = sa.URL.create("sqlite", database=str(self._file))
        engine = sa.create_engine(
            address,
            pool_size=CONNECTIONS,
            max_overflow=CONNECTIONS,
            hide_parameters=True,
            connect_args={"timeout": LOCK_TIMEOUT, "check_same_thread": False},
        )
        sa.event.listen(engine, "connect", _configure)
        return engine


def _configure(connection: Connection, _record: object) -> None:
    # A transaction that begins by reading cannot upgrade to a write lock while another one writes; it fails at once
    # instead of waiting. BEGIN IMMEDIATE takes the write lock at the start, where the timeout applies.
    connection.isolation_level = "IMMEDIATE"
    for setting in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "secure_delete = ON"):
        connection.execute(f"PRAGMA {setting}")


class Leases:
    """The leases of one vault. All methods block: call them in a thread.

    Args:
        schema: of the table, on PostgreSQL.
    """

    def __init__(self, engine: sa.Engine, schema: str | None) -> None:
        self._engine = engine
        self._schema = schema or ""
        self._postgresql = engine.dialect.name == "postgresql"
        self._table = sa.Table(
            "cdv_lease",
            sa.MetaData(schema=schema),
            sa.Column("name", sa.String(120), primary_key=True),
            sa.Column("until_ms", sa.BigInteger, nullable=False),
        )

    def prepare(self) -> None:
        """Create the table and its schema if they do not exist."""
        with self._engine.begin() as connection:
            if self._postgresql:
                # CREATE ... IF NOT EXISTS fails on PostgreSQL when two sessions run it at the same moment.
                connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
                if not sa.inspect(connection).has_schema(self._schema):
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
            connection.execute(sa.delete(self._table).where(self._table.c.name == name))

    def held(self, prefix: str) -> set[str]:
        """List the unexpired leases whose name has a prefix, without the prefix; delete those expired for a day."""
        name, until = self._table.c.name, self._table.c.until_ms
        with self._engine.begin() as connection:
            connection.execute(sa.delete(self._table).where(name.startswith(prefix), until < self._now() - _DAY))
            names = connection.execute(sa.select(name).where(name.startswith(prefix), until > self._now())).scalars()
            return {lease.removeprefix(prefix) for lease in names}

    def _upsert(self, name: str, seconds: float, *, only_expired: bool) -> bool:
        until = self._now() + int(seconds * 1000)
        statement = insert_into(self._table, self._engine.dialect.name).values(name=name, until_ms=until)
        upsert = statement.on_conflict_do_update(
            index_elements=["name"],
            set_={"until_ms": statement.excluded.until_ms},
            where=self._table.c.until_ms <= self._now() if only_expired else None,
        ).returning(self._table.c.name)
        with self._engine.begin() as connection:
            return connection.execute(upsert).first() is not None

    def _now(self) -> sa.ColumnElement[int]:
        now = (
            "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
            if self._postgresql
            else "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"
        )
        return sa.literal_column(now, sa.BigInteger)
