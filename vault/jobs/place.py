"""Where the state of jobs lies: an SQLite file of its own, or a schema of its own in PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import URL, create_engine, event, make_url

if TYPE_CHECKING:
    from sqlalchemy import Engine

SCHEMA: Final = "cdv_jobs"
CONNECTIONS: Final = 4
"""Kept open; as many again are opened when there is a lot to do."""
PATIENCE: Final = 30
"""Seconds that SQLite waits for the one writer."""


class Place:
    """The database of jobs.

    Args:
        url: ``sqlite:///path`` or ``postgresql://…``, as of the vault's other databases.
    """

    def __init__(self, url: str) -> None:
        self._url = make_url(url)
        self._file = Path(self._url.database or "") if self._url.get_backend_name() == "sqlite" else None

    @property
    def schema(self) -> str | None:
        """Return the schema of the tables; SQLite has none."""
        return SCHEMA if self._file is None else None

    @property
    def is_made(self) -> bool:
        """Tell whether there can be any state: a look at it is not to make an SQLite file."""
        return self._file is None or self._file.exists()

    def make(self) -> None:
        """Make an SQLite file that nobody but its owner can read."""
        if self._file is not None:
            self._file.touch(mode=0o600)

    def connect(self) -> Engine:
        """Make an engine; it connects when it is used."""
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
            connect_args={"timeout": PATIENCE, "check_same_thread": False},
        )
        event.listen(engine, "connect", _settle)
        return engine


def _settle(connection: Any, _record: object) -> None:
    connection.isolation_level = "IMMEDIATE"  # who means to write waits for the lock at the beginning
    for setting in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "secure_delete = ON"):
        connection.execute(f"PRAGMA {setting}")
