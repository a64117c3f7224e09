"""Every change of a value that apps were shown is told to them, whoever writes it, in the transaction of the write."""

from __future__ import annotations

from uuid import UUID

import pytest

from tests.imports.files import bring_in, counts, write_jsonl
from tests.recipients.telling import notices, told, with_webhook, work_off
from tests.vaults import ADA

MAPPING = """
purpose = "order-fulfilment"
source = "old-crm"

[external_ids]
shop = "no"

[fields]
"""
SUPPORT, ORDERS = "customer-support", "order-fulfilment"


async def _shown(node, **who):
    """Create a customer of whom two apps are shown something; returns the id."""
    subject = await node.create(external_ids={"shop": "4711"}, **who)
    assert (await node.read("support", subject, ["name", "phone.last_4"], SUPPORT)).status_code == 200
    assert (await node.read("fulfilment", subject, ["name", "address"], ORDERS)).status_code == 200
    return subject


async def _patch(node, subject, changes, role="sales"):
    etag = (await node.call(role, "GET", f"/v1/subjects/{subject}")).headers["etag"]
    done = await node.patch(role, subject, changes, ORDERS, etag)
    assert done.status_code == 200, done.text


async def _upsert(node, changes):
    body = {"profile": changes, "external_ids": {"shop": "4711"}, "purpose": ORDERS}
    done = await node.post("sales", "/v1/subjects:upsert", body)
    assert done.status_code == 200, done.text


async def _write(node, writer, subject, changes):
    if writer == "patch":
        await _patch(node, subject, changes)
    elif writer == "upsert":
        await _upsert(node, changes)
    else:
        path = write_jsonl(node.place.folder / "people.jsonl", {"no": "4711", **changes})
        report = await bring_in(node, path, MAPPING + "".join(f'{name} = "{name}"\n' for name in changes))
        assert counts(report)[3] == 0


WRITERS = pytest.mark.parametrize("writer", ["patch", "upsert", "import"])


@WRITERS
async def test_apps_are_notified_of_the_changed_fields_that_they_were_shown(node, writer):
    subject = await _shown(node)
    await _write(node, writer, subject, {"name": "Ada King", "phone": "+442079460999"})
    assert await told(node) == {"support": {"profile.name", "profile.phone"}, "fulfilment": {"profile.name"}}
    assert {each.kind for each in await notices(node)} == {"subject.rectified"}


@WRITERS
async def test_values_that_stay_or_were_not_shown_lead_to_no_notice(sqlite_node, writer):
    subject = await _shown(sqlite_node)
    await _write(sqlite_node, writer, subject, {"name": ADA["name"], "language": "fr", "email": "ada.king@example.org"})
    assert await notices(sqlite_node) == []


@WRITERS
async def test_a_person_of_whom_nothing_was_shown_leads_to_no_notice(sqlite_node, writer):
    subject = await sqlite_node.create(external_ids={"shop": "4711"})
    await _write(sqlite_node, writer, subject, {"name": "Ada King"})
    assert await notices(sqlite_node) == []


async def test_a_value_that_is_removed_is_told_as_erased(node):
    subject = await _shown(node)
    await _patch(node, subject, {"phone": None, "name": "Ada King"})
    kinds = {(each.kind, each.fields) for each in await notices(node)}
    assert kinds == {("subject.erased", ("profile.phone",)), ("subject.rectified", ("profile.name",))}


async def test_the_app_that_writes_is_not_notified(sqlite_node):
    node = sqlite_node
    subject = await _shown(node)
    assert (await node.read("sales", subject, ["name"], ORDERS)).status_code == 200
    await _patch(node, subject, {"name": "Ada King"})
    assert set(await told(node)) == {"support", "fulfilment"}


async def test_a_write_that_fails_leads_to_no_notice(sqlite_node):
    node = sqlite_node
    subject = await _shown(node)
    assert (await node.patch("sales", subject, {"name": "Ada King"}, ORDERS, '"9"')).status_code == 412
    assert await notices(node) == []


async def test_an_app_that_was_away_finds_one_notice_of_many_writes(node):
    subject = await _shown(node)
    for changes in ({"name": "Ada King"}, {"phone": "+442079460999"}, {"name": "Ada Byron"}):
        await _patch(node, subject, changes)
    mine = (await node.call("support", "GET", "/v1/notices:mine")).json()["notices"]
    assert [each["fields"] for each in mine] == [["profile.name", "profile.phone"]]
    everything = (await node.call("support", "GET", "/v1/notices:mine?which=all")).json()["notices"]
    closed = [each for each in everything if each["state"] == "acknowledged"]
    assert len(closed) == 2
    again = await node.post("support", f"/v1/notices/{closed[0]['id']}:acknowledge")
    assert again.status_code == 200, "an app that fetched it earlier may still acknowledge it"


async def test_a_write_after_a_notice_was_delivered_is_told_again(sqlite_node, receiver):
    node = sqlite_node
    subject = await _shown(node)
    await with_webhook(node, "support", receiver)
    await _patch(node, subject, {"name": "Ada King"})
    await work_off(node)
    await _patch(node, subject, {"name": "Ada Byron"})
    await work_off(node)
    assert len(receiver.got) == 2


async def test_people_in_a_batch_of_the_log_are_told_of(node):
    """Nine people in one call: on PostgreSQL one row of the log names them all."""
    people = [await node.create({"name": f"Person {number}"}) for number in range(9)]
    body = {"subjects": people, "fields": ["name"], "purpose": SUPPORT}
    assert (await node.post("support", "/v1/read", body)).status_code == 200
    await _patch(node, people[4], {"name": "Somebody Else"})
    (notice,) = await notices(node)
    assert notice.subject == UUID(people[4])


async def test_a_merge_is_told_to_apps_that_were_shown_a_value_which_is_not_kept(node):
    survivor = await node.create({"name": "Ada Lovelace"}, external_ids={"shop": "1"})
    duplicate = await node.create({"name": "A. Lovelace", "phone": "+442079460123"}, external_ids={"web": "2"})
    assert (await node.read("support", survivor, ["name"], SUPPORT)).status_code == 200
    assert (await node.read("fulfilment", duplicate, ["name", "phone"], ORDERS)).status_code == 200
    body = {"survivor": survivor, "duplicate": duplicate, "evidence": "same passport"}
    done = await node.post("dpo", "/v1/subjects:merge", body)
    assert done.status_code == 201, done.text
    assert await told(node) == {"fulfilment": {"profile.name"}}
    (notice,) = await notices(node)
    assert (notice.subject, notice.former) == (UUID(survivor), (UUID(duplicate),))


async def test_values_shown_under_a_former_id_are_told_of(sqlite_node):
    node = sqlite_node
    survivor = await node.create({"name": "Ada Lovelace"}, external_ids={"shop": "1"})
    duplicate = await node.create({"phone": "+442079460123"})
    assert (await node.read("fulfilment", duplicate, ["phone"], ORDERS)).status_code == 200
    body = {"survivor": survivor, "duplicate": duplicate, "evidence": "same passport"}
    assert (await node.post("dpo", "/v1/subjects:merge", body)).status_code == 201
    await _patch(node, survivor, {"phone": "+442079460999"})
    assert await told(node) == {"fulfilment": {"profile.phone"}}
