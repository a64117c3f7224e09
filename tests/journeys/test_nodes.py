"""Several nodes on one database behave as one."""

from __future__ import annotations

import asyncio

import pytest

from tests.vaults import problem
from vault.bootstrap import apply_folders
from vault.governance.tenants import disable_app, revoke_key, set_roles

UPSERT = "/v1/subjects:upsert"


@pytest.fixture
async def nodes(place, clock):
    """Two nodes on one vault, whose monotonic time only a test moves."""
    async with place.node(clock) as one, place.node(clock) as two:
        yield one, two


class Ticks:
    """Monotonic seconds, moved by hand."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def _hold(node) -> Ticks:
    ticks = Ticks()
    node.services.principals._monotonic = node.services.principals._cache._monotonic = ticks
    return ticks


async def test_an_edited_policy_folder_takes_effect_everywhere_without_a_restart(nodes):
    one, two = nodes
    subject = await one.create()
    read = ("support", subject, ["email"], "customer-support")
    problem(await two.read(*read), 403, "denied")
    folder = one.vault.settings.policies / "policy.csv"
    folder.write_text(folder.read_text() + "p, support, *, email.clear, read, customer-support, allow\n")
    before = (await two.call("dpo", "GET", "/v1/catalogue")).json()["policy_version"]
    assert await apply_folders(one.vault) == {"default": True}
    assert (await one.read(*read)).json()["fields"] == {"email": "ada@example.org"}
    problem(await two.read(*read), 403, "denied")  # it has not looked yet
    assert await two.services.policies.refresh() == ("default",)
    assert (await two.read(*read)).json()["fields"] == {"email": "ada@example.org"}
    after = (await two.call("dpo", "GET", "/v1/catalogue")).json()["policy_version"]
    assert before != after
    assert (await one.entries())[-1].policy == after
    problem(
        await two.read("support", await two.create(tenant="acme"), ["email"], "customer-support", tenant="acme"),
        403,
        "denied",
    )
    assert await apply_folders(one.vault) == {"default": False}


async def test_a_revoked_key_ends_on_every_node(nodes):
    one, two = nodes
    subject = await one.create()
    ticks = _hold(two)
    read = ("support", subject, ["name"], "customer-support")
    assert (await two.read(*read)).status_code == 200
    assert (await one.read(*read)).status_code == 200
    caller = await one.caller("support")
    async with one.services.data.reading() as connection:
        (key,) = await one.services.principals.list_keys(connection, "default", caller.principal.id)
    await revoke_key(one.services, "default", key.id)
    problem(await one.read(*read), 401, "not-authenticated")  # at once where it was revoked
    ticks.now += two.vault.settings.principals_kept_seconds - 0.01
    assert (await two.read(*read)).status_code == 200
    ticks.now += 0.02
    problem(await two.read(*read), 401, "not-authenticated")


async def test_changed_roles_and_disabled_apps_take_effect_on_every_node(nodes):
    one, two = nodes
    subject = await one.create()
    ticks = _hold(two)
    assert (await two.read("support", subject, ["name"], "customer-support")).status_code == 200
    await set_roles(one.services, "default", "support", ["marketing"])
    ticks.now += 5.1
    problem(await two.read("support", subject, ["name"], "customer-support"), 403, "denied")
    await disable_app(one.services, "default", "support")
    ticks.now += 5.1
    problem(await two.read("support", subject, ["name"], "customer-support"), 401, "not-authenticated")


async def test_writes_of_one_node_are_read_by_the_other(nodes):
    one, two = nodes
    subject = await one.create()
    read = ("fulfilment", subject, ["email"], "order-fulfilment")
    assert (await two.read(*read)).json()["fields"] == {"email": "ada@example.org"}
    await two.patch("fulfilment", subject, {"email": "b@example.org"}, "order-fulfilment", '"1"')
    assert (await one.read(*read)).json()["fields"] == {"email": "b@example.org"}
    problem(
        await one.patch("fulfilment", subject, {"email": "c@example.org"}, "order-fulfilment", '"1"'),
        412,
        "stale-revision",
    )


async def test_an_idempotent_call_takes_effect_once_on_any_node(nodes):
    one, two = nodes
    body = {"profile": {"name": "Ada"}, "purpose": "order-fulfilment"}
    headers = {"Idempotency-Key": "k-1"}
    first = await one.post("sales", "/v1/subjects", body, headers=headers)
    again = await two.post("sales", "/v1/subjects", body, headers=headers)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content
    assert again.headers["idempotent-replayed"] == "true"
    ((count,),) = await one.sql("SELECT count(*) FROM subject")
    assert count == 1


async def test_concurrent_calls_with_one_idempotency_key_create_one_subject(nodes):
    body = {"profile": {"name": "Ada"}, "purpose": "order-fulfilment"}
    answers = await asyncio.gather(
        *(
            nodes[number % 2].post("sales", "/v1/subjects", body, headers={"Idempotency-Key": "k-2"})
            for number in range(6)
        )
    )
    ids = {item.json()["id"] for item in answers if item.status_code == 201}
    assert len(ids) == 1
    for answer in answers:
        if answer.status_code != 201:
            problem(answer, 409, "in-flight")
    ((count,),) = await nodes[0].sql("SELECT count(*) FROM subject")
    assert count == 1


async def test_concurrent_upserts_of_one_external_id_create_one_subject(nodes):
    answers = await asyncio.gather(
        *(
            nodes[number % 2].post(
                "sales",
                UPSERT,
                {
                    "profile": {"name": f"Ada {number}"},
                    "external_ids": {"shop": "77"},
                    "purpose": "order-fulfilment",
                },
            )
            for number in range(6)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [201], [answer.text for answer in answers]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sorted(answer.json()["revision"] for answer in answers) == [1, 2, 3, 4, 5, 6]
    ((people,),) = await nodes[0].sql("SELECT count(*) FROM subject")
    ((keys,),) = await nodes[0].sql("SELECT count(*) FROM data_key", keystore=True)
    assert (people, keys) == (1, 1)
    entries = [entry for entry in await nodes[0].entries() if entry.action in {"create", "update"}]
    assert [item.decision for item in entries] == ["allowed"] * 6


async def test_of_concurrent_patches_of_one_revision_one_succeeds(nodes):
    subject = await nodes[0].create()
    answers = await asyncio.gather(
        *(
            nodes[number % 2].patch("fulfilment", subject, {"name": f"N {number}"}, "order-fulfilment", '"1"')
            for number in range(5)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200, 412, 412, 412, 412]


async def test_nodes_share_one_rate_limit(place, clock):
    limits = {"reads_per_minute": 20, "searches_per_minute": 4}
    async with place.node(clock, **limits) as one, place.node(clock, **limits) as two:
        subject = await one.create()
        read = ("support", subject, ["name"], "customer-support")
        passed = 0
        for number in range(24):
            answer = await (one, two)[number % 2].read(*read)
            if answer.status_code == 200:
                passed += 1
            else:
                problem(answer, 429, "rate-limited")
                assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert passed == 20
        search = {"match": {"name": "Ada Lovelace"}, "purpose": "customer-support"}
        answers = [
            (await (one, two)[number % 2].post("support", "/v1/subjects:search", search)).status_code
            for number in range(6)
        ]
        assert answers == [200] * 4 + [429] * 2
        clock.advance(seconds=60)
        assert (await two.read(*read)).status_code == 200
        assert (await one.post("support", "/v1/subjects:search", search)).status_code == 200
