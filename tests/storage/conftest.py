from __future__ import annotations

import pytest

from tests.storage.tables import METADATA
from vault.storage.database import Database


@pytest.fixture
async def open_database(data_url):
    """Open the test's database, several times if asked, and close it afterwards."""
    opened = []

    def open_one(*, suffix="", **options):
        opened.append(Database(data_url + suffix, **options))
        return opened[-1]

    yield open_one
    for item in opened:
        await item.close()


@pytest.fixture
async def database(open_database):
    database = open_database()
    await make_tables(database)
    return database


async def make_tables(database):
    async with database.transaction() as connection:
        await connection.run_sync(METADATA.create_all)
