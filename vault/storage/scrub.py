"""Remove deleted data from a database's files, as far as the database itself can.

SQLite overwrites deleted data (``secure_delete``); its write-ahead log keeps older copies until it is checkpointed and
truncated. PostgreSQL keeps deleted rows until a vacuum. Neither reaches copies elsewhere, such as backups and archived
logs: only the destruction of the keys helps there.
"""

from __future__ import annotations

import os
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vault.storage.sqlite_driver import SqliteFile


VACUUM_SECONDS: Final = 1_800.0
"""A vacuum of a large table takes minutes; only the job waits for it."""
_SUFFIXES: Final = ("", "-wal", "-journal")


def cut_log(file: SqliteFile, timeout: float) -> bool:
    """Checkpoint and truncate SQLite's write-ahead log. Returns false if a reader still needs a part of it."""
    connection = file.open(timeout=timeout)
    try:
        busy, _pages, _written = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        connection.close()
    return not busy


async def vacuum(url: str, tables: Sequence[str], *, patience: float) -> None:
    """Vacuum tables of PostgreSQL and their indexes, outside of any transaction."""
    from vault.storage.postgres_driver import connect

    connection = await connect(url, patience, command_timeout=VACUUM_SECONDS)
    try:
        names = ", ".join(f'"{name}"' for name in tables)
        await connection.execute(f"VACUUM (INDEX_CLEANUP ON, TRUNCATE OFF) {names}")
    finally:
        await connection.close(timeout=patience)


def files_of(path: str) -> list[Path]:
    """List the existing files of an SQLite database."""
    return [file for file in (Path(path + suffix) for suffix in _SUFFIXES) if file.is_file()]


class RawFiles:
    """Files that stay open once they are opened.

    Closing one would release every lock of this process on the file, including SQLite's (POSIX ``fcntl`` locks,
    sqlite.org/howtocorrupt.html §2.2). Another process that closes the database would then delete the log while this
    one still writes to it.
    """

    def __init__(self) -> None:
        self._open: dict[tuple[int, int], int] = {}
        self._lock = Lock()

    def descriptor(self, path: Path) -> int:
        """Return a file's descriptor, for ``os.pread``. The caller must not close it.

        Raises:
            OSError: the file does not exist.
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
