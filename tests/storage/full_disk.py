"""Run as a program: fill a vault's database to its size limit, then lift the limit; prints JSON.

A process of its own, because the limit (``RLIMIT_FSIZE``) holds for the whole of it.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time

from sqlalchemy import func, select

from tests.storage.conftest import make_tables
from tests.storage.tables import ALL, THING, thing
from vault.audit.log import ENTRY, AuditEntry, AuditLog
from vault.clock import Clock
from vault.errors import Unavailable
from vault.ids import new_id, random_id
from vault.storage.database import Database

ROOM = 400_000
"""Size limit in bytes of the database, and of its WAL."""


def limit(room):
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))


async def until_refused(call, done):
    """Call until it is refused; returns the code and the duration of the refusal."""
    while True:
        started = time.monotonic()
        try:
            await call()
        except Unavailable as error:
            return {"code": error.code, "seconds": time.monotonic() - started, "done": done}
        done += 1


async def main(path):
    database = Database(f"sqlite:///{path}", timeout=2)
    await make_tables(database)
    async with database.transaction() as connection:
        await connection.run_sync(AuditEntry.metadata.create_all)
    ledger = AuditLog(database, Clock(), deadline=2)

    async def append():
        await database.append({THING: [thing("t", new_id(), blob=bytes(20_000))]})

    async def transaction():
        async with database.transaction() as connection:
            await database.bulk(connection, THING, [thing("t", new_id(), blob=bytes(20_000))])

    async def audit():
        await ledger.append(
            ledger.entry(
                tenant="t", action="read", decision="allowed", subjects=tuple(random_id() for _ in range(1_000))
            )
        )

    async def counts():
        async with database.reading() as connection:
            entries = (await connection.execute(select(func.count()).select_from(ENTRY))).scalar_one()
        return [len(await database.fetch(ALL, tenant="t")), entries]

    limit(ROOM)
    answers = [await until_refused(append, 0), await until_refused(transaction, 0), await until_refused(audit, 0)]
    full = await counts()  # what is there can still be read
    limit(resource.RLIM_INFINITY)
    await append()
    await transaction()
    await audit()
    after = await counts()
    await database.close()
    print(json.dumps({"told": answers, "full": full, "after": after}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
