"""A call without an audit entry is refused with one code within the deadline, whatever failed."""

from __future__ import annotations

import asyncio
import time

import pytest
from sqlalchemy import text

from tests.storage.trouble import TROUBLES, Ticking, trouble
from vault.audit.log import AuditLog
from vault.errors import Unavailable
from vault.ids import random_id

DEADLINE = 0.6
SLACK = 0.5
"""Tolerance in seconds for a loaded machine."""


def made(ledger):
    return ledger.entry(tenant="default", action="read", decision="allowed", subjects=(random_id(),))


async def refusals(ledger, count):
    """Append several entries at once; all must be refused in time without blocking the event loop."""
    started = time.monotonic()
    async with Ticking() as ticking:
        answers = await asyncio.gather(*(ledger.append(made(ledger)) for _ in range(count)), return_exceptions=True)
    assert time.monotonic() - started < DEADLINE + SLACK
    assert ticking.longest < DEADLINE
    assert all(isinstance(answer, Unavailable) for answer in answers), answers
    assert {answer.code for answer in answers} == {"audit-unavailable"}
    assert all("nothing was shown" in answer.detail for answer in answers)


@pytest.mark.parametrize(("dialect", "name"), TROUBLES, indirect=["dialect"])
async def test_an_append_without_a_durable_entry_fails(database, clock, data_url, name):
    ledger = AuditLog(database, clock, deadline=DEADLINE)  # shorter than the database's own five seconds
    first = made(ledger)
    await ledger.append(first)
    async with trouble(name, data_url, "audit_entry"):
        await refusals(ledger, 10)
        await refusals(ledger, 1)
    last = made(ledger)
    try:
        await ledger.append(last)
    except Unavailable:  # a connection may still have to learn that it died
        await ledger.append(last := made(ledger))
    listed = (await ledger.entries("default")).entries
    assert listed[0] == last
    assert listed[-1] == first


@pytest.mark.parametrize(("dialect", "name"), TROUBLES, indirect=["dialect"])
async def test_an_append_during_a_hanging_commit_waits_no_longer_than_the_deadline(database, clock, data_url, name):
    ledger = AuditLog(database, clock, deadline=DEADLINE)
    await ledger.append(made(ledger))
    async with trouble(name, data_url, "audit_entry"):
        flying = asyncio.create_task(refusals(ledger, 1))
        await asyncio.sleep(DEADLINE / 2)  # the commit is half-way through its time
        await asyncio.gather(flying, refusals(ledger, 3))


async def test_an_append_that_timed_out_is_not_written_later(database, clock, data_url, dialect):
    """In a long outage refused entries would pile up and all be written at its end, although no call succeeded."""
    ledger = AuditLog(database, clock, deadline=DEADLINE)
    await ledger.append(made(ledger))
    async with trouble("locked", data_url, "audit_entry"):
        for _ in range(2):
            await refusals(ledger, 50)
        assert len(ledger._batcher._waiting) == 0
    last = made(ledger)
    await ledger.append(last)
    listed = (await ledger.entries("default", limit=200)).entries
    assert listed[0] == last
    assert len(listed) <= 2 + 50  # at most the commit that was already running


async def test_a_log_without_its_table_refuses_every_append(database, clock):
    ledger = AuditLog(database, clock, deadline=DEADLINE)
    async with database.transaction() as connection:
        await connection.execute(text("DROP TABLE audit_subject"))
    await refusals(ledger, 3)
    assert (await ledger.entries("default")).entries == []  # and nothing half written
