"""Every database failure is one error within the deadline without blocking the event loop; later calls succeed."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import select

from tests.storage.conftest import make_tables
from tests.storage.tables import ALL, THING, thing
from tests.storage.trouble import TROUBLES, Ticking, control, server_of, trouble
from vault.errors import Unavailable
from vault.ids import new_id

TIMEOUT = 0.6
SLACK = 0.5
"""Tolerance in seconds for a loaded machine."""
READS_DESPITE = {"locked"}
"""Failures that do not prevent reads of SQLite, or of PostgreSQL's catalogue."""


def calls(database):
    async def transaction():
        async with database.transaction() as connection:
            await database.bulk(connection, THING, [thing("t", new_id())])

    async def reading():
        async with database.reading() as connection:
            await connection.execute(select(THING.c.id))

    return {
        "append": lambda: database.append({THING: [thing("t", new_id())]}),
        "transaction": transaction,
        "fetch": lambda: database.fetch(ALL, tenant="t"),
        "reading": reading,
    }


@asynccontextmanager
async def within(seconds):
    started = time.monotonic()
    async with Ticking() as ticking:
        yield
    assert time.monotonic() - started <= seconds + SLACK
    assert ticking.longest < TIMEOUT


@pytest.mark.parametrize(("dialect", "name"), TROUBLES, indirect=["dialect"])
async def test_a_failure_raises_unavailable_within_the_deadline_and_later_calls_succeed(open_database, data_url, name):
    database = open_database(timeout=TIMEOUT)
    await make_tables(database)
    for call in calls(database).values():  # connections are open: the trouble finds them at work
        await call()
    async with trouble(name, data_url, "thing"):
        for kind, call in calls(database).items():
            if database.dialect == "sqlite" and name in READS_DESPITE and kind in {"fetch", "reading"}:
                assert await call() is None or kind == "fetch"
                continue
            # The engine tries once more to part in peace with a connection that was open and hangs.
            patience = 2 * TIMEOUT if kind in {"transaction", "reading"} else TIMEOUT
            async with within(patience):
                with pytest.raises(Unavailable) as caught:
                    await call()
            assert caught.value.code == "unavailable"
    for kind, call in calls(database).items():
        try:
            await call()
        except Unavailable:  # a connection may still have to learn that it died
            assert database.dialect == "postgresql", kind
            await call()
    assert len(await database.fetch(ALL, tenant="t")) >= 4


@pytest.mark.parametrize(("dialect", "name"), TROUBLES, indirect=["dialect"])
async def test_all_waiting_callers_fail_within_one_deadline(open_database, data_url, name):
    database = open_database(timeout=TIMEOUT, size=2)
    await make_tables(database)
    await database.append({THING: [thing("t", new_id())]})
    async with trouble(name, data_url, "thing"), within(TIMEOUT):
        answers = await asyncio.gather(
            *(database.append({THING: [thing("t", new_id())]}) for _ in range(30)), return_exceptions=True
        )
    assert all(isinstance(answer, Unavailable) for answer in answers)


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_a_caller_with_a_shorter_deadline_does_not_wait_for_that_of_the_database(open_database, data_url):
    database = open_database(timeout=5)
    await make_tables(database)
    await database.append({THING: [thing("t", new_id())]})
    async with trouble("hanging", data_url, "thing"), within(0.2):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await database.append({THING: [thing("t", new_id())]})


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_a_server_restarted_between_two_calls_is_reconnected(open_database, data_url):
    database = open_database()
    await make_tables(database)
    for call in calls(database).values():
        await call()
    await asyncio.to_thread(control, server_of(data_url), "-m", "fast", "restart")
    for call in calls(database).values():
        await call()
    assert len(await database.fetch(ALL, tenant="t")) == 4


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_a_terminated_backend_rolls_its_transaction_back(open_database, data_url):
    database = open_database()
    await make_tables(database)
    with pytest.raises(Unavailable):
        async with database.transaction() as connection:
            await database.bulk(connection, THING, [thing("t", new_id())])
            other = await asyncpg.connect(data_url)
            await other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            await other.close()
            await database.bulk(connection, THING, [thing("t", new_id())])
    assert await database.fetch(ALL, tenant="t") == []
    async with database.transaction() as connection:
        await database.bulk(connection, THING, [thing("t", new_id())])


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_an_abandoned_append_keeps_the_lock_until_its_thread_ends(open_database, data_url):
    """Otherwise the appends on a stalled disk would queue behind the thread and be written long after their refusal."""
    database = open_database(timeout=2)
    await make_tables(database)
    await database.append({THING: [thing("t", new_id())]})
    path = Path(data_url.removeprefix("sqlite:///"))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await database.append({THING: [thing("t", new_id())]})
    assert database._writer.locked()
    other.execute("ROLLBACK")
    other.close()
    await database.append({THING: [thing("t", new_id())]})
    assert not database._writer.locked()
    assert len(await database.fetch(ALL, tenant="t")) == 3  # the one given up was written: nobody had promised


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_a_reader_opens_while_another_process_writes(open_database, data_url):
    first = open_database()
    await make_tables(first)
    other = sqlite3.connect(data_url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        second = open_database(timeout=TIMEOUT)
        assert await second.fetch(ALL, tenant="t") == []
        await second.ping()
    finally:
        other.execute("ROLLBACK")
        other.close()


async def test_closing_during_a_failure_returns(open_database, data_url):
    database = open_database(timeout=TIMEOUT)
    await make_tables(database)
    for call in calls(database).values():
        await call()
    name = "locked" if database.dialect == "sqlite" else "hanging"
    async with trouble(name, data_url, "thing"), asyncio.timeout(10):
        await database.close()
