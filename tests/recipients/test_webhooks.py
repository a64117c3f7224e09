"""An app's webhook over HTTP: its own to set, others' only for whoever may; secrets shown once and never again."""

from __future__ import annotations

import base64

import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from tests.recipients.receiver import status
from tests.recipients.telling import one_notice, with_webhook, work_off
from tests.vaults import OTHER, problem
from vault.clock import EPOCH, Clock
from vault.recipients.store import WEBHOOK, WEBHOOKS

HOOK, ROTATE, TEST = "/v1/webhook", "/v1/webhook:rotate-secret", "/v1/webhook:test"
URL = {"url": "https://crm.example.org/vault"}


async def test_the_secret_is_shown_once(node):
    first = await node.call("support", "PUT", HOOK, URL)
    secret = first.json()["secret"]
    assert secret.startswith("whsec_")
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
    again = await node.call("support", "PUT", HOOK, {"url": "https://crm.example.org/other"})
    shown = await node.call("support", "GET", HOOK)
    assert "secret" not in again.json()
    assert "secret" not in shown.json()
    assert shown.json()["url"] == "https://crm.example.org/other"
    assert shown.json()["public_key"].startswith("whpk_")
    for table in ("webhook", "audit_entry"):
        for row in await node.sql(f"SELECT * FROM {table}"):
            assert secret not in str([bytes(value) if isinstance(value, memoryview) else value for value in row])


async def test_every_app_and_tenant_has_a_secret_of_its_own(sqlite_node):
    node = sqlite_node
    secrets = [
        (await node.call(role, "PUT", HOOK, URL, tenant=tenant)).json()["secret"]
        for role in ("support", "sales")
        for tenant in ("default", OTHER)
    ]
    assert len(set(secrets)) == 4


async def test_both_secrets_sign_for_a_day_after_a_rotation(sqlite_place, receiver):
    """Old receivers know the message by the old secret, new ones by the new; then the old one is done with."""
    clock = Clock()
    async with sqlite_place.node(clock, webhooks_to_private_addresses=True) as node:
        old = await with_webhook(node, "support", receiver)
        new = (await node.post("support", ROTATE)).json()["secret"]
        assert new != old
        await node.post("support", TEST)
        await node.rewrite(WEBHOOKS, WEBHOOK.c.state == "active", previous_until=EPOCH)  # the day is over
        await node.post("support", TEST)
    both, one = receiver.got
    for secret in (old, new):
        assert Webhook(secret).verify(both.body, both.headers)["type"] == "webhook.test"
    Webhook(new).verify(one.body, one.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(old).verify(one.body, one.headers)


async def test_a_secret_is_never_used_again(sqlite_node):
    node = sqlite_node
    seen = {(await node.call("support", "PUT", HOOK, URL)).json()["secret"]}
    for _ in range(3):
        assert (await node.call("support", "DELETE", HOOK)).status_code == 204
        seen.add((await node.call("support", "PUT", HOOK, URL)).json()["secret"])
        seen.add((await node.post("support", ROTATE)).json()["secret"])
    assert len(seen) == 7


async def test_a_removed_webhook_is_not_found(sqlite_node):
    node = sqlite_node
    await node.call("support", "PUT", HOOK, URL)
    assert (await node.call("support", "DELETE", HOOK)).status_code == 204
    for method, path in (("GET", HOOK), ("DELETE", HOOK), ("POST", ROTATE), ("POST", TEST)):
        problem(await node.call("support", method, path), 404, "no-webhook")
    assert (await node.call("operator", "GET", "/v1/webhooks")).json() == {"webhooks": []}


async def test_a_webhook_that_was_disabled_works_again_once_it_is_set(sqlite_node, receiver):
    node = sqlite_node
    receiver.answers = [status(410), status(204)]
    await with_webhook(node, "support", receiver)
    await one_notice(node)
    await work_off(node)
    answer = await node.call("support", "PUT", HOOK, {"url": receiver.url})
    assert answer.json()["state"] == "active"
    assert "secret" not in answer.json()
    assert await work_off(node) == [None]
    assert len(receiver.got) == 2


@pytest.mark.parametrize(
    "url",
    [
        "http://crm.example.org/",
        "https://127.0.0.1/",
        "https://user@crm.example.org/",
        "https://crm.example.org/#x",
        "",
    ],
)
async def test_an_address_has_its_form(sqlite_place, clock, url):
    async with sqlite_place.node(clock) as node:
        body = problem(await node.call("support", "PUT", HOOK, {"url": url}), 422, "invalid-url")
    assert body["errors"][0]["at"] == "/url"
    assert "crm" not in str(body)


async def test_webhooks_of_other_apps_need_a_permission(sqlite_node):
    node = sqlite_node
    for method, path, body in (
        ("PUT", HOOK, URL), ("GET", HOOK, None), ("POST", ROTATE, None), ("POST", TEST, None), ("DELETE", HOOK, None),
    ):  # fmt: skip
        params = {"app": "support"}
        problem(await node.call("sales", method, path, body, params=params), 403, "not-granted")
        if method != "POST" or path != TEST:
            answer = await node.call("operator", method, path, body, params=params)
            assert answer.status_code in {200, 204}, answer.text
            assert method == "DELETE" or answer.json()["app"] == "support"
    problem(await node.call("sales", "GET", "/v1/webhooks"), 403, "not-granted")
    problem(await node.call("operator", "GET", HOOK, params={"app": "nobody"}), 404, "not-found")


async def test_an_app_of_another_tenant_is_not_found(sqlite_node):
    await sqlite_node.call("support", "PUT", HOOK, URL)
    listed = await sqlite_node.call("operator", "GET", "/v1/webhooks", tenant=OTHER)
    assert listed.json() == {"webhooks": []}
    problem(await sqlite_node.call("operator", "GET", HOOK, params={"app": "support"}, tenant=OTHER), 404, "no-webhook")


async def test_only_apps_have_webhooks(sqlite_node):
    await sqlite_node.sql("DELETE FROM api_key")
    from vault.access.callers import operator_caller
    from vault.errors import InvalidInput
    from vault.recipients.webhooks import set_webhook

    with pytest.raises(InvalidInput) as caught:
        await set_webhook(sqlite_node.services, operator_caller(), "https://crm.example.org/")
    assert caught.value.code == "not-an-app"


async def test_a_test_returns_its_result(sqlite_node, receiver):
    node = sqlite_node
    receiver.answers = [status(204), status(500), None, status(307, "Location: /x"), status(410)]
    await with_webhook(node, "support", receiver)
    answers = [(await node.post("support", TEST)).json() for _ in range(5)]
    assert answers == [
        {"taken": True, "status": 204, "code": None},
        {"taken": False, "status": 500, "code": "refused"},
        {"taken": False, "status": None, "code": "no-answer"},
        {"taken": False, "status": 307, "code": "redirected"},
        {"taken": False, "status": 410, "code": "webhook-gone"},
    ]
    assert len({got.headers["webhook-id"] for got in receiver.got}) == 5
    assert (await node.call("support", "GET", HOOK)).json()["state"] == "active", "a test changes nothing"


async def test_tests_are_rate_limited(sqlite_place, receiver, clock):
    """Each is a post to an address of the app's choice: not as many as it may read people."""
    allowed = {"webhooks_to_private_addresses": True, "searches_per_minute": 2}
    async with sqlite_place.node(clock, **allowed) as node:
        await node.call("support", "PUT", "/v1/webhook", {"url": receiver.url})
        codes = [(await node.post("support", "/v1/webhook:test")).status_code for _ in range(3)]
    assert codes == [200, 200, 429]


async def test_every_change_is_recorded_with_the_app(sqlite_node):
    node = sqlite_node
    support = (await node.caller("support")).principal.id
    async with node.new_entries() as new_entries:
        await node.call("support", "PUT", HOOK, URL)
        await node.post("support", ROTATE)
        await node.call("operator", "DELETE", HOOK, params={"app": "support"})
    assert [(item.principal_name, item.action, item.code) for item in new_entries] == [
        ("support", "set-webhook", "webhook-set"),
        ("support", "set-webhook", "secret-rotated"),
        ("operator", "set-webhook", "webhook-removed"),
    ]
    assert {item.target for item in new_entries} == {support}
