"""Refusals of one principal have an entry each up to a limit, and are counted beyond it: none is lost in silence."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from sqlalchemy import select

from vault.audit.entry import decode
from vault.audit.log import ENTRY
from vault.audit.refusals import COUNTED, Refusals
from vault.errors import Unavailable
from vault.ids import THE_PERSON, new_id, random_id

MOST = 3


@pytest.fixture
def refusals(ledger, clock):
    return Refusals(ledger, clock, most=MOST)


def refused(ledger, who, action="read-holds", **facts):
    return ledger.entry(tenant="default", principal=who, action=action, decision="denied", code="not-granted", **facts)


async def written(database):
    async with database.reading() as connection:
        return [
            decode(body) for body in (await connection.execute(select(ENTRY.c.body).order_by(ENTRY.c.number))).scalars()
        ]


async def test_the_first_refusals_of_a_minute_have_an_entry_each(ledger, refusals, database):
    who = new_id()
    entries = [refused(ledger, who) for _ in range(MOST)]
    assert [await refusals.append(entry) for entry in entries] == [entry.id for entry in entries]
    assert await written(database) == entries


async def test_further_refusals_share_one_entry_and_are_counted_when_the_minute_is_over(
    ledger, refusals, database, clock
):
    who = new_id()
    for _ in range(MOST):
        await refusals.append(refused(ledger, who))
    ids = {await refusals.append(refused(ledger, who, action)) for action in ("read-holds", *["read-jobs"] * 5)}
    *_, counting = await written(database)
    assert ids == {counting.id}
    assert (counting.principal, counting.decision, counting.code, counting.count) == (who, "denied", COUNTED, 1)
    await refusals.append_counts()
    assert len(await written(database)) == MOST + 1
    clock.advance(minutes=1)
    await refusals.append_counts()
    await refusals.append_counts()
    *_, last = entries = await written(database)
    assert len(entries) == MOST + 2
    assert (last.principal, last.action, last.code, last.target) == (who, "read-jobs", COUNTED, counting.id)
    assert sum(entry.count for entry in entries) == MOST + 6


async def test_a_new_minute_begins_with_the_count_of_the_one_before(ledger, refusals, database, clock):
    who = new_id()
    for _ in range(MOST + 4):
        await refusals.append(refused(ledger, who))
    clock.advance(minutes=1)
    entry = refused(ledger, who)
    assert await refusals.append(entry) == entry.id
    entries = await written(database)
    assert entries[-1] == entry
    assert entries[-2].count == 3


async def test_the_end_of_a_process_leaves_no_count_behind(ledger, refusals, database):
    for _ in range(MOST + 4):
        await refusals.append(refused(ledger, new_id()))
    who = new_id()
    for _ in range(MOST + 4):
        await refusals.append(refused(ledger, who))
    await refusals.append_counts(now_too=True)
    assert sum(entry.count for entry in await written(database)) == 2 * (MOST + 4)


async def test_principals_and_people_have_limits_of_their_own(ledger, refusals, database):
    one, two, ada, grace = new_id(), new_id(), random_id(), random_id()
    for _ in range(MOST + 4):
        await refusals.append(refused(ledger, one))
        await refusals.append(refused(ledger, THE_PERSON, subjects=(ada,)))
    for entry in (refused(ledger, two), refused(ledger, THE_PERSON, subjects=(grace,))):
        assert await refusals.append(entry) == entry.id
    assert Counter(entry.principal for entry in await written(database))[one] == MOST + 1


async def test_refusals_at_one_moment_are_all_counted(ledger, refusals, database, clock):
    who = new_id()
    ids = await asyncio.gather(*(refusals.append(refused(ledger, who)) for _ in range(50)))
    clock.advance(minutes=1)
    await asyncio.gather(*(refusals.append_counts() for _ in range(3)))
    entries = await written(database)
    assert sum(entry.count for entry in entries) == 50
    assert len(entries) == MOST + 2
    assert set(ids) <= {entry.id for entry in entries}


async def test_a_refusal_that_cannot_be_recorded_is_not_answered_and_a_count_is_kept(
    ledger, refusals, database, clock, monkeypatch
):
    who, append = new_id(), ledger.append
    for _ in range(MOST):
        await refusals.append(refused(ledger, who))

    async def fails(_entry):
        raise Unavailable("the audit log cannot be written", code="audit-unavailable")

    monkeypatch.setattr(ledger, "append", fails)
    with pytest.raises(Unavailable):
        await refusals.append(refused(ledger, who))
    monkeypatch.setattr(ledger, "append", append)
    for _ in range(3):
        await refusals.append(refused(ledger, who))
    clock.advance(minutes=1)
    monkeypatch.setattr(ledger, "append", fails)
    with pytest.raises(Unavailable):
        await refusals.append_counts()
    with pytest.raises(Unavailable):
        await refusals.append(refused(ledger, who))
    monkeypatch.setattr(ledger, "append", append)
    await refusals.append_counts()
    assert sum(entry.count for entry in await written(database)) == MOST + 3
