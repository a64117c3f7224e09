"""``cdv webhooks`` and ``cdv recipients``: where apps are told, and who has not acknowledged."""

from __future__ import annotations

import asyncio

import pytest
from standardwebhooks import Webhook

from tests.cli.conftest import Cdv
from tests.recipients.receiver import Receiver, status
from tests.recipients.telling import one_notice
from vault.clock import Clock
from vault.recipients import views

URL = "https://crm.example.org/vault"


@pytest.fixture
def cdv(sqlite_place):
    """The command line, with a vault that has the usual apps."""
    return Cdv(sqlite_place.folder)


@pytest.fixture
def notice(sqlite_place):
    """A notice to the app ``support``, that nobody has acknowledged."""

    async def make():
        async with sqlite_place.node(Clock()) as node:
            return (await one_notice(node))[1]

    return asyncio.run(make())


def _with_receiver(work, *answers):
    """Run a command in a thread while a receiver listens; returns what the command gave, and what was received."""

    async def run():
        async with Receiver(list(answers) or [status(204)]) as receiver:
            return await asyncio.to_thread(work, receiver.url), receiver.got

    return asyncio.run(run())


def test_a_webhook_is_set_shown_changed_and_removed(cdv):
    created = cdv.json("webhooks", "set", "support", URL)
    assert created["secret"].startswith("whsec_")
    assert created["public_key"].startswith("whpk_")
    (listed,) = cdv.json("webhooks", "list")
    assert listed.items() >= {"app": "support", "url": URL, "state": "active", "secret_version": 1, "why": None}.items()
    assert views.WebhookWithKeys.model_validate(created).as_json() == created  # the view of the API, whole
    assert views.Webhook.model_validate(listed).as_json() == listed
    changed = cdv.json("webhooks", "rotate", "support")
    assert changed["secret"] != created["secret"]
    assert "secret" not in cdv.json("webhooks", "set", "support", URL + "/new")
    cdv.ok("webhooks", "remove", "support", "--yes")
    assert cdv.json("webhooks", "list") == []


def test_only_the_secret_goes_to_standard_output(cdv):
    done = cdv("webhooks", "set", "support", URL)
    assert done.stdout.startswith("whsec_")
    assert len(done.stdout.splitlines()) == 1
    assert "shown once" in done.stderr


def test_an_unknown_app_has_no_webhook(cdv):
    for words in (("set", "nobody", URL), ("rotate", "support"), ("test", "support"), ("remove", "support", "--yes")):
        done = cdv("webhooks", *words)
        assert done.exit_code == 1
        assert done.stderr.startswith("error: ")


def test_a_test_posts_and_prints_the_result(cdv, monkeypatch):
    monkeypatch.setenv("CDV_WEBHOOKS_TO_PRIVATE_ADDRESSES", "true")

    def work(url):
        secret = cdv.json("webhooks", "set", "support", url)["secret"]
        return secret, cdv("webhooks", "test", "support"), cdv("webhooks", "test", "support", "--json")

    (secret, good, bad), got = _with_receiver(work, status(204), status(500))
    assert (good.exit_code, bad.exit_code) == (0, 1)
    assert '"code": "refused"' in bad.stdout
    assert Webhook(secret).verify(got[0].body, got[0].headers)["type"] == "webhook.test"


def test_unacknowledged_notices_are_listed(cdv, notice):
    table = cdv.ok("recipients", "list")
    assert str(notice.id) in table
    assert "support" in table
    (listed,) = cdv.json("recipients", "list", "--app", "support")
    assert (listed["id"], listed["state"], listed["kind"]) == (str(notice.id), "pending", "subject.erased")
    assert listed["fields"] == ["profile.name"]
    assert cdv.json("recipients", "list", "--subject", notice.id) == []
    cdv.ok("recipients", "acknowledge", notice.id)
    assert cdv.json("recipients", "list") == []
    assert [item["state"] for item in cdv.json("recipients", "list", "--all")] == ["acknowledged"]


def test_a_reminder_is_posted_at_once(cdv, notice, monkeypatch):
    monkeypatch.setenv("CDV_WEBHOOKS_TO_PRIVATE_ADDRESSES", "true")

    def work(url):
        cdv.ok("webhooks", "set", "support", url)
        return cdv.json("recipients", "chase", notice.id), cdv("recipients", "chase", notice.id)

    (reports, second), got = _with_receiver(work, status(204), status(500))
    assert reports["state"] == "delivered"
    assert "running server tries again" in second.stderr
    assert [message.event["data"]["reminder"] for message in got] == [1, 2]


def test_a_reminder_that_cannot_be_posted_gives_the_reason(cdv, notice):
    done = cdv("recipients", "chase", notice.id)
    assert done.exit_code == 1
    assert "no webhook" in done.stderr
    assert cdv("recipients", "chase").exit_code == 1
    assert cdv("recipients", "chase", notice.id, "--due").exit_code == 1
    assert cdv.json("recipients", "chase", "--due") == {"chased": 0}
