"""Entries are durable before append returns, share commits, and can be found."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import event, select, text

from vault.audit.entry import EntryRefused
from vault.audit.log import ENTRY, FEW, SUBJECTS_A_COMMIT, AuditLog, Selection
from vault.errors import Unavailable
from vault.ids import new_id, random_id
from vault.storage.database import Database


def made(ledger, *, tenant="default", action="read", decision="allowed", **facts):
    return ledger.entry(tenant=tenant, action=action, decision=decision, **facts)


async def rows(url):
    """Read the committed entries over a separate connection."""
    database = Database(url)
    try:
        async with database.reading() as connection:
            return (await connection.execute(select(ENTRY).order_by(ENTRY.c.id))).all()
    finally:
        await database.close()


async def test_an_entry_is_durable_when_append_returns(ledger, data_url, clock):
    who, whom = new_id(), random_id()
    entry = made(ledger, principal=who, subjects=(whom,), purpose="customer-support")
    assert await ledger.append(entry) == entry.id
    (row,) = await rows(data_url)
    assert (row.tenant_id, row.id, row.at, row.principal_id, row.action, row.decision) == (
        "default",
        entry.id,
        clock.now(),
        who,
        "read",
        "allowed",
    )
    assert json.loads(row.body)["subjects"] == [str(whom)]
    assert row.leaf == hashlib.sha256(b"\x00" + row.body).digest()


async def test_the_columns_match_the_stored_bytes(ledger, data_url):
    await ledger.append(made(ledger, action="sign-in", decision="failed", code="not-authenticated"))
    (row,) = await rows(data_url)
    answer = json.loads(row.body)
    assert (answer["action"], answer["decision"], answer["id"], answer["tenant"]) == (
        row.action,
        row.decision,
        str(row.id),
        row.tenant_id,
    )


async def test_waiting_entries_share_one_commit(ledger, database):
    entries = [made(ledger, subjects=(random_id(),)) for _ in range(200)]
    answers = await asyncio.gather(*(ledger.append(entry) for entry in entries))
    assert answers == [entry.id for entry in entries]
    assert database.appends == 1


async def test_under_load_commits_are_far_fewer_than_entries(ledger, database, data_url):
    async def caller():
        for _ in range(10):
            await ledger.append(made(ledger, subjects=(random_id(),)))

    await asyncio.gather(*(caller() for _ in range(30)))
    assert len(await rows(data_url)) == 300
    assert database.appends <= 30


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_the_server_counts_one_transaction_for_a_batch(ledger, data_url):
    await asyncio.gather(*(ledger.append(made(ledger, subjects=(random_id(), random_id()))) for _ in range(100)))
    connection = await asyncpg.connect(data_url)
    counted = await connection.fetchval(
        "SELECT count(DISTINCT mark) FROM"
        " (SELECT xmin::text AS mark FROM audit_entry UNION ALL SELECT xmin::text FROM audit_subject) AS marks"
    )
    await connection.close()
    assert counted == 1


async def test_a_commit_of_large_batches_is_split_so_that_memory_stays_bounded(ledger, database, data_url):
    subjects = [tuple(random_id() for _ in range(1_000)) for _ in range(12)]
    await asyncio.gather(*(ledger.append(made(ledger, subjects=subject)) for subject in subjects))
    assert 12_000 / (SUBJECTS_A_COMMIT + 1_000) <= database.appends <= 4
    assert len(await rows(data_url)) == 12


@pytest.mark.parametrize("size", [1, FEW, FEW + 1, 1_000])
async def test_an_entry_is_found_by_each_of_its_subjects_and_by_no_other(ledger, database, size):
    subjects = tuple(random_id() for _ in range(size))
    entry, other = made(ledger, subjects=subjects), made(ledger, tenant="other", subjects=subjects)
    await ledger.append(entry)
    async with database.transaction() as connection:
        await ledger.append_in(connection, [other])
    for subject in {subjects[0], subjects[size // 2], subjects[-1]}:
        assert (await ledger.entries("default", Selection(subject=subject))).entries == [entry]
        assert (await ledger.entries("other", Selection(subject=subject))).entries == [other]
    assert (await ledger.entries("default", Selection(subject=random_id()))).entries == []


async def test_a_subject_in_batches_and_alone_finds_all_entries_in_order(ledger):
    whom = random_id()
    entries = [
        made(ledger, subjects=(whom, *(random_id() for _ in range(others)))) for others in (0, FEW, 3, 200, 0, 50)
    ]
    await asyncio.gather(*(ledger.append(entry) for entry in entries))
    result = (await ledger.entries("default", Selection(subject=whom))).entries
    assert result == sorted(entries, key=lambda entry: entry.id, reverse=True)


async def test_a_refused_entry_does_not_affect_other_entries(ledger, data_url):
    good = [made(ledger) for _ in range(3)]
    bad = made(ledger, purpose="ada@example.org")
    answers = await asyncio.gather(
        ledger.append(good[0]),
        ledger.append(bad),
        ledger.append(good[1]),
        ledger.append(good[2]),
        return_exceptions=True,
    )
    assert isinstance(answers[1], EntryRefused)
    assert {row.id for row in await rows(data_url)} == {entry.id for entry in good}


async def test_a_cancelled_caller_does_not_affect_others(ledger, data_url):
    entries = [made(ledger) for _ in range(3)]
    callers = [asyncio.create_task(ledger.append(entry)) for entry in entries]
    await asyncio.sleep(0)
    callers[1].cancel()
    answers = await asyncio.gather(*callers, return_exceptions=True)
    assert answers[0] == entries[0].id
    assert answers[2] == entries[2].id
    assert {entries[0].id, entries[2].id} <= {row.id for row in await rows(data_url)}


async def test_a_duplicate_id_is_refused_as_not_written(ledger, data_url):
    entry = made(ledger)
    await ledger.append(entry)
    with pytest.raises(Unavailable) as caught:
        await ledger.append(entry)
    assert caught.value.code == "audit-unavailable"
    assert len(await rows(data_url)) == 1


async def test_an_entry_in_a_transaction_is_committed_with_the_change_or_not_at_all(ledger, database, data_url):
    kept, lost = made(ledger, subjects=(random_id(),)), made(ledger, subjects=(random_id(),))
    async with database.transaction() as connection:
        await ledger.append_in(connection, [kept])
    with pytest.raises(LookupError):
        async with database.transaction() as connection:
            await ledger.append_in(connection, [lost])
            raise LookupError
    with pytest.raises(EntryRefused):
        async with database.transaction() as connection:
            await connection.execute(text("DELETE FROM audit_subject"))  # the change
            await ledger.append_in(connection, [made(ledger, code="NOT A CODE")])
    assert [row.id for row in await rows(data_url)] == [kept.id]
    assert (await ledger.entries("default", Selection(subject=kept.subjects[0]))).entries == [kept]


async def test_pages_are_newest_first_without_gaps_or_repeats(ledger, clock):
    entries = []
    for _ in range(23):
        clock.advance(seconds=1)
        entries.append(made(ledger))
    await asyncio.gather(*(ledger.append(entry) for entry in entries))
    seen, before, pages = [], None, 0
    while True:
        page = await ledger.entries("default", before=before, limit=10)
        seen += page.entries
        pages += 1
        before = page.next
        if before is None:
            break
    assert seen == entries[::-1]
    assert pages == 3
    assert (await ledger.entries("default", limit=23)).next is None
    assert (await ledger.entries("nobody")).entries == []


async def test_entries_are_filtered_by_person_principal_and_action(ledger):
    who, other = new_id(), new_id()
    ada, bob = random_id(), random_id()
    read = made(ledger, principal=who, subjects=(ada,))
    batch = made(ledger, principal=other, subjects=(bob, ada), action="search")
    about_bob = made(ledger, principal=who, subjects=(bob,))
    stranger = made(ledger, principal=who, action="read-audit")
    for entry in (read, batch, about_bob, stranger):
        await ledger.append(entry)

    async def found(**filters):
        return (await ledger.entries("default", Selection(**filters))).entries

    assert await found() == [stranger, about_bob, batch, read]
    assert await found(subject=ada) == [batch, read]
    assert await found(subject=bob) == [about_bob, batch]
    assert await found(principal=who) == [stranger, about_bob, read]
    assert await found(action="search") == [batch]
    assert await found(subject=ada, principal=who) == [read]
    assert await found(subject=ada, action="read-audit") == []
    assert await found(subject=random_id()) == []


async def test_entries_are_filtered_by_purpose_decision_and_time(ledger, clock):
    moments, entries = [], []
    for purpose, decision in (("care", "allowed"), ("ads", "denied"), ("care", "denied"), (None, "failed")):
        clock.advance(seconds=60)
        moments.append(clock.now())
        entry = made(ledger, id=_id_at(clock.now()), purpose=purpose, decision=decision)
        await ledger.append(entry)
        entries.append(entry)
    first, second, third, fourth = entries

    async def found(**filters):
        return (await ledger.entries("default", Selection(**filters))).entries

    assert await found(purpose="care") == [third, first]
    assert await found(purpose="care", decision="denied") == [third]
    assert await found(decision="allowed") == [first]
    assert await found(decision="denied") == [third, second]
    assert await found(since=moments[1]) == [fourth, third, second]
    assert await found(until=moments[1]) == [first]
    assert await found(since=moments[1], until=moments[3]) == [third, second]
    assert await found(since=moments[3], until=moments[0]) == []
    page = await ledger.entries("default", Selection(since=moments[1], until=moments[3]), limit=1)
    assert (page.entries, page.next) == ([third], third.id)
    page = await ledger.entries("default", Selection(since=moments[1], until=moments[3]), before=page.next)
    assert page.entries == [second]
    page = await ledger.entries("default", Selection(since=moments[1]), after=first.id)
    assert page.entries == [second, third, fourth]
    assert await found(since=datetime(1, 1, 2, tzinfo=UTC), until=datetime(9999, 12, 30, tzinfo=UTC)) == entries[::-1]


async def test_a_period_is_right_however_many_entries_it_has(ledger, clock, monkeypatch):
    """A short period is looked up by its ids, a longer one is walked in the order of the log: both find the same."""
    entries = []
    for _ in range(6):
        clock.advance(seconds=60)
        entries.append(made(ledger, id=_id_at(clock.now())))
        await ledger.append(entries[-1])
    since = datetime.fromisoformat(entries[2].at)
    for short in (0, 4, 6, 10_000):
        monkeypatch.setattr("vault.audit.log.SHORT", short)
        assert (await ledger.entries("default", Selection(since=since))).entries == entries[:1:-1]
        page = await ledger.entries("default", Selection(since=since), after=entries[3].id)
        assert page.entries == entries[4:]


@pytest.mark.parametrize(
    ("filters", "index"),
    [
        ({"principal": new_id()}, "ix_audit_entry_tenant_id_principal_id_number"),
        ({"purpose": "care"}, "ix_audit_entry_tenant_id_purpose_number"),
        ({"action": "backup"}, "ix_audit_entry_tenant_id_action_number"),
        ({"decision": "denied"}, "ix_audit_entry_tenant_id_decision_number"),
        ({"since": datetime(2020, 1, 1, tzinfo=UTC), "until": datetime(2020, 1, 2, tzinfo=UTC)}, "key"),
        ({}, "ix_audit_entry_tenant_id_number"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value) or "no-filter",
)
async def test_what_is_rare_is_found_by_an_index(ledger, database, filters, index):
    """Among many entries, none of which is meant, the database does not walk through the log."""
    facts = {"principal": new_id(), "purpose": "sales", "action": "read"}
    async with database.transaction() as connection:
        await ledger.append_in(connection, [made(ledger, **facts) for _ in range(5_000)])
    if database.dialect == "postgresql":
        async with database.transaction() as connection:
            await connection.exec_driver_sql("ANALYZE audit_entry")
    statements = []

    def heard(_connection, _cursor, statement, parameters, _context, _many):
        statements.append((statement, parameters))

    event.listen(database._engine.sync_engine, "before_cursor_execute", heard)
    assert len((await ledger.entries("default", Selection(**filters))).entries) == (50 if not filters else 0)
    statement, parameters = next(pair for pair in reversed(statements) if "audit_entry.body" in pair[0])
    async with database.reading() as connection:
        verb = "EXPLAIN" if database.dialect == "postgresql" else "EXPLAIN QUERY PLAN"
        plan = "\n".join(str(row) for row in await connection.exec_driver_sql(f"{verb} {statement}", parameters))
    key = "pk_audit_entry" if "pk_audit_entry" in plan else "audit_entry_pkey"
    key = "sqlite_autoindex_audit_entry_1" if database.dialect == "sqlite" else key
    assert (key if index == "key" else index) in plan
    assert "Seq Scan" not in plan
    assert "SCAN audit_entry" not in plan


def _id_at(moment):
    """Return an id as an entry of this moment has it: ids have the clock of the machine, and not that of the test."""
    return UUID(int=(int(moment.timestamp() * 1000) << 80) | (new_id().int & ((1 << 80) - 1)))


async def test_a_batch_is_found_by_each_of_its_people(ledger):
    people = [random_id() for _ in range(1_000)]
    batch = made(ledger, subjects=tuple(people))
    await ledger.append(batch)
    for person in (people[0], people[499], people[999]):
        assert (await ledger.entries("default", Selection(subject=person))).entries == [batch]


async def test_a_subject_that_is_named_twice_is_stored_once(ledger):
    person = random_id()
    entry = made(ledger, subjects=(person, person))
    await ledger.append(entry)
    assert (await ledger.entries("default", Selection(subject=person))).entries == [entry]


async def test_tenants_see_their_own_entries_only(ledger):
    who, whom, same = new_id(), random_id(), new_id()
    ours = ledger.entry(id=same, tenant="ours", action="read", decision="allowed", principal=who, subjects=(whom,))
    theirs = ledger.entry(id=same, tenant="theirs", action="read", decision="denied", principal=who, subjects=(whom,))
    await asyncio.gather(ledger.append(ours), ledger.append(theirs))
    for filters in ({}, {"subject": whom}, {"principal": who}, {"action": "read"}):
        assert (await ledger.entries("ours", Selection(**filters))).entries == [ours]
        assert (await ledger.entries("theirs", Selection(**filters))).entries == [theirs]


async def test_two_audit_logs_on_one_database_are_the_same_log(ledger, clock, data_url):
    other_node = Database(data_url)
    other = AuditLog(other_node, clock)
    entries = [made(item) for item in (ledger, other) for _ in range(20)]
    await asyncio.gather(*(item.append(entry) for item, entry in zip([ledger, other] * 20, entries, strict=True)))
    assert len((await other.entries("default", limit=100)).entries) == 40
    await other_node.close()


async def _plan_of(ledger, place=None, **filters):
    """Ask for a page; returns how the database finds its entries, and how many others it looks at."""
    statements = []

    def note(_connection, _cursor, statement, parameters, _context, _many):
        if "audit_entry.body" in statement:
            statements.append((statement, parameters))

    database = ledger._database
    engine = database._engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        page = await ledger.entries("default", Selection(**filters), **(place or {}))
    finally:
        event.remove(engine, "before_cursor_execute", note)
    ((statement, parameters),) = statements
    async with database.reading() as connection:
        how = "EXPLAIN QUERY PLAN" if database.dialect == "sqlite" else "EXPLAIN (ANALYZE)"
        steps = (await connection.exec_driver_sql(f"{how} {statement}", parameters)).all()
    plan = "\n".join(str(step[-1]) for step in steps)
    return page.entries, plan, sum(map(int, re.findall(r"Rows Removed by Filter: (\d+)", plan)))


@pytest.mark.parametrize("way", ["newest", "before", "after"])
async def test_a_rare_action_is_found_without_a_walk_through_the_log(ledger, database, way):
    first = made(ledger, action="add-tenant")
    await ledger.append(first)
    rare = [made(ledger, action="read-audit") for _ in range(3)]
    for number in range(6):
        await asyncio.gather(*(ledger.append(made(ledger)) for _ in range(500)))
        if number % 2 == 0:
            await ledger.append(rare[number // 2])
    last = made(ledger, action="add-tenant")
    await ledger.append(last)
    if database.dialect == "postgresql":
        async with database.transaction() as connection:
            await connection.exec_driver_sql("ANALYZE audit_entry")
    place = {"newest": {}, "before": {"before": last.id}, "after": {"after": first.id}}[way]

    found, plan, looked = await _plan_of(ledger, place, action="read-audit")

    assert found == (rare if way == "after" else rare[::-1])
    assert "ix_audit_entry_tenant_id_action_number" in plan, plan
    assert looked == 0, plan


async def test_the_entries_of_a_person_are_found_by_their_ids_whatever_the_action(ledger, database):
    ada = random_id()
    about = made(ledger, subjects=(ada,))
    await ledger.append(about)
    for _ in range(6):
        await asyncio.gather(*(ledger.append(made(ledger)) for _ in range(500)))
    if database.dialect == "postgresql":
        async with database.transaction() as connection:
            await connection.exec_driver_sql("ANALYZE")

    found, plan, looked = await _plan_of(ledger, subject=ada, action="read")

    assert found == [about]
    assert "ix_audit_entry_tenant_id_action_number" not in plan, plan
    assert looked == 0, plan
