"""The way of a notice to its app: signed, tried for a day, and never twice what was taken."""

from __future__ import annotations

import base64
import json
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from tests.recipients.receiver import status
from tests.recipients.telling import notices, one_notice, tell, with_webhook, work_off
from tests.vaults import problem
from vault.clock import Clock
from vault.principals.store import PRINCIPAL, PRINCIPALS
from vault.recipients.delivery import DELAYS, JITTER, deliver, pending_notices


async def _try_all(node, clock):
    """Let the clock run from try to try; returns the waits between them."""
    waits = []
    while True:
        ended = await work_off(node)
        if ended in ([], [None]):
            return waits
        waits.append(ended[0])
        clock.advance(seconds=ended[0])


def _verified_by_key(got, public_key):
    """Check ``v1a`` as its specification says: Ed25519 over id, timestamp and body."""
    (signature,) = [word for word in got.headers["webhook-signature"].split(" ") if word.startswith("v1a,")]
    content = f"{got.headers['webhook-id']}.{got.headers['webhook-timestamp']}.".encode() + got.body
    public = base64.b64decode(public_key.removeprefix("whpk_"))
    Ed25519PublicKey.from_public_bytes(public).verify(base64.b64decode(signature.removeprefix("v1a,")), content)


async def test_a_notice_is_delivered_in_standard_form(place, receiver):
    """Checked by the library that receivers use; it goes by the real time."""
    async with place.node(Clock(), webhooks_to_private_addresses=True) as node:
        secret = await with_webhook(node, "support", receiver)
        subject, notice = await one_notice(node)
        async with node.new_entries() as new_entries:
            assert await work_off(node) == [None]
        shown = (await node.call("support", "GET", "/v1/webhook")).json()
    (got,) = receiver.got
    event = Webhook(secret).verify(got.body, got.headers)
    assert event["type"] == "subject.erased"
    assert event["data"] == {
        "notice": str(notice.id),
        "subject": subject,
        "fields": ["profile.name"],
        "request": None,
        "acknowledge": f"/v1/notices/{notice.id}:acknowledge",
    }
    assert got.headers["webhook-id"] == f"msg_{notice.id.hex}"
    assert got.headers["content-type"] == "application/json"
    _verified_by_key(got, shown["public_key"])
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(got.body.replace(b"name", b"mail"), got.headers)
    assert "secret" not in shown
    (entry,) = new_entries
    assert (entry.action, entry.decision, entry.target) == ("send-notice", "allowed", notice.id)
    assert entry.fields == ("profile.name",)


async def test_an_accepted_notice_is_not_sent_again(sqlite_node, receiver):
    node = sqlite_node
    await with_webhook(node, "support", receiver)
    _subject, notice = await one_notice(node)
    assert await work_off(node) == [None]
    assert await work_off(node) == []
    assert await deliver(node.services, "default", notice.id) is None
    assert len(receiver.got) == 1
    (kept,) = await notices(node)
    assert (kept.state, kept.attempts, kept.last_status) == ("delivered", 1, 204)


async def test_a_notice_is_tried_for_a_day(sqlite_node, receiver, clock):
    node = sqlite_node
    receiver.answers = [status(500)]
    await with_webhook(node, "support", receiver)
    await one_notice(node)
    async with node.new_entries() as new_entries:
        waits = await _try_all(node, clock)
    assert len(receiver.got) == len(DELAYS) + 1
    for wait, delay in zip(waits, DELAYS, strict=True):
        assert delay * (1 - JITTER) <= wait <= delay * (1 + JITTER)
    assert sum(DELAYS) < 86_400
    assert len({got.headers["webhook-id"] for got in receiver.got}) == 1, "a receiver can tell that it is the same"
    assert len({got.headers["webhook-timestamp"] for got in receiver.got}) == len(receiver.got)
    (kept,) = await notices(node)
    assert (kept.state, kept.last_status, kept.last_code, kept.next_at) == ("failed", 500, "refused", None)
    assert [(item.action, item.decision, item.code) for item in new_entries] == [("send-notice", "failed", "refused")]


async def test_delays_vary(sqlite_node, receiver):
    node = sqlite_node
    receiver.answers = [status(500)]
    await with_webhook(node, "support", receiver)
    for _ in range(4):
        await one_notice(node)
    waits = await work_off(node)
    assert len(set(waits)) > 1


async def test_retry_after_of_a_receiver_is_respected(sqlite_node, receiver, clock):
    node = sqlite_node
    receiver.answers = [status(429, "Retry-After: 3600"), status(503, "Retry-After: 999999"), status(204)]
    await with_webhook(node, "support", receiver)
    await one_notice(node)
    assert await _try_all(node, clock) == [3600, 21_600]
    assert [notice.state for notice in await notices(node)] == ["delivered"]


@pytest.mark.parametrize(
    ("answer", "code", "last"),
    [
        (status(302, "Location: http://127.0.0.1:1/"), "redirected", 302),
        (status(404), "refused", 404),
        (None, "no-answer", None),
    ],
)
async def test_every_other_answer_is_tried_again(sqlite_node, receiver, answer, code, last):
    receiver.answers = [answer]
    await with_webhook(sqlite_node, "support", receiver)
    await one_notice(sqlite_node)
    (wait,) = await work_off(sqlite_node)
    assert wait is not None
    (kept,) = await notices(sqlite_node)
    assert (kept.state, kept.last_code, kept.last_status) == ("pending", code, last)
    assert len(receiver.got) == 1


async def test_gone_disables_the_webhook(node, receiver):
    receiver.answers = [status(410)]
    await with_webhook(node, "support", receiver)
    await one_notice(node)
    async with node.new_entries() as new_entries:
        assert await work_off(node) == [None]
    shown = (await node.call("support", "GET", "/v1/webhook")).json()
    assert (shown["state"], shown["why"]) == ("disabled", "webhook-gone")
    assert {(item.action, item.decision, item.code) for item in new_entries} == {
        ("send-notice", "failed", "webhook-gone"),
        ("set-webhook", "allowed", "webhook-gone"),
    }
    await one_notice(node)
    assert await work_off(node) == [None]
    assert len(receiver.got) == 1, "nothing more is sent there"
    assert {notice.state for notice in await notices(node)} == {"waiting"}


async def test_gone_of_a_replaced_address_disables_nothing(sqlite_node, receiver):
    node = sqlite_node
    receiver.answers = [status(410), status(204)]
    await with_webhook(node, "support", receiver)
    await one_notice(node)

    async def move(_got):
        if len(receiver.got) == 1:
            assert (await node.call("support", "PUT", "/v1/webhook", {"url": receiver.url + "/new"})).status_code == 200

    receiver.on_request = move
    (wait,) = await work_off(node)
    assert wait is not None
    assert (await node.call("support", "GET", "/v1/webhook")).json()["state"] == "active"


async def test_a_notice_waits_until_there_is_a_webhook(sqlite_node, receiver):
    node = sqlite_node
    _subject, notice = await one_notice(node)
    assert await work_off(node) == [None]
    assert [item.state for item in await notices(node)] == ["waiting"]
    await with_webhook(node, "support", receiver)
    assert [(id_, run) for _name, _tenant, id_, run in await pending_notices(node.services)] == [(notice.id, 1)]
    assert await work_off(node) == [None]
    assert [item.state for item in await notices(node)] == ["delivered"]


async def test_nothing_is_sent_to_an_address_that_the_vault_did_not_write(node, receiver):
    await with_webhook(node, "support", receiver)
    _subject, notice = await one_notice(node)
    await node.sql("UPDATE webhook SET url = :url", url=f"{receiver.url}/of-someone-else")
    assert await work_off(node) == [None]
    assert receiver.got == []
    assert [(each.state, each.last_code) for each in await notices(node)] == [("waiting", "row-tampered")]
    assert (await node.call("operator", "GET", "/v1/webhooks")).json() == {"webhooks": []}
    problem(await node.call("support", "PUT", "/v1/webhook", {"url": receiver.url}), 500, "row-tampered")

    await node.sql("DELETE FROM webhook")
    await with_webhook(node, "support", receiver)
    assert await work_off(node) == [None]
    assert [(each.id, each.state) for each in await notices(node)] == [(notice.id, "delivered")]


async def test_nothing_is_sent_to_a_disabled_app(sqlite_node, receiver):
    node = sqlite_node
    await with_webhook(node, "support", receiver)
    await one_notice(node)
    await node.rewrite(PRINCIPALS, PRINCIPAL.c.name == "support", state="disabled")
    assert await work_off(node) == [None]
    assert receiver.got == []
    assert [(notice.state, notice.last_code) for notice in await notices(node)] == [("waiting", "app-disabled")]


async def test_an_app_may_acknowledge_before_it_answers(node, receiver):
    """Its handler does so while the post is under way."""
    await with_webhook(node, "support", receiver)
    await one_notice(node)

    async def handle(got):
        done = await node.post("support", got.event["data"]["acknowledge"])
        assert done.status_code == 200, done.text

    receiver.on_request = handle
    assert await work_off(node) == [None]
    (kept,) = await notices(node)
    assert kept.state == "acknowledged"
    assert kept.delivered_at is not None


async def test_one_try_at_a_time(node, receiver):
    """Two workers at the same notice: the second one is told to come back later."""
    await with_webhook(node, "support", receiver)
    _subject, notice = await one_notice(node)
    waits = []

    async def meanwhile(_got):
        waits.append(await deliver(node.services, "default", notice.id))

    receiver.on_request = meanwhile
    assert await work_off(node) == [None]
    assert waits == [60.0]
    assert len(receiver.got) == 1


async def test_a_process_that_dies_after_the_post_sends_the_same_message_again(sqlite_node, receiver, clock):
    node = sqlite_node
    await with_webhook(node, "support", receiver)
    await one_notice(node)
    post = node.services.post.send

    async def killed(*args, **how):
        await post(*args, **how)
        raise KeyboardInterrupt

    node.services.post.send = killed
    with pytest.raises(KeyboardInterrupt):
        await work_off(node)
    node.services.post.send = post
    assert await work_off(node) == [], "for a minute it may still be under way"
    clock.advance(seconds=61)
    assert await work_off(node) == [None]
    first, second = receiver.got
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    assert [notice.state for notice in await notices(node)] == ["delivered"]


async def test_a_public_vault_posts_to_no_private_address(sqlite_place, receiver, clock):
    """Set while it was allowed, and sent after it was not any more."""
    async with sqlite_place.node(clock, webhooks_to_private_addresses=True) as node:
        await with_webhook(node, "support", receiver)
        await one_notice(node)
    async with sqlite_place.node(clock) as node:
        (wait,) = await work_off(node)
        assert wait is not None
        assert [notice.last_code for notice in await notices(node)] == ["invalid-url"]
    assert receiver.got == []


async def test_a_notice_contains_former_ids_and_the_request(sqlite_node, receiver):
    node = sqlite_node
    await with_webhook(node, "support", receiver)
    survivor, duplicate = await node.create(), await node.create({"name": "Ada L."})
    await node.read("support", duplicate, ["name"], "customer-support")
    body = {"survivor": survivor, "duplicate": duplicate, "evidence": "ticket 4711"}
    await node.post("dpo", "/v1/subjects:merge", body)
    request = UUID("0199f3a2-7c1e-7b52-9d0c-2f4e6a8b0c1d")
    await tell(node, survivor, kind="subject.rectified", fields=["name"], request=request)
    await work_off(node)
    sent = {got.event["data"]["request"]: got.event["data"] for got in receiver.got}
    assert sent.keys() == {None, str(request)}  # the merge itself, in which her name became another, and the request
    for data in sent.values():
        assert (data["subject"], data["former"]) == (survivor, [duplicate])


async def test_a_notice_contains_no_value(sqlite_node, receiver):
    await with_webhook(sqlite_node, "support", receiver)
    await one_notice(sqlite_node)
    await work_off(sqlite_node)
    (got,) = receiver.got
    sent = json.dumps(got.headers) + got.path + got.body.decode()
    assert not [word for word in ("Lovelace", "example.org", "79460123") if word in sent]
