"""The database that stores the state of jobs: an SQLite file of its own, or a schema of its own on PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import URL, create_engine, event, make_url

if TYPE_CHECKING:
    from sqlite3 import Connection

    from sqlalchemy import Engine

SCHEMA: Final = "cdv_jobs"
CONNECTIONS: Final = 4
"""Connections that stay open; under load, as many again are opened."""
LOCK_TIMEOUT: Final = 30
"""Seconds for which a connection to SQLite waits for the write lock."""


class JobDatabase:
    """The database of jobs.

    Args:
        url: ``sqlite:///path`` or ``postgresql://…``, as for the vault's other databases.
    """

    def __init__(self, url: str) -> None:
        self._url = make_url(url)
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

    def connect(self) -> Engine:
        """Create an engine; it connects on first use."""
        if self._file is None:
            url = self._url.set(drivername="postgresql+psycopg")
            return create_engine(
                url, pool_size=CONNECTIONS, max_overflow=CONNECTIONS, pool_pre_ping=True, hide_parameters=True
            )
        address = URL.create("sqlite", database=str(self._file))
        engine = create_engine(
            address,
            pool_size=CONNECTIONS,
            max_overflow=CONNECTIONS,
            hide_parameters=True,
            connect_args={"timeout": LOCK_TIMEOUT, "check_same_thread": False},
        )
        event.listen(engine, "connect", _configure)
        return engine


def _configure(connection: Connection, _record: object) -> None:
    # A transaction that begins by reading cannot upgrade to a write lock while another one writes; it fails at once
    # instead of waiting. BEGIN IMMEDIATE takes the write lock at the start, where the timeout applies.
    connection.isolation_level = "IMMEDIATE"
    for setting in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "secure_delete = ON"):
        connection.execute(f"PRAGMA {setting}")
