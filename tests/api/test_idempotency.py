"""The Idempotency-Key: a call happens once, however often it is sent and whatever happens on the way."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest

import tests.golden
from tests.access.test_recording import CALLS, filled, prepared
from tests.vaults import problem
from vault.access.idempotency import forget_old
from vault.ids import DEFAULT_TENANT

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


async def test_an_internal_error_frees_the_key(sqlite_node, monkeypatch):
    node = sqlite_node

    async def fail(*_args, **_kwargs):
        raise RuntimeError

    with monkeypatch.context() as patched:
        patched.setattr(node.services.data, "insert", fail)
        problem(await node.post("sales", ONE, BODY, headers=KEY), 500, "internal-error")
    assert (await node.post("sales", ONE, BODY, headers=KEY)).status_code == 201
    assert await _people(node) == 1


async def test_a_call_that_died_with_its_process_can_be_sent_again(node, clock):
    await node.post("sales", ONE, BODY, headers=KEY)
    # As a crash leaves it: begun, without an answer, and without the customer.
    await node.sql("UPDATE idempotency SET status = NULL, answer = NULL")
    problem(await node.post("sales", ONE, BODY, headers=KEY), 409, "in-flight")
    clock.advance(seconds=76)  # the deadline of a request, and a minute
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


# ---- Every route that takes a key ------------------------------------------------------------------------------------

DOCUMENT = json.loads((Path(tests.golden.__file__).parent / "openapi.json").read_text())
KEYED = {
    (method.upper(), path.replace("{subject}", "{id}").replace("{collection}", "purchase")): operation["parameters"]
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
    if any(item["name"].lower() == "idempotency-key" for item in operation.get("parameters", ()))
}


def _done(method, path):
    """Return the first call of the table of all calls that this route carries out."""
    named = re.compile(re.sub(r"\\{\w+\\}", r"{\\w+}", re.escape(path)))
    return next(
        call for _what, call, status, _entry in CALLS if call[1] == method and status < 300 and named.fullmatch(call[2])
    )


@pytest.fixture(params=KEYED, ids=" ".join)
def keyed(request):
    """A route that takes a key: its parameters, and a call that it carries out."""
    return KEYED[request.param], _done(*request.param)


@pytest.fixture
async def send(keyed, sqlite_node):
    """Send the call of a route under one key, if need be with more headers or a query."""
    node, (_parameters, (role, method, path, body, *rest)) = sqlite_node, keyed
    names = await prepared(node, path + str(body) + str(rest))
    headers = {**filled(rest[0] if rest else {}, names), **KEY}

    async def sent(query="", **more):
        return await node.call(
            role, method, filled(path, names) + query, filled(body, names), headers={**headers, **more}
        )

    return sent


def test_the_table_of_calls_has_each_route_that_takes_a_key():
    assert len(KEYED) >= 18
    assert all(_done(*route) for route in KEYED)


async def test_a_key_is_for_a_call_with_the_same_headers_and_query(keyed, send):
    parameters, _call = keyed
    first = await send()
    assert first.status_code < 300, first.text
    ignored = {"idempotency-key", "authorization"}
    declared = [
        parameter["name"]
        for parameter in parameters
        if parameter["in"] == "header" and parameter["name"].lower() not in ignored
    ]
    for name in declared:
        problem(await send(**{name: "1"}), 422, "idempotency-key-reused")
    problem(await send("?returning=true"), 422, "idempotency-key-reused")
    assert (await send(**{"X-Request-Id": "another"})).content == first.content  # says nothing about the call


async def test_a_replay_is_for_those_who_still_have_the_right_and_is_on_record(keyed, send, sqlite_node):
    node, (_parameters, (role, *_call)) = sqlite_node, keyed
    first = await send()
    async with node.new_entries() as new_entries:
        again = await send()
    assert (again.status_code, again.content) == (first.status_code, _as_stored(first))
    assert again.headers["idempotent-replayed"] == "true"
    (entry,) = new_entries
    assert (entry.decision, entry.code) == ("allowed", "replayed")
    action = entry.action
    if role is None:  # a person in a session, which has no role to lose
        return
    async with node.services.data.transaction() as connection:  # a role that the policies no longer have
        app = await node.services.principals.find(connection, DEFAULT_TENANT, role)
        await node.services.principals.set_roles(connection, DEFAULT_TENANT, app.id, ["stranger"])
    async with node.new_entries() as new_entries:
        lost = await send()
    problem(lost, 403, lost.json()["code"])
    assert lost.json()["code"] in {"denied", "not-granted"}
    assert "idempotent-replayed" not in lost.headers
    (entry,) = new_entries
    assert (entry.action, entry.decision) == (action, "denied")


def _as_stored(response):
    """Return what is kept of a response: all of it, but for the token of a confirmation."""
    body = response.json()
    if isinstance(body.get("confirmation"), dict):
        body["confirmation"].pop("token", None)
    return json.dumps(body, separators=(",", ":")).encode() if "confirmation" in body else response.content


# ---- A call that is held up ------------------------------------------------------------------------------------------


@pytest.fixture
def held(monkeypatch):
    """Hold the first creations of a person, once they have begun: (reached, released) of each."""
    calls = []

    def hold(node, first=1):
        calls.extend((asyncio.Event(), asyncio.Event()) for _ in range(first))
        keyring, waiting = type(node.services.keyring), iter(calls)
        run = keyring.new_subject_keys

        async def slowly(*args):
            reached, released = next(waiting, (asyncio.Event(), None))
            reached.set()
            if released is not None:
                await released.wait()
            return await run(*args)

        monkeypatch.setattr(keyring, "new_subject_keys", slowly)
        return calls

    yield hold
    for _reached, released in calls:
        released.set()


async def test_a_key_is_in_flight_for_longer_than_a_request_may_take(place, clock, held):
    async with place.node(clock, request_deadline=600) as node:
        ((reached, released),) = held(node)
        first = asyncio.create_task(node.post("sales", ONE, BODY, headers=KEY))
        await asyncio.wait_for(reached.wait(), 10)
        for _ in range(11):
            clock.advance(seconds=60)
            problem(await node.post("sales", ONE, BODY, headers=KEY), 409, "in-flight")
        released.set()
        assert (await first).status_code == 201
        assert await _people(node) == 1


@pytest.mark.parametrize("shop", ["free", "taken"])
async def test_a_call_whose_key_was_taken_over_changes_nothing(node, clock, held, shop):
    """Its process stood still for longer than its deadline, and another call took its key, and succeeded or failed."""
    await node.create({"name": "First"}, external_ids={"shop": "taken"})
    ((reached, released),) = held(node)
    late = asyncio.create_task(node.post("sales", ONE, BODY, headers=KEY))
    await asyncio.wait_for(reached.wait(), 10)
    clock.advance(seconds=76)
    second = await node.post("sales", ONE, {**BODY, "external_ids": {"shop": shop}}, headers=KEY)
    people = await _people(node)
    released.set()
    problem(await late, 409, "in-flight")
    assert (second.status_code, people) == ((201, 2) if shop == "free" else (409, 1))
    assert await _people(node) == people


async def test_a_late_failure_does_not_free_the_key_of_the_call_that_took_it_over(node, clock, held):
    (first_reached, _), (second_reached, second_released) = held(node, 2)
    late = asyncio.create_task(node.post("sales", ONE, BODY, headers=KEY))
    await asyncio.wait_for(first_reached.wait(), 10)
    clock.advance(seconds=76)
    second = asyncio.create_task(node.post("sales", ONE, BODY, headers=KEY))
    await asyncio.wait_for(second_reached.wait(), 10)
    late.cancel()
    await asyncio.gather(late, return_exceptions=True)
    problem(await node.post("sales", ONE, BODY, headers=KEY), 409, "in-flight")
    second_released.set()
    assert (await second).status_code == 201
    assert await _people(node) == 1
