"""The log has an order of its own: no clock changes it, and a reader who goes on from its last entry misses nothing."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from sqlalchemy import text

from vault.audit.log import BEGINNING, ENTRY, AuditLog, Selection
from vault.errors import InvalidInput
from vault.ids import new_id, random_id
from vault.storage.database import Database
from vault.storage.migrate import upgrade

HOUR = 3_600_000 << 80
"""An hour, as a distance between ids, whose first 48 bits are milliseconds."""
PLACES = ("alone", "in a transaction")


def _made(ledger, clock, *, set_back=0, **facts):
    """Return an entry of a process whose clock is some hours behind."""
    clock.advance(hours=-set_back)
    entry = ledger.entry(
        id=type(new_id())(int=new_id().int - set_back * HOUR),
        **{"tenant": "default", "action": "read", "decision": "allowed", **facts},
    )
    clock.advance(hours=set_back)
    return entry


async def _append(ledger, database, place, *entries):
    if place == "alone":
        for entry in entries:
            await ledger.append(entry)
    else:
        async with database.transaction() as connection:
            await ledger.append_in(connection, entries)


async def _followed(ledger, after=BEGINNING, **filters):
    """Read on after an entry, a few entries at a time."""
    results = []
    while page := (await ledger.entries("default", after=after, limit=2, selection=Selection(**filters))).entries:
        results += page
        after = page[-1].id
    return results


async def _paged(ledger, **filters):
    result, before = [], None
    while True:
        page = await ledger.entries("default", before=before, limit=2, selection=Selection(**filters))
        result += page.entries
        if page.next is None:
            return result
        before = page.next


@pytest.mark.parametrize("place", PLACES)
async def test_a_clock_set_back_between_entries_changes_no_order(ledger, database, clock, place):
    whom = random_id()
    entries = [_made(ledger, clock, set_back=hours, subjects=(whom,)) for hours in (0, 1, 1, 0, 30, 2, 0)]
    for entry in entries:
        await _append(ledger, database, place, entry)
    for filters in ({}, {"subject": whom}, {"action": "read"}):
        assert await _paged(ledger, **filters) == entries[::-1]
        assert await _followed(ledger, **filters) == entries
    assert (await ledger.entries("default", limit=3)).entries == entries[:3:-1]


async def test_a_reader_who_goes_on_sees_entries_of_a_process_whose_clock_is_behind(ledger, clock):
    seen = [_made(ledger, clock) for _ in range(3)]
    for entry in seen:
        await ledger.append(entry)
    assert await _followed(ledger) == seen
    later = [_made(ledger, clock, set_back=1), _made(ledger, clock), _made(ledger, clock, set_back=2)]
    for entry in later:
        await ledger.append(entry)
    assert await _followed(ledger, after=seen[-1].id) == later


async def test_entries_of_one_commit_are_in_the_order_in_which_they_were_appended(ledger, clock):
    entries = [_made(ledger, clock, set_back=hours) for hours in (3, 1, 2, 0, 5)]
    await asyncio.gather(*(ledger.append(entry) for entry in entries))
    assert await _followed(ledger) == entries


async def test_each_tenant_has_an_order_of_its_own(ledger, clock):
    mine = [_made(ledger, clock, set_back=hours) for hours in (0, 1)]
    for entry in mine:
        await ledger.append(entry)
        await ledger.append(_made(ledger, clock, tenant="other"))
    assert await _followed(ledger) == mine


@pytest.mark.parametrize("side", ["before", "after"])
async def test_an_id_that_is_no_entry_of_the_tenant_is_refused_as_a_cursor(ledger, clock, side):
    other = _made(ledger, clock, tenant="other")
    await ledger.append(other)
    for unknown in (new_id(), other.id):
        with pytest.raises(InvalidInput) as caught:
            await ledger.entries("default", **{side: unknown})
        assert caught.value.code == "invalid-cursor"


class _RolledBack(Exception):
    pass


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
@pytest.mark.parametrize("ends", ["commit", "roll back"])
async def test_no_entry_is_shown_while_an_earlier_one_can_still_appear(database, clock, data_url, ends):
    """PostgreSQL commits in any order: an entry that was numbered first may be committed last."""
    ledger = AuditLog(database, clock, patience=0)
    first, second, third = (_made(ledger, clock) for _ in range(3))
    other = Database(data_url)
    try:
        await ledger.append(first)
        with suppress(_RolledBack):
            async with other.transaction() as connection:
                await ledger.append_in(connection, [second])
                await ledger.append(third)
                assert await _followed(ledger) == [first]
                assert await _paged(ledger) == [first]
                if ends == "roll back":
                    raise _RolledBack
        settled = [first, second, third] if ends == "commit" else [first, third]
        assert await _followed(ledger) == settled
        assert await _followed(ledger, after=first.id) == settled[1:]
    finally:
        await other.close()


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_a_page_waits_for_a_transaction_that_is_about_to_commit(database, ledger, clock, data_url):
    first, second = (_made(ledger, clock) for _ in range(2))
    other = Database(data_url)
    try:
        async with other.transaction() as connection:
            await ledger.append_in(connection, [first])
            await ledger.append(second)
            page = asyncio.create_task(ledger.entries("default"))
            while not await _reads_the_locks(database):
                await asyncio.sleep(0)
        assert (await page).entries == [second, first]
    finally:
        await other.close()


async def _reads_the_locks(database):
    async with database.reading() as connection:
        statement = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT min((classid%'"
        return (await connection.execute(text(statement))).scalar_one()


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_a_reader_among_many_writers_misses_nothing(database, clock, data_url):
    """Transactions of many writers end in any order, and a reader goes on from what it has seen."""
    ledger = AuditLog(database, clock)
    others = [Database(data_url) for _ in range(3)]
    created, seen = [], []

    async def write(other, number):
        for turn in range(8):
            entry = _made(ledger, clock, set_back=(number + turn) % 3)
            async with other.transaction() as connection:
                await ledger.append_in(connection, [entry])
                created.append(entry)
                for _ in range((number * 7 + turn * 3) % 5):
                    await connection.execute(text("SELECT 1"))

    try:
        writing = asyncio.gather(*(write(other, number) for number, other in enumerate(others)))
        while not writing.done():
            seen += await _followed(ledger, after=seen[-1].id if seen else BEGINNING)
        await writing
        seen += await _followed(ledger, after=seen[-1].id if seen else BEGINNING)
    finally:
        for other in others:
            await other.close()
    assert len(seen) == len(created)
    assert {entry.id for entry in seen} == {entry.id for entry in created}
    assert await _followed(ledger) == seen


async def test_entries_from_before_the_numbers_are_in_the_order_of_their_ids(data_url, clock, monkeypatch):
    database = Database(data_url)
    try:
        monkeypatch.setattr("vault.storage.migrate._upgrade", _upgraded_to("0006"))
        await upgrade(database, "data")
        ids = sorted(new_id() for _ in range(3))
        async with database.transaction() as connection:
            for tenant, entry in (("default", ids[1]), ("other", ids[2]), ("default", ids[0])):
                await connection.execute(
                    text(
                        "INSERT INTO audit_entry (tenant_id, id, at, action, decision, body, leaf)"
                        " VALUES (:tenant, :id, :at, 'read', 'allowed', :body, :body)"
                    ).bindparams(),
                    {
                        "tenant": tenant,
                        "id": _raw(database, entry),
                        "at": _moment(database, clock),
                        "body": b'{"purpose":"care"}',
                    },
                )
        monkeypatch.undo()
        await upgrade(database, "data")
        async with database.reading() as connection:
            ordered = await connection.execute(ENTRY.select().order_by(ENTRY.c.number))
            assert [(row.id, row.purpose) for row in ordered] == [(entry, "care") for entry in ids]
        ledger = AuditLog(database, clock)
        newer = _made(ledger, clock, set_back=1)
        await ledger.append(newer)
        assert (await ledger.entries("default", limit=1)).entries == [newer]
    finally:
        await database.close()


def _upgraded_to(revision):
    def run(connection, which):
        from alembic import command

        from vault.storage.migrate import _config

        config = _config(which)
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    return run


def _raw(database, value):
    return value.bytes if database.dialect == "sqlite" else value


def _moment(database, clock):
    return int(clock.now().timestamp() * 1_000_000) if database.dialect == "sqlite" else clock.now()
