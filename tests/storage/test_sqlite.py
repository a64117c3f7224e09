"""Behaviour that is specific to SQLite: its settings, its one file, its one writer."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import text

from tests.storage.conftest import make_tables
from tests.storage.tables import ALL, THING, thing
from vault.errors import Unavailable
from vault.ids import new_id
from vault.storage.database import Database

ON_SQLITE = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


async def things(database):
    return [row[1] for row in await database.fetch(ALL, tenant="t")]


SETTINGS = [
    ("journal_mode", "wal"),
    ("synchronous", 2),
    ("secure_delete", 1),
    ("foreign_keys", 1),
    ("temp_store", 2),
]


@ON_SQLITE
@pytest.mark.parametrize(("name", "value"), SETTINGS)
async def test_every_connection_has_the_settings(database, name, value):
    await database.append({THING: [thing("t", new_id())]})
    await database.fetch(ALL, tenant="t")
    answers = [
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for connection in (database._lane._reading, database._lane._writing)
    ]
    async with database.reading() as one, database.reading() as two, database.transaction() as three:
        answers += [(await item.execute(text(f"PRAGMA {name}"))).scalar_one() for item in (one, two, three)]
    assert answers == [value] * 5


@ON_SQLITE
async def test_the_reader_cannot_write(database):
    await database.fetch(ALL, tenant="t")
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        database._lane._reading.execute("DELETE FROM thing")


async def test_a_missing_file_is_not_created(tmp_path):
    missing = tmp_path / "missing.sqlite"
    database = Database(f"sqlite:///{missing}")
    for call in (database.ping(), database.fetch(ALL, tenant="t"), database.append({THING: [thing("t", new_id())]})):
        with pytest.raises(Unavailable):
            await call
    await database.close()
    assert not missing.exists()


@pytest.mark.parametrize("folder", ["with space", "per%20cent", "hash#tag", "ünï", "a&b=c;d", "who?", "quote'\"s"])
async def test_the_folder_may_have_any_name(tmp_path, folder):
    path = tmp_path / folder / "data.sqlite"
    path.parent.mkdir()
    path.touch(mode=0o600)
    database = Database(f"sqlite:///{quote(str(path))}")
    await make_tables(database)
    await database.append({THING: [thing("t", new_id())]})
    assert len(await things(database)) == 1
    files = sorted(item.name for item in path.parent.iterdir())
    assert files == ["data.sqlite", "data.sqlite-shm", "data.sqlite-wal"]
    assert {item.stat().st_mode & 0o777 for item in path.parent.iterdir()} == {0o600}
    await database.close()


async def test_a_change_of_the_working_folder_changes_nothing(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "data.sqlite").touch()
    monkeypatch.chdir(tmp_path)
    database = Database("sqlite:///data.sqlite")
    await make_tables(database)
    os.chdir("elsewhere")
    await database.append({THING: [thing("t", new_id())]})
    assert len(await things(database)) == 1
    await database.close()


@ON_SQLITE
async def test_deleted_data_is_not_in_the_file_after_a_checkpoint(database, data_url):
    path = Path(data_url.removeprefix("sqlite:///"))
    await database.append({THING: [thing("t", new_id(), note="CANARY-4711")]})
    async with database.transaction() as connection:
        await connection.execute(THING.delete())
    await database.close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    assert all(b"CANARY-4711" not in item.read_bytes() for item in path.parent.glob("data.sqlite*"))
