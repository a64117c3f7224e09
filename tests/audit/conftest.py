from __future__ import annotations

import pytest

from vault.audit.log import AuditLog
from vault.storage.database import Database
from vault.storage.migrate import upgrade


class CountingDatabase(Database):
    """A database that counts its appends."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.appends = 0

    async def append(self, batch):
        self.appends += 1
        await super().append(batch)


@pytest.fixture
async def database(data_url):
    database = CountingDatabase(data_url)
    await upgrade(database, "data")
    yield database
    await database.close()


@pytest.fixture
def ledger(database, clock):
    return AuditLog(database, clock)
