"""Times from outside have a range, and records may lie ahead of the present as far as their collection says."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest
from msgspec.structs import replace
from sqlalchemy import select, update

from tests.sweep.people import swept
from tests.vaults import problem
from vault.clock import to_microseconds
from vault.ids import DEFAULT_TENANT
from vault.policy.policy_set import PolicySet
from vault.subjects.rows import pack, unpack
from vault.subjects.tables import RECORD

PURCHASE = {"amount": "1.00", "currency": "EUR"}
OUT_OF_RANGE = [
    "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "1899-12-31T23:59:59.999999Z", "1900-01-01T00:59:59+01:00",
    "2200-01-01T00:00:00Z", "2199-12-31T23:00:00-01:00", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-14:00",
]  # fmt: skip


async def appended(node, subject, **times):
    return await node.append("sales", subject, "purchase", PURCHASE, "order-fulfilment", **times)


@pytest.mark.parametrize("when", OUT_OF_RANGE)
@pytest.mark.parametrize("name", ["occurred_at", "expires_at"])
async def test_times_out_of_range_are_refused(sqlite_node, name, when):
    subject = await sqlite_node.create()
    refused = problem(await appended(sqlite_node, subject, **{name: when}), 422, "invalid-value")
    assert [(fault["at"], fault["code"]) for fault in refused["errors"]] == [(f"/{name}", "out-of-range")]
    assert when not in str(refused)


@pytest.mark.parametrize("when", ["2026-03-06T12:00:01Z", "2026-03-07T00:00:00+11:00", "2199-12-31T00:00:00Z"])
async def test_a_record_that_lies_ahead_of_the_tolerance_is_refused(sqlite_node, when):
    subject = await sqlite_node.create()
    refused = problem(await appended(sqlite_node, subject, occurred_at=when), 422, "event-in-future")
    assert refused["errors"][0]["at"] == "/occurred_at"


@pytest.mark.parametrize("when", ["2026-03-06T12:00:00Z", "2026-03-06T23:00:00+14:00", "1900-01-01T00:00:00Z"])
async def test_a_record_within_range_and_tolerance_is_taken(sqlite_node, when):
    subject = await sqlite_node.create()
    assert (await appended(sqlite_node, subject, occurred_at=when)).status_code == 201


async def test_the_collection_says_how_far_ahead_its_records_may_lie(sqlite_node):
    files = dict(sqlite_node.services.policies.active(DEFAULT_TENANT).policy_set.files)
    mark = "[collection.purchase]\n"
    files["catalogue.toml"] = files["catalogue.toml"].replace(mark, f'{mark}ahead = "P3M"\n')
    await sqlite_node.services.policies.apply(DEFAULT_TENANT, PolicySet.load(files), "test")
    subject = await sqlite_node.create()
    assert (await appended(sqlite_node, subject, occurred_at="2026-06-05T12:00:00Z")).status_code == 201
    problem(await appended(sqlite_node, subject, occurred_at="2026-06-05T12:00:01Z"), 422, "event-in-future")


@pytest.mark.parametrize("day", ["0001-01-01", "1899-12-31"])
async def test_an_event_before_the_first_year_is_refused(sqlite_node, day):
    subject = await sqlite_node.create()
    answer = await sqlite_node.post(
        "dpo", f"/v1/subjects/{subject}/retention-events", {"event": "contract-ended", "on": day}
    )
    assert problem(answer, 422, "invalid-value")["errors"][0]["at"] == "/on"


async def stored_as(node, subject, moment):
    """Give a person's only purchase these times past all doors, as an earlier version would have stored them."""
    async with node.services.data.transaction() as connection:
        wanted = (RECORD.c.subject_id == UUID(subject)) & (RECORD.c.collection == "purchase")
        row = (await connection.execute(select(RECORD).where(wanted))).one()
        until = to_microseconds(moment)
        body = {name: replace(stored, expires_at=until) for name, stored in unpack(row.body).items()}
        values = {"occurred_at": moment, "body": pack(body, moment)}
        await connection.execute(update(RECORD).where(RECORD.c.id == row.id).values(**values))


@pytest.mark.parametrize("year", [1, 9999])
async def test_old_values_with_such_times_can_be_explained_read_and_swept(node, year):
    """Earlier versions took these times, and a restored backup can still have them."""
    subject = await node.create()
    await appended(node, subject, occurred_at="2026-01-01T00:00:00Z", expires_at="2027-01-01T00:00:00Z")
    moment = datetime(1, 1, 1, tzinfo=UTC) if year == 1 else datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    await stored_as(node, subject, moment)
    answer = await node.call("dpo", "GET", f"/v1/subjects/{subject}/retention", params={"field": "purchase.amount"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["values"][0]["starts"] == f"{year:04}-{moment:%m-%d}"
    assert (await node.read("dpo", subject, ["purchase.amount"], "subject-rights")).status_code == 200
    assert (await node.call("dpo", "GET", "/v1/retention/due", params={"days": 1})).status_code == 200
    await swept(node)
