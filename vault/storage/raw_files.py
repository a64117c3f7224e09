"""Database files, read as they lie while SQLite has them open."""

from __future__ import annotations

import os
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


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
