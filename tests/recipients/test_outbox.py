"""Who is told: every app that was shown what has changed, and nobody else."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from tests.export.made_up import approved
from tests.recipients.telling import DEFAULT, notices, tell, told
from vault.audit import log as ledger
from vault.export.build import build_package
from vault.ids import TenantId
from vault.recipients.outbox import EVERYTHING, DataChange, notify_recipients

OTHER = TenantId("acme")


async def test_every_app_that_was_shown_a_field_is_notified(node):
    subject = await node.create()
    await node.read("support", subject, ["name", "phone.last_4"], "customer-support")
    await node.read("fulfilment", subject, ["name", "address"], "order-fulfilment")
    assert await tell(node, subject) == 2
    assert await told(node) == {
        "support": {"profile.name", "profile.phone"},
        "fulfilment": {"profile.name", "profile.address"},
    }


async def test_apps_that_were_shown_other_fields_are_not_notified(sqlite_node):
    node = sqlite_node
    subject = await node.create()
    await node.read("support", subject, ["name", "phone.last_4"], "customer-support")
    await node.read("fulfilment", subject, ["name", "address"], "order-fulfilment")
    assert await tell(node, subject, kind="subject.rectified", fields=["address", "iban"]) == 1
    assert await told(node) == {"fulfilment": {"profile.address"}}


async def test_lists_count_as_disclosures_and_a_collection_covers_its_fields(sqlite_node):
    node = sqlite_node
    subject = await node.create()
    await node.append("fulfilment", subject, "purchase", {"amount": "1.00"}, "order-fulfilment")
    body = {"fields": ["amount"], "purpose": "order-fulfilment"}
    await node.post("fulfilment", f"/v1/subjects/{subject}/records/purchase:read", body)
    assert await tell(node, subject, fields=["interaction.*"]) == 0
    assert await tell(node, subject, fields=["purchase.*"]) == 1
    assert await told(node) == {"fulfilment": {"purchase.amount"}}


async def test_a_search_that_matched_counts_as_a_disclosure(sqlite_node):
    node = sqlite_node
    subject = await node.create()
    body = {"match": {"email": "ada@example.org"}, "fields": ["name"], "purpose": "customer-support"}
    await node.post("support", "/v1/subjects:search", body)
    assert await tell(node, subject, kind="subject.rectified", fields=["email"]) == 1
    assert await told(node) == {"support": {"profile.email"}}


async def test_a_downloaded_package_counts_as_a_disclosure(sqlite_node):
    node = sqlite_node
    subject = await node.create()
    request = await approved(node, subject)
    await build_package(node.services, DEFAULT, request)
    assert await tell(node, subject, fields=["email"]) == 0  # it was built, and nobody has it yet
    assert (await node.call("dpo", "GET", f"/v1/requests/{request}/package")).status_code == 200
    assert await tell(node, subject, kind="subject.rectified", fields=["email"]) == 1
    assert await told(node) == {"dpo": {"profile.email"}}


async def test_disclosures_in_a_batch_entry_count(node):
    """Nine people in one call: one row of the log names them all, on PostgreSQL in an index of its own."""
    people = [await node.create({"name": f"Person {number}"}) for number in range(9)]
    await node.set_state(people[0], "erased")
    body = {"subjects": people, "fields": ["name"], "purpose": "customer-support"}
    assert (await node.post("support", "/v1/read", body)).status_code == 200
    assert await tell(node, people[0]) == 0, "nothing was shown of this one"
    for subject in people[1:]:
        assert await tell(node, subject) == 1


async def test_refused_reads_and_writes_are_no_disclosures(sqlite_node):
    node = sqlite_node
    subject = await node.create()
    assert (await node.read("support", subject, ["email"], "customer-support")).status_code == 403
    assert (await node.read("marketing", subject, ["name"], "direct-marketing")).status_code == 403
    await node.call("support", "GET", f"/v1/subjects/{subject}")
    assert await tell(node, subject) == 0
    assert await notices(node) == []


async def test_without_a_change_there_are_no_notices(sqlite_node):
    node = sqlite_node
    subject = await node.create()
    await node.read("support", subject, ["name"], "customer-support")
    assert await tell(node, subject, fields=()) == 0


async def test_a_disabled_app_is_notified(sqlite_node):
    node = sqlite_node
    subject = await node.create()
    await node.read("support", subject, ["name"], "customer-support")
    await node.sql("UPDATE principal SET state = 'disabled' WHERE name = 'support'")
    assert await tell(node, subject) == 1


async def test_staff_get_no_notices(sqlite_node):
    """Staff reads with a token of the company's issuer, the vault itself with an id that nobody has."""
    node = sqlite_node
    subject = await node.create()
    await node.read("support", subject, ["name"], "customer-support")
    await node.sql("UPDATE principal SET kind = 'staff' WHERE name = 'support'")
    assert await tell(node, subject) == 0


async def test_a_second_call_for_a_request_adds_the_missing_notices(node):
    subject, request = await node.create(), uuid4()
    await node.read("support", subject, ["name"], "customer-support")
    assert await tell(node, subject, request=request) == 1
    assert await tell(node, subject, request=request) == 0
    await node.read("support", subject, ["phone.last_4"], "customer-support")
    await node.read("fulfilment", subject, ["name"], "order-fulfilment")
    assert await tell(node, subject, request=request) == 2
    fields = sorted(notice.fields for notice in await notices(node))
    assert fields == [("profile.name",), ("profile.name",), ("profile.phone",)]
    assert await tell(node, subject, request=uuid4()) == 2, "another request is another change"


async def test_the_outbox_is_part_of_the_change(node):
    subject = await node.create()
    await node.read("support", subject, ["name"], "customer-support")
    pseudonym = await node.pseudonym(subject)
    what = {"kind": "subject.erased", "fields": EVERYTHING, "request": None}
    with pytest.raises(RuntimeError, match="half-way"):
        async with node.services.data.transaction() as connection:
            assert (
                await notify_recipients(
                    node.services, connection, DEFAULT, DataChange(subject=UUID(subject), pseudonym=pseudonym, **what)
                )
                == 1
            )
            raise RuntimeError("half-way")
    assert await notices(node) == []


async def test_a_notice_about_a_merged_person_contains_the_former_id(node):
    survivor, duplicate = await node.create(), await node.create({"name": "Ada L."})
    await node.read("support", duplicate, ["name"], "customer-support")
    body = {"survivor": survivor, "duplicate": duplicate, "evidence": "ticket 4711"}
    assert (await node.post("dpo", "/v1/subjects:merge", body)).status_code == 201
    assert await tell(node, survivor) == 1
    result = await notices(node)
    assert [notice.kind for notice in result] == ["subject.rectified", "subject.erased"]  # the merge changed the name
    for notice in result:
        assert str(notice.subject) == survivor
        assert [str(item) for item in notice.former] == [duplicate]


async def test_apps_of_another_tenant_are_not_notified(sqlite_node):
    node = sqlite_node
    theirs, mine = await node.create(), await node.create(tenant=OTHER)
    await node.read("support", mine, ["name"], "customer-support", tenant=OTHER)
    assert await tell(node, theirs) == 0
    assert await tell(node, mine, tenant=OTHER) == 1
    assert await notices(node) == []
    assert len(await notices(node, OTHER)) == 1


async def test_a_long_log_is_read_in_chunks(node, monkeypatch):
    monkeypatch.setattr(ledger, "DISCLOSURES_AT_A_TIME", 3)
    subject = await node.create()
    for _ in range(7):
        await node.read("support", subject, ["name"], "customer-support")
    await node.read("fulfilment", subject, ["name"], "order-fulfilment")
    assert await tell(node, subject) == 2


async def test_a_notice_contains_names_of_fields_and_no_value(sqlite_node):
    node = sqlite_node
    subject = await node.create()
    await node.read("support", subject, ["name"], "customer-support")
    await tell(node, subject)
    for row in await node.sql("SELECT * FROM recipient_notice"):
        for value in row:
            text = bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode()
            assert b"Lovelace" not in text
