"""The Idempotency-Key: a call happens once, however often it is sent and whatever happens on the way."""

from __future__ import annotations

import asyncio

import pytest

from tests.vaults import problem
from vault.access.idempotency import forget_old

ONE, UPSERT = "/v1/subjects", "/v1/subjects:upsert"
BODY = {"profile": {"name": "Ada"}, "purpose": "order-fulfilment"}
KEY = {"Idempotency-Key": "order-4711"}


async def _people(node):
    ((count,),) = await node.sql("SELECT count(*) FROM subject")
    return count


async def test_a_repeated_call_gets_the_first_response(node):
    first = await node.post("sales", ONE, BODY, headers=KEY)
    again = await node.post("sales", ONE, BODY, headers=KEY)
    assert (again.status_code, again.content) == (first.status_code, first.content) == (201, first.content)
    assert again.headers["etag"] == first.headers["etag"] == '"1"'
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert await _people(node) == 1


async def test_every_creating_route_takes_a_key(node):
    subject = await node.create()
    calls = [
        (ONE, BODY),
        (UPSERT, {**BODY, "external_ids": {"shop": "1"}}),
        (f"{ONE}/{subject}/records/purchase", {"fields": {"amount": "1"}, "purpose": "order-fulfilment"}),
    ]
    for number, (path, body) in enumerate(calls):
        headers = {"Idempotency-Key": f"k{number}"}
        first = await node.post("sales", path, body, headers=headers)
        again = await node.post("sales", path, body, headers=headers)
        assert first.status_code == 201, first.text
        assert again.content == first.content
        assert again.headers["idempotent-replayed"] == "true"


async def test_later_changes_do_not_alter_the_stored_response(node):
    body = {**BODY, "external_ids": {"shop": "1"}}
    first = await node.post("sales", UPSERT, body, headers=KEY)
    await node.post("sales", UPSERT, {**body, "profile": {"name": "Later"}})
    again = await node.post("sales", UPSERT, body, headers=KEY)
    assert (again.status_code, again.json()) == (201, first.json())
    seen = await node.read("support", first.json()["id"], ["name"], "customer-support")
    assert seen.json()["fields"] == {"name": "Later"}


async def test_a_key_for_another_call_is_refused(node):
    await node.post("sales", ONE, BODY, headers=KEY)
    other = {**BODY, "profile": {"name": "Grace"}}
    problem(await node.post("sales", ONE, other, headers=KEY), 422, "idempotency-key-reused")
    problem(
        await node.post("sales", UPSERT, {**BODY, "external_ids": {"shop": "1"}}, headers=KEY),
        422,
        "idempotency-key-reused",
    )
    assert await _people(node) == 1


async def test_a_call_in_progress_is_a_conflict(node, monkeypatch):
    reached, go_on = asyncio.Event(), asyncio.Event()
    # SQLite has one writer at a time, so the second call must find the first before it has begun to write.
    begin = node.services.keyring.new_subject_keys

    async def keys_slowly(*args):
        reached.set()
        await go_on.wait()
        return await begin(*args)

    monkeypatch.setattr(type(node.services.keyring), "new_subject_keys", lambda _self, *args: keys_slowly(*args))
    try:
        first = asyncio.create_task(node.post("sales", ONE, BODY, headers=KEY))
        await asyncio.wait_for(reached.wait(), 10)
        problem(await node.post("sales", ONE, BODY, headers=KEY), 409, "in-flight")
        problem(
            await node.post("sales", ONE, {**BODY, "profile": {"name": "X"}}, headers=KEY),
            422,
            "idempotency-key-reused",
        )
    finally:
        monkeypatch.undo()
        go_on.set()
    assert (await first).status_code == 201
    again = await node.post("sales", ONE, BODY, headers=KEY)
    assert again.content == (await first).content


@pytest.mark.parametrize(
    ("role", "body", "status"),
    [
        ("finance", BODY, 403),
        ("sales", {**BODY, "purpose": "fun"}, 422),
        ("sales", {**BODY, "profile": {"email": "x"}}, 422),
        ("sales", {**BODY, "external_ids": {"shop": "taken"}}, 409),
    ],
)
async def test_a_failure_frees_the_key(node, role, body, status):
    await node.create({"name": "First"}, external_ids={"shop": "taken"})
    for _ in range(2):  # the same failure, and not its replay
        answer = await node.post(role, ONE, body, headers=KEY)
        assert answer.status_code == status
        assert "idempotent-replayed" not in answer.headers
    assert (await node.post("sales", ONE, BODY, headers=KEY)).status_code == 201


async def test_an_internal_error_frees_the_key(sqlite_node):
    node = sqlite_node
    add = node.services.subjects.add

    async def fail(*_args, **_kwargs):
        raise RuntimeError

    node.services.subjects.add = fail
    problem(await node.post("sales", ONE, BODY, headers=KEY), 500, "internal-error")
    node.services.subjects.add = add
    assert (await node.post("sales", ONE, BODY, headers=KEY)).status_code == 201
    assert await _people(node) == 1


async def test_a_call_that_died_with_its_process_can_be_sent_again(node, clock):
    await node.post("sales", ONE, BODY, headers=KEY)
    # As a crash leaves it: begun, without an answer, and without the customer.
    await node.sql("UPDATE idempotency SET status = NULL, answer = NULL")
    problem(await node.post("sales", ONE, BODY, headers=KEY), 409, "in-flight")
    clock.advance(seconds=61)
    again = await node.post("sales", ONE, BODY, headers=KEY)
    assert again.status_code == 201
    assert "idempotent-replayed" not in again.headers


async def test_a_crash_between_change_and_answer_keeps_both(node):
    """The answer is kept in the transaction of the change: who gets none and asks again is told what was done."""
    first = await node.post("sales", ONE, BODY, headers=KEY)
    ((status, answer),) = await node.sql("SELECT status, answer FROM idempotency")
    assert (status, bytes(answer)) == (201, first.content)


async def test_keys_are_forgotten_after_a_day(node, clock):
    first = await node.post("sales", ONE, BODY, headers=KEY)
    clock.advance(hours=24)
    assert await forget_old(node.services) == 0
    clock.advance(seconds=1)
    assert await forget_old(node.services) == 1
    again = await node.post("sales", ONE, BODY, headers=KEY)
    assert again.json()["id"] != first.json()["id"]


async def test_an_old_key_can_be_used_before_it_is_deleted(node, clock):
    await node.post("sales", ONE, BODY, headers=KEY)
    clock.advance(hours=24, seconds=1)
    again = await node.post("sales", ONE, {**BODY, "profile": {"name": "Other"}}, headers=KEY)
    assert again.status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 201, "\x1f", "a\tb"])
async def test_an_invalid_key_is_refused(sqlite_node, key):
    answer = await sqlite_node.post("sales", ONE, BODY, headers={"Idempotency-Key": key})
    assert answer.status_code == 422
    assert await _people(sqlite_node) == 0


async def test_neither_key_nor_body_is_stored(node):
    await node.post(
        "sales", ONE, {**BODY, "profile": {"name": "Kanarienvogel"}}, headers={"Idempotency-Key": "canary-key"}
    )
    for row in await node.sql("SELECT * FROM idempotency"):
        for value in row:
            assert b"canary" not in (bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode())
