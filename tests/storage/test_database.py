"""Transactions, appends and bulk inserts are atomic."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from tests.storage.conftest import make_tables
from tests.storage.tables import ALL, PART, PARTS, THING, thing
from vault.errors import Misconfigured
from vault.ids import new_id
from vault.storage.database import Database


async def things(database):
    return [row[1] for row in await database.fetch(ALL, tenant="t")]


async def words(database):
    return [row[0] for row in await database.fetch(PARTS, tenant="t")]


async def test_a_transaction_commits_at_the_end_of_its_block(database):
    one = new_id()
    async with database.transaction() as connection:
        await database.bulk(connection, THING, [thing("t", one)])
        assert await things(database) == []  # nobody else sees it yet
    assert await things(database) == [one]


async def test_an_error_in_the_block_rolls_the_transaction_back(database):
    one = new_id()
    with pytest.raises(LookupError):
        async with database.transaction() as connection:
            await connection.execute(THING.insert(), [{"tenant_id": "t", "id": one}])
            await database.bulk(connection, PART, [("t", one, "word", "must")])
            await database.bulk(connection, THING, [thing("t", new_id()) for _ in range(100)])
            raise LookupError
    assert await things(database) == []
    assert await words(database) == []


async def test_a_failed_bulk_insert_rolls_the_transaction_back(database):
    one = new_id()
    with pytest.raises(IntegrityError):
        async with database.transaction() as connection:
            await database.bulk(connection, THING, [thing("t", one)])
            await database.bulk(connection, PART, [("t", one, "word", "must"), ("t", one, "word", "must")])
    assert await things(database) == []


async def test_a_cancellation_rolls_the_transaction_back(database):
    inside = asyncio.Event()

    async def write():
        async with database.transaction() as connection:
            await database.bulk(connection, THING, [thing("t", new_id())])
            inside.set()
            await asyncio.Event().wait()

    caller = asyncio.create_task(write())
    await inside.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert await things(database) == []
    await database.append({THING: [thing("t", new_id())]})  # and no lock
    assert len(await things(database)) == 1


async def test_a_bulk_insert_without_rows_does_nothing(database):
    async with database.transaction() as connection:
        await database.bulk(connection, THING, [])
    await database.append({THING: [], PART: []})
    await database.append({})
    assert await things(database) == []


async def test_an_append_writes_all_of_its_tables_or_none(database):
    one, other = new_id(), new_id()
    await database.append({THING: [thing("t", one)], PART: [("t", one, "a", "x"), ("t", one, "b", "y")]})
    with pytest.raises(IntegrityError):
        await database.append({THING: [thing("t", other)], PART: [("t", other, "c", "x"), ("t", one, "b", "y")]})
    assert await things(database) == [one]
    assert await words(database) == ["a", "b"]


async def test_an_append_is_committed_when_it_returns(database, open_database):
    one = new_id()
    await database.append({THING: [thing("t", one)]})
    assert await things(open_database()) == [one]


async def test_a_reading_transaction_sees_one_snapshot_and_does_not_block_writers(database):
    async with database.reading() as connection:
        before = (await connection.execute(select(THING.c.id))).all()
        await database.append({THING: [thing("t", new_id())]})
        after = (await connection.execute(select(THING.c.id))).all()
    assert before == []
    if database.dialect == "sqlite":  # PostgreSQL reads what is committed, statement by statement
        assert after == []
    assert len(await things(database)) == 1


async def test_two_open_databases_write_at_the_same_time(database, open_database):
    nodes = [database, open_database()]

    async def write(node, way):
        for _ in range(20):
            if way == "append":
                await node.append({THING: [thing("t", new_id())]})
            else:
                async with node.transaction() as connection:
                    await node.bulk(connection, THING, [thing("t", new_id())])

    await asyncio.gather(*(write(node, way) for node in nodes for way in ("append", "transaction")))
    assert len(await things(database)) == 80


async def test_two_nodes_can_open_a_new_file_at_once(open_database):
    nodes = [open_database() for _ in range(4)]
    await make_tables(nodes[0])
    await asyncio.gather(*(node.append({THING: [thing("t", new_id())]}) for node in nodes), *(n.ping() for n in nodes))
    assert len(await things(nodes[3])) == 4


async def test_integrity_errors_pass_through_every_method(database):
    one = new_id()
    row = thing("t", one, name="taken")
    await database.append({THING: [row]})
    with pytest.raises(IntegrityError):
        await database.append({THING: [row]})
    with pytest.raises(IntegrityError):
        async with database.transaction() as connection:
            await database.bulk(connection, THING, [row])
    with pytest.raises(IntegrityError):
        async with database.transaction() as connection:
            await connection.execute(THING.insert(), [{"tenant_id": "t", "id": one}])
    assert await things(database) == [one]


async def test_a_failed_statement_inside_a_block_can_be_answered_there(database):
    one = new_id()
    await database.append({THING: [thing("t", one)]})
    with pytest.raises(LookupError):
        async with database.transaction() as connection:
            try:
                await database.bulk(connection, THING, [thing("t", one)])
            except IntegrityError:
                raise LookupError from None


@pytest.mark.parametrize(
    "url", ["", "nonsense", "mysql://host/name", "sqlite://", "sqlite:///", "oracle://u:hunter2@h/x"]
)
def test_a_url_of_an_unsupported_database_is_refused_without_repeating_it(url):
    with pytest.raises(Misconfigured) as caught:
        Database(url)
    assert "hunter2" not in f"{caught.value}{caught.value.hint}"


def test_a_database_shows_no_password():
    database = Database("postgresql://vault:hunter2@localhost/name")
    assert "hunter2" not in f"{database!r}{database}"
