"""Reading a raw database file does not release SQLite's locks."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from sqlalchemy import text

from vault.storage.database import Database
from vault.storage.sqlite_driver import RawFiles

VISIT = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT count(*) FROM thing").fetchone()
connection.close()
"""


async def test_another_process_does_not_delete_the_log_of_a_file_that_was_scanned(tmp_path):
    path = tmp_path / "data.sqlite"
    path.touch()
    database = Database(f"sqlite:///{path}")
    try:
        async with database.transaction() as connection:
            await connection.execute(text("CREATE TABLE thing (name TEXT)"))
        for file in database.files():
            assert os.pread(database.raw(file), 16, 0)
        subprocess.run([sys.executable, "-c", VISIT, str(path)], check=True)
        assert (tmp_path / "data.sqlite-wal").exists()
        async with database.transaction() as connection:
            await connection.execute(text("INSERT INTO thing VALUES ('kept')"))
    finally:
        await database.close()
    again = Database(f"sqlite:///{path}")
    try:
        async with again.reading() as connection:
            assert (await connection.execute(text("SELECT name FROM thing"))).scalar_one() == "kept"
    finally:
        await again.close()


def test_a_raw_file_is_opened_once_and_closed_with_the_database(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    files = RawFiles()
    descriptor = files.descriptor(path)
    assert files.descriptor(path) == descriptor
    assert os.pread(descriptor, 2, 1) == b"bc"
    files.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.pread(descriptor, 1, 0)
