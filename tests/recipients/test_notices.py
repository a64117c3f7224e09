"""Notices as apps fetch and acknowledge them, and as staff looks after those that nobody acknowledged."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.recipients.receiver import status
from tests.recipients.telling import notices, one_notice, tell, with_webhook, work_off
from tests.vaults import OTHER, problem
from vault.recipients.delivery import pending_notices
from vault.recipients.notices import chase_recipients

MINE, SENT = "/v1/notices:mine", "/v1/notices:sent"


def _done(notice):
    return f"/v1/notices/{notice.id}:acknowledge"


def _chase(notice):
    return f"/v1/notices/{notice.id}:chase"


async def test_an_app_fetches_and_acknowledges_its_notices(node):
    subject, notice = await one_notice(node)
    (reply,) = (await node.call("support", "GET", MINE)).json()["notices"]
    assert reply["id"] == str(notice.id)
    assert (reply["kind"], reply["subject"], reply["fields"]) == ("subject.erased", subject, ["profile.name"])
    assert "acknowledged_at" in reply
    answer = await node.post("support", _done(notice))
    assert (answer.status_code, answer.json()["state"]) == (200, "acknowledged")
    assert (await node.call("support", "GET", MINE)).json()["notices"] == []
    (reply,) = (await node.call("support", "GET", MINE, params={"which": "all"})).json()["notices"]
    assert reply["acknowledged_at"] is not None


async def test_acknowledging_again_changes_nothing(sqlite_node, clock):
    node = sqlite_node
    _subject, notice = await one_notice(node)
    first = await node.post("support", _done(notice))
    clock.advance(hours=1)
    again = await node.post("support", _done(notice))
    assert again.status_code == 200
    assert again.json() == first.json()


async def test_a_notice_of_another_app_is_not_found(sqlite_node):
    node = sqlite_node
    _subject, notice = await one_notice(node)
    for role, tenant in (("sales", "default"), ("support", OTHER), ("dpo", OTHER)):
        body = problem(await node.post(role, _done(notice), tenant=tenant), 404, "recipient-notice-not-found")
        stranger = problem(
            await node.post(role, f"/v1/notices/{uuid4()}:acknowledge", tenant=tenant),
            404,
            "recipient-notice-not-found",
        )
        assert body["detail"] == stranger["detail"]
        assert (await node.call(role, "GET", MINE, tenant=tenant)).json()["notices"] == []
    assert [item.state for item in await notices(node)] == ["pending"]


async def test_staff_acknowledge_on_behalf_of_an_app(sqlite_node):
    node = sqlite_node
    subject, notice = await one_notice(node)
    async with node.new_entries() as new_entries:
        assert (await node.post("dpo", _done(notice))).status_code == 200
    (entry,) = new_entries
    assert (entry.action, entry.code, entry.target) == ("acknowledge-notice", "on-behalf", notice.id)
    assert entry.subjects == (await node.pseudonym(subject),)
    (sent,) = (await node.call("dpo", "GET", SENT, params={"which": "all"})).json()["notices"]
    assert sent["acknowledged_by"] == str((await node.caller("dpo")).principal.id)


async def test_staff_list_notices_and_acknowledgements(node, receiver):
    await with_webhook(node, "support", receiver)
    subject, _notice = await one_notice(node)
    other = await node.create()
    request = uuid4()
    await node.read("fulfilment", other, ["name"], "order-fulfilment")
    await tell(node, other, kind="subject.restricted", request=request)
    await work_off(node)
    listed = (await node.call("dpo", "GET", SENT)).json()["notices"]
    assert [(row["app"], row["state"], row["webhook"], row["kind"]) for row in listed] == [
        ("support", "delivered", "active", "subject.erased"),
        ("fulfilment", "waiting", None, "subject.restricted"),
    ]
    for params, app in (
        ({"subject": subject}, "support"),
        ({"request": str(request)}, "fulfilment"),
        ({"app": "support"}, "support"),
    ):
        result = (await node.call("dpo", "GET", SENT, params=params)).json()["notices"]
        assert [item["app"] for item in result] == [app]
    problem(await node.call("support", "GET", SENT), 403, "not-granted")
    problem(await node.call("dpo", "GET", SENT, params={"app": "nobody"}), 404, "not-found")
    assert (await node.call("dpo", "GET", SENT, tenant=OTHER)).json()["notices"] == []


async def test_pages_contain_every_notice_once(sqlite_node):
    node = sqlite_node
    created = [str((await one_notice(node))[1].id) for _ in range(5)]
    for role, path in (("support", MINE), ("dpo", SENT)):
        result, after = [], None
        while True:
            params = {"limit": 2} | ({} if after is None else {"after": after})
            page = (await node.call(role, "GET", path, params=params)).json()
            result += [notice["id"] for notice in page["notices"]]
            after = page["next"]
            if after is None:
                break
        assert result == created


# ---- Chasing ---------------------------------------------------------------------------------------------------------


async def test_reminders_are_sent_after_three_days_and_then_daily(node, receiver, clock):
    await with_webhook(node, "support", receiver)
    _subject, notice = await one_notice(node)
    await work_off(node)
    clock.advance(days=2, hours=23)
    assert await chase_recipients(node.services) == 0
    clock.advance(hours=1)
    assert await chase_recipients(node.services) == 1
    assert await chase_recipients(node.services) == 0, "once a day"
    assert [run for _name, _tenant, _id, run in await pending_notices(node.services)] == [1], "a job of its own"
    await work_off(node)
    clock.advance(days=1)
    assert await chase_recipients(node.services) == 1
    await work_off(node)
    assert [got.event["data"].get("reminder") for got in receiver.got] == [None, 1, 2]
    assert [got.headers["webhook-id"].removeprefix(f"msg_{notice.id.hex}") for got in receiver.got] == ["", "_1", "_2"]
    await node.post("support", _done(notice))
    clock.advance(days=9)
    assert await chase_recipients(node.services) == 0
    (kept,) = await notices(node)
    assert kept.chases == 2


async def test_a_failed_notice_is_sent_again_with_the_reminders(sqlite_node, receiver, clock):
    node = sqlite_node
    receiver.answers = [status(500)]
    await with_webhook(node, "support", receiver)
    await one_notice(node)
    await node.sql("UPDATE recipient_notice SET attempts = 8")
    assert await work_off(node) == [None]
    assert [notice.state for notice in await notices(node)] == ["failed"]
    clock.advance(days=3)
    receiver.answers = [status(204)]
    assert await chase_recipients(node.services) == 1
    assert await work_off(node) == [None]
    assert [notice.state for notice in await notices(node)] == ["delivered"]


async def test_staff_send_a_reminder_at_any_time(sqlite_node, receiver):
    node = sqlite_node
    await with_webhook(node, "support", receiver)
    subject, notice = await one_notice(node)
    await work_off(node)
    async with node.new_entries() as new_entries:
        answer = await node.post("dpo", _chase(notice))
    assert (answer.status_code, answer.json()["state"]) == (202, "pending")
    assert [(item.action, item.code, item.target) for item in new_entries] == [("send-notice", "chased", notice.id)]
    assert new_entries[0].subjects == (await node.pseudonym(subject),)
    await work_off(node)
    assert len(receiver.got) == 2
    problem(await node.post("support", _chase(notice)), 403, "not-granted")
    problem(await node.post("dpo", _chase(notice), tenant=OTHER), 404, "recipient-notice-not-found")
    await node.post("support", _done(notice))
    problem(await node.post("dpo", _chase(notice)), 409, "notice-acknowledged")


async def test_an_app_without_a_webhook_gets_no_reminder(sqlite_node, clock):
    node = sqlite_node
    _subject, notice = await one_notice(node)
    await work_off(node)
    problem(await node.post("dpo", _chase(notice)), 409, "no-webhook")
    clock.advance(days=4)
    assert await chase_recipients(node.services) == 0


async def test_a_notice_without_a_job_is_found(sqlite_node, receiver):
    """It began to wait at the very moment at which the app set its webhook."""
    node = sqlite_node
    await with_webhook(node, "support", receiver)
    await one_notice(node)
    await node.sql("UPDATE recipient_notice SET state = 'waiting', next_at = NULL")
    await chase_recipients(node.services)
    assert await work_off(node) == [None]
    assert len(receiver.got) == 1


@pytest.mark.parametrize("tenant", ["default", OTHER])
async def test_reminders_are_sent_for_every_tenant(sqlite_node, receiver, clock, tenant):
    node = sqlite_node
    await with_webhook(node, "support", receiver, tenant=tenant)
    subject = await node.create(tenant=tenant)
    await node.read("support", subject, ["name"], "customer-support", tenant=tenant)
    await tell(node, subject, tenant=tenant)
    await work_off(node)
    clock.advance(days=3)
    assert await chase_recipients(node.services) == 1
