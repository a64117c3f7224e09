"""Writes that wait at the same moment share a transaction, and each keeps its own outcome."""

from __future__ import annotations

import asyncio
from collections import Counter
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from tests.vaults import problem
from vault.ids import new_id
from vault.lifecycle.tombstones import EMAIL, add_tombstones

PURPOSE = "order-fulfilment"


def new_customer(number: int, **more) -> dict:
    profile = {"name": f"Person {number}", "email": f"person.{number}@example.org"}
    return {"profile": profile, "purpose": PURPOSE, **more}


async def create_at_once(node, bodies, **how):
    return await asyncio.gather(*(node.post("sales", "/v1/subjects", body, **how) for body in bodies))


async def append_at_once(node, subjects, **more):
    fields = {"order": "4711", "product_category": "books"}
    body = {"fields": fields, "purpose": PURPOSE, **more}
    return await asyncio.gather(
        *(node.post("sales", f"/v1/subjects/{subject}/records/purchase", body) for subject in subjects)
    )


class Commits:
    """Counts the transactions of the main database's engine."""

    def __init__(self, node) -> None:
        self.engine = node.services.data._engine.sync_engine
        self.count = 0

    def __enter__(self):
        event.listen(self.engine, "commit", self._one)
        return self

    def __exit__(self, *_error):
        event.remove(self.engine, "commit", self._one)

    def _one(self, _connection):
        self.count += 1


async def test_people_who_are_created_at_once_share_a_few_transactions(node):
    await node.create()  # the budget of writes is leased
    with Commits(node) as commits:
        answers = await create_at_once(node, [new_customer(number) for number in range(30)])
    assert {answer.status_code for answer in answers} == {201}
    assert commits.count <= 4
    for number, answer in enumerate(answers):
        read = await node.read("sales", answer.json()["id"], ["email"], PURPOSE)
        assert read.json()["fields"] == {"email": f"person.{number}@example.org"}


async def test_records_that_are_appended_at_once_share_a_few_transactions(node):
    subjects = [answer.json()["id"] for answer in await create_at_once(node, map(new_customer, range(20)))]
    with Commits(node) as commits:
        answers = await append_at_once(node, subjects)
    assert {answer.status_code for answer in answers} == {201}
    assert commits.count <= 4
    assert await node.sql("SELECT count(*) FROM record WHERE collection = 'purchase'") == [(20,)]


async def test_each_shared_write_has_an_audit_entry_of_its_own(node):
    async with node.new_entries() as entries:
        created = await create_at_once(node, map(new_customer, range(5)))
        subjects = [answer.json()["id"] for answer in created]
        appended = await append_at_once(node, subjects)
    by_action = {action: [entry for entry in entries if entry.action == action] for action in ("create", "append")}
    pseudonyms = {await node.pseudonym(subject) for subject in subjects}
    for of_action in by_action.values():
        assert {entry.subjects for entry in of_action} == {(pseudonym,) for pseudonym in pseudonyms}
    assert {str(entry.target) for entry in by_action["append"]} == {answer.json()["id"] for answer in appended}


async def test_a_conflict_of_one_does_not_concern_the_others(node):
    bodies = [new_customer(number, external_ids={"shop": str(number % 9)}) for number in range(10)]
    answers = await create_at_once(node, bodies)
    assert Counter(answer.status_code for answer in answers) == {201: 9, 409: 1}
    (refused,) = [answer for answer in answers if answer.status_code == 409]
    problem(refused, 409, "external-id-taken")
    assert await node.sql("SELECT count(*) FROM subject") == [(9,)]
    # No key stays of who was not created.
    assert await node.sql("SELECT count(*) FROM data_key", keystore=True) == [(9,)]


async def test_a_restriction_of_one_does_not_concern_the_others(node):
    subjects = [answer.json()["id"] for answer in await create_at_once(node, map(new_customer, range(6)))]
    await node.set_state(subjects[2], "restricted")
    answers = await append_at_once(node, subjects)
    assert [answer.status_code for answer in answers] == [201, 201, 403, 201, 201, 201]
    assert answers[2].json()["denied"]["purchase.order"]["code"] == "restricted"


async def test_a_restriction_since_the_first_check_stops_a_shared_append(node, monkeypatch):
    subjects = [answer.json()["id"] for answer in await create_at_once(node, map(new_customer, range(3)))]
    store, locked, changed = node.services.subjects, node.services.subjects.shared, []

    async def restricted_first(connection, tenant, ids):
        if not changed:
            changed.append(True)
            for row in (await store.locked_many(connection, tenant, list(map(UUID, subjects)))).values():
                await store.set_standing(connection, row, row.standing, restricted=True)
        return await locked(connection, tenant, ids)

    monkeypatch.setattr(store, "shared", restricted_first)
    answers = await append_at_once(node, subjects)
    assert {answer.status_code for answer in answers} == {403}
    assert await node.sql("SELECT count(*) FROM record WHERE collection = 'purchase'") == [(0,)]


async def test_who_was_erased_is_refused_among_others(node):
    services = node.services
    key = await services.keyring.token_key("default")
    tombstone = {key.digest("tombstone:email", b"person.3@example.org"): EMAIL}
    async with services.data.transaction() as connection:
        await add_tombstones(connection, "default", new_id(), tombstone, services.clock.now())
    answers = await create_at_once(node, map(new_customer, range(6)))
    assert [answer.status_code for answer in answers] == [201, 201, 201, 409, 201, 201]
    problem(answers[3], 409, "erased-before")


@pytest.mark.parametrize("count", [1, 8])
async def test_a_stored_response_is_sent_again_after_a_shared_write(node, count):
    bodies = [new_customer(number) for number in range(count)]

    async def send():
        return await asyncio.gather(
            *(
                node.post("sales", "/v1/subjects", body, headers={"Idempotency-Key": f"call-{number}"})
                for number, body in enumerate(bodies)
            )
        )

    first, second = await send(), await send()
    assert [answer.json()["id"] for answer in first] == [answer.json()["id"] for answer in second]
    assert await node.sql("SELECT count(*) FROM subject") == [(count,)]


async def test_nothing_is_written_without_an_audit_entry_together_or_alone(node, monkeypatch):

    def broken(_entries):
        raise ValueError("an entry that cannot be encoded")

    monkeypatch.setattr(node.services.audit_log, "rows_of", broken)
    answers = await create_at_once(node, map(new_customer, range(4)))
    assert {answer.status_code for answer in answers} == {500}
    assert await node.sql("SELECT count(*) FROM subject") == [(0,)]
    assert await node.sql("SELECT count(*) FROM data_key", keystore=True) == [(0,)]


CALLS = st.lists(
    st.tuples(
        st.sampled_from(
            ["new", "taken", "same-id", "invalid", "not-granted", "append", "append-nobody", "append-twice"]
        ),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=CALLS)
async def test_calls_at_once_have_the_outcomes_of_calls_one_by_one(sqlite_node, calls):
    """Of equal calls any may be first, so the outcomes are compared without their order."""
    outcomes = []
    for at_once in (True, False):
        prefix = f"{len(outcomes)}-{id(calls)}"
        base = await sqlite_node.create({"name": "Base"}, external_ids={"shop": f"{prefix}-taken"})
        pending = [_call(sqlite_node, prefix, base, place, kind, number) for place, (kind, number) in enumerate(calls)]
        answers = await asyncio.gather(*pending) if at_once else [await call for call in pending]
        outcomes.append(Counter((answer.status_code, answer.json().get("code")) for answer in answers))
    assert outcomes[0] == outcomes[1]


def _call(node, prefix, base, place, kind, number):
    name = {"profile": {"name": f"Person {prefix} {place}"}, "purpose": PURPOSE}
    fields = {"order": f"{prefix}-{number}", "product_category": "books"}
    append = {"fields": fields, "purpose": PURPOSE}
    records = f"/v1/subjects/{base}/records/purchase"
    path, body = {
        "new": ("/v1/subjects", name),
        "taken": ("/v1/subjects", {**name, "external_ids": {"shop": f"{prefix}-taken"}}),
        "same-id": ("/v1/subjects", {**name, "external_ids": {"shop": f"{prefix}-{number}"}}),
        "invalid": ("/v1/subjects", {**name, "profile": {"email": "no address"}}),
        "not-granted": ("/v1/subjects", {**name, "purpose": "marketing"}),
        "append": (records, append),
        "append-nobody": (records.replace(base, "0" * 8 + base[8:]), append),
        "append-twice": (records, {**append, "external_id": f"order-{number}"}),
    }[kind]
    return node.post("sales", path, body)
