"""Writes move a subject's clocks forward and mark it due for the sweep, on both databases."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime
from uuid import UUID

import pytest

from tests.erasure.people import buy, erase
from tests.imports.files import PEOPLE, PURCHASES, bring_in, people_csv, subject_of, write_csv
from tests.rectification.submitting import carry_out
from tests.vaults import ADA
from vault.catalogue.model import Scope
from vault.clock import to_microseconds
from vault.consent.store import repair
from vault.ids import DEFAULT_TENANT, RecordId, SubjectId
from vault.retention.clocks import Clocks, at_day, clocks_of, join_clocks, move_clocks
from vault.subjects.rows import happened_at, open_body, unpack
from vault.subjects.store import locked_record

TODAY = date(2026, 3, 5)
HEADER = "customer,line,at,amount"
SAID = {"purpose": "direct-marketing", "decision": "given", "notice": "marketing@3", "method": "checkbox"}


async def clocks(node, subject) -> Clocks:
    subject = SubjectId(UUID(str(subject)))
    return (await clocks_of(node.services.data, DEFAULT_TENANT, [subject])).get(subject, Clocks())


async def newest(node, subject):
    return {name: date.fromordinal(day) for name, day in (await clocks(node, subject)).newest.items()}


async def due(node, subject):
    """Return when the subject's profile is next due for a sweep."""
    return (await row_of(node, subject, "profile", subject)).due_at


def stored(node, moment):
    """Return a moment as the database stores it."""
    return to_microseconds(moment) if node.services.data.dialect == "sqlite" else moment


async def put_off(node):
    """Set the due date as a sweep does that found nothing ending for years."""
    await node.sql("UPDATE record SET due_at = :at", at=stored(node, datetime(2099, 1, 1, tzinfo=UTC)))


async def row_of(node, subject, collection, record):
    async with node.services.data.transaction() as connection:
        where = SubjectId(UUID(str(subject))), collection, RecordId(UUID(str(record)))
        return await locked_record(connection, DEFAULT_TENANT, *where)


async def test_newest_clock_is_by_day_of_occurrence_not_of_arrival(node):
    subject = await node.create()
    assert await newest(node, subject) == {}  # a profile is no contact
    await buy(node, subject, "2024-05-06T23:30:00-05:00", order="1")
    assert await newest(node, subject) == {"purchase": date(2024, 5, 7)}  # in UTC
    await buy(node, subject, "2023-01-01T00:00:00Z", order="2")
    assert await newest(node, subject) == {"purchase": date(2024, 5, 7)}
    await node.append("support", subject, "interaction", {"body": "Hello"}, "customer-support")
    assert await newest(node, subject) == {"purchase": date(2024, 5, 7), "interaction": TODAY}
    ((at,),) = await node.sql("SELECT at FROM subject_clock WHERE kind = 'record:purchase'")
    assert at == stored(node, datetime(2024, 5, 7, tzinfo=UTC)), "no more than the day is kept in clear"


async def test_record_with_a_future_date_counts_as_contact_today(node):
    subject = await node.create()
    await buy(node, subject, "2026-03-06T12:00:00Z")
    assert await newest(node, subject) == {"purchase": TODAY}


async def test_refused_or_repeated_record_moves_no_clock(node, clock):
    subject = await node.create()
    sale = {"order": "1", "amount": "12.90", "currency": "EUR"}
    await node.append("sales", subject, "purchase", sale, "order-fulfilment", external_id="4711")
    clock.advance(days=10)
    again = await node.append("sales", subject, "purchase", sale, "order-fulfilment", external_id="4711")
    other = {**sale, "amount": "1.00"}
    refused = await node.append("sales", subject, "purchase", other, "order-fulfilment", external_id="4711")
    assert (again.status_code, refused.status_code) == (200, 409)
    assert await newest(node, subject) == {"purchase": TODAY}


async def test_clock_stays_when_the_newest_record_is_deleted(node):
    subject = await node.create()
    await buy(node, subject, "2026-02-01T12:00:00Z")
    await node.sql("DELETE FROM record WHERE collection = 'purchase'")
    await buy(node, subject, "2025-02-01T12:00:00Z", order="2")
    assert await newest(node, subject) == {"purchase": date(2026, 2, 1)}


async def test_concurrent_writers_leave_the_newest_day(place, clock):
    async with place.node(clock) as one, place.node(clock) as other:
        subject = await one.create()
        days = [f"2025-{month:02d}-{day:02d}T12:00:00Z" for month in (6, 3, 9) for day in (11, 28)]
        await asyncio.gather(
            *(buy([one, other][n % 2], subject, moment, order=f"{n}") for n, moment in enumerate(days))
        )
        assert await newest(other, subject) == {"purchase": date(2025, 9, 28)}


async def test_import_moves_each_clock_once_to_the_newest_line(node, tmp_path):
    await bring_in(node, people_csv(tmp_path / "people.csv", 4))
    rows = [f"{n % 3},L{n},2025-{n % 12 + 1:02d}-10T10:00:00,{n}.50" for n in range(30)]
    path = write_csv(tmp_path / "p.csv", HEADER, *rows, "3,L99,,1.00", "3,L98,2099-01-01T00:00:00,1.00")
    await bring_in(node, path, PURCHASES, chunk_lines=7)
    results = [await newest(node, await subject_of(node, str(n))) for n in range(4)]
    months = [max(n % 12 + 1 for n in range(30) if n % 3 == who) for who in range(3)]
    assert results == [*({"purchase": date(2025, month, 10)} for month in months), {"purchase": TODAY}]
    older = write_csv(tmp_path / "older.csv", HEADER, "0,L77,2019-01-01T10:00:00,1.00")
    await bring_in(node, older, PURCHASES)
    assert await newest(node, await subject_of(node, "0")) == results[0]


async def test_many_clocks_are_moved_by_one_statement(node):
    whom = [SubjectId(UUID(int=number)) for number in range(1, 2001)]
    for day in (700_000, 699_000, 700_001):
        moments = {(subject, "record:purchase"): at_day(day + index % 2) for index, subject in enumerate(whom)}
        async with node.services.data.transaction() as connection:
            await move_clocks(connection, DEFAULT_TENANT, moments)
    result = await clocks_of(node.services.data, DEFAULT_TENANT, whom)
    assert [result[subject].newest["purchase"] for subject in whom] == [700_001, 700_002] * 1000


async def test_merge_joins_clocks(node):
    survivor, duplicate = await node.create(), await node.create({"name": "A. Lovelace"})
    await buy(node, survivor, "2024-01-02T00:00:00Z")
    await buy(node, duplicate, "2025-03-04T00:00:00Z", order="2")
    await node.append("support", survivor, "interaction", {"body": "Hello"}, "customer-support")
    await put_off(node)
    body = {"survivor": survivor, "duplicate": duplicate, "evidence": "ticket 4711"}
    assert (await node.post("dpo", "/v1/subjects:merge", body)).status_code == 201
    assert await newest(node, survivor) == {"purchase": date(2025, 3, 4), "interaction": TODAY}
    assert await newest(node, duplicate) == {}
    assert await due(node, survivor) == node.services.clock.now()


@pytest.mark.parametrize(
    ("mine", "theirs", "running", "ended"),
    [
        ({"contract-began": 10}, {"contract-began": 5, "contract-ended": 20}, True, None),
        ({"contract-began": 5, "contract-ended": 20}, {"contract-began": 10}, True, None),
        ({"contract-began": 10, "contract-ended": 8}, {"contract-began": 5, "contract-ended": 20}, True, 8),
        ({"contract-began": 10, "contract-ended": 8}, {"contract-began": 12, "contract-ended": 11}, True, 11),
        ({"contract-began": 10, "contract-ended": 18}, {"contract-began": 5, "contract-ended": 20}, False, 20),
        ({}, {"contract-ended": 20}, False, 20),
    ],
)
async def test_merge_keeps_a_running_contract_running(sqlite_node, mine, theirs, running, ended):
    node, whom = sqlite_node, [SubjectId(UUID(int=number)) for number in (1, 2)]
    async with node.services.data.transaction() as connection:
        for subject, events in zip(whom, (mine, theirs), strict=True):
            moments = {(subject, f"event:{event}"): at_day(day) for event, day in events.items()}
            await move_clocks(connection, DEFAULT_TENANT, moments)
        await join_clocks(connection, DEFAULT_TENANT, of=whom[1], to=whom[0])
    joined, gone = [await clocks(node, subject) for subject in whom]
    assert joined.running("contract-began", "contract-ended") is running
    assert joined.events.get("contract-ended") == ended
    assert gone == Clocks()


async def test_full_erasure_deletes_clocks_and_partial_erasure_keeps_them(node):
    part, whole = await node.create(external_ids={"shop": "1"}), await node.create(external_ids={"shop": "2"})
    for subject in (part, whole):
        await buy(node, subject)
    await erase(node, part, scope=Scope(fields=("phone",)))
    await erase(node, whole)
    assert await newest(node, part) == {"purchase": date(2026, 2, 1)}
    assert await newest(node, whole) == {}, "what a law keeps says itself until when"


async def _object(node, subject):
    body = {"purpose": "fraud-prevention", "reason": "a false alarm"}
    return await node.post("dpo", f"/v1/subjects/{subject}/objections", body)


async def _restrict(node, subject):
    body = {"ground": "claims", "reason": "a dispute"}
    return await node.post("dpo", f"/v1/subjects/{subject}/restriction", body)


async def _import_consent(node, subject):
    said = {"subject": subject, "purpose": "direct-marketing", "decision": "refused"}
    items = [{**said, "occurred_at": "2020-01-01T00:00:00Z"}]
    return await node.post("dpo", "/v1/consents:import?source=old-crm", items)


async def _repair(node, subject):
    async with node.services.data.transaction() as connection:
        await repair(node.services, connection, DEFAULT_TENANT, SubjectId(UUID(subject)))


WRITES = {
    "patch": lambda node, subject: node.patch("sales", subject, {"name": "A. L."}, "order-fulfilment", '"1"'),
    "upsert": lambda node, _subject: node.post(
        "sales",
        "/v1/subjects:upsert",
        {"profile": {"name": "A. L."}, "external_ids": {"shop": "4711"}, "purpose": "order-fulfilment"},
    ),
    "verify": lambda node, subject: node.post(
        "dpo", f"/v1/subjects/{subject}/fields:verify", {"fields": ["email"], "purpose": "subject-rights"}
    ),
    "consent": lambda node, subject: node.post("support", f"/v1/subjects/{subject}/consents", SAID),
    "objection": _object,
    "restriction": _restrict,
    "consent import": _import_consent,
    "repair": _repair,
    "event": lambda node, subject: node.post(
        "dpo", f"/v1/subjects/{subject}/retention-events", {"event": "contract-ended"}
    ),
}


@pytest.mark.parametrize("what", WRITES)
async def test_write_marks_the_subject_due(sqlite_node, clock, what):
    node, subject = sqlite_node, await sqlite_node.create(external_ids={"shop": "4711"})
    assert await due(node, subject) == clock.now()
    await put_off(node)
    clock.advance(days=1)
    done = await WRITES[what](node, subject)
    assert done is None or done.is_success, done.text
    assert await due(node, subject) == clock.now()


async def test_import_marks_changed_subjects_and_new_records_due(node, clock, tmp_path):
    await bring_in(node, people_csv(tmp_path / "people.csv", 2))
    await put_off(node)
    clock.advance(days=1)
    changed = write_csv(tmp_path / "c.csv", "no,name,mail", "0,Somebody Else,person.0@example.org")
    await bring_in(node, changed, PEOPLE)
    await bring_in(node, write_csv(tmp_path / "p.csv", HEADER, "1,L1,2020-01-01T00:00:00,1.00"), PURCHASES)
    assert await due(node, await subject_of(node, "0")) == clock.now()
    rows = await node.sql("SELECT due_at FROM record WHERE collection = 'purchase'")
    assert [row[0] for row in rows] == [stored(node, clock.now())]


async def test_correction_keeps_the_moment_from_which_a_record_counts(node):
    subject = await node.create()
    bought = await buy(node, subject, "2024-05-06T12:00:00Z")
    before = open_body((await row_of(node, subject, "purchase", bought)).body).since
    corrected = {"collection": "purchase", "id": bought, "fields": {"amount": "1.00"}}
    await carry_out(node, subject, "rectification", records=[corrected])
    row = await row_of(node, subject, "purchase", bought)
    assert row.revision == 2
    assert open_body(row.body).since == happened_at(row, unpack(row.body)) == before
    assert before == to_microseconds(datetime(2024, 5, 6, 12, tzinfo=UTC))


async def test_merge_marks_moved_records_due(node, clock):
    survivor, duplicate = await node.create(dict(ADA)), await node.create({"name": "A. Lovelace"})
    await buy(node, duplicate)
    await put_off(node)
    clock.advance(days=1)
    body = {"survivor": survivor, "duplicate": duplicate, "evidence": "ticket 4711"}
    assert (await node.post("dpo", "/v1/subjects:merge", body)).status_code == 201
    rows = await node.sql("SELECT due_at FROM record")
    assert {stored(node, clock.now())} == {row[0] for row in rows}
