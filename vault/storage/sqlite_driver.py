"""The hot path on SQLite: bare ``sqlite3``; and the one file that the engine opens as well.

SQLite overwrites deleted data (``secure_delete``). Its write-ahead log keeps older copies until it is checkpointed and
truncated (:func:`cut_log`). Neither this nor a vacuum of PostgreSQL reaches copies elsewhere, such as backups and
archived logs: only the destruction of the keys helps there.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from vault.storage.columns import brought
from vault.storage.query import native

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Table

    from vault.storage.query import Fetched, Query

    Batch = Mapping[Table, Sequence[tuple[object, ...]]]

SETTINGS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",  # a commit is on the disk before the response is sent
    "PRAGMA secure_delete = ON",  # what is deleted is overwritten
    "PRAGMA foreign_keys = ON",
    "PRAGMA temp_store = MEMORY",  # nothing spills into a temp file
)
_SUFFIXES: Final = ("", "-wal", "-journal")
_SHARED: Final = "-shm"
"""The suffix of the file that readers and writers of the log share. It holds no data, but has to be writable."""
READER_PATIENCE = 0.05
"""Seconds that a read may wait for a lock, inline on the event loop; in WAL mode it hardly ever has to."""


class SqliteFile:
    """The database's file, which must exist, and stay the same one for as long as the process runs.

    SQLite itself would go on writing into a file that was deleted or replaced, and lose all of it in the end.
    """

    def __init__(self, path: str) -> None:
        self._path = str(Path(path).absolute())
        self._identity: tuple[int, int] | None = None

    @property
    def address(self) -> str:
        """Return the file's ``file:`` address; it has no mode that would make the file."""
        return f"file:{quote(self._path)}"

    def check(self) -> None:
        """Refuse to go on when the file is gone or replaced.

        Raises:
            OSError: it is gone.
            sqlite3.OperationalError: another file is in its place.
        """
        stat = os.stat(self._path)  # noqa: PTH116 - a third of the time, before every read
        identity = (stat.st_dev, stat.st_ino)
        if self._identity is None:
            self._identity = identity
        elif identity != self._identity:
            raise sqlite3.OperationalError("the database file was replaced")

    def open(self, *, timeout: float) -> sqlite3.Connection:
        """Open the file, with the settings that every connection has."""
        self.check()
        connection = sqlite3.connect(
            f"{self.address}?mode=rw", uri=True, timeout=timeout, isolation_level=None, check_same_thread=False
        )
        for setting in SETTINGS:
            connection.execute(setting)
        return connection


class SqliteLane:
    """One connection that reads, inline on the event loop, and one that writes, in a thread of its own.

    A read from the page cache takes 20 µs, less than a thread's hand-over. A commit waits for the disk, which may
    stall: there the thread keeps the event loop, and with it the deadline, alive.
    """

    def __init__(self, file: SqliteFile, *, timeout: float, writer: asyncio.Lock) -> None:
        self._file = file
        self._timeout = timeout
        self._writer = writer
        self._reading: sqlite3.Connection | None = None
        self._writing: sqlite3.Connection | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite-append")

    async def fetch(self, query: Query, values: Mapping[str, object]) -> Fetched:
        """Run a select."""
        text, arguments = query.for_sqlite(values)
        self._file.check()
        if self._reading is None:
            connection = self._file.open(timeout=READER_PATIENCE)
            connection.execute("PRAGMA query_only = ON")
            self._reading = connection
        return query.read_sqlite(self._reading.execute(text, arguments).fetchall())

    async def append(self, batch: Batch) -> None:
        """Insert rows into several tables in one durable transaction."""
        async with asyncio.timeout(self._timeout):
            await self._writer.acquire()
            work = asyncio.get_running_loop().run_in_executor(self._thread, self._append, batch)
            # If the deadline passes while the thread works, the lock is held until the work ends: the next caller
            # waits for the lock, with a deadline, and not in a queue before the thread.
            work.add_done_callback(self._worked)
            await asyncio.shield(work)

    def _worked(self, work: asyncio.Future[None]) -> None:
        self._writer.release()
        if not work.cancelled():
            work.exception()  # taken note of: where the deadline struck, the caller had its answer already

    def _append(self, batch: Batch) -> None:
        self._file.check()
        if self._writing is None:
            self._writing = self._file.open(timeout=self._timeout)
        connection = self._writing
        connection.execute("BEGIN IMMEDIATE")
        try:
            for table, rows in batch.items():
                connection.executemany(insert_text(table), [tuple(map(native, row)) for row in rows])
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def cut_log(self) -> bool:
        """Take deleted rows out of the write-ahead log; see :func:`cut_log`."""
        return cut_log(self._file, READER_PATIENCE)

    async def close(self) -> None:
        """Close both connections, once the thread has done what it is at."""
        await asyncio.to_thread(self._thread.shutdown)
        for connection in (self._reading, self._writing):
            if connection is not None:
                connection.close()
        self._reading = self._writing = None


@lru_cache(maxsize=64)
def insert_text(table: Table) -> str:
    """Write the plain insert of whole rows, in the table's order of columns."""
    places = {column.name: f"?{place}" for place, column in enumerate(brought(table), 1)}
    for column in table.columns.keys() - places.keys():
        # There is one writer at a time, so that no other row takes the number; the index knows the greatest.
        greatest = f'SELECT max("{column}") FROM "{table.name}" WHERE "tenant_id" = {places["tenant_id"]}'  # noqa: S608
        places[column] = f"coalesce(({greatest}), 0) + 1"
    names = ", ".join(f'"{name}"' for name in places)
    return f'INSERT INTO "{table.name}" ({names}) VALUES ({", ".join(places.values())})'  # noqa: S608 - our own names


def cut_log(file: SqliteFile, timeout: float) -> bool:
    """Checkpoint and truncate SQLite's write-ahead log. Returns false if a reader still needs a part of it."""
    connection = file.open(timeout=timeout)
    try:
        busy, _pages, _written = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        connection.close()
    return not busy


def files_of(path: str) -> list[Path]:
    """List the existing files of an SQLite database."""
    return [file for file in (Path(path + suffix) for suffix in _SUFFIXES) if file.is_file()]


def are_writable(files: Sequence[Path]) -> bool:
    """Return whether this process may write to all files of a database, also those beside the first one."""
    shared = (Path(f"{file}{_SHARED}") for file in files[:1])
    used = [*files, *(file for file in shared if file.exists())]
    return all(os.access(file, os.W_OK, effective_ids=True) for file in used)


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
