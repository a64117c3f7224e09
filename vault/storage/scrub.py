"""Take what was deleted out of a database's files, as far as the database itself can.

SQLite overwrites what is deleted (``secure_delete``); the write-ahead log keeps older copies until it is written back
and cut off. PostgreSQL keeps deleted rows until a vacuum. What neither reaches are copies elsewhere, such as backups
and archived logs: against those only the destruction of the keys helps.

Database files, read as they lie while SQLite has them open.
"""

from __future__ import annotations

import os
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final

import asyncpg

from vault.storage.postgres_driver import SERVER_SETTINGS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vault.storage.sqlite_driver import SqliteFile


VACUUM_SECONDS: Final = 1_800.0
"""A vacuum of a large table takes minutes; nobody waits for it but the job."""
_BESIDE: Final = ("", "-wal", "-journal")


def cut_log(file: SqliteFile, timeout: float) -> bool:
    """Write SQLite's write-ahead log back and cut it off; false where a reader still needs a part of it."""
    connection = file.open(timeout=timeout)
    try:
        busy, _pages, _written = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        connection.close()
    return not busy


async def vacuum(url: str, tables: Sequence[str], *, patience: float) -> None:
    """Vacuum tables of PostgreSQL, their indexes too; outside of any transaction, as it has to be."""
    connection = await asyncpg.connect(
        url, timeout=patience, command_timeout=VACUUM_SECONDS, server_settings=SERVER_SETTINGS
    )
    try:
        names = ", ".join(f'"{name}"' for name in tables)
        await connection.execute(f"VACUUM (INDEX_CLEANUP ON, TRUNCATE OFF) {names}")
    finally:
        await connection.close(timeout=patience)


def files_of(path: str) -> list[Path]:
    """List the files in which an SQLite database lies at this moment."""
    return [each for each in (Path(path + end) for end in _BESIDE) if each.is_file()]


class RawFiles:
    """Files that stay open once they were opened.

    Closing one would let go of every lock that this process has on the file, SQLite's among them: that is what POSIX
    says of ``fcntl`` locks (sqlite.org/howtocorrupt.html §2.2). Another process that closes the database then takes
    itself for the last one and deletes the log, into which this one goes on writing.
    """

    def __init__(self) -> None:
        self._open: dict[tuple[int, int], int] = {}
        self._lock = Lock()

    def descriptor(self, path: Path) -> int:
        """Return a file's descriptor, to be read by position (``os.pread``) and not to be closed.

        Raises:
            OSError: there is no such file.
        """
        with self._lock:
            stat = path.stat()
            identity = (stat.st_dev, stat.st_ino)
            if identity not in self._open:
                self._open[identity] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            return self._open[identity]

    def close(self) -> None:
        """Close all files, once the database itself is closed."""
        with self._lock:
            while self._open:
                _identity, descriptor = self._open.popitem()
                os.close(descriptor)
